/* An inference request as the Open Inference Protocol writes it, JSON or JSON with binary tensors behind it,
 * into a struct rk_request. */
#ifndef RK_CODEC_INFER_REQUEST_H
#define RK_CODEC_INFER_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/budget.h"
#include "request/request.h"

/* Where tensors in registered shared memory are found; the transport that has regions brings one. */
enum rk_region_use { RK_REGION_READ, RK_REGION_WRITE };
struct rk_region_finder {
    /* Memory of the request for `bytes` bytes at `offset` in the region, valid until the request is over:
     * what stands there, or room for what is to stand there. NULL with *err set; `what` is whose it is, for
     * the sentence ("input scores"). *on_device: it is an address on the device. */
    void *(*find)(struct rk_region_finder *finder, const char *region, size_t offset, size_t bytes,
                  enum rk_region_use use, const char *what, bool *on_device, struct rk_err *err);
};

/* A parsed request. Everything in it that is pointed to lives in the body, in `storage`, or in a region. */
struct rk_wire_request {
    struct rk_request request;
    char id[256];        /* "" = none */
    uint64_t timeout_ns; /* the request's own; 0 = none */

    /* The outputs in the order in which they were asked for, and how each is to be sent. */
    unsigned output[RK_OUT_COUNT];
    size_t outputs;
    bool binary[RK_OUT_COUNT];  /* after the JSON */
    void *region[RK_OUT_COUNT]; /* written there instead; NULL = not */
    size_t region_bytes[RK_OUT_COUNT];
    bool region_on_device[RK_OUT_COUNT];

    void *storage[RK_IN_COUNT]; /* tensors that came as JSON; NULL: it came otherwise */
    size_t storage_bytes;       /* of all of them, reserved in `budget` */
    struct rk_budget *budget;
};

/* What a request is parsed from. */
struct rk_wire_source {
    const void *body; /* `bytes` bytes, the first `json_bytes` JSON, the rest binary tensors in input order */
    size_t bytes, json_bytes;
    struct rk_region_finder *finder; /* NULL: shared memory is switched off (RANKD_UNSUPPORTED) */
    struct rk_budget *budget;        /* where tensors that come as JSON are reserved; NULL: nowhere */
    size_t held;                     /* what the request has reserved there before */
};

/* The request borrows the body and the budget: keep them until rk_wire_request_clear(). The caller has
 * limited json_bytes. Names, types, sizes and the types of parameters are checked here; what values mean is
 * checked by rk_engine_run(). RANKD_TOO_LARGE and RANKD_OVERLOADED as rk_budget_reserve(). After a failure
 * nothing needs clearing, though it does no harm. */
enum rankd_status rk_wire_request_parse(struct rk_wire_request *wire, const struct rk_model *model,
                                        const struct rk_wire_source *source, struct rk_err *err)
    __attribute__((warn_unused_result));

/* A request whose header says that nothing is JSON (Inference-Header-Content-Length 0) is a raw one: Triton
 * allows it for models with one input; rankd has no such model, and says so. */
enum rankd_status rk_wire_request_refuse_raw(const struct rk_model *model, struct rk_err *err);

void rk_wire_request_clear(struct rk_wire_request *wire);

#endif
