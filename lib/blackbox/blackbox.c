/* SPDX-License-Identifier: Apache-2.0 */
/* The fast way to compute a list: its relevant items are ranked, and the other items are streamed
 * past them by the strategy that the kernels choose. */
#include "blackbox/blackbox_internal.h"

#include <string.h>

#include "blackbox/relevant.h"

static const struct rk_strategy *plan(const struct rk_kernels *kernels, const struct rk_list *list,
                                      unsigned threads)
{
    return kernels->plan(list->items, list->p, list->segments ? list->segment[0].dtype : RK_FP32, threads);
}

static size_t streamed_scratch(const struct rk_kernels *kernels, uint32_t items, uint32_t p,
                               enum rk_dtype dtype, unsigned threads, unsigned wants)
{
    struct rk_arena arena = {0};
    struct rk_relevant r;
    rk_relevant_place(&arena, kernels, kernels->plan(items, p, dtype, threads), items, p, threads, wants, &r);
    return arena.used;
}

/* Streams the list a second time, or not at all where no relevant item moved. */
static enum rankd_status move_irrelevant(const struct rk_strategy *strategy, struct rk_pass *pass,
                                         bool changed)
{
    if (changed)
        return strategy->move(pass);
    if (pass->writer->dense)
        memset(pass->writer->dense, 0, pass->list->differentiable * sizeof(float));
    memcpy(pass->perturbed_irrelevant_above, pass->irrelevant_above,
           pass->list->p * sizeof *pass->irrelevant_above);
    return RANKD_OK;
}

/* Thresholds only rise, so an irrelevant item is passed by those thresholds that are above it after
 * the move and were not before. The sum over items is therefore one over thresholds. */
static uint64_t count_jumped(const struct rk_pass *move)
{
    uint64_t jumped = 0;
    for (uint32_t k = 0; k < move->list->p; k++)
        jumped += (uint64_t)move->irrelevant_above[k] - move->perturbed_irrelevant_above[k];
    return jumped;
}

/* After the move. If the writer has the irrelevant items' differences, they are divided. If they
 * could be too large for it, it gets the items again, now that S is known. */
static enum rankd_status scale_to_unit(const struct rk_kernels *kernels, const struct rk_strategy *strategy,
                                       struct rk_pass *move, const int32_t *delta, double w,
                                       struct rk_list_out *out)
{
    struct rk_gradient_writer *writer = move->writer;
    const double sum = rk_unit_scale_sum(delta, move->list->p, out->jumped);
    const bool again = writer->dense && move->list->p > RK_UNIT_SCALE_EXACT;
    out->divisor = sum > 0 ? sum : out->lambda;
    writer->w = w;
    writer->divisor = out->divisor;
    if (out->jumped == 0 || !writer->dense)
        return RANKD_OK;
    if (!again) {
        rk_unit_scale_dense(kernels, move->exec->pool, move->list->differentiable, writer);
        return RANKD_OK;
    }
    writer->changed = writer->changed_bank = writer->abs_differentiable = writer->abs_bank = 0;
    return strategy->move(move);
}

static enum rankd_status gradient(const struct rk_kernels *kernels, const struct rk_strategy *strategy,
                                  const struct rk_blackbox *box, double w, const struct rk_pass *pass,
                                  struct rk_relevant *r, struct rk_list_out *out)
{
    const struct rk_list *list = pass->list;
    struct rk_gradient_writer writer = {
        .dense = out->dense, .w = w, .divisor = out->divisor, .sparse = out->sparse, .room = out->room};
    bool changed = rk_relevant_move(kernels, pass->exec->pool, box->margin / 2, out->lambda, r);
    struct rk_pass move = *pass;
    move.perturbed_threshold = r->perturbed_threshold;
    move.perturbed_irrelevant_above = r->perturbed_irrelevant_above;
    move.writer = &writer;
    if (box->unit_scale)
        rk_unit_scale_begin(list->p, &writer);
    if (move_irrelevant(strategy, &move, changed) != RANKD_OK)
        return RANKD_DEADLINE;
    out->jumped = count_jumped(&move);
    rk_relevant_change(pass->exec->pool, r);
    if (box->unit_scale && scale_to_unit(kernels, strategy, &move, r->change, w, out) != RANKD_OK)
        return RANKD_DEADLINE;
    out->stalled = out->loss > 0 && writer.changed == 0 && writer.changed_bank == 0;
    rk_list_add_relevant(list, r->change, pass->exec->pool, &writer, out);
    return RANKD_OK;
}

/* Before the first pass: the relevant items are sorted, and the strategy prepares the other items.
 * Two tasks, on two threads if there are two. */
struct start {
    const struct rk_kernels *kernels;
    const struct rk_strategy *strategy;
    double half_margin;
    enum rk_target_rule rule;
    struct rk_list *list;
    struct rk_relevant *r;
    struct rk_pass *pass;
    bool nan;                 /* among the relevant items */
    enum rankd_status status; /* of the strategy */
};

enum { RELEVANT, OTHERS, TASKS };

static void start_one(void *arg, size_t task)
{
    struct start *s = arg;
    if (task == OTHERS) {
        s->status = s->strategy->begin(s->pass);
        return;
    }
    struct rk_pool *pool = s->strategy->begin ? NULL : s->pass->exec->pool; /* which of these two tasks */
    rk_list_relevant(s->kernels, pool, s->rule, s->list, s->r->position, s->r->raw, s->r->grade);
    if (s->list->p != s->r->p)
        return;
    if (s->r->grade)
        rk_relevant_order(s->kernels, s->rule, s->r);
    s->nan = !rk_relevant_rank(s->kernels, pool, s->half_margin, s->r);
}

/* Ranking the relevant items changes *list. */
static void start(struct start *s)
{
    struct rk_pool *pool = s->pass->exec->pool;
    const struct rk_list list = *s->list;
    if (!s->strategy->begin) {
        start_one(s, RELEVANT);
        return;
    }
    s->pass->list = &list;
    if (pool)
        pool->run(pool, TASKS, start_one, s);
    else
        for (size_t task = 0; task < TASKS; task++)
            start_one(s, task);
    s->pass->list = s->list;
}

static unsigned wants_of(const struct rk_list *list, const struct rk_list_out *out)
{
    return (out->gradient ? RK_LIST_GRADIENT : RK_LIST_LOSS) |
           (rk_list_has_grades(list) ? RK_LIST_GRADES : RK_LIST_LOSS);
}

static enum rankd_status count_list(const struct rk_exec *exec, const struct rk_kernels *kernels,
                                    const struct rk_blackbox *box, double w, struct rk_list *list,
                                    void *scratch, struct rk_list_out *out)
{
    unsigned threads = exec->pool ? exec->pool->width : 1;
    const struct rk_strategy *strategy = plan(kernels, list, threads);
    struct rk_arena arena = {.base = scratch};
    struct rk_relevant r;
    rk_relevant_place(&arena, kernels, strategy, list->items, list->p, threads, wants_of(list, out), &r);
    struct rk_pass pass = {.list = list,
                           .exec = exec,
                           .scratch = r.strategy,
                           .threshold = r.threshold,
                           .irrelevant_above = r.irrelevant_above};
    struct start s = {.kernels = kernels,
                      .strategy = strategy,
                      .half_margin = box->margin / 2,
                      .rule = box->rule,
                      .list = list,
                      .r = &r,
                      .pass = &pass};
    start(&s);
    if (list->p != r.p) { /* the targets changed since; memory was planned for list->p */
        if (out->dense)
            memset(out->dense, 0, list->differentiable * sizeof(float));
        return RANKD_OK;
    }
    if (s.nan)
        return RANKD_INVALID;
    if (s.status != RANKD_OK || strategy->count(&pass) != RANKD_OK)
        return RANKD_DEADLINE;
    if (pass.nan)
        return RANKD_INVALID;
    const struct rk_ranked ranked = rk_relevant_ranked(exec->pool, &r);
    out->loss = rk_loss_list(box->loss, &box->params, &ranked, out->gradient ? r.slope : NULL);
    return out->gradient ? gradient(kernels, strategy, box, w, &pass, &r, out) : RANKD_OK;
}

const struct rk_list_method rk_list_streamed = {.scratch = streamed_scratch, .run = count_list};
