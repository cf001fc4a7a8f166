#include "blackbox_internal.h"

#include <math.h>
#include <string.h>

#include "kernel/cut.h"
#include "kernel/score.h"
#include "reorder.h"

/* What is kept of the relevant items. "In index order" is the order of positions; "ranked" is best first. */
struct relevant {
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

static void carve_relevant(struct rk_carve *carve, const struct rk_kernels *kernels,
                           const struct rk_strategy *strategy, uint32_t items, uint32_t p, unsigned threads,
                           bool gradient, struct relevant *r)
{
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

static const struct rk_strategy *plan(const struct rk_kernels *kernels, const struct rk_list *list,
                                      unsigned threads)
{
    return kernels->plan(list->items, list->p, list->segments ? list->segment[0].dtype : RK_FP32, threads);
}

size_t rk_list_scratch(const struct rk_kernels *kernels, uint32_t items, uint32_t p, enum rk_dtype dtype,
                       unsigned threads, bool gradient)
{
    if (kernels->reference)
        return rk_list_reference_scratch(items);
    struct rk_carve carve = {0};
    struct relevant r;
    carve_relevant(&carve, kernels, kernels->plan(items, p, dtype, threads), items, p, threads, gradient, &r);
    return carve.used;
}

/* The margin, then the order of the relevant items, then their scores as cuts. False: a NaN among them. */
static bool rank_relevant(const struct rk_kernels *kernels, uint32_t p, double half_margin,
                          struct relevant *r)
{
    for (uint32_t i = 0; i < p; i++) {
        if (r->raw[i] != r->raw[i])
            return false;
        r->key[i] = ~rk_key((float)((double)r->raw[i] - half_margin));
    }
    kernels->order(r->key, p, r->order, r->key, r->sort);
    for (uint32_t k = 0; k < p; k++) {
        r->y[k] = rk_float_of_key(~r->key[k]);
        r->cut[k] = rk_cut(r->y[k], half_margin);
    }
    return true;
}

/* y' = (float)((double)y + Λ·g), sorted anew. True if any cut changed. */
static bool move_relevant(const struct rk_kernels *kernels, uint32_t p, double half_margin, double lambda,
                          struct relevant *r)
{
    for (uint32_t k = 0; k < p; k++)
        r->key[k] = ~rk_key((float)((double)r->y[k] + lambda * r->slope[k]));
    rk_reorder(kernels, r->key, r->order, p, r->moved, r->sort);
    bool changed = false;
    for (uint32_t k = 0; k < p; k++) {
        float cut = rk_cut(rk_float_of_key(~r->key[k]), half_margin);
        changed |= cut != r->cut[k];
        r->cut_after[k] = cut;
    }
    return changed;
}

/* Δ of each relevant item, from its rank before and its rank after. */
static void relevant_change(uint32_t p, struct relevant *r)
{
    for (uint32_t k = 0; k < p; k++)
        r->delta[k] = (int32_t)(k + 1 + r->ahead[k]);
    for (uint32_t k = 0; k < p; k++)
        r->delta[r->moved[k]] -= (int32_t)(k + 1 + r->ahead_after[k]);
    for (uint32_t k = 0; k < p; k++)
        r->change[r->order[k]] = r->delta[k];
}

/* Streams the list a second time, or not at all where no relevant item moved. */
static enum rankd_status move_irrelevant(const struct rk_strategy *strategy, struct rk_pass *pass,
                                         bool changed)
{
    if (changed)
        return strategy->move(pass);
    if (pass->sink->dense)
        memset(pass->sink->dense, 0, pass->list->graded * sizeof(float));
    memcpy(pass->ahead_after, pass->ahead, pass->list->p * sizeof *pass->ahead);
    return RANKD_OK;
}

static enum rankd_status gradient(const struct rk_kernels *kernels, const struct rk_strategy *strategy,
                                  const struct rk_blackbox *box, double w, const struct rk_pass *pass,
                                  struct relevant *r, struct rk_list_out *out)
{
    const struct rk_list *list = pass->list;
    struct rk_sink sink = {
        .dense = out->dense, .w = w, .lambda = out->lambda, .sparse = out->sparse, .room = out->room};
    bool changed = move_relevant(kernels, list->p, box->margin / 2, out->lambda, r);
    struct rk_pass move = *pass;
    move.cut_after = r->cut_after;
    move.ahead_after = r->ahead_after;
    move.sink = &sink;
    if (move_irrelevant(strategy, &move, changed) != RANKD_OK)
        return RANKD_DEADLINE;
    relevant_change(list->p, r);
    out->stalled = out->loss > 0 && sink.changed == 0 && sink.changed_memory == 0;
    rk_list_add_relevant(list, r->change, &sink, out);
    return RANKD_OK;
}

static enum rankd_status count_list(const struct rk_exec *exec, const struct rk_kernels *kernels,
                                    const struct rk_blackbox *box, double w, struct rk_list *list,
                                    void *scratch, struct rk_list_out *out)
{
    unsigned threads = exec->pool ? exec->pool->width : 1;
    const struct rk_strategy *strategy = plan(kernels, list, threads);
    struct rk_carve carve = {.base = scratch};
    struct relevant r;
    carve_relevant(&carve, kernels, strategy, list->items, list->p, threads, out->gradient, &r);
    uint32_t counted = list->p;
    rk_list_relevant(kernels, list, r.position, r.raw);
    if (list->p != counted) { /* the targets changed since; memory was planned for so many */
        if (out->dense)
            memset(out->dense, 0, list->graded * sizeof(float));
        return RANKD_OK;
    }
    if (!rank_relevant(kernels, list->p, box->margin / 2, &r))
        return RANKD_INVALID;
    struct rk_pass pass = {.list = list, .exec = exec, .scratch = r.strategy, .cut = r.cut, .ahead = r.ahead};
    if (strategy->count(&pass) != RANKD_OK)
        return RANKD_DEADLINE;
    if (pass.nan)
        return RANKD_INVALID;
    out->loss = box->loss->list(list->p, r.ahead, box->weight, out->gradient ? r.slope : NULL);
    return out->gradient ? gradient(kernels, strategy, box, w, &pass, &r, out) : RANKD_OK;
}

enum rankd_status rk_list_run(const struct rk_exec *exec, const struct rk_kernels *kernels,
                              const struct rk_blackbox *box, double w, struct rk_list *list, void *scratch,
                              struct rk_list_out *out, struct rk_err *err)
{
    out->loss = 0;
    out->nonzero = out->deltas = 0;
    out->stalled = false;
    out->abs_graded = out->abs_memory = 0;
    out->lambda = rk_box_lambda(box, w, list->n);
    if (kernels->reference)
        rk_exec_copied(exec, list->graded * rk_dtype_size(list->segment[0].dtype));
    enum rankd_status status = kernels->reference ? rk_list_reference(box, w, list, scratch, out)
                                                  : count_list(exec, kernels, box, w, list, scratch, out);
    if (status == RANKD_INVALID)
        out->nan = rk_list_first_nan(list);
    if (status == RANKD_DEADLINE && rk_exec_check(exec, err) == RANKD_OK)
        return rk_fail(err, RANKD_DEADLINE, "the deadline passed");
    return status;
}
