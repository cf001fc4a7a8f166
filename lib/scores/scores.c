/* SPDX-License-Identifier: Apache-2.0 */
/* A loss on scores: the counts on which the weights of a gradient depend, the two terms of the
 * loss, and the outputs. */
#include <string.h>

#include "request/bank_view.h"
#include "request/offsets.h"
#include "request/out.h"
#include "scores/loss_term.h"
#include "scores/scores.h"

/* A request while it runs. */
struct scores {
    const struct rk_exec *exec;
    const struct rk_request *request;
    struct rk_loss_term lists, flat;
    struct rk_list_count all; /* of the flat list */
    struct rk_loss_term_job job;
    struct rk_loss_term_total total, flat_total;
};

static bool asks(const struct scores *s, unsigned outputs)
{
    return s->request->outputs & outputs;
}

/* The bank's items are counted with each list. Their targets were checked when they were
 * appended. */
static void count_memory(const struct scores *s, struct rk_list_count *count)
{
    const struct rk_bank_scores *memory = s->lists.memory;
    for (size_t c = 0; memory && c < memory->chunks; c++) {
        const struct rk_bank_scores_chunk *chunk = &memory->chunk[c];
        for (size_t l = 0; l < memory->lists; l++) {
            struct rk_scan scan =
                s->exec->kernels->scan(chunk->targets + l * chunk->stride, chunk->items, 1, true);
            count[l].n += (uint32_t)(chunk->items - scan.ignored);
            count[l].p += (uint32_t)scan.relevant;
        }
    }
}

/* The flat list has the request's own items only, and all of them: those of lists that are skipped
 * too. */
static void weigh_terms(struct scores *s, struct rk_list_count *count)
{
    const size_t lists = s->lists.lists.lists;
    if (s->flat.factor > 0) {
        for (size_t l = 0; l < lists; l++) {
            s->all.n += count[l].n;
            s->all.p += count[l].p;
        }
        s->flat.count = &s->all;
        rk_list_weights_add(&s->flat.weights, 0, s->all.p);
    }
    count_memory(s, count);
    s->lists.count = count;
    for (size_t l = 0; l < lists; l++) {
        if (rk_list_weights_skip(&s->lists.weights, l))
            count[l].p = 0;
        rk_list_weights_add(&s->lists.weights, l, count[l].p);
    }
}

/* One pass over the targets: the weights of the lists depend on all of them. */
static enum rankd_status count_lists(struct scores *s, struct rk_err *err)
{
    const struct rk_lists *lists = &s->lists.lists;
    struct rk_list_count *count = rk_scratch_array(s->exec->scratch, lists->lists, sizeof *count);
    if (!count)
        return rk_fail_scratch(err, s->exec->scratch);
    if (rk_lists_count(lists, s->exec, count, err) != RANKD_OK)
        return err->status;
    if (s->flat.factor > 0)
        s->flat.lists = rk_lists_flat(lists);
    if (!rk_exec_measures(s->exec))
        weigh_terms(s, count);
    return RANKD_OK;
}

static enum rankd_status prepare_outputs(struct scores *s, struct rk_reply *reply, struct rk_err *err)
{
    enum rankd_status status = RANKD_OK;
    if (asks(s, RK_OUT_BIT(RK_OUT_LOSS)))
        status = rk_out_vector(reply, RK_OUT_LOSS, RK_FP32, 1, err);
    if (status == RANKD_OK && asks(s, RK_OUT_BIT(RK_OUT_LIST_LOSS))) {
        status = rk_out_vector(reply, RK_OUT_LIST_LOSS, RK_FP32, s->lists.lists.lists, err);
        s->job.list_loss = reply->out[RK_OUT_LIST_LOSS].data;
    }
    if (status == RANKD_OK && asks(s, RK_OUT_BIT(RK_OUT_GRADIENT)))
        status = rk_out_prepare(reply, RK_OUT_GRADIENT, RK_FP32, rk_request_is_ragged(s->request) ? 1 : 2,
                                s->request->in[RK_IN_SCORES].shape, err);
    return status;
}

/* A dense gradient of one term is written straight into the output. Any other is accumulated
 * first. */
static enum rankd_status prepare_gradient(struct scores *s, struct rk_reply *reply, struct rk_err *err)
{
    bool dense = asks(s, RK_OUT_BIT(RK_OUT_GRADIENT)), two = s->lists.factor > 0 && s->flat.factor > 0;
    size_t elements = s->lists.lists.elements;
    if (!s->job.gradient)
        return RANKD_OK;
    if (!dense || two)
        return rk_sparse_accumulator_start(&s->job.accumulator, s->exec->scratch, elements,
                                           s->flat.factor > 0 ? elements : s->lists.lists.items, two ? 2 : 1,
                                           dense, err);
    s->job.dense = reply->out[RK_OUT_GRADIENT].data;
    s->job.given = !reply->out[RK_OUT_GRADIENT].owned;
    return RANKD_OK;
}

/* Runs both terms, again with more room if the gradient had too little. A third run would mean that
 * the input keeps changing. */
static enum rankd_status run_terms(struct scores *s, struct rk_err *err)
{
    for (int attempt = 0; attempt < 3; attempt++) {
        enum rankd_status status = RANKD_OK;
        if (s->job.accumulator.needed)
            rk_sparse_accumulator_reset(&s->job.accumulator);
        if (s->lists.factor > 0 || s->job.list_loss)
            status = rk_loss_term_run(&s->job, &s->lists, &s->total, err);
        if (status == RANKD_OK && s->flat.factor > 0)
            status = rk_loss_term_run(&s->job, &s->flat, &s->flat_total, err);
        if (status != RANKD_OK)
            return status;
        if (!s->job.accumulator.needed || rk_sparse_accumulator_fits(&s->job.accumulator, err))
            return RANKD_OK;
        if (err->status != RANKD_OK)
            return err->status;
    }
    return rk_fail(err, RANKD_INVALID,
                   "scores and targets changed while they were read; leave them alone until the reply");
}

static void fill_info(const struct scores *s, struct rk_info *info)
{
    const struct rk_bank_snapshot *memory = s->request->bank_snapshot;
    struct rk_sum loss = s->total.loss;
    rk_sum_add(&loss, rk_sum_value(&s->flat_total.loss));
    info->loss = rk_sum_value(&loss);
    info->lists = s->lists.lists.lists;
    info->lists_skipped = info->lists - s->lists.weights.valid;
    info->has_gradient = s->job.gradient;
    info->lists_stalled = s->total.stalled;
    info->gradient_nonzero = s->total.nonzero + s->flat_total.nonzero;
    if (info->has_gradient)
        rk_info_jumped(info, s->total.jumped, (double)s->lists.weights.relevant);
    rk_info_bank(info, memory);
    if (!memory)
        return;
    double moved = rk_sum_value(&s->total.moved);
    info->gradient_dropped = moved > 0 ? rk_sum_value(&s->total.dropped) / moved : 0;
}

static void write_loss(const struct scores *s, struct rk_reply *reply)
{
    fill_info(s, &reply->info);
    if (asks(s, RK_OUT_BIT(RK_OUT_LOSS)))
        *(float *)reply->out[RK_OUT_LOSS].data = (float)reply->info.loss;
}

static enum rankd_status write_gradient(struct scores *s, struct rk_reply *reply, struct rk_err *err)
{
    unsigned outputs = s->request->outputs;
    float *gradient = reply->out[RK_OUT_GRADIENT].data;
    if (!asks(s, RK_OUT_BIT(RK_OUT_GRADIENT)))
        return rk_sparse_accumulator_write(&s->job.accumulator, outputs, reply, err);
    if (rk_exec_measures(s->exec))
        return rk_out_sparse(reply, outputs, reply->out[RK_OUT_GRADIENT].bytes / sizeof(float), err);
    if (s->job.accumulator.needed) {
        reply->info.gradient_nonzero = rk_sparse_accumulator_dense(&s->job.accumulator, gradient);
        rk_exec_copied(s->exec, rk_out_given(reply, RK_OUT_GRADIENT));
    }
    if (outputs & RK_OUT_SPARSE)
        return rk_out_compress(reply, outputs, gradient, reply->out[RK_OUT_GRADIENT].bytes / sizeof(float),
                               err);
    return RANKD_OK;
}

/* More than any machine holds; their bytes of memory do not overflow yet. */
#define ELEMENTS_MAX (SIZE_MAX >> 12)

bool rk_scores_measurable(const struct rk_request *request)
{
    const size_t *shape = request->in[RK_IN_SCORES].shape;
    if (rk_request_is_ragged(request))
        return shape[0] > 0 && shape[0] <= ELEMENTS_MAX && rk_scores_lists(request) <= ELEMENTS_MAX;
    const bool columns = request->model->loss && request->params.axis == RK_AXIS_COLUMNS;
    const size_t lists = shape[columns ? 1 : 0], items = shape[columns ? 0 : 1];
    const size_t memory = request->model->loss && request->bank_snapshot ? request->bank_snapshot->items : 0;
    if (lists == 0 || items == 0 || items > RK_LIST_MAX || memory > RK_LIST_MAX - items ||
        lists > ELEMENTS_MAX / (items + memory))
        return false;
    return !request->model->loss || !(request->params.interclass > 0) || lists * items <= RK_LIST_MAX;
}

/* The lists of the request, and the weights where it has some. */
static enum rankd_status take_lists(struct scores *s, struct rk_err *err)
{
    const struct rk_request *request = s->request;
    const struct rk_tensor *scores = &request->in[RK_IN_SCORES], *targets = &request->in[RK_IN_TARGETS];
    const size_t *start;
    if (rk_list_weights_take(s->exec, request, &s->lists.weights, err) != RANKD_OK)
        return err->status;
    if (!rk_request_is_ragged(request)) {
        s->lists.lists = rk_lists_of(scores, targets, request->params.axis == RK_AXIS_COLUMNS);
        s->lists.lists.rule = s->job.box.rule;
        return RANKD_OK;
    }
    if (rk_offsets_take(s->exec, request, &start, err) != RANKD_OK)
        return err->status;
    s->lists.lists =
        rk_lists_ragged(s->exec, scores, targets, start, rk_scores_lists(request), request->longest);
    s->lists.lists.rule = s->job.box.rule;
    return RANKD_OK;
}

static void begin(struct scores *s, const struct rk_exec *exec, const struct rk_request *request)
{
    const double interclass = request->params.interclass;
    *s = (struct scores){.exec = exec, .request = request};
    s->lists = (struct rk_loss_term){
        .memory = request->bank_snapshot ? &request->bank_snapshot->scores : NULL,
        .memory_items = request->bank_snapshot ? (uint32_t)request->bank_snapshot->items : 0,
        .factor = 1.0 - interclass,
    };
    s->flat =
        (struct rk_loss_term){.factor = interclass, .weights = {.average = RK_AVERAGE_SUM}, .flat = true};
    s->job = (struct rk_loss_term_job){
        .exec = exec,
        .box = rk_blackbox_of(request),
        .sent = &s->lists.lists,
        .gradient = request->outputs & (RK_OUT_BIT(RK_OUT_GRADIENT) | RK_OUT_SPARSE),
    };
}

enum rankd_status rk_scores_run(const struct rk_exec *exec, const struct rk_request *request,
                                struct rk_reply *reply, struct rk_err *err)
{
    struct scores s;
    begin(&s, exec, request);
    enum rankd_status status = take_lists(&s, err);
    if (status == RANKD_OK)
        status = count_lists(&s, err);
    if (status == RANKD_OK)
        status = prepare_outputs(&s, reply, err);
    if (status == RANKD_OK)
        status = prepare_gradient(&s, reply, err);
    if (status == RANKD_OK)
        status = run_terms(&s, err);
    if (status != RANKD_OK)
        return status;
    if (!rk_exec_measures(exec))
        write_loss(&s, reply);
    return s.job.gradient ? write_gradient(&s, reply, err) : RANKD_OK;
}
