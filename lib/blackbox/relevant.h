/* SPDX-License-Identifier: Apache-2.0 */
/* The relevant items of a list: their order by score, their thresholds for the other items, and the
 * changes of their ranks when they are moved. "In index order" is the order of positions; "in tie
 * order" is that in which equal scores are ranked: by grade, the lowest first, then by index;
 * "ranked" is best first. Without grades the tie order is the index order. */
#ifndef RK_BLACKBOX_RELEVANT_H
#define RK_BLACKBOX_RELEVANT_H

#include "blackbox/blackbox_internal.h"

struct rk_relevant {
    uint32_t p;
    uint32_t *position;          /* in index order */
    float *raw;                  /* in index order, before the margin */
    uint32_t *argsort;           /* ranked: place in tie order */
    float *y;                    /* ranked, after the margin; then its memory serves `argsort_perturbed` */
    uint32_t *argsort_perturbed; /* ranked anew: place in the order before */
    float *threshold;            /* ranked */
    uint32_t *irrelevant_above;  /* ranked: irrelevant items above */
    double *slope; /* ranked: g; then its memory serves perturbed_threshold and perturbed_irrelevant_above */
    float *perturbed_threshold; /* ranked anew, as is perturbed_irrelevant_above */
    uint32_t *perturbed_irrelevant_above;
    int32_t *delta;  /* ranked: rk, then Δ = rk - rk', where `irrelevant_above` was */
    int32_t *change; /* in index order: Δ */
    uint32_t *key;   /* of y or y', so that ascending is best first */
    void *sort;
    void *strategy;
    /* NULL, all four, unless the list has grades. */
    double *grade; /* in index order, until rk_relevant_order(), */
    double *gain;  /* whose memory then serves the gains, ranked */
    double *gain_ascending;
    uint32_t *by_grade; /* in tie order: place in index order; NULL where the two are the same */
};

/* Takes memory for all rows and for the strategy's scratch, for p relevant items in a list of
 * `items`. `wants`: of enum rk_list_wants. */
void rk_relevant_place(struct rk_arena *arena, const struct rk_kernels *kernels,
                       const struct rk_strategy *strategy, uint32_t items, uint32_t p, unsigned threads,
                       unsigned wants, struct rk_relevant *r);

/* Its part for the grades. */
void rk_relevant_place_grades(struct rk_arena *arena, uint32_t p, struct rk_relevant *r);

/* From r->grade: fills by_grade and gain_ascending. Before rk_relevant_rank(). */
void rk_relevant_order(const struct rk_kernels *kernels, enum rk_target_rule rule, struct rk_relevant *r);

/* What the loss is told, after the strategy has counted. */
struct rk_ranked rk_relevant_ranked(struct rk_pool *pool, struct rk_relevant *r);

/* Raw scores, as they are in r->raw, get the margin and are ranked: fills argsort, y and threshold.
 * False: a NaN among them, and nothing is filled. */
bool rk_relevant_rank(const struct rk_kernels *kernels, struct rk_pool *pool, double half_margin,
                      struct rk_relevant *r);

/* y' = (float)((double)y + Λ·g), ranked anew: fills argsort_perturbed and perturbed_threshold. True
 * if any threshold changed. */
bool rk_relevant_move(const struct rk_kernels *kernels, struct rk_pool *pool, double half_margin,
                      double lambda, struct rk_relevant *r);

/* Δ of each, from `irrelevant_above` and `perturbed_irrelevant_above`, in index order. */
void rk_relevant_change(struct rk_pool *pool, struct rk_relevant *r);

#endif
