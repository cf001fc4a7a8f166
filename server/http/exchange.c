/* SPDX-License-Identifier: Apache-2.0 */
#include "http/exchange.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "api/api.h"
#include "base/budget.h"
#include "base/clock.h"
#include "base/log.h"

/* Releases the memory of the request, which is no longer needed: the client may be slow to read the
 * answer. */
static void release(struct rk_exchange *exchange)
{
    rk_wire_request_clear(&exchange->wire);
    rk_body_free(&exchange->body, exchange->http->env->budget);
}

static void finish(struct rk_exchange *exchange)
{
    release(exchange);
    exchange->step = RK_STEP_ANSWERED;
    rk_conn_phase(&exchange->http->conns, exchange->conn, RK_PHASE_WRITE);
    MHD_resume_connection(exchange->connection); /* the last access: from here on libmicrohttpd has it */
}

static void call_api(struct rk_exchange *exchange)
{
    const bool head = strcmp(exchange->method, "HEAD") == 0;
    const struct rk_call call = {head ? "GET" : exchange->method,
                                 exchange->path,
                                 exchange->query,
                                 exchange->body.data,
                                 exchange->body.bytes,
                                 &exchange->who};
    rk_api_call(&exchange->http->env->api, &call, &exchange->answer);
}

static void on_worker(struct rk_job *job, struct rk_worker *worker)
{
    struct rk_exchange *exchange = (struct rk_exchange *)job;
    if (!exchange->is_infer)
        call_api(exchange);
    else if (rk_exchange_infer(exchange, worker) == RK_INFER_PARKED)
        return;
    finish(exchange);
}

static void on_resume(struct rk_job *job, struct rk_worker *worker)
{
    struct rk_exchange *exchange = (struct rk_exchange *)job;
    if (rk_exchange_infer_on(exchange, worker) == RK_INFER_DONE)
        finish(exchange);
}

static void on_drop(struct rk_job *job, enum rankd_status why)
{
    struct rk_exchange *exchange = (struct rk_exchange *)job;
    exchange->meta.queue_ns = rk_now_ns() - job->queued_ns;
    if (why == RANKD_DEADLINE)
        (void)rk_fail(&exchange->err, why, "the request's deadline passed while it waited for a worker");
    else
        (void)rk_fail(&exchange->err, why, "rankd is shutting down; try again in a moment");
    finish(exchange);
}

static void await(struct rk_exchange *exchange)
{
    if (!exchange->awaited)
        atomic_fetch_add(&exchange->http->in_flight, 1);
    exchange->awaited = true;
}

/* A chunk of the body may have been refused, which ended the body for libmicrohttpd: that outweighs
 * what else is wrong with the request. */
static void check_framing(struct rk_exchange *exchange)
{
    struct rk_err refusal = {0};
    if (rk_guard_verdict(&exchange->conn->guard, exchange->number, &exchange->http_status, &refusal) ==
        RANKD_OK)
        return;
    exchange->err = refusal;
    exchange->close_after = true;
}

enum {
    JSON_MOST = 8192, /* bytes, which take some microseconds to parse */
    ITEM_MOST = 32,   /* bytes of an item in all tensors: at most 8 in each of up to four */
    BUSY_SHARE = 8    /* so much less is "small" beside other requests, which have to wait for it */
};

/* The most scores of a request that runs on this thread. A single request saves the wake-up of a
 * worker and delays no other. */
static size_t most_items_here(const struct rk_exchange *exchange)
{
    const struct rk_http *http = exchange->http;
    const size_t most = http->env->config->http_inline_items;
    return atomic_load(&http->in_flight) > http->threads ? most / BUSY_SHARE : most;
}

/* Whether it is worthwhile to parse the request on this thread. */
static bool may_be_small(const struct rk_exchange *exchange, size_t most)
{
    const char *length = exchange->json_length; /* NULL: all of the body is JSON */
    if (!exchange->is_infer || !most || exchange->encoding != RK_ENCODING_NONE ||
        exchange->accepted != RK_ENCODING_NONE || exchange->body.bytes > JSON_MOST + most * ITEM_MOST)
        return false;
    return (length ? strtoull(length, NULL, 10) : exchange->body.bytes) <= JSON_MOST;
}

/* Computes a small request, or finds its error. False: a worker has to do it. */
static bool run_here(struct rk_exchange *exchange)
{
    const size_t most = most_items_here(exchange);
    if (!may_be_small(exchange, most))
        return false;
    if (rk_exchange_parse(exchange)) {
        if (!rk_infer_is_small(&exchange->wire.request, most))
            return false;
        struct rk_worker *worker = rk_inline_take(exchange->http->inlines);
        exchange->job.queued_ns = rk_now_ns();
        (void)!rk_exchange_infer(exchange, worker); /* without a bank it never parks */
        rk_inline_give(exchange->http->inlines, worker);
    }
    release(exchange);
    exchange->step = RK_STEP_ANSWERED;
    return true;
}

bool rk_exchange_run(struct rk_exchange *exchange)
{
    await(exchange);
    const struct rk_transport_env *env = exchange->http->env;
    exchange->received_ns = rk_now_ns();
    exchange->meta.received_ns = exchange->received_ns;
    check_framing(exchange);
    if (exchange->err.status != RANKD_OK || exchange->options || exchange->route->kind == RK_ROUTE_LIGHT) {
        if (exchange->err.status == RANKD_OK && exchange->options)
            exchange->answer.http_status = 200;
        else if (exchange->err.status == RANKD_OK)
            call_api(exchange);
        exchange->step = RK_STEP_ANSWERED;
        return false;
    }
    if (env->config->request_timeout)
        exchange->job.deadline_ns = exchange->received_ns + env->config->request_timeout * 1000000u;
    if (run_here(exchange))
        return false;
    exchange->step = RK_STEP_RUNNING;
    exchange->job.run = on_worker;
    exchange->job.drop = on_drop;
    exchange->job.resume = on_resume;
    rk_conn_phase(&exchange->http->conns, exchange->conn, RK_PHASE_RUN);
    /* Suspended first: the worker may be done before submit returns. */
    MHD_suspend_connection(exchange->connection);
    if (rk_worker_pool_submit(rk_route_queue(&env->api, exchange->route), &exchange->job) == RANKD_OK)
        return true;
    rk_metric_add(env->metrics, RK_METRIC_rejected, RK_REASON_QUEUE_FULL, 0, 1);
    (void)rk_fail(&exchange->err, RANKD_OVERLOADED,
                  "all workers are busy and %llu requests wait; try again in a moment",
                  (unsigned long long)env->config->queue_requests);
    finish(exchange);
    return true;
}

static void error_body(struct rk_exchange *exchange)
{
    struct rk_answer *answer = &exchange->answer;
    struct rk_text text = {0};
    free(answer->body);
    rk_json_open(&text, NULL, '{');
    rk_json_text(&text, "error", exchange->err.text);
    rk_json_close(&text, '}');
    answer->body_bytes = 0;
    answer->body = rk_text_take(&text, &answer->body_bytes);
    answer->content_type = "application/json";
    answer->http_status = exchange->http_status ? exchange->http_status : (int)exchange->err.status;
    if (exchange->err.status == RANKD_OVERLOADED)
        answer->retry_after_s = 1;
}

void rk_exchange_tell(struct rk_exchange *exchange)
{
    char head[256];
    if (!exchange->http->conns.plain || exchange->early_reply_sent)
        return;
    error_body(exchange);
    const struct rk_answer *answer = &exchange->answer;
    const int length = snprintf(head, sizeof head,
                                "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: application/json\r\n"
                                "Content-Length: %zu\r\n\r\n",
                                answer->http_status, MHD_get_reason_phrase_for((unsigned)answer->http_status),
                                answer->body_bytes);
    struct iovec pieces[] = {{head, (size_t)length}, {answer->body, answer->body_bytes}};
    const struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
    exchange->early_reply_sent = sendmsg(exchange->conn->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
    exchange->conn->guard.early_reply_sent = exchange->early_reply_sent;
}

enum MHD_Result rk_exchange_answer(struct rk_exchange *exchange)
{
    const bool computed = exchange->is_infer && exchange->err.status == RANKD_OK;
    if (exchange->early_reply_sent)
        return MHD_NO; /* closes */
    if (exchange->err.status != RANKD_OK)
        error_body(exchange);
    struct MHD_Response *response = rk_exchange_response(exchange, computed);
    if (!response)
        return MHD_NO;
    await(exchange);
    if (exchange->close_after || exchange->spare || rk_lifecycle_unavailable(exchange->http->env->lifecycle))
        (void)MHD_add_response_header(response, "Connection", "close");
    if (computed)
        exchange->answer.http_status = 200;
    rk_conn_phase(&exchange->http->conns, exchange->conn, RK_PHASE_WRITE);
    const enum MHD_Result queued =
        MHD_queue_response(exchange->connection, (unsigned)exchange->answer.http_status, response);
    MHD_destroy_response(response);
    return queued;
}

static enum rk_reason reason_of(int status)
{
    switch (status) {
    case RANKD_UNAUTHORIZED:
    case RANKD_FORBIDDEN:
        return RK_REASON_ACCESS;
    case RANKD_TOO_LARGE:
        return RK_REASON_TOO_LARGE;
    case RANKD_DEADLINE:
        return RK_REASON_TIMEOUT;
    default:
        return RK_REASON_BAD_REQUEST;
    }
}

static void log_call(const struct rk_exchange *exchange, const char *error)
{
    const int status = exchange->answer.http_status;
    const struct rk_field fields[] = {
        {"status", NULL, status},
        {"method", exchange->method, 0},
        {"path", exchange->path, 0},
        {"who", exchange->who.name, 0},
        {"us", NULL, (double)(rk_now_ns() - exchange->begun_ns) / 1e3},
        {"error", error, 0},
    };
    const bool light = exchange->route && exchange->route->kind == RK_ROUTE_LIGHT && status == 200;
    rk_log_line(exchange->http->env->log, light ? RK_LOG_DEBUG : RK_LOG_INFO, "http", fields,
                *error ? sizeof fields / sizeof *fields : sizeof fields / sizeof *fields - 1);
}

static void account(struct rk_exchange *exchange)
{
    const struct rk_transport_env *env = exchange->http->env;
    const unsigned transport = exchange->json_length ? RK_TRANSPORT_HTTP_BINARY : RK_TRANSPORT_HTTP_JSON;
    int status = exchange->answer.http_status;
    if (!status) /* too slow, or the client is gone */
        status = exchange->conn->guard.early_reply_sent ? 408 : 400;
    rk_metric_add(env->metrics, RK_METRIC_responses, transport, rk_metric_status(status), 1);
    rk_metric_add(env->metrics, RK_METRIC_received_bytes, transport, 0, (int64_t)exchange->body.bytes);
    rk_metric_add(env->metrics, RK_METRIC_sent_bytes, transport, 0, (int64_t)exchange->sent_bytes);
    if (status >= 400 && status < 500 && status != 408) /* the watcher has counted slow ones */
        rk_metric_add(env->metrics, RK_METRIC_rejected, reason_of(status), 0, 1);
    if (!exchange->is_infer) {
        log_call(exchange, exchange->err.text);
        return;
    }
    if (!exchange->meta.received_ns)
        exchange->meta.received_ns = exchange->begun_ns;
    const bool good = exchange->err.status == RANKD_OK && exchange->answer.http_status == 200;
    if (!good && exchange->err.status == RANKD_OK)
        (void)rk_fail(&exchange->err, RANKD_INVALID, "the client went away before its answer");
    rk_infer_done(&env->infer, &exchange->meta, &exchange->wire.request, good ? &exchange->reply.info : NULL,
                  exchange->err.status, exchange->err.text,
                  exchange->written_ns ? rk_now_ns() - exchange->written_ns : 0);
}

void rk_exchange_end(struct rk_exchange *exchange)
{
    struct rk_http *http = exchange->http;
    rk_wire_reply_clear(&exchange->out); /* before its reservation is released */
    rk_reply_clear(&exchange->reply);
    if (exchange->counted)
        account(exchange);
    if (exchange->awaited)
        atomic_fetch_sub(&http->in_flight, 1);
    if (exchange->counted_in_flight)
        rk_metric_add(http->env->metrics, RK_METRIC_in_flight, 0, 0, -1);
    rk_wire_request_clear(&exchange->wire);
    rk_region_bindings_end(&exchange->bindings);
    rk_body_free(&exchange->body, http->env->budget);
    free(exchange->packed);
    free(exchange->answer.body);
    free(exchange->uri);
    free(exchange);
}
