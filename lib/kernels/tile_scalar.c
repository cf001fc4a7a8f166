#include "kernels/tile.h"

static uint32_t place(const struct rk_steps *steps, float score)
{
    uint32_t k = 0;
    if (steps->base) {
        float at = (score - steps->low) * steps->scale;
        uint32_t bucket = !(at > 0)                           ? 0
                          : at >= (float)(steps->buckets - 1) ? steps->buckets - 1
                                                              : (uint32_t)at;
        k = steps->base[bucket];
    }
    while (score >= steps->cut[k]) /* the NaN behind the last one ends it */
        k++;
    return k;
}

static void count(const struct rk_steps *steps, const float *score, size_t n, uint32_t *hist)
{
    for (size_t i = 0; i < n; i++)
        hist[place(steps, score[i])]++;
}

static size_t collect(const struct rk_steps *steps, const float *reach, const float *score, size_t n,
                      uint32_t first, uint32_t *hist, uint32_t *position, float *kept)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t k = place(steps, score[i]);
        hist[k]++;
        if (k > 0 && score[i] < reach[k]) {
            position[found] = first + (uint32_t)i;
            kept[found++] = score[i];
        }
    }
    return found;
}

static void places(const struct rk_steps *steps, const float *score, size_t n, uint32_t *k)
{
    for (size_t i = 0; i < n; i++)
        k[i] = place(steps, score[i]);
}

static void accumulate(size_t dim, size_t terms, const float *const *row, const double *factor, double *sum)
{
    for (size_t i = 0; i < terms; i++)
        for (size_t d = 0; d < dim; d++)
            sum[d] += factor[i] * (double)row[i][d];
}

const struct rk_tile_kernels rk_tile_scalar = {"scalar", count, collect, places, accumulate};
