#include "retrieval/retrieval.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#include "base/saturate.h"
#include "base/schedule.h"
#include "base/sum.h"
#include "device/device.h"
#include "request/out.h"
#include "retrieval/check.h"
#include "retrieval/gradient.h"
#include "retrieval/product.h"
#include "retrieval/retrieval_internal.h"

/* Counts what each query finds, and from that the weights of the lists. Returns the number of valid lists. */
static size_t weigh(struct rk_retrieval *run, int average)
{
    size_t valid = 0;
    uint64_t relevant = 0;
    for (size_t q = 0; q < run->items.n_queries; q++) {
        struct rk_match_counts match_counts = rk_items_count(&run->items, q);
        run->query[q] = (struct rk_query){.match_counts = match_counts, .loss = NAN};
        valid += match_counts.relevant > 0;
        relevant += match_counts.relevant;
        run->most_relevant =
            match_counts.relevant > run->most_relevant ? match_counts.relevant : run->most_relevant;
        run->most_ignored =
            match_counts.ignored > run->most_ignored ? match_counts.ignored : run->most_ignored;
    }
    for (size_t q = 0; q < run->items.n_queries; q++) {
        uint32_t p = run->query[q].match_counts.relevant;
        run->query[q].w = average == RK_AVERAGE_SUM     ? 1.0
                          : average == RK_AVERAGE_MICRO ? (double)p / (double)relevant
                                                        : 1.0 / (double)valid;
    }
    return valid;
}

static bool take_run(struct rk_retrieval *run)
{
    const struct rk_items *items = &run->items;
    run->query = rk_scratch_take(run->exec->scratch, items->n_queries * sizeof *run->query);
    if (!run->gradient)
        return run->query != NULL;
    size_t bytes = (items->n_queries + items->refs) * items->dim * sizeof *run->sum;
    run->sum = rk_scratch_take(run->exec->scratch, bytes);
    if (run->sum)
        memset(run->sum, 0, bytes);
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
    info->on_device = run->on_device > 0;
    rk_info_bank(info, request->bank_snapshot);
}

static enum rankd_status write_losses(const struct rk_retrieval *run, const struct rk_request *request,
                                      struct rk_reply *reply, struct rk_err *err)
{
    if (request->outputs & RK_OUT_BIT(RK_OUT_LOSS)) {
        if (rk_out_vector(reply, RK_OUT_LOSS, RK_FP32, 1, err) != RANKD_OK)
            return err->status;
        *(float *)reply->out[RK_OUT_LOSS].data = (float)reply->info.loss;
    }
    if (request->outputs & RK_OUT_BIT(RK_OUT_LIST_LOSS)) {
        if (rk_out_vector(reply, RK_OUT_LIST_LOSS, RK_FP32, run->items.n_queries, err) != RANKD_OK)
            return err->status;
        float *out = reply->out[RK_OUT_LIST_LOSS].data;
        for (size_t q = 0; q < run->items.n_queries; q++)
            out[q] = (float)run->query[q].loss;
    }
    return RANKD_OK;
}

static enum rankd_status write_gradient(const struct rk_retrieval *run, enum rk_output which, size_t first,
                                        size_t count, bool normalize, struct rk_reply *reply,
                                        struct rk_err *err)
{
    size_t shape[] = {count, run->items.dim};
    if (rk_out_prepare(reply, which, RK_FP32, 2, shape, err) != RANKD_OK)
        return err->status;
    size_t nonzero =
        rk_gradient_finish(&run->items, normalize, first, count, run->sum, reply->out[which].data);
    rk_exec_copied(run->exec, rk_out_given(reply, which));
    if (which == RK_OUT_GRADIENT)
        reply->info.gradient_nonzero = nonzero;
    return RANKD_OK;
}

/* What the device leaves is computed from rows: mostly nothing. */
static enum rankd_status run_lists(struct rk_retrieval *run, const struct rk_request *request,
                                   struct rk_err *err)
{
    if (run->exec->device)
        rk_device_retrieval(run->exec->device, request, run);
    const bool streams = run->on_device == 0 && rk_retrieval_streams(run->items.n_queries, run->items.total);
    return streams ? rk_retrieval_stream(run, err) : rk_retrieval_rows(run, err);
}

static enum rankd_status compute(struct rk_retrieval *run, const struct rk_request *request, bool normalize,
                                 struct rk_reply *reply, struct rk_err *err)
{
    if (!take_run(run))
        return rk_fail_scratch(err, rk_retrieval_cost(request));
    size_t valid = weigh(run, request->params.average), n_queries = run->items.n_queries;
    if (valid > 0 && run_lists(run, request, err) != RANKD_OK)
        return err->status;
    fill_info(run, request, valid, &reply->info);
    if (write_losses(run, request, reply, err) != RANKD_OK)
        return err->status;
    if (request->outputs & RK_OUT_BIT(RK_OUT_GRADIENT) &&
        write_gradient(run, RK_OUT_GRADIENT, 0, n_queries, normalize, reply, err) != RANKD_OK)
        return err->status;
    if (request->outputs & RK_OUT_BIT(RK_OUT_REF_GRADIENT) &&
        write_gradient(run, RK_OUT_REF_GRADIENT, n_queries, run->items.refs, normalize, reply, err) !=
            RANKD_OK)
        return err->status;
    return RANKD_OK;
}

enum rankd_status rk_retrieval_run(const struct rk_exec *exec, const struct rk_request *request,
                                   struct rk_reply *reply, struct rk_err *err)
{
    if (rk_retrieval_check(request, err) != RANKD_OK)
        return err->status;
    bool normalize = rk_request_normalizes(request);
    struct rk_retrieval run = {
        .exec = exec,
        .kernels = exec->kernels ? exec->kernels : rk_kernels(),
        .box = rk_blackbox_of(request),
        .check_nan = !normalize,
        .gradient = request->outputs & (RK_OUT_BIT(RK_OUT_GRADIENT) | RK_OUT_BIT(RK_OUT_REF_GRADIENT)),
    };
    rk_product_begin();
    size_t mark = rk_scratch_mark(exec->scratch);
    enum rankd_status status = rk_items_read(exec, request, normalize, &run.items, err);
    if (status == RANKD_OK)
        status = compute(&run, request, normalize, reply, err);
    rk_scratch_release(exec->scratch, mark);
    return status;
}

size_t rk_retrieval_cost(const struct rk_request *request)
{
    size_t n_queries = request->in[RK_IN_EMBEDDINGS].shape[0], dim = request->in[RK_IN_EMBEDDINGS].shape[1];
    size_t refs = request->in[RK_IN_REF_EMBEDDINGS].data ? request->in[RK_IN_REF_EMBEDDINGS].shape[0] : 0;
    size_t own = rk_size_add(n_queries, refs);
    size_t total = rk_size_add(own, request->bank_snapshot ? request->bank_snapshot->items : 0);
    if (n_queries > RK_RETRIEVAL_BATCH_MAX || total > RK_LIST_MAX ||
        rk_size_times(own, dim) > SIZE_MAX / 64 || dim > INT_MAX)
        return SIZE_MAX; /* it will be refused */
    /* Rows and sums of the own items; labels, ids, norms and their indexes. */
    size_t read = own * dim * (sizeof(float) + sizeof(double)) + own * (8 + 8 + 8 + 2 * 20) + 4096;
    size_t runs = 2 + (request->bank_snapshot ? request->bank_snapshot->embeddings.chunks : 0);
    return rk_size_add(read + runs * sizeof(struct rk_row_block) + n_queries * sizeof(struct rk_query),
                       rk_retrieval_stream_cost(n_queries, total, dim));
}
