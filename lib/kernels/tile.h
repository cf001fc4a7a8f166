/* SPDX-License-Identifier: Apache-2.0 */
/* Counts similarities of a tile against the thresholds of their query, and keeps the few that a
 * perturbed relevant item may pass. All variants give the same bits. */
#ifndef RK_KERNELS_TILE_H
#define RK_KERNELS_TILE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernel.h"

/* Thresholds of a list, ascending, with an index. The bucket of a score is a monotone function of
 * it, so thresholds of lower buckets are at or below it and need no comparison. */
struct rk_threshold_index {
    uint32_t p;
    const float *threshold; /* [p + RK_THRESHOLD_INDEX_PAD], ascending, then NaN, which no score reaches */
    const uint32_t
        *base; /* [buckets + 1]: thresholds in lower buckets; NULL if p <= RK_THRESHOLD_INDEX_FEW */
    uint32_t buckets;
    float low, scale; /* bucket of s = (s - low) * scale, limited to 0..buckets-1 */
};
#define RK_THRESHOLD_INDEX_PAD 16u
#define RK_THRESHOLD_INDEX_FEW 16u /* up to this number all thresholds are compared */

/* Number of buckets that rk_threshold_index_make() uses for p thresholds; 0 for few. */
uint32_t rk_threshold_index_buckets(uint32_t p);

/* Makes the index of threshold[0..p-1], ascending, no NaN. Writes the padding after them and fills
 * base[0..buckets]. Both arrays are borrowed. */
struct rk_threshold_index rk_threshold_index_make(float *threshold, uint32_t p, uint32_t *base);

struct rk_tile_kernels {
    const char *name;
    /* Adds to hist[k], k = 1..p, the number of scores with exactly k thresholds at or below them.
     * hist[0] is unspecified. NaN is not counted. hist has p + 1 elements. */
    void (*count)(const struct rk_threshold_index *threshold_index, const float *score, size_t n,
                  uint32_t *hist);
    /* The same, and writes in order position and score of those with k >= 1 and score <
     * perturbed_upper_bound[k]; perturbed_upper_bound[1..p] rises. Returns their number; both
     * outputs have room for n + RK_THRESHOLD_INDEX_PAD. The position of score[0] is `first`. */
    size_t (*collect)(const struct rk_threshold_index *threshold_index, const float *perturbed_upper_bound,
                      const float *score, size_t n, uint32_t first, uint32_t *hist, uint32_t *position,
                      float *kept);
    /* k[i] = number of thresholds at or below score[i]; no NaN. */
    void (*locate)(const struct rk_threshold_index *threshold_index, const float *score, size_t n,
                   uint32_t *k);
    /* sum[d] += Σ factor[i] · row[i][d] in the order of i, FP64, products exact. */
    void (*accumulate)(size_t dim, size_t count, const float *const *row, const double *factor, double *sum);
};

/* One per kernel set (rk_kernels.tile). */
extern const struct rk_tile_kernels rk_tile_scalar, rk_tile_avx2, rk_tile_avx512;

#endif
