/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's part of a request: inflating, parsing, computing, writing. Nothing of it on the
 * thread that accepts. */
#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/budget.h"
#include "base/clock.h"
#include "base/json_heap.h"
#include "http/exchange.h"

/* Upper bound of the inflated bytes: Deflate makes at most 1032 bytes of one; the body's limit and
 * the whole budget are bounds too. */
static size_t inflated_at_most(const struct rk_body *body, const struct rk_budget *budget)
{
    const size_t left = rk_budget_limit(budget) - body->reserved;
    const size_t limit = body->limit < left ? body->limit : left;
    size_t bytes;
    if (__builtin_mul_overflow(body->bytes, (size_t)1032, &bytes) || bytes + 64 > limit)
        return limit;
    return bytes + 64;
}

static enum rankd_status inflate_body(struct rk_exchange *exchange)
{
    struct rk_body *body = &exchange->body;
    struct rk_budget *budget = exchange->http->env->budget;
    void *out;
    size_t out_bytes;
    if (exchange->encoding == RK_ENCODING_NONE)
        return RANKD_OK;
    const size_t most = inflated_at_most(body, budget);
    if (rk_body_reserve(body, budget, most, &exchange->err) != RANKD_OK ||
        rk_inflate(exchange->encoding, body->data, body->bytes, most, &out, &out_bytes, &exchange->err) !=
            RANKD_OK)
        return exchange->err.status;
    free(body->data);
    body->data = out;
    body->bytes = out_bytes;
    rk_body_keep(body, budget, out_bytes); /* what was reserved for the worst is free again */
    return RANKD_OK;
}

static enum rankd_status json_part(struct rk_exchange *exchange, size_t *bytes)
{
    const struct rk_body *body = &exchange->body;
    const char *text = exchange->json_length;
    *bytes = body->bytes;
    if (text) {
        char *end;
        errno = 0;
        unsigned long long number = strtoull(text, &end, 10);
        if (!isdigit((unsigned char)*text) || *end || errno || number > body->bytes)
            return rk_fail(&exchange->err, RANKD_INVALID,
                           "Inference-Header-Content-Length was \"%.32s\"; it must be the number of bytes of "
                           "JSON at the "
                           "beginning of the body, which has %zu",
                           text, body->bytes);
        *bytes = (size_t)number;
        if (number == 0)
            return rk_wire_request_refuse_raw(exchange->wire.request.model, &exchange->err);
    }
    const size_t limit = exchange->http->env->config->json_bytes;
    if (*bytes > limit)
        return rk_fail(&exchange->err, RANKD_TOO_LARGE,
                       "the JSON of the request has %zu bytes; it may have at most %zu (--json-bytes); send "
                       "tensors in binary",
                       *bytes, limit);
    return RANKD_OK;
}

/* The document is gone when this returns; tensors that came as JSON stay in the request's
 * storage. */
static enum rankd_status parse_json(struct rk_exchange *exchange, const struct rk_model *model,
                                    size_t json_bytes)
{
    const struct rk_transport_env *env = exchange->http->env;
    struct rk_repeat *repeat = &exchange->conn->repeat;
    struct rk_json_heap heap;
    const struct rk_wire_source source = {
        .body = exchange->body.data,
        .bytes = exchange->body.bytes,
        .json_bytes = json_bytes,
        .finder = env->api.regions ? &exchange->bindings.finder : NULL,
        .budget = env->budget,
        .held = exchange->body.reserved,
        .received_ns = exchange->received_ns,
        .deadline_ns = exchange->meta.deadline_ns,
    };
    if (rk_repeat_take(repeat, &exchange->wire, model, &source))
        return RANKD_OK;
    rk_json_heap_open(&heap, env->budget, exchange->body.reserved);
    const enum rankd_status status = rk_wire_request_parse(&exchange->wire, model, &source, &exchange->err);
    rk_json_heap_close(&heap);
    if (status == RANKD_OK)
        rk_repeat_keep(repeat, &exchange->wire, &source);
    return status;
}

static enum rankd_status parse(struct rk_exchange *exchange)
{
    struct rk_budget *budget = exchange->http->env->budget;
    struct rk_wire_request *wire = &exchange->wire;
    const struct rk_model *model = wire->request.model;
    size_t json_bytes;
    if (inflate_body(exchange) != RANKD_OK || json_part(exchange, &json_bytes) != RANKD_OK)
        return exchange->err.status;
    const struct rk_transport_env *env = exchange->http->env;
    if (env->api.regions)
        rk_region_bindings_start(&exchange->bindings, env->api.regions, exchange->who.name, budget,
                                 exchange->body.reserved);
    enum rankd_status status = parse_json(exchange, model, json_bytes);
    wire->request.model = model;
    if (status == RANKD_OK && wire->request.params.bank[0])
        status = rk_region_bindings_localize(&exchange->bindings, &wire->request, &exchange->err);
    exchange->meta.held = exchange->body.reserved + wire->storage_bytes + exchange->bindings.held_bytes;
    exchange->meta.reply_bytes = rk_wire_reply_cost(wire, exchange->accepted != RK_ENCODING_NONE);
    return status;
}

/* The reply as one compressed piece, where the client asked for that and it is worth it. Where
 * there is no memory for that it goes as it is: the batch may be in a bank already. */
static void pack(struct rk_exchange *exchange)
{
    struct rk_err ignored = {0};
    const size_t bytes = rk_wire_reply_bytes(&exchange->out);
    exchange->sent_bytes = bytes;
    void *whole = exchange->accepted == RK_ENCODING_NONE ? NULL : rk_wire_reply_join(&exchange->out, bytes);
    if (!whole)
        return;
    if (rk_deflate(exchange->accepted, whole, bytes, &exchange->packed, &exchange->packed_bytes, &ignored) ==
        RANKD_OK)
        exchange->sent_bytes = exchange->packed_bytes;
    free(whole);
}

/* Outputs that the client wants in its shared memory go there. */
static enum rankd_status store(struct rk_exchange *exchange)
{
    const struct rk_wire_request *wire = &exchange->wire;
    for (unsigned i = 0; i < RK_OUT_COUNT; i++) {
        if (wire->region[i] && exchange->reply.outputs >> i & 1u &&
            rk_region_bindings_store(&exchange->bindings, wire->region[i], exchange->reply.out[i].bytes,
                                     rk_output_rows[i].name, &exchange->err) != RANKD_OK)
            return exchange->err.status;
    }
    return RANKD_OK;
}

/* Between the result and the append: outputs are in their places, the reply is written. */
static enum rankd_status prepare(struct rk_infer_meta *meta, struct rk_err *err)
{
    struct rk_exchange *exchange = (struct rk_exchange *)((char *)meta - offsetof(struct rk_exchange, meta));
    const uint64_t begun = rk_now_ns();
    (void)err;                           /* it is exchange->err */
    rk_wire_reply_clear(&exchange->out); /* of a result that was void */
    if (store(exchange) == RANKD_OK)
        (void)!rk_wire_reply_write(&exchange->out, &exchange->wire, &exchange->reply, &exchange->err);
    exchange->write_ns = rk_now_ns() - begun;
    return exchange->err.status;
}

enum rk_infer_state rk_exchange_infer_on(struct rk_exchange *exchange, struct rk_worker *worker)
{
    const enum rk_infer_state state = rk_infer(&exchange->http->env->infer, worker, &exchange->wire.request,
                                               &exchange->meta, &exchange->reply, &exchange->err);
    if (state == RK_INFER_PARKED || exchange->err.status != RANKD_OK)
        return state;
    exchange->written_ns = rk_now_ns() - exchange->write_ns;
    rk_wire_reply_complete(&exchange->out, &exchange->reply.info);
    pack(exchange);
    return RK_INFER_DONE;
}

bool rk_exchange_parse(struct rk_exchange *exchange)
{
    struct rk_infer_meta *meta = &exchange->meta;
    const uint64_t begun = rk_now_ns();
    meta->received_ns = exchange->received_ns;
    meta->deadline_ns = exchange->job.deadline_ns;
    const enum rankd_status parsed = parse(exchange);
    meta->deadline_ns = rk_wire_deadline(exchange->received_ns, exchange->wire.timeout_ns, meta->deadline_ns);
    const uint64_t done = rk_now_ns();
    meta->parse_ns = done - begun;
    if (parsed != RANKD_OK)
        return false;
    if (meta->deadline_ns && done > meta->deadline_ns) {
        (void)rk_fail(&exchange->err, RANKD_DEADLINE, "the request's deadline passed before it was computed");
        return false;
    }
    rk_wire_reply_prepare(&exchange->wire, &exchange->reply);
    meta->job = &exchange->job;
    meta->prepare = prepare;
    exchange->parsed = true;
    return true;
}

enum rk_infer_state rk_exchange_infer(struct rk_exchange *exchange, struct rk_worker *worker)
{
    exchange->meta.queue_ns = rk_now_ns() - exchange->job.queued_ns;
    if (!exchange->parsed && !rk_exchange_parse(exchange))
        return RK_INFER_DONE;
    return rk_exchange_infer_on(exchange, worker);
}
