/* SPDX-License-Identifier: Apache-2.0 */
/* The relevant items of a list: their order by score, the thresholds that they are to the others, and how
 * their ranks change when they are moved. "In index order" is the order of positions; "ranked" is best first.
 */
#ifndef RK_BLACKBOX_RELEVANT_H
#define RK_BLACKBOX_RELEVANT_H

#include "blackbox/blackbox_internal.h"

struct rk_relevant {
    uint32_t p;
    uint32_t *position;          /* in index order */
    float *raw;                  /* in index order, before the margin */
    uint32_t *argsort;           /* ranked: place in index order */
    float *y;                    /* ranked, after the margin; then its memory serves `argsort_perturbed` */
    uint32_t *argsort_perturbed; /* ranked anew: place in the order before */
    float *threshold;            /* ranked */
    uint32_t *irrelevant_above;  /* ranked: irrelevant items ahead */
    double *slope; /* ranked: g; then its memory serves perturbed_threshold and perturbed_irrelevant_above */
    float *perturbed_threshold; /* ranked anew, as is perturbed_irrelevant_above */
    uint32_t *perturbed_irrelevant_above;
    int32_t *delta;  /* ranked: rk, then Δ = rk - rk', where `irrelevant_above` was */
    int32_t *change; /* in index order: Δ */
    uint32_t *key;   /* of y or y', so that ascending is best first */
    void *sort;
    void *strategy;
};

/* Hands out all rows, and the strategy's scratch memory, for p items of a list of so many. */
void rk_relevant_place(struct rk_arena *arena, const struct rk_kernels *kernels,
                       const struct rk_strategy *strategy, uint32_t items, uint32_t p, unsigned threads,
                       bool gradient, struct rk_relevant *r);

/* Raw scores, as they are in r->raw, get the margin and are ranked: fills argsort, y and threshold. False: a
 * NaN among them, and nothing is filled. */
bool rk_relevant_rank(const struct rk_kernels *kernels, struct rk_pool *pool, double half_margin,
                      struct rk_relevant *r);

/* y' = (float)((double)y + Λ·g), ranked anew: fills argsort_perturbed and perturbed_threshold. True if any
 * threshold changed. */
bool rk_relevant_move(const struct rk_kernels *kernels, struct rk_pool *pool, double half_margin,
                      double lambda, struct rk_relevant *r);

/* Δ of each, from `irrelevant_above` and `perturbed_irrelevant_above`, in index order. */
void rk_relevant_change(struct rk_pool *pool, struct rk_relevant *r);

#endif
