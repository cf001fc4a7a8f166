/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/tile.h"

#include <math.h>

/* Four buckets a threshold: mostly one comparison settles a score. */
uint32_t rk_threshold_index_buckets(uint32_t p)
{
    return p <= RK_THRESHOLD_INDEX_FEW ? 0 : p < (1u << 28) ? 4 * p : 1u << 30;
}

static uint32_t bucket_of(const struct rk_threshold_index *threshold_index, float score)
{
    float place = (score - threshold_index->low) * threshold_index->scale;
    return !(place > 0)                                     ? 0
           : place >= (float)(threshold_index->buckets - 1) ? threshold_index->buckets - 1
                                                            : (uint32_t)place;
}

struct rk_threshold_index rk_threshold_index_make(float *threshold, uint32_t p, uint32_t *base)
{
    struct rk_threshold_index threshold_index = {
        .p = p, .threshold = threshold, .base = base, .buckets = rk_threshold_index_buckets(p)};
    for (uint32_t i = 0; i < RK_THRESHOLD_INDEX_PAD; i++)
        threshold[p + i] = NAN;
    if (threshold_index.buckets == 0) {
        threshold_index.base = NULL;
        return threshold_index;
    }
    /* Infinite thresholds fall into the outer buckets. */
    uint32_t first = 0, last = p - 1;
    while (first < last && isinf(threshold[first]))
        first++;
    while (last > first && isinf(threshold[last]))
        last--;
    float width = threshold[last] - threshold[first];
    threshold_index.low = isfinite(threshold[first]) ? threshold[first] : 0;
    threshold_index.scale = isfinite(width) && width > 0 ? (float)(threshold_index.buckets - 1) / width : 0;
    if (!isfinite(threshold_index.scale))
        threshold_index.scale = 0;
    uint32_t k = 0;
    for (uint32_t b = 0; b < threshold_index.buckets; b++) {
        while (k < p && bucket_of(&threshold_index, threshold[k]) < b)
            k++;
        base[b] = k;
    }
    base[threshold_index.buckets] = p;
    return threshold_index;
}
