/* rank and rank_vjp: the ranks of every item of a row, and the blackbox gradient of the ranking itself with
 * an upstream of the trainer's own (Rolínek et al., CVPR 2020, algorithm 1). All items may be perturbed, so
 * rows are sorted. */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "blackbox_internal.h"
#include "gather.h"
#include "kernel/score.h"
#include "number.h"
#include "out.h"
#include "run.h"
#include "schedule.h"

struct group {
    size_t nonzero;
    struct rk_err err;
};

struct job {
    const struct rk_exec *exec;
    struct rk_lists rows;
    const void *upstream; /* FP32 [Q, N], aligned to nothing; NULL: ranks only */
    double lambda;
    double scale;    /* n·λ or λ: the gradient is -Δ by it */
    int64_t *ranks;  /* NULL: not wanted */
    float *gradient; /* NULL: not wanted, or gathered */
    struct rk_gather gather;
    size_t per_group, groups;
    struct group *group;
    atomic_size_t failed; /* number of the first group known to have failed */
};

struct share {
    float *y; /* [items] like all of them */
    uint32_t *key, *order;
    int32_t *delta; /* rk, then Δ */
    struct rk_delta *sparse;
    void *sort;
};

static size_t carve_share(void *base, const struct rk_kernels *kernels, size_t items, bool gradient,
                          bool sparse, struct share *share)
{
    struct rk_carve carve = {.base = base};
    share->y = rk_carve(&carve, items * sizeof *share->y);
    share->key = rk_carve(&carve, items * sizeof *share->key);
    share->order = rk_carve(&carve, items * sizeof *share->order);
    share->delta = rk_carve(&carve, gradient ? items * sizeof *share->delta : 0);
    share->sparse = rk_carve(&carve, sparse ? items * sizeof *share->sparse : 0);
    share->sort = rk_carve(&carve, kernels->order_scratch((uint32_t)items));
    return carve.used;
}

/* Best first: share->order[k] is the item of rank k + 1. */
static void sort(const struct job *job, const struct share *share)
{
    for (uint32_t i = 0; i < job->rows.items; i++)
        share->key[i] = ~rk_key(share->y[i]);
    job->exec->kernels->order(share->key, job->rows.items, share->order, NULL, share->sort);
}

static enum rankd_status load(const struct job *job, size_t row, const struct share *share,
                              struct rk_err *err)
{
    size_t size = rk_dtype_size(job->rows.score_dtype), first = row * job->rows.items;
    rk_scores_widen((const char *)job->rows.scores + first * size, job->rows.score_dtype, job->rows.items,
                    share->y);
    rk_exec_copied(job->exec, job->rows.items * size);
    for (uint32_t i = 0; i < job->rows.items; i++) {
        if (share->y[i] != share->y[i])
            return rk_fail(err, RANKD_INVALID, "scores[%zu, %u] is NaN; a score must be a number", row, i);
    }
    return RANKD_OK;
}

/* y' = (float)((double)y + λ·upstream). */
static enum rankd_status perturb(const struct job *job, size_t row, const struct share *share,
                                 struct rk_err *err)
{
    const char *upstream = (const char *)job->upstream + row * job->rows.items * sizeof(float);
    for (uint32_t i = 0; i < job->rows.items; i++) {
        float up;
        memcpy(&up, upstream + i * sizeof up, sizeof up);
        if (!isfinite(up)) {
            char text[RK_NUMBER_TEXT];
            return rk_fail(err, RANKD_INVALID, "upstream[%zu, %u] is %s; it must be finite", row, i,
                           rk_number_text((double)up, text));
        }
        share->y[i] = (float)((double)share->y[i] + job->lambda * (double)up);
    }
    return RANKD_OK;
}

static size_t write_dense(const struct job *job, size_t row, const int32_t *delta)
{
    float *gradient = job->gradient + row * job->rows.items;
    size_t nonzero = 0;
    for (uint32_t i = 0; i < job->rows.items; i++) {
        gradient[i] = rk_sink_value(1.0, job->scale, delta[i]);
        nonzero += gradient[i] != 0;
    }
    return nonzero;
}

static void gather(struct job *job, size_t row, const struct share *share)
{
    struct rk_list_out out = {.sparse = share->sparse, .room = job->rows.items, .lambda = job->scale};
    for (uint32_t i = 0; i < job->rows.items; i++) {
        if (share->delta[i] != 0)
            out.sparse[out.deltas++] = (struct rk_delta){i, share->delta[i]};
    }
    rk_gather_add(&job->gather, &job->rows, row, 1.0, &out);
}

static enum rankd_status run_row(struct job *job, size_t row, const struct share *share, struct group *group)
{
    enum rankd_status status = load(job, row, share, &group->err);
    if (status != RANKD_OK)
        return status;
    sort(job, share);
    for (uint32_t k = 0; job->ranks && k < job->rows.items; k++)
        job->ranks[row * job->rows.items + share->order[k]] = (int64_t)k + 1;
    if (!job->upstream)
        return RANKD_OK;
    for (uint32_t k = 0; k < job->rows.items; k++)
        share->delta[share->order[k]] = (int32_t)k;
    status = perturb(job, row, share, &group->err);
    if (status == RANKD_OK)
        status = rk_exec_check(job->exec, &group->err);
    if (status != RANKD_OK)
        return status;
    sort(job, share);
    for (uint32_t k = 0; k < job->rows.items; k++)
        share->delta[share->order[k]] -= (int32_t)k;
    if (job->gradient)
        group->nonzero += write_dense(job, row, share->delta);
    else if (job->gather.needed)
        gather(job, row, share);
    return RANKD_OK;
}

static void run_group(void *arg, size_t number, void *memory)
{
    struct job *job = arg;
    struct group *group = &job->group[number];
    struct share share;
    *group = (struct group){0};
    if (number > atomic_load_explicit(&job->failed, memory_order_relaxed))
        return;
    (void)carve_share(memory, job->exec->kernels, job->rows.items, job->upstream, job->gather.needed, &share);
    size_t row = number * job->per_group, end = row + job->per_group;
    enum rankd_status status = rk_exec_check(job->exec, &group->err);
    for (; status == RANKD_OK && row < end && row < job->rows.lists; row++)
        status = run_row(job, row, &share, group);
    size_t seen = atomic_load_explicit(&job->failed, memory_order_relaxed);
    while (status != RANKD_OK && number < seen && !atomic_compare_exchange_weak(&job->failed, &seen, number))
        ;
}

static enum rankd_status run_rows(struct job *job, struct rk_info *info, struct rk_err *err)
{
    struct share share;
    size_t bytes =
        carve_share(NULL, job->exec->kernels, job->rows.items, job->upstream, job->gather.needed, &share);
    atomic_store_explicit(&job->failed, SIZE_MAX, memory_order_relaxed);
    enum rankd_status status =
        rk_schedule(job->exec, job->groups, bytes, RK_SHARE_PER_ITEM * job->rows.lists * job->rows.items,
                    run_group, job, err);
    info->gradient_nonzero = 0;
    for (size_t g = 0; status == RANKD_OK && g < job->groups; g++) {
        if (job->group[g].err.status != RANKD_OK)
            return rk_fail(err, job->group[g].err.status, "%s", job->group[g].err.text);
        info->gradient_nonzero += job->group[g].nonzero;
    }
    return status;
}

/* As often as the differences turn out to need more room, which is once unless the input changes. */
static enum rankd_status run_until_it_fits(struct job *job, struct rk_info *info, struct rk_err *err)
{
    for (int attempt = 0; attempt < 3; attempt++) {
        rk_gather_reset(&job->gather);
        enum rankd_status status = run_rows(job, info, err);
        if (status != RANKD_OK)
            return status;
        if (!job->gather.needed || rk_gather_fits(&job->gather, job->exec->scratch, err))
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
    const size_t *shape = request->in[RK_IN_SCORES].shape;
    enum rankd_status status = RANKD_OK;
    if (request->outputs & RK_OUT_BIT(RK_OUT_RANKS)) {
        status = rk_out_prepare(reply, RK_OUT_RANKS, RK_INT64, 2, shape, err);
        job->ranks = reply->out[RK_OUT_RANKS].data;
    }
    if (status == RANKD_OK && request->outputs & RK_OUT_BIT(RK_OUT_GRADIENT)) {
        status = rk_out_prepare(reply, RK_OUT_GRADIENT, RK_FP32, 2, shape, err);
        job->gradient = reply->out[RK_OUT_GRADIENT].data;
    }
    if (status != RANKD_OK)
        return status;
    if (job->upstream && !job->gradient)
        status = rk_gather_start(&job->gather, job->exec->scratch, job->rows.lists * job->rows.items,
                                 job->rows.items, false, err);
    job->gather.list_room = job->rows.items;
    job->per_group = job->rows.items < RK_GROUP_ITEMS ? RK_GROUP_ITEMS / job->rows.items : 1;
    job->groups = (job->rows.lists + job->per_group - 1) / job->per_group;
    job->group = rk_scratch_take(job->exec->scratch, job->groups * sizeof *job->group);
    if (status == RANKD_OK && !job->group)
        return rk_fail_scratch(err, job->groups * sizeof *job->group);
    return status;
}

enum rankd_status rk_run_rank(const struct rk_exec *exec, const struct rk_request *request,
                              struct rk_reply *reply, struct rk_err *err)
{
    const struct rk_params *params = &request->params;
    struct job job = {.exec = exec, .lambda = params->lambda};
    job.rows = rk_lists_of(&request->in[RK_IN_SCORES], &request->in[RK_IN_SCORES], false);
    job.scale =
        params->lambda_units == RK_UNITS_NORMALIZED ? job.rows.items * params->lambda : params->lambda;
    if (request->outputs & (RK_OUT_BIT(RK_OUT_GRADIENT) | RK_OUT_SPARSE))
        job.upstream = request->in[RK_IN_UPSTREAM].data;
    enum rankd_status status = prepare(&job, request, reply, err);
    if (status == RANKD_OK)
        status = run_until_it_fits(&job, &reply->info, err);
    if (status != RANKD_OK)
        return status;
    reply->info.lists = job.rows.lists;
    reply->info.has_gradient = job.upstream != NULL;
    if (!(request->outputs & RK_OUT_SPARSE))
        return RANKD_OK;
    if (job.gradient)
        return rk_out_compress(reply, request->outputs, job.gradient, job.rows.lists * job.rows.items, err);
    return rk_gather_write(&job.gather, exec->scratch, request->outputs, reply, err);
}

size_t rk_cost_rank(const struct rk_request *request)
{
    const struct rk_tensor *scores = &request->in[RK_IN_SCORES];
    struct share share;
    if (scores->shape[1] > RK_LIST_MAX)
        return SIZE_MAX;
    size_t elements = rk_cost_times(scores->shape[0], scores->shape[1]);
    unsigned outputs = request->outputs ? request->outputs : request->model->outputs_default;
    bool gathers = outputs & RK_OUT_SPARSE && !(outputs & RK_OUT_BIT(RK_OUT_GRADIENT));
    size_t one = carve_share(NULL, rk_kernels(), scores->shape[1], true, gathers, &share);
    size_t many = rk_cost_times(elements, RK_SHARE_PER_ITEM);
    size_t groups = rk_cost_times(elements / (RK_GROUP_ITEMS / 2) + 1, sizeof(struct group));
    size_t cost = rk_cost_add(one > many ? one : many, rk_cost_add(groups, 4096));
    return gathers ? rk_cost_add(cost, rk_gather_cost(elements, 0, false, false)) : cost;
}
