/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/infer.h"

#include <stddef.h>
#include <stdio.h>
#include <time.h>

#include "base/budget.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/number.h"
#include "engine.h"
#include "request/offsets.h"

#define KEEP_SCRATCH ((size_t)32 << 20) /* scratch that an idle worker keeps */

static enum rankd_status charge(const struct rk_infer_env *env, struct rk_request *request,
                                struct rk_infer_meta *meta, struct rk_err *err)
{
    size_t cost;
    request->longest = rk_offsets_longest(request);
    if (__builtin_add_overflow(rk_engine_cost(request), meta->reply_bytes, &cost))
        cost = SIZE_MAX;
    if (rk_budget_reserve(env->budget, meta->held, cost, "the request", err) != RANKD_OK)
        return err->status;
    meta->charged = cost;
    return RANKD_OK;
}

static enum rankd_status compute(struct rk_worker *worker, struct rk_device *device,
                                 struct rk_request *request, struct rk_infer_meta *meta,
                                 struct rk_reply *reply, struct rk_err *err)
{
    const struct rk_exec exec = {
        .pool = worker->pool,
        .scratch = worker->scratch,
        .deadline_ns = meta->deadline_ns,
        .device = device,
        .host_region = meta->host_region,
        .copied = &meta->copied,
    };
    const uint64_t begun = rk_now_ns();
    enum rankd_status status = rk_engine_run(&exec, request, reply, err);
    meta->compute_ns = rk_now_ns() - begun;
    if (rk_scratch_held(worker->scratch) > KEEP_SCRATCH)
        rk_scratch_trim(worker->scratch, KEEP_SCRATCH);
    return status;
}

static struct rk_infer_meta *meta_of(struct rk_bank_waiter *waiter)
{
    return (struct rk_infer_meta *)((char *)waiter - offsetof(struct rk_infer_meta, transaction.waiter));
}

static void on_wait(struct rk_bank_waiter *waiter)
{
    rk_worker_pool_park(meta_of(waiter)->work);
}

static void on_wake(struct rk_bank_waiter *waiter)
{
    const struct rk_infer_meta *meta = meta_of(waiter);
    rk_worker_pool_resume(meta->work, meta->job);
}

static void on_finish(struct rk_bank_waiter *waiter)
{
    const struct rk_infer_meta *meta = meta_of(waiter);
    rk_worker_pool_finish(meta->work, meta->job);
}

static enum rk_infer_state finish(struct rk_request *request, struct rk_infer_meta *meta,
                                  struct rk_reply *reply, enum rankd_status status, struct rk_err *err)
{
    if (meta->append_begun_ns)
        meta->append_ns = rk_now_ns() - meta->append_begun_ns;
    if (status != RANKD_OK)
        rk_reply_clear(reply);
    else
        rk_bank_transaction_count(&meta->transaction, &reply->info);
    (void)atomic_fetch_add_explicit(&meta->copied, meta->transaction.copied, memory_order_relaxed);
    rk_bank_transaction_end(&meta->transaction);
    request->bank_snapshot = request->bank_whole = NULL;
    err->status = status;
    return RK_INFER_DONE;
}

/* True: the batch was in the bank's store before, and the request is computed against what the
 * original read. */
static bool begin_again(struct rk_request *request, struct rk_infer_meta *meta, struct rk_reply *reply)
{
    if (!rk_bank_transaction_begin_again(&meta->transaction))
        return false;
    rk_reply_clear(reply);
    reply->info = (struct rk_info){0};
    request->bank_snapshot = NULL;
    meta->step = RK_INFER_BEGIN;
    return true;
}

enum rk_infer_state rk_infer(const struct rk_infer_env *env, struct rk_worker *worker,
                             struct rk_request *request, struct rk_infer_meta *meta, struct rk_reply *reply,
                             struct rk_err *err)
{
    struct rk_bank_transaction *transaction = &meta->transaction;
    bool later = false;
    if (meta->step == RK_INFER_APPENDED && !begin_again(request, meta, reply))
        return finish(request, meta, reply, rk_bank_transaction_appended(transaction, &reply->info, err),
                      err);
    meta->work = env->workers;
    transaction->waiter = (struct rk_bank_waiter){on_wait, on_wake, on_finish};
    enum rankd_status status =
        rk_bank_transaction_begin(env->banks, request, meta->deadline_ns, transaction, &later, err);
    if (later)
        return RK_INFER_PARKED;
    if (status == RANKD_OK && !meta->charged)
        status = charge(env, request, meta, err);
    if (status == RANKD_OK)
        status = compute(worker, env->device, request, meta, reply, err);
    if (status == RANKD_OK)
        rk_bank_transaction_describe(transaction, &reply->info);
    if (status == RANKD_OK && meta->prepare)
        status = meta->prepare(meta, err);
    if (status == RANKD_OK && transaction->bank) {
        meta->step = RK_INFER_APPENDED;
        meta->append_begun_ns = rk_now_ns();
        status = rk_bank_transaction_append(transaction, request, &reply->info, &later, err);
        if (later)
            return RK_INFER_PARKED;
    }
    return finish(request, meta, reply, status, err);
}

bool rk_infer_is_small(const struct rk_request *request, size_t most)
{
    const struct rk_tensor *scores = &request->in[RK_IN_SCORES], *offsets = &request->in[RK_IN_OFFSETS];
    if (offsets->data != NULL && offsets->bytes / sizeof(int64_t) > most)
        return false;
    if (scores->data == NULL || request->params.bank[0] != '\0')
        return false;
    const size_t item = rk_dtype_size(scores->dtype);
    return item != 0 && scores->bytes / item <= most;
}

/* Elements of the requested gradient, zero ones included: the denominator for "nonzero". */
static int64_t gradient_items(const struct rk_request *request)
{
    const struct rk_tensor *in =
        &request->in[request->in[RK_IN_SCORES].data ? RK_IN_SCORES : RK_IN_EMBEDDINGS];
    int64_t items = 1;
    for (unsigned i = 0; i < in->rank; i++)
        items *= (int64_t)in->shape[i];
    return items;
}

static void count(const struct rk_infer_env *env, const struct rk_infer_meta *meta,
                  const struct rk_request *request, unsigned model, const struct rk_info *info,
                  uint64_t write_ns)
{
    struct rk_metrics *metrics = env->metrics;
    const uint64_t total = rk_now_ns() - meta->received_ns;
    rk_metric_add(metrics, RK_METRIC_requests, model, meta->transport, 1);
    rk_metric_observe(metrics, RK_METRIC_request_seconds, model, total);
    if (!info) {
        rk_metric_add(metrics, RK_METRIC_failed, model, 0, 1);
        rk_metric_add(metrics, RK_METRIC_failed_time, model, 0, (int64_t)total);
        return;
    }
    const struct {
        enum rk_metric time;
        uint64_t ns;
    } stages[RK_STAGE_COUNT] = {
        [RK_STAGE_QUEUE] = {RK_METRIC_queue_time, meta->queue_ns},
        [RK_STAGE_PARSE] = {RK_METRIC_parse_time, meta->parse_ns},
        [RK_STAGE_COMPUTE] = {RK_METRIC_compute_time, meta->compute_ns},
        [RK_STAGE_APPEND] = {RK_METRIC_append_time, meta->append_ns},
        [RK_STAGE_WRITE] = {RK_METRIC_write_time, write_ns},
    };
    for (unsigned i = 0; i < RK_STAGE_COUNT; i++) {
        rk_metric_add(metrics, stages[i].time, model, 0, (int64_t)stages[i].ns);
        rk_metric_observe(metrics, RK_METRIC_stage_seconds, i, stages[i].ns);
    }
    rk_metric_add(metrics, RK_METRIC_succeeded, model, 0, 1);
    rk_metric_set(metrics, RK_METRIC_last_request, model, 0, (int64_t)time(NULL));
    rk_metric_add(metrics, RK_METRIC_engine, model, info->on_device, 1);
    rk_metric_add(metrics, RK_METRIC_engine_time, model, info->on_device, (int64_t)meta->compute_ns);
    rk_metric_add(metrics, RK_METRIC_lists, model, 0, (int64_t)info->lists);
    rk_metric_add(metrics, RK_METRIC_lists_skipped, model, 0, (int64_t)info->lists_skipped);
    if (info->has_gradient) {
        rk_metric_add(metrics, RK_METRIC_lists_stalled, model, 0, (int64_t)info->lists_stalled);
        rk_metric_add(metrics, RK_METRIC_gradient_items, model, 0, gradient_items(request));
        rk_metric_add(metrics, RK_METRIC_gradient_nonzero, model, 0, (int64_t)info->gradient_nonzero);
    }
}

/* "scores FP32 [128, 128], targets INT8 [128, 128]" */
static void shapes_text(const struct rk_request *request, char *text, size_t size)
{
    size_t at = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < RK_IN_COUNT && at < size; i++) {
        const struct rk_tensor *in = &request->in[i];
        char shape[RK_SHAPE_TEXT];
        if (!in->data)
            continue;
        at += (size_t)snprintf(text + at, size - at, "%s%s %s %s", at ? ", " : "", rk_input_rows[i].name,
                               rk_dtype_name(in->dtype), rk_shape_text(in->rank, in->shape, shape));
    }
}

static double microseconds(uint64_t ns)
{
    return (double)ns / 1e3;
}

static void log_request(const struct rk_infer_env *env, const struct rk_infer_meta *meta,
                        const struct rk_request *request, const struct rk_info *info,
                        enum rankd_status status, const char *sentence, uint64_t write_ns)
{
    static const char *const transports[RK_TRANSPORT_COUNT] = {"http_json", "http_binary", "ring"};
    char shapes[512];
    if (!rk_log_wants(env->log, RK_LOG_INFO))
        return;
    shapes_text(request, shapes, sizeof shapes);
    const struct rk_field fields[] = {
        {"status", NULL, status == RANKD_OK ? 200 : (double)status},
        {"model", request->model ? request->model->name : "", 0},
        {"id", meta->id ? meta->id : "", 0},
        {"transport", transports[meta->transport], 0},
        {"engine", info && info->on_device ? "device" : "cpu", 0},
        {"who", meta->who ? meta->who->name : "", 0},
        {"shapes", shapes, 0},
        {"queue_us", NULL, microseconds(meta->queue_ns)},
        {"parse_us", NULL, microseconds(meta->parse_ns)},
        {"compute_us", NULL, microseconds(meta->compute_ns)},
        {"append_us", NULL, microseconds(meta->append_ns)},
        {"write_us", NULL, microseconds(write_ns)},
        {info ? "loss" : "error", info ? NULL : sentence, info ? info->loss : 0},
    };
    rk_log_line(env->log, RK_LOG_INFO, "request", fields, sizeof fields / sizeof *fields);
}

void rk_infer_done(const struct rk_infer_env *env, struct rk_infer_meta *meta,
                   const struct rk_request *request, const struct rk_info *info, enum rankd_status status,
                   const char *sentence, uint64_t write_ns)
{
    rk_budget_give(env->budget, meta->charged);
    meta->charged = 0;
    if (request->model)
        count(env, meta, request, (unsigned)(request->model - rk_models), info, write_ns);
    log_request(env, meta, request, info, status, sentence, write_ns);
}
