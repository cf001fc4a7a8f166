#include "blackbox/relevant.h"

#include <stdatomic.h>

#include "base/ranges.h"
#include "kernels/reorder.h"
#include "kernels/score.h"
#include "kernels/threshold.h"

void rk_relevant_carve(struct rk_carve *carve, const struct rk_kernels *kernels,
                       const struct rk_strategy *strategy, uint32_t items, uint32_t p, unsigned threads,
                       bool gradient, struct rk_relevant *r)
{
    r->p = p;
    r->position = rk_carve(carve, p * sizeof *r->position);
    r->raw = rk_carve(carve, p * sizeof *r->raw);
    r->y = rk_carve(carve, p * sizeof *r->y);
    r->moved = (uint32_t *)(void *)r->y;
    r->order = rk_carve(carve, p * sizeof *r->order);
    r->cut = rk_carve(carve, p * sizeof *r->cut);
    r->ahead = rk_carve(carve, p * sizeof *r->ahead);
    r->delta = (int32_t *)r->ahead;
    if (gradient) {
        r->change = rk_carve(carve, p * sizeof *r->change);
        r->slope = rk_carve(carve, p * sizeof *r->slope);
        r->cut_after = (float *)(void *)r->slope;
        r->ahead_after = r->slope ? (uint32_t *)(void *)r->slope + p : NULL;
    }
    /* Sorting comes before and between the strategy's two passes, so one's memory may be the other's. */
    struct rk_carve sorting = *carve;
    if (strategy->kept)
        (void)rk_carve(&sorting, strategy->kept(items, p, threads));
    r->strategy = rk_carve(carve, strategy->scratch(items, p, threads));
    r->key = rk_carve(&sorting, p * sizeof *r->key);
    r->sort = rk_carve(&sorting, gradient ? rk_reorder_scratch(kernels, p) : kernels->order_scratch(p));
    carve->used = sorting.used > carve->used ? sorting.used : carve->used;
}

/* What the threads of a loop share. */
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
        nan |= r->raw[i] != r->raw[i];
        r->key[i] = ~rk_key((float)((double)r->raw[i] - loop->half_margin));
    }
    find(loop, nan);
}

static void make_cuts(void *arg, struct rk_range range)
{
    const struct loop *loop = arg;
    const struct rk_relevant *r = loop->r;
    for (uint32_t k = range.from; k < range.to; k++) {
        r->y[k] = rk_float_of_key(~r->key[k]);
        r->cut[k] = rk_cut(r->y[k], loop->half_margin);
    }
}

bool rk_relevant_rank(const struct rk_kernels *kernels, struct rk_pool *pool, double half_margin,
                      struct rk_relevant *r)
{
    struct loop loop = {.r = r, .half_margin = half_margin};
    rk_ranges_run(pool, r->p, RK_RANGE_MIN, make_keys, &loop);
    if (atomic_load(&loop.found))
        return false;
    kernels->order(r->key, r->p, r->order, r->key, r->sort);
    rk_ranges_run(pool, r->p, RK_RANGE_MIN, make_cuts, &loop);
    return true;
}

static void perturb(void *arg, struct rk_range range)
{
    const struct loop *loop = arg;
    const struct rk_relevant *r = loop->r;
    for (uint32_t k = range.from; k < range.to; k++)
        r->key[k] = ~rk_key((float)((double)r->y[k] + loop->lambda * r->slope[k]));
}

/* Looks for a cut that changed. */
static void make_cuts_after(void *arg, struct rk_range range)
{
    struct loop *loop = arg;
    const struct rk_relevant *r = loop->r;
    unsigned changed = 0;
    for (uint32_t k = range.from; k < range.to; k++) {
        float cut = rk_cut(rk_float_of_key(~r->key[k]), loop->half_margin);
        changed |= cut != r->cut[k];
        r->cut_after[k] = cut;
    }
    find(loop, changed);
}

bool rk_relevant_move(const struct rk_kernels *kernels, struct rk_pool *pool, double half_margin,
                      double lambda, struct rk_relevant *r)
{
    struct loop loop = {.r = r, .half_margin = half_margin, .lambda = lambda};
    rk_ranges_run(pool, r->p, RK_RANGE_MIN, perturb, &loop);
    rk_reorder(kernels, r->key, r->order, r->p, r->moved, r->sort);
    rk_ranges_run(pool, r->p, RK_RANGE_MIN, make_cuts_after, &loop);
    return atomic_load(&loop.found);
}

static void rank_before(void *arg, struct rk_range range)
{
    const struct rk_relevant *r = arg;
    for (uint32_t k = range.from; k < range.to; k++)
        r->delta[k] = (int32_t)(k + 1 + r->ahead[k]);
}

static void take_rank_after(void *arg, struct rk_range range)
{
    const struct rk_relevant *r = arg;
    for (uint32_t k = range.from; k < range.to; k++)
        r->delta[r->moved[k]] -= (int32_t)(k + 1 + r->ahead_after[k]);
}

static void put_in_index_order(void *arg, struct rk_range range)
{
    const struct rk_relevant *r = arg;
    for (uint32_t k = range.from; k < range.to; k++)
        r->change[r->order[k]] = r->delta[k];
}

/* One loop after the other: a place is written by whoever has the item there, not by whose range it is in. */
void rk_relevant_change(struct rk_pool *pool, struct rk_relevant *r)
{
    rk_ranges_run(pool, r->p, RK_RANGE_MIN, rank_before, r);
    rk_ranges_run(pool, r->p, RK_RANGE_MIN_FAR, take_rank_after, r);
    rk_ranges_run(pool, r->p, RK_RANGE_MIN_FAR, put_in_index_order, r);
}
