/* From an inference request of the Open Inference Protocol (JSON, or JSON and binary tensors) to a struct
 * rk_request. */
#ifndef RK_CODEC_INFER_REQUEST_H
#define RK_CODEC_INFER_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "request/request.h"

/* Finds tensors in registered shared memory. Given by a transport with regions. */
enum rk_region_use { RK_REGION_READ, RK_REGION_WRITE };
struct rk_region_finder {
    /* Memory for `bytes` bytes at `offset` in the region, valid until the end of the request: a copy of the
     * content, or room for an output. NULL with *err set; `what` names the tensor in the sentence ("input
     * scores"). *on_device: the result is an address on the device. */
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

    void *storage; /* tensors given as JSON */
};

/* Bytes of `storage` for a request with `json_bytes` of JSON. */
size_t rk_wire_storage(size_t json_bytes);

/* Parses `bytes` bytes at `body`, of which the first `json_bytes` are JSON and the rest binary tensors in
 * input order. The request borrows the body: keep it until rk_wire_request_clear(). `finder` NULL: shared
 * memory is switched off (RANKD_UNSUPPORTED). The caller limits json_bytes. Names, types, sizes and the types
 * of parameters are checked here, values by rk_engine_run(). After a failure clearing is allowed and not
 * needed. */
enum rankd_status rk_wire_request_parse(struct rk_wire_request *wire, const struct rk_model *model,
                                        const void *body, size_t bytes, size_t json_bytes,
                                        struct rk_region_finder *finder, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Refuses a raw request (Inference-Header-Content-Length 0: no JSON). Triton allows it for models with one
 * input; rankd has no such model. */
enum rankd_status rk_wire_request_refuse_raw(const struct rk_model *model, struct rk_err *err);

void rk_wire_request_clear(struct rk_wire_request *wire);

#endif
