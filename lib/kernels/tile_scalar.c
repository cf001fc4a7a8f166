/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/tile.h"

static uint32_t locate_one(const struct rk_threshold_index *threshold_index, float score)
{
    uint32_t k = 0;
    if (threshold_index->base) {
        float at = (score - threshold_index->low) * threshold_index->scale;
        uint32_t bucket = !(at > 0)                                     ? 0
                          : at >= (float)(threshold_index->buckets - 1) ? threshold_index->buckets - 1
                                                                        : (uint32_t)at;
        k = threshold_index->base[bucket];
    }
    while (score >= threshold_index->threshold[k]) /* the NaN behind the last one ends it */
        k++;
    return k;
}

static void count_scalar(const struct rk_threshold_index *threshold_index, const float *score, size_t n,
                         uint32_t *hist)
{
    for (size_t i = 0; i < n; i++)
        hist[locate_one(threshold_index, score[i])]++;
}

static size_t collect_scalar(const struct rk_threshold_index *threshold_index,
                             const float *perturbed_upper_bound, const float *score, size_t n, uint32_t first,
                             uint32_t *hist, uint32_t *position, float *kept)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t k = locate_one(threshold_index, score[i]);
        hist[k]++;
        if (k > 0 && score[i] < perturbed_upper_bound[k]) {
            position[found] = first + (uint32_t)i;
            kept[found++] = score[i];
        }
    }
    return found;
}

static void locate_scalar(const struct rk_threshold_index *threshold_index, const float *score, size_t n,
                          uint32_t *k)
{
    for (size_t i = 0; i < n; i++)
        k[i] = locate_one(threshold_index, score[i]);
}

static void accumulate_scalar(size_t dim, size_t terms, const float *const *row, const double *factor,
                              double *sum)
{
    for (size_t i = 0; i < terms; i++)
        for (size_t d = 0; d < dim; d++)
            sum[d] += factor[i] * (double)row[i][d];
}

const struct rk_tile_kernels rk_tile_scalar = {"scalar", count_scalar, collect_scalar, locate_scalar,
                                               accumulate_scalar};
