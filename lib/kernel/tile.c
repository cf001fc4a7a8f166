#include "kernel/tile.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

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

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const struct rk_tile_kernels *all[4];

static void detect(void)
{
    size_t n = 0;
    all[n++] = &rk_tile_scalar;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        all[n++] = &rk_tile_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        all[n++] = &rk_tile_avx512;
}

const struct rk_tile_kernels *const *rk_tile_kernels_all(void)
{
    (void)pthread_once(&once, detect);
    return all;
}

const struct rk_tile_kernels *rk_tile_kernels(const struct rk_kernels *kernels)
{
    const struct rk_tile_kernels *const *known = rk_tile_kernels_all(), *best = known[0];
    bool free_choice = kernels == rk_kernels() && !getenv("RANKD_CPU");
    for (size_t i = 0; known[i]; i++) {
        if (free_choice || strcmp(known[i]->name, kernels->name) == 0)
            best = known[i];
    }
    return best;
}
