/* An inference request as the Open Inference Protocol writes it, JSON or JSON with binary tensors behind it,
 * into a struct rk_request. */
#ifndef RK_CODEC_INFER_REQUEST_H
#define RK_CODEC_INFER_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

    void *storage; /* tensors that came as JSON */
};

/* Bytes of `storage` for a request with so much JSON. */
size_t rk_wire_storage(size_t json_bytes);

/* Parses `bytes` bytes at `body`, of which the first `json_bytes` are JSON and the rest binary tensors in
 * input order. The request borrows the body: keep it until rk_wire_request_clear(). `finder` NULL: shared
 * memory is switched off (RANKD_UNSUPPORTED). The caller has limited json_bytes. Names, types, sizes and the
 * types of parameters are checked here; what values mean is checked by rk_engine_run(). After a failure
 * nothing needs clearing, though it does no harm. */
enum rankd_status rk_wire_request_parse(struct rk_wire_request *wire, const struct rk_model *model,
                                        const void *body, size_t bytes, size_t json_bytes,
                                        struct rk_region_finder *finder, struct rk_err *err)
    __attribute__((warn_unused_result));

/* A request whose header says that nothing is JSON (Inference-Header-Content-Length 0) is a raw one: Triton
 * allows it for models with one input; rankd has no such model, and says so. */
enum rankd_status rk_wire_request_refuse_raw(const struct rk_model *model, struct rk_err *err);

void rk_wire_request_clear(struct rk_wire_request *wire);

#endif
