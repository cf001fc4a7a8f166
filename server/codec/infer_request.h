/* SPDX-License-Identifier: Apache-2.0 */
/* From an inference request of the Open Inference Protocol (JSON, or JSON and binary tensors) to a
 * struct rk_request. */
#ifndef RK_CODEC_INFER_REQUEST_H
#define RK_CODEC_INFER_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/budget.h"
#include "request/request.h"

/* Finds tensors in registered shared memory. Given by a transport with regions. */
enum rk_region_use { RK_REGION_READ, RK_REGION_WRITE };
struct rk_region_finder {
    /* Memory for `bytes` bytes at `offset` in the region, valid until the end of the request: a
     * copy of the content, or room for an output. NULL with *err set; `what` names the tensor in
     * the sentence ("input scores"). *on_device: the result is an address on the device. */
    void *(*find)(struct rk_region_finder *finder, const char *region, size_t offset, size_t bytes,
                  enum rk_region_use use, const char *what, bool *on_device, struct rk_err *err);
};

/* A parsed request. Its pointers lead into the body, into `storage` or into a region. */
struct rk_wire_request {
    struct rk_request request;
    char id[256];        /* "" = none */
    uint64_t timeout_ns; /* of the request; 0 = none */

    /* The outputs in the requested order, and the form of each. */
    unsigned output[RK_OUT_COUNT];
    size_t outputs;
    bool binary[RK_OUT_COUNT];  /* after the JSON */
    void *region[RK_OUT_COUNT]; /* written there instead; NULL = not */
    size_t region_bytes[RK_OUT_COUNT];
    bool region_on_device[RK_OUT_COUNT];

    void *storage[RK_IN_COUNT]; /* tensors that were sent as JSON; NULL: sent otherwise */
    size_t storage_bytes;       /* of all of them, reserved in `budget` */
    struct rk_budget *budget;
};

/* What a request is parsed from. */
struct rk_wire_source {
    const void *body; /* `bytes` bytes, the first `json_bytes` JSON, the rest binary tensors in input order */
    size_t bytes, json_bytes;
    struct rk_region_finder *finder; /* NULL: shared memory is switched off (RANKD_UNSUPPORTED) */
    struct rk_budget *budget;        /* where tensors sent as JSON are reserved; NULL: nowhere */
    size_t held;                     /* what the request has reserved there before */
    uint64_t received_ns;            /* CLOCK_MONOTONIC; a timeout in the request counts from there */
    uint64_t deadline_ns;            /* of the request, beside that; 0 = none */
};

/* The request borrows the body and the budget: keep them until rk_wire_request_clear(). The caller
 * has limited json_bytes. Names, types, sizes and the types of parameters are checked here; values
 * are checked by rk_engine_run(). RANKD_DEADLINE; RANKD_TOO_LARGE and RANKD_OVERLOADED as
 * rk_budget_reserve(). After a failure nothing needs clearing; clearing is allowed. */
enum rankd_status rk_wire_request_parse(struct rk_wire_request *wire, const struct rk_model *model,
                                        const struct rk_wire_source *source, struct rk_err *err)
    __attribute__((warn_unused_result));

/* When a request has to be answered: the earlier of `deadline_ns` (0 = none) and its own
 * timeout. */
uint64_t rk_wire_deadline(uint64_t received_ns, uint64_t timeout_ns, uint64_t deadline_ns);

/* Refuses a raw request (Inference-Header-Content-Length 0: no JSON). Triton allows it for models
 * with one input; rankd has no such model. */
enum rankd_status rk_wire_request_refuse_raw(const struct rk_model *model, struct rk_err *err);

void rk_wire_request_clear(struct rk_wire_request *wire);

#endif
