/* SPDX-License-Identifier: Apache-2.0 */
/* rank and rank_vjp: the ranks of every item of a row, and the blackbox gradient of the ranking
 * itself for an upstream gradient of the client (Rolínek et al., CVPR 2020, algorithm 1). All items
 * may be perturbed, so rows are sorted. A row is a list: with offsets rows differ in length. */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/number.h"
#include "base/schedule.h"
#include "blackbox/blackbox_internal.h"
#include "kernels/score.h"
#include "request/offsets.h"
#include "request/out.h"
#include "scores/list_groups.h"
#include "scores/scores.h"
#include "scores/sparse_accumulator.h"

enum { BLOCK = 1024 };

struct row_group {
    size_t nonzero;
    struct rk_err err;
};

struct job {
    const struct rk_exec *exec;
    struct rk_lists rows;
    const void *upstream; /* FP32 [Q, N] or [N], aligned to nothing; NULL: ranks only */
    double lambda;
    bool lambda_per_n; /* the gradient is -Δ by n·λ; else by λ */
    int64_t *ranks;    /* NULL: not wanted */
    float *gradient;   /* NULL: not wanted, or accumulated */
    struct rk_sparse_accumulator accumulator;
    bool pair; /* a row is ranked before and after at once */
    struct rk_list_groups groups;
    struct row_group *group;
    atomic_size_t failed; /* number of the first group known to have failed */
};

/* Rows long enough to rank them before and after at the same time, on two threads, and short enough
 * for twice the memory. */
enum { PAIR_MIN = 1 << 17, PAIR_MAX = 1 << 24 };

/* So few that the memory which RK_WORKSPACE_PER_ITEM allows is not enough for two rows at once. */
enum { FEW_ROWS = 8 };

/* One ranking of a row; all rows [items]. */
struct ranking {
    uint32_t *key, *argsort; /* argsort[k] is the item of rank k + 1 */
    int32_t *rank_index;     /* rank - 1 of each item; NULL: not wanted */
    void *sort;
};

struct row_workspace {
    struct ranking before,
        after; /* of one memory, unless they are a pair; `before.rank_index` is Δ in the end */
    struct rk_delta *sparse;
};

static bool is_paired(size_t items)
{
    return items >= PAIR_MIN && items <= PAIR_MAX;
}

static void place_ranking(struct rk_arena *arena, const struct rk_kernels *kernels, size_t items,
                          struct ranking *ranking)
{
    ranking->key = rk_arena_alloc(arena, items * sizeof *ranking->key);
    ranking->argsort = rk_arena_alloc(arena, items * sizeof *ranking->argsort);
    ranking->sort = rk_arena_alloc(arena, kernels->argsort_scratch((uint32_t)items));
}

static size_t place_workspace(void *base, const struct rk_kernels *kernels, size_t items, bool gradient,
                              bool pair, bool sparse, struct row_workspace *workspace)
{
    struct rk_arena arena = {.base = base};
    place_ranking(&arena, kernels, items, &workspace->before);
    workspace->before.rank_index =
        rk_arena_alloc(&arena, gradient ? items * sizeof *workspace->before.rank_index : 0);
    workspace->after = workspace->before;
    if (pair) {
        place_ranking(&arena, kernels, items, &workspace->after);
        workspace->after.rank_index = rk_arena_alloc(&arena, items * sizeof *workspace->after.rank_index);
    }
    workspace->sparse = rk_arena_alloc(&arena, sparse ? items * sizeof *workspace->sparse : 0);
    return arena.used;
}

static uint32_t items_of(const struct job *job, size_t row)
{
    return rk_lists_items(&job->rows, row);
}

static double scale_of(const struct job *job, size_t row)
{
    return job->lambda_per_n ? items_of(job, row) * job->lambda : job->lambda;
}

static enum rankd_status fail_nan(const struct job *job, size_t row, uint32_t item, struct rk_err *err)
{
    char place[RK_LISTS_PLACE_TEXT];
    return rk_fail(err, RANKD_INVALID, "scores%s is NaN; a score must be a number",
                   rk_lists_place(&job->rows, rk_lists_index(&job->rows, row, item), place));
}

/* Scores as keys, ascending from the best. */
static enum rankd_status make_keys(const struct job *job, size_t row, uint32_t *key, struct rk_err *err)
{
    const size_t size = rk_dtype_size(job->rows.score_dtype);
    const char *scores = (const char *)job->rows.scores + rk_lists_start(&job->rows, row) * size;
    const uint32_t items = items_of(job, row);
    float y[BLOCK];
    for (uint32_t from = 0, here; from < items; from += here) {
        here = items - from < BLOCK ? items - from : BLOCK;
        rk_scores_widen(scores + from * size, job->rows.score_dtype, here, y);
        for (uint32_t i = 0; i < here; i++) {
            if (y[i] != y[i])
                return fail_nan(job, row, from + i, err);
            key[from + i] = ~rk_key(y[i]);
        }
    }
    rk_exec_copied(job->exec, items * size);
    return RANKD_OK;
}

/* y' = (float)((double)y + λ·upstream). */
static enum rankd_status perturb(const struct job *job, size_t row, uint32_t *key, struct rk_err *err)
{
    const char *upstream = (const char *)job->upstream + rk_lists_start(&job->rows, row) * sizeof(float);
    for (uint32_t i = 0, items = items_of(job, row); i < items; i++) {
        float up;
        memcpy(&up, upstream + i * sizeof up, sizeof up);
        if (!isfinite(up)) {
            char text[RK_NUMBER_TEXT], place[RK_LISTS_PLACE_TEXT];
            return rk_fail(err, RANKD_INVALID, "upstream%s is %s; it must be finite",
                           rk_lists_place(&job->rows, rk_lists_index(&job->rows, row, i), place),
                           rk_float_text(up, text));
        }
        key[i] = ~rk_key((float)((double)rk_float_of_key(~key[i]) + job->lambda * (double)up));
    }
    return RANKD_OK;
}

static enum rankd_status rank_row(const struct job *job, size_t row, bool perturbed,
                                  const struct ranking *ranking, struct rk_err *err)
{
    enum rankd_status status = make_keys(job, row, ranking->key, err);
    if (status == RANKD_OK && perturbed)
        status = perturb(job, row, ranking->key, err);
    if (status == RANKD_OK)
        status = rk_exec_check(job->exec, err);
    if (status == RANKD_OK)
        job->exec->kernels->argsort(ranking->key, items_of(job, row), ranking->argsort, NULL, ranking->sort);
    return status;
}

/* A row ranked before and after, each a task of its own. */
struct ranking_pair {
    struct job *job;
    size_t row;
    const struct ranking *ranking[2];
    struct rk_err err[2];
};

static void rank_one(void *arg, size_t number)
{
    struct ranking_pair *pair = arg;
    const struct ranking *ranking = pair->ranking[number];
    if (rank_row(pair->job, pair->row, number == 1, ranking, &pair->err[number]) != RANKD_OK)
        return;
    for (uint32_t k = 0, items = items_of(pair->job, pair->row); k < items; k++)
        ranking->rank_index[ranking->argsort[k]] = (int32_t)k;
}

static enum rankd_status rank_pair(struct job *job, size_t row, const struct row_workspace *workspace,
                                   struct rk_err *err)
{
    struct rk_pool *pool = job->exec->pool;
    struct ranking_pair pair = {.job = job, .row = row, .ranking = {&workspace->before, &workspace->after}};
    pool->run(pool, 2, rank_one, &pair);
    for (int i = 0; i < 2; i++) {
        if (pair.err[i].status != RANKD_OK) {
            *err = pair.err[i];
            return err->status;
        }
    }
    for (uint32_t i = 0, items = items_of(job, row); i < items; i++)
        workspace->before.rank_index[i] -= workspace->after.rank_index[i];
    return RANKD_OK;
}

static enum rankd_status rank_twice(const struct job *job, size_t row, const struct row_workspace *workspace,
                                    struct rk_err *err)
{
    const struct ranking *ranking = &workspace->before;
    const uint32_t items = items_of(job, row);
    for (uint32_t k = 0; k < items; k++)
        ranking->rank_index[ranking->argsort[k]] = (int32_t)k;
    enum rankd_status status = rank_row(job, row, true, ranking, err);
    for (uint32_t k = 0; status == RANKD_OK && k < items; k++)
        ranking->rank_index[ranking->argsort[k]] -= (int32_t)k;
    return status;
}

static size_t write_dense(const struct job *job, size_t row, const int32_t *delta)
{
    float *gradient = job->gradient + rk_lists_start(&job->rows, row);
    const double scale = scale_of(job, row);
    size_t nonzero = 0;
    for (uint32_t i = 0, items = items_of(job, row); i < items; i++) {
        gradient[i] = rk_gradient_value(1.0, scale, delta[i]);
        nonzero += gradient[i] != 0;
    }
    return nonzero;
}

static void accumulate_row(struct job *job, size_t row, const struct row_workspace *workspace)
{
    const uint32_t items = items_of(job, row);
    struct rk_list_out out = {.sparse = workspace->sparse, .room = items, .divisor = scale_of(job, row)};
    for (uint32_t i = 0; i < items; i++) {
        if (workspace->before.rank_index[i] != 0)
            out.sparse[out.deltas++] = (struct rk_delta){i, workspace->before.rank_index[i]};
    }
    rk_sparse_accumulator_add(&job->accumulator, &job->rows, row, 1.0, &out);
}

static enum rankd_status run_row(struct job *job, size_t row, const struct row_workspace *workspace,
                                 struct row_group *group)
{
    const uint32_t items = items_of(job, row);
    const bool pair = job->pair && is_paired(items);
    if (items == 0)
        return RANKD_OK;
    enum rankd_status status = pair ? rank_pair(job, row, workspace, &group->err)
                                    : rank_row(job, row, false, &workspace->before, &group->err);
    if (status != RANKD_OK)
        return status;
    int64_t *ranks = job->ranks ? job->ranks + rk_lists_start(&job->rows, row) : NULL;
    for (uint32_t k = 0; ranks && k < items; k++)
        ranks[workspace->before.argsort[k]] = (int64_t)k + 1;
    if (!job->upstream)
        return RANKD_OK;
    if (!pair && (status = rank_twice(job, row, workspace, &group->err)) != RANKD_OK)
        return status;
    if (job->gradient)
        group->nonzero += write_dense(job, row, workspace->before.rank_index);
    else if (job->accumulator.needed)
        accumulate_row(job, row, workspace);
    return RANKD_OK;
}

static void run_group(void *arg, size_t number, void *memory)
{
    struct job *job = arg;
    struct row_group *group = &job->group[number];
    struct row_workspace workspace;
    *group = (struct row_group){0};
    if (number > atomic_load_explicit(&job->failed, memory_order_relaxed))
        return;
    (void)place_workspace(memory, job->exec->kernels, job->rows.items, job->upstream, job->pair,
                          job->accumulator.needed, &workspace);
    const struct rk_list_group rows = rk_list_group(&job->groups, number);
    enum rankd_status status = rk_exec_check(job->exec, &group->err);
    for (size_t row = rows.first; status == RANKD_OK && row < rows.end; row++)
        status = run_row(job, row, &workspace, group);
    size_t seen = atomic_load_explicit(&job->failed, memory_order_relaxed);
    while (status != RANKD_OK && number < seen && !atomic_compare_exchange_weak(&job->failed, &seen, number))
        ;
}

static enum rankd_status run_rows(struct job *job, struct rk_info *info, struct rk_err *err)
{
    struct row_workspace workspace;
    struct rk_exec exec = *job->exec;
    job->pair = job->upstream && exec.pool && job->groups.count < FEW_ROWS && is_paired(job->rows.items);
    if (job->pair) /* its threads work on one row */
        exec.pool = NULL;
    size_t bytes = place_workspace(NULL, job->exec->kernels, job->rows.items, job->upstream, job->pair,
                                   job->accumulator.needed, &workspace);
    atomic_store_explicit(&job->failed, SIZE_MAX, memory_order_relaxed);
    enum rankd_status status = rk_schedule(&exec, job->groups.count, bytes,
                                           RK_WORKSPACE_PER_ITEM * job->rows.elements, run_group, job, err);
    if (rk_exec_measures(&exec))
        return status;
    info->gradient_nonzero = 0;
    for (size_t g = 0; status == RANKD_OK && g < job->groups.count; g++) {
        if (job->group[g].err.status != RANKD_OK)
            return rk_fail(err, job->group[g].err.status, "%s", job->group[g].err.text);
        info->gradient_nonzero += job->group[g].nonzero;
    }
    return status;
}

/* Repeated while the differences need more room, which happens at most once unless the input
 * changes. */
static enum rankd_status run_until_it_fits(struct job *job, struct rk_info *info, struct rk_err *err)
{
    for (int attempt = 0; attempt < 3; attempt++) {
        if (job->accumulator.needed)
            rk_sparse_accumulator_reset(&job->accumulator);
        enum rankd_status status = run_rows(job, info, err);
        if (status != RANKD_OK)
            return status;
        if (!job->accumulator.needed || rk_sparse_accumulator_fits(&job->accumulator, err))
            return RANKD_OK;
        if (err->status != RANKD_OK)
            return err->status;
    }
    return rk_fail(err, RANKD_INVALID,
                   "scores and upstream changed while they were read; leave them alone until the reply");
}

static enum rankd_status prepare(struct job *job, const struct rk_request *request, struct rk_reply *reply,
                                 struct rk_err *err)
{
    const size_t *shape = request->in[RK_IN_SCORES].shape, items = job->rows.items;
    const unsigned rank = rk_request_is_ragged(request) ? 1 : 2;
    enum rankd_status status = RANKD_OK;
    if (request->outputs & RK_OUT_BIT(RK_OUT_RANKS)) {
        status = rk_out_prepare(reply, RK_OUT_RANKS, RK_INT64, rank, shape, err);
        job->ranks = reply->out[RK_OUT_RANKS].data;
    }
    if (status == RANKD_OK && request->outputs & RK_OUT_BIT(RK_OUT_GRADIENT)) {
        status = rk_out_prepare(reply, RK_OUT_GRADIENT, RK_FP32, rank, shape, err);
        job->gradient = reply->out[RK_OUT_GRADIENT].data;
    }
    if (status != RANKD_OK)
        return status;
    job->groups = rk_list_groups_of(&job->rows, RK_GROUP_ITEMS, 0);
    job->group = rk_scratch_array(job->exec->scratch, job->groups.count, sizeof *job->group);
    if (!job->group)
        return rk_fail_scratch(err, job->exec->scratch);
    if (job->upstream && !job->gradient)
        status = rk_sparse_accumulator_start(&job->accumulator, job->exec->scratch, job->rows.elements, items,
                                             1, false, err);
    job->accumulator.list_room = items;
    return status;
}

static enum rankd_status write_sparse(struct job *job, unsigned outputs, struct rk_reply *reply,
                                      struct rk_err *err)
{
    const size_t elements = job->rows.elements;
    if (job->accumulator.needed)
        return rk_sparse_accumulator_write(&job->accumulator, outputs, reply, err);
    if (rk_exec_measures(job->exec))
        return rk_out_sparse(reply, outputs, elements, err);
    return rk_out_compress(reply, outputs, job->gradient, elements, err);
}

static enum rankd_status take_rows(struct job *job, const struct rk_request *request, struct rk_err *err)
{
    const struct rk_tensor *scores = &request->in[RK_IN_SCORES];
    const size_t *start;
    if (!rk_request_is_ragged(request)) {
        job->rows = rk_lists_of(scores, scores, false);
        return RANKD_OK;
    }
    if (rk_offsets_take(job->exec, request, &start, err) == RANKD_OK)
        job->rows =
            rk_lists_ragged(job->exec, scores, scores, start, rk_scores_lists(request), request->longest);
    return err->status;
}

enum rankd_status rk_rank_run(const struct rk_exec *exec, const struct rk_request *request,
                              struct rk_reply *reply, struct rk_err *err)
{
    const struct rk_params *params = &request->params;
    struct job job = {
        .exec = exec, .lambda = params->lambda, .lambda_per_n = params->lambda_units == RK_UNITS_NORMALIZED};
    if (request->outputs & (RK_OUT_BIT(RK_OUT_GRADIENT) | RK_OUT_SPARSE))
        job.upstream = request->in[RK_IN_UPSTREAM].data;
    enum rankd_status status = take_rows(&job, request, err);
    if (status == RANKD_OK)
        status = prepare(&job, request, reply, err);
    if (status == RANKD_OK)
        status = run_until_it_fits(&job, &reply->info, err);
    if (status != RANKD_OK)
        return status;
    reply->info.lists = job.rows.lists;
    reply->info.has_gradient = job.upstream != NULL;
    return request->outputs & RK_OUT_SPARSE ? write_sparse(&job, request->outputs, reply, err) : RANKD_OK;
}
