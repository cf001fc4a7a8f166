/* SPDX-License-Identifier: Apache-2.0 */
#include "blackbox/relevant.h"

#include <stdatomic.h>

#include "base/ranges.h"
#include "kernels/reorder.h"
#include "kernels/score.h"
#include "kernels/threshold.h"

void rk_relevant_place(struct rk_arena *arena, const struct rk_kernels *kernels,
                       const struct rk_strategy *strategy, uint32_t items, uint32_t p, unsigned threads,
                       unsigned wants, struct rk_relevant *r)
{
    const bool gradient = wants & RK_LIST_GRADIENT;
    *r = (struct rk_relevant){.p = p};
    r->position = rk_arena_alloc(arena, p * sizeof *r->position);
    r->raw = rk_arena_alloc(arena, p * sizeof *r->raw);
    r->y = rk_arena_alloc(arena, p * sizeof *r->y);
    r->argsort_perturbed = (uint32_t *)(void *)r->y;
    r->argsort = rk_arena_alloc(arena, p * sizeof *r->argsort);
    r->threshold = rk_arena_alloc(arena, p * sizeof *r->threshold);
    r->irrelevant_above = rk_arena_alloc(arena, p * sizeof *r->irrelevant_above);
    r->delta = (int32_t *)r->irrelevant_above;
    if (gradient) {
        r->change = rk_arena_alloc(arena, p * sizeof *r->change);
        r->slope = rk_arena_alloc(arena, p * sizeof *r->slope);
        r->perturbed_threshold = (float *)(void *)r->slope;
        r->perturbed_irrelevant_above = r->slope ? (uint32_t *)(void *)r->slope + p : NULL;
    }
    if (wants & RK_LIST_GRADES)
        rk_relevant_place_grades(arena, p, r);
    /* Sorting comes before and between the strategy's two passes, so they may share memory. */
    struct rk_arena sorting = *arena;
    if (strategy->kept)
        (void)rk_arena_alloc(&sorting, strategy->kept(items, p, threads));
    r->strategy = rk_arena_alloc(arena, strategy->scratch(items, p, threads));
    r->key = rk_arena_alloc(&sorting, p * sizeof *r->key);
    r->sort =
        rk_arena_alloc(&sorting, gradient ? rk_reorder_scratch(kernels, p) : kernels->argsort_scratch(p));
    arena->used = sorting.used > arena->used ? sorting.used : arena->used;
}

/* Shared by the threads of a loop. */
struct loop {
    struct rk_relevant *r;
    double half_margin, lambda;
    atomic_bool found; /* what the loop looks for */
};

static void find(struct loop *loop, bool found)
{
    if (found)
        atomic_store_explicit(&loop->found, true, memory_order_relaxed);
}

/* Looks for a NaN. */
static void make_keys(void *arg, struct rk_range range)
{
    struct loop *loop = arg;
    const struct rk_relevant *r = loop->r;
    unsigned nan = 0;
    for (uint32_t i = range.from; i < range.to; i++) {
        const float raw = r->raw[r->by_grade ? r->by_grade[i] : i];
        nan |= raw != raw;
        r->key[i] = ~rk_key((float)((double)raw - loop->half_margin));
    }
    find(loop, nan);
}

static void make_thresholds(void *arg, struct rk_range range)
{
    const struct loop *loop = arg;
    const struct rk_relevant *r = loop->r;
    for (uint32_t k = range.from; k < range.to; k++) {
        r->y[k] = rk_float_of_key(~r->key[k]);
        r->threshold[k] = rk_raw_threshold(r->y[k], loop->half_margin);
    }
}

bool rk_relevant_rank(const struct rk_kernels *kernels, struct rk_pool *pool, double half_margin,
                      struct rk_relevant *r)
{
    struct loop loop = {.r = r, .half_margin = half_margin};
    rk_ranges_run(pool, r->p, RK_RANGE_MIN, make_keys, &loop);
    if (atomic_load(&loop.found))
        return false;
    kernels->argsort(r->key, r->p, r->argsort, r->key, r->sort);
    rk_ranges_run(pool, r->p, RK_RANGE_MIN, make_thresholds, &loop);
    return true;
}

static void perturb(void *arg, struct rk_range range)
{
    const struct loop *loop = arg;
    const struct rk_relevant *r = loop->r;
    for (uint32_t k = range.from; k < range.to; k++)
        r->key[k] = ~rk_key((float)((double)r->y[k] + loop->lambda * r->slope[k]));
}

/* Looks for a threshold that changed. */
static void make_perturbed_thresholds(void *arg, struct rk_range range)
{
    struct loop *loop = arg;
    const struct rk_relevant *r = loop->r;
    unsigned changed = 0;
    for (uint32_t k = range.from; k < range.to; k++) {
        float threshold = rk_raw_threshold(rk_float_of_key(~r->key[k]), loop->half_margin);
        changed |= threshold != r->threshold[k];
        r->perturbed_threshold[k] = threshold;
    }
    find(loop, changed);
}

bool rk_relevant_move(const struct rk_kernels *kernels, struct rk_pool *pool, double half_margin,
                      double lambda, struct rk_relevant *r)
{
    struct loop loop = {.r = r, .half_margin = half_margin, .lambda = lambda};
    rk_ranges_run(pool, r->p, RK_RANGE_MIN, perturb, &loop);
    rk_reorder(kernels, r->key, r->argsort, r->p, r->argsort_perturbed, r->sort);
    rk_ranges_run(pool, r->p, RK_RANGE_MIN, make_perturbed_thresholds, &loop);
    return atomic_load(&loop.found);
}

static void rank_before(void *arg, struct rk_range range)
{
    const struct rk_relevant *r = arg;
    for (uint32_t k = range.from; k < range.to; k++)
        r->delta[k] = (int32_t)(k + 1 + r->irrelevant_above[k]);
}

static void take_rank_after(void *arg, struct rk_range range)
{
    const struct rk_relevant *r = arg;
    for (uint32_t k = range.from; k < range.to; k++)
        r->delta[r->argsort_perturbed[k]] -= (int32_t)(k + 1 + r->perturbed_irrelevant_above[k]);
}

static void put_in_index_order(void *arg, struct rk_range range)
{
    const struct rk_relevant *r = arg;
    if (r->by_grade) {
        for (uint32_t k = range.from; k < range.to; k++)
            r->change[r->by_grade[r->argsort[k]]] = r->delta[k];
        return;
    }
    for (uint32_t k = range.from; k < range.to; k++)
        r->change[r->argsort[k]] = r->delta[k];
}

/* The loops run one after the other, because a thread writes the places of its items, which may be
 * in any thread's range. */
void rk_relevant_change(struct rk_pool *pool, struct rk_relevant *r)
{
    rk_ranges_run(pool, r->p, RK_RANGE_MIN, rank_before, r);
    rk_ranges_run(pool, r->p, RK_RANGE_MIN_FAR, take_rank_after, r);
    rk_ranges_run(pool, r->p, RK_RANGE_MIN_FAR, put_in_index_order, r);
}
