/* Counting similarities as they come: rows of a tile against the thresholds of their query, and keeping the
 * few that a moved relevant item may have jumped over. All variants give the same bits. */
#ifndef RK_KERNELS_TILE_H
#define RK_KERNELS_TILE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernel.h"

/* Thresholds of a list, ascending, and what finds a score's place among them: a score's bucket is a monotone
 * function of it, so thresholds of lower buckets are at or below it and need no comparison. */
struct rk_threshold_index {
    uint32_t p;
    const float *threshold; /* [p + RK_THRESHOLD_INDEX_PAD], ascending, then NaN, which nothing reaches */
    const uint32_t
        *base; /* [buckets + 1]: thresholds in lower buckets; NULL where p <= RK_THRESHOLD_INDEX_FEW */
    uint32_t buckets;
    float low, scale; /* bucket of s = (s - low) * scale, threshold to 0..buckets-1 */
};
#define RK_THRESHOLD_INDEX_PAD 16u
#define RK_THRESHOLD_INDEX_FEW 16u /* so many thresholds are compared one by one */

/* Buckets that rk_threshold_index_make() wants for p thresholds; 0 for few. */
uint32_t rk_threshold_index_buckets(uint32_t p);

/* Steps over threshold[0..p-1], ascending, no NaN; writes the padding behind them and fills base[0..buckets].
 * Both are borrowed. */
struct rk_threshold_index rk_threshold_index_make(float *threshold, uint32_t p, uint32_t *base);

struct rk_tile_kernels {
    const char *name;
    /* Adds to hist[k], k = 1..p, the scores with exactly k thresholds at or below them. hist[0] is left at
     * anything. A NaN counts nowhere. hist has p + 1 elements. */
    void (*count)(const struct rk_threshold_index *threshold_index, const float *score, size_t n,
                  uint32_t *hist);
    /* The same, and writes down, in order, position and score of those with k >= 1 and score <
     * perturbed_upper_bound[k]; perturbed_upper_bound[1..p] rises. Returns how many; both have room for n +
     * RK_THRESHOLD_INDEX_PAD. The position of score[0] is `first`. */
    size_t (*collect)(const struct rk_threshold_index *threshold_index, const float *perturbed_upper_bound,
                      const float *score, size_t n, uint32_t first, uint32_t *hist, uint32_t *position,
                      float *kept);
    /* k[i] = number of thresholds at or below score[i]; no NaN. */
    void (*locate)(const struct rk_threshold_index *threshold_index, const float *score, size_t n,
                   uint32_t *k);
    /* sum[d] += Σ factor[i] · row[i][d] in the order of i, FP64, products exact. */
    void (*accumulate)(size_t dim, size_t count, const float *const *row, const double *factor, double *sum);
};

/* Of the sets of kernels (kernel.h), which name the one that goes with them. */
extern const struct rk_tile_kernels rk_tile_scalar, rk_tile_avx2, rk_tile_avx512;

#endif
