/* SPDX-License-Identifier: Apache-2.0 */
/* The scalar part of counting against many thresholds, common to the vector variants. They reject
 * scores below the lowest threshold and find buckets, many at a time; here each remaining score is
 * compared with the few thresholds of its bucket. (Gathers for this take four times as long on Zen
 * 5.) */
#ifndef RK_KERNELS_TILE_CANDIDATES_H
#define RK_KERNELS_TILE_CANDIDATES_H

#include "kernels/tile.h"

#define RK_TILE_CANDIDATES 256u /* scores per round */

struct rk_tile_candidates {
    float score[RK_TILE_CANDIDATES + RK_THRESHOLD_INDEX_PAD];
    uint32_t bucket[RK_TILE_CANDIDATES + RK_THRESHOLD_INDEX_PAD];
    uint32_t position[RK_TILE_CANDIDATES + RK_THRESHOLD_INDEX_PAD];
};

static inline uint32_t rk_tile_candidate_locate(const struct rk_threshold_index *threshold_index, float score,
                                                uint32_t bucket)
{
    uint32_t k = threshold_index->base[bucket];
    /* Two steps without a branch suffice for nearly all scores. */
    k += score >= threshold_index->threshold[k];
    k += score >= threshold_index->threshold[k];
    while (score >= threshold_index->threshold[k])
        k++;
    return k;
}

static inline void rk_tile_candidates_count(const struct rk_threshold_index *threshold_index,
                                            const struct rk_tile_candidates *from, size_t n, uint32_t *hist)
{
    for (size_t i = 0; i < n; i++)
        hist[rk_tile_candidate_locate(threshold_index, from->score[i], from->bucket[i])]++;
}

static inline size_t rk_tile_candidates_collect(const struct rk_threshold_index *threshold_index,
                                                const float *perturbed_upper_bound,
                                                const struct rk_tile_candidates *from, size_t n,
                                                uint32_t *hist, uint32_t *position, float *kept)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        float score = from->score[i];
        uint32_t k = rk_tile_candidate_locate(threshold_index, score, from->bucket[i]);
        hist[k]++;
        position[found] = from->position[i];
        kept[found] = score;
        found += score < perturbed_upper_bound[k];
    }
    return found;
}

#endif
