/* The scalar half of counting against many thresholds, common to the vector variants: they reject the scores
 * below the least threshold and find buckets, many at a time; here each of the rest is compared with the few
 * thresholds of its bucket. (Gathers for this take four times as long on Zen 5.) */
#ifndef RK_KERNELS_TILE_CANDIDATES_H
#define RK_KERNELS_TILE_CANDIDATES_H

#include "kernels/tile.h"

#define RK_SETTLE 256u /* scores of one round */

struct rk_settle {
    float score[RK_SETTLE + RK_STEPS_PAD];
    uint32_t bucket[RK_SETTLE + RK_STEPS_PAD];
    uint32_t position[RK_SETTLE + RK_STEPS_PAD];
};

static inline uint32_t rk_settle_place(const struct rk_steps *steps, float score, uint32_t bucket)
{
    uint32_t k = steps->base[bucket];
    /* Two steps without a branch that could be guessed wrong do for nearly all. */
    k += score >= steps->cut[k];
    k += score >= steps->cut[k];
    while (score >= steps->cut[k])
        k++;
    return k;
}

static inline void rk_settle_count(const struct rk_steps *steps, const struct rk_settle *from, size_t n,
                                   uint32_t *hist)
{
    for (size_t i = 0; i < n; i++)
        hist[rk_settle_place(steps, from->score[i], from->bucket[i])]++;
}

static inline size_t rk_settle_collect(const struct rk_steps *steps, const float *reach,
                                       const struct rk_settle *from, size_t n, uint32_t *hist,
                                       uint32_t *position, float *kept)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        float score = from->score[i];
        uint32_t k = rk_settle_place(steps, score, from->bucket[i]);
        hist[k]++;
        position[found] = from->position[i];
        kept[found] = score;
        found += score < reach[k];
    }
    return found;
}

#endif
