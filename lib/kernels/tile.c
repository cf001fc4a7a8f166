#include "kernels/tile.h"

#include <math.h>

/* Four buckets a threshold: mostly one comparison settles a score. */
uint32_t rk_steps_buckets(uint32_t p)
{
    return p <= RK_STEPS_FEW ? 0 : p < (1u << 28) ? 4 * p : 1u << 30;
}

static uint32_t bucket_of(const struct rk_steps *steps, float score)
{
    float place = (score - steps->low) * steps->scale;
    return !(place > 0) ? 0 : place >= (float)(steps->buckets - 1) ? steps->buckets - 1 : (uint32_t)place;
}

struct rk_steps rk_steps_make(float *cut, uint32_t p, uint32_t *base)
{
    struct rk_steps steps = {.p = p, .cut = cut, .base = base, .buckets = rk_steps_buckets(p)};
    for (uint32_t i = 0; i < RK_STEPS_PAD; i++)
        cut[p + i] = NAN;
    if (steps.buckets == 0) {
        steps.base = NULL;
        return steps;
    }
    /* Infinite thresholds fall into the outer buckets. */
    uint32_t first = 0, last = p - 1;
    while (first < last && isinf(cut[first]))
        first++;
    while (last > first && isinf(cut[last]))
        last--;
    float width = cut[last] - cut[first];
    steps.low = isfinite(cut[first]) ? cut[first] : 0;
    steps.scale = isfinite(width) && width > 0 ? (float)(steps.buckets - 1) / width : 0;
    if (!isfinite(steps.scale))
        steps.scale = 0;
    uint32_t k = 0;
    for (uint32_t b = 0; b < steps.buckets; b++) {
        while (k < p && bucket_of(&steps, cut[k]) < b)
            k++;
        base[b] = k;
    }
    base[steps.buckets] = p;
    return steps;
}
