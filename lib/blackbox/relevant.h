/* The relevant items of a list: their order by score, the cuts that they are to the others, and how their
 * ranks change when they are moved. "In index order" is the order of positions; "ranked" is best first. */
#ifndef RK_BLACKBOX_RELEVANT_H
#define RK_BLACKBOX_RELEVANT_H

#include "blackbox/blackbox_internal.h"

struct rk_relevant {
    uint32_t p;
    uint32_t *position; /* in index order */
    float *raw;         /* in index order, before the margin */
    uint32_t *order;    /* ranked: place in index order */
    float *y;           /* ranked, after the margin; then its memory serves `moved` */
    uint32_t *moved;    /* ranked anew: place in the order before */
    float *cut;         /* ranked */
    uint32_t *ahead;    /* ranked: irrelevant items ahead */
    double *slope;      /* ranked: g; then its memory serves cut_after and ahead_after */
    float *cut_after;   /* ranked anew, as is ahead_after */
    uint32_t *ahead_after;
    int32_t *delta;  /* ranked: rk, then Δ = rk - rk', where `ahead` was */
    int32_t *change; /* in index order: Δ */
    uint32_t *key;   /* of y or y', so that ascending is best first */
    void *sort;
    void *strategy;
};

/* Hands out all rows, and the strategy's scratch memory, for p items of a list of so many. */
void rk_relevant_carve(struct rk_carve *carve, const struct rk_kernels *kernels,
                       const struct rk_strategy *strategy, uint32_t items, uint32_t p, unsigned threads,
                       bool gradient, struct rk_relevant *r);

/* Raw scores, as they are in r->raw, get the margin and are ranked: fills order, y and cut. False: a NaN
 * among them, and nothing is filled. */
bool rk_relevant_rank(const struct rk_kernels *kernels, struct rk_pool *pool, double half_margin,
                      struct rk_relevant *r);

/* y' = (float)((double)y + Λ·g), ranked anew: fills moved and cut_after. True if any cut changed. */
bool rk_relevant_move(const struct rk_kernels *kernels, struct rk_pool *pool, double half_margin,
                      double lambda, struct rk_relevant *r);

/* Δ of each, from `ahead` and `ahead_after`, in index order. */
void rk_relevant_change(struct rk_pool *pool, struct rk_relevant *r);

#endif
