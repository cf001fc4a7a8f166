/* SPDX-License-Identifier: Apache-2.0 */
#include "retrieval/retrieval.h"

#include <math.h>
#include <string.h>

#include "base/sum.h"
#include "device/device.h"
#include "request/list_weight.h"
#include "request/out.h"
#include "retrieval/check.h"
#include "retrieval/drift.h"
#include "retrieval/gradient.h"
#include "retrieval/product.h"
#include "retrieval/retrieval_internal.h"

/* Counts what each query finds relevant, and computes the weights of the lists. A query of weight 0
 * is skipped: it finds nothing. Returns the number of valid lists. While measuring, a query may
 * find all items.  */
static size_t weigh(struct rk_retrieval *run, struct rk_list_weights *weights)
{
    if (rk_exec_measures(run->exec)) {
        run->most_relevant = run->most_ignored = (uint32_t)run->items.total;
        return run->items.total > 0 ? run->items.n_queries : 0;
    }
    for (size_t q = 0; q < run->items.n_queries; q++) {
        struct rk_match_counts match_counts = rk_items_count(&run->items, q);
        if (rk_list_weights_skip(weights, q))
            match_counts.relevant = 0;
        run->query[q] = (struct rk_query){.match_counts = match_counts, .loss = NAN};
        rk_list_weights_add(weights, q, match_counts.relevant);
        run->most_relevant =
            match_counts.relevant > run->most_relevant ? match_counts.relevant : run->most_relevant;
        run->most_ignored =
            match_counts.ignored > run->most_ignored ? match_counts.ignored : run->most_ignored;
    }
    for (size_t q = 0; q < run->items.n_queries; q++)
        run->query[q].w = rk_list_weights_of(weights, q, run->query[q].match_counts.relevant);
    run->relevant = weights->relevant;
    return weights->valid;
}

static bool take_run(struct rk_retrieval *run)
{
    const struct rk_items *items = &run->items;
    run->query = rk_scratch_array(run->exec->scratch, items->n_queries, sizeof *run->query);
    if (!run->gradient)
        return run->query != NULL;
    size_t elements = (items->n_queries + items->refs) * items->dim;
    run->sum = rk_scratch_array(run->exec->scratch, elements, sizeof *run->sum);
    if (run->sum && !rk_exec_measures(run->exec))
        memset(run->sum, 0, elements * sizeof *run->sum);
    return run->query && run->sum;
}

static void fill_info(const struct rk_retrieval *run, const struct rk_request *request, size_t valid,
                      struct rk_info *info)
{
    struct rk_sum loss = {0};
    for (size_t q = 0; q < run->items.n_queries; q++) {
        if (run->query[q].match_counts.relevant > 0)
            rk_sum_add(&loss, run->query[q].w * run->query[q].loss);
    }
    info->loss = rk_sum_value(&loss);
    info->lists = run->items.n_queries;
    info->lists_skipped = run->items.n_queries - valid;
    info->lists_stalled = run->stalled;
    info->has_gradient = run->gradient;
    if (run->gradient)
        rk_info_jumped(info, run->jumped, (double)run->relevant);
    info->on_device = run->on_device > 0;
    rk_info_bank(info, request->bank_snapshot);
}

static bool asks(const struct rk_request *request, enum rk_output which)
{
    return request->outputs & RK_OUT_BIT(which);
}

static enum rankd_status prepare_outputs(const struct rk_retrieval *run, const struct rk_request *request,
                                         struct rk_reply *reply, struct rk_err *err)
{
    const struct rk_items *items = &run->items;
    enum rankd_status status = RANKD_OK;
    if (asks(request, RK_OUT_LOSS))
        status = rk_out_vector(reply, RK_OUT_LOSS, RK_FP32, 1, err);
    if (status == RANKD_OK && asks(request, RK_OUT_LIST_LOSS))
        status = rk_out_vector(reply, RK_OUT_LIST_LOSS, RK_FP32, items->n_queries, err);
    if (status == RANKD_OK && asks(request, RK_OUT_GRADIENT))
        status = rk_out_prepare(reply, RK_OUT_GRADIENT, RK_FP32, 2,
                                (const size_t[]){items->n_queries, items->dim}, err);
    if (status == RANKD_OK && asks(request, RK_OUT_REF_GRADIENT))
        status = rk_out_prepare(reply, RK_OUT_REF_GRADIENT, RK_FP32, 2,
                                (const size_t[]){items->refs, items->dim}, err);
    return status;
}

static size_t write_gradient(const struct rk_retrieval *run, enum rk_output which, size_t first, size_t count,
                             bool normalize, const struct rk_reply *reply)
{
    rk_exec_copied(run->exec, rk_out_given(reply, which));
    return rk_gradient_finish(&run->items, normalize, first, count, run->sum, reply->out[which].data);
}

static void write_outputs(const struct rk_retrieval *run, const struct rk_request *request, bool normalize,
                          struct rk_reply *reply)
{
    const size_t n_queries = run->items.n_queries;
    if (asks(request, RK_OUT_LOSS))
        *(float *)reply->out[RK_OUT_LOSS].data = (float)reply->info.loss;
    float *list_loss = reply->out[RK_OUT_LIST_LOSS].data;
    for (size_t q = 0; asks(request, RK_OUT_LIST_LOSS) && q < n_queries; q++)
        list_loss[q] = rk_list_loss_shown(&run->box, run->query[q].loss, run->query[q].stalled);
    if (asks(request, RK_OUT_GRADIENT))
        reply->info.gradient_nonzero = write_gradient(run, RK_OUT_GRADIENT, 0, n_queries, normalize, reply);
    if (asks(request, RK_OUT_REF_GRADIENT))
        (void)write_gradient(run, RK_OUT_REF_GRADIENT, n_queries, run->items.refs, normalize, reply);
}

/* Lists that the device did not compute, mostly none, are computed from rows. */
static enum rankd_status run_lists(struct rk_retrieval *run, const struct rk_request *request,
                                   struct rk_err *err)
{
    if (run->exec->device)
        rk_device_retrieval(run->exec->device, request, run);
    const bool streams = run->on_device == 0 && !run->items.grades.first &&
                         rk_retrieval_streams(run->items.n_queries, run->items.total);
    return streams ? rk_retrieval_stream(run, err) : rk_retrieval_rows(run, err);
}

static enum rankd_status compute(struct rk_retrieval *run, const struct rk_request *request, bool normalize,
                                 struct rk_reply *reply, struct rk_err *err)
{
    struct rk_list_weights weights;
    if (!take_run(run))
        return rk_fail_scratch(err, run->exec->scratch);
    if (rk_list_weights_take(run->exec, request, &weights, err) != RANKD_OK)
        return err->status;
    size_t valid = weigh(run, &weights);
    if (valid > 0 && run_lists(run, request, err) != RANKD_OK)
        return err->status;
    if (prepare_outputs(run, request, reply, err) != RANKD_OK || rk_exec_measures(run->exec))
        return err->status;
    fill_info(run, request, valid, &reply->info);
    rk_drift_measure(request, &run->items, &reply->info);
    write_outputs(run, request, normalize, reply);
    return RANKD_OK;
}

enum rankd_status rk_retrieval_run(const struct rk_exec *exec, const struct rk_request *request,
                                   struct rk_reply *reply, struct rk_err *err)
{
    if (rk_exec_measures(exec)) {
        if (!rk_retrieval_measurable(request))
            return rk_fail(err, RANKD_TOO_LARGE, "the embeddings have more items than can be computed");
    } else if (rk_retrieval_check(request, err) != RANKD_OK) {
        return err->status;
    }
    bool normalize = rk_request_normalizes(request);
    struct rk_retrieval run = {
        .exec = exec,
        .kernels = exec->kernels ? exec->kernels : rk_kernels(),
        .box = rk_blackbox_of(request),
        .check_nan = !normalize,
        .gradient = request->outputs & (RK_OUT_BIT(RK_OUT_GRADIENT) | RK_OUT_BIT(RK_OUT_REF_GRADIENT)),
    };
    size_t mark = rk_scratch_mark(exec->scratch);
    enum rankd_status status = rk_items_read(exec, request, normalize, &run.items, err);
    if (status == RANKD_OK)
        status = compute(&run, request, normalize, reply, err);
    rk_scratch_release(exec->scratch, mark);
    return status;
}
