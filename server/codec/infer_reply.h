/* SPDX-License-Identifier: Apache-2.0 */
/* A struct rk_reply in the format of the Open Inference Protocol: JSON, then binary tensors. */
#ifndef RK_CODEC_INFER_REPLY_H
#define RK_CODEC_INFER_REPLY_H

#include "base/text.h"
#include "codec/infer_request.h"

/* Sets the memory of outputs that go to shared memory regions in *reply. Called before
 * rk_engine_run(). */
void rk_wire_reply_prepare(const struct rk_wire_request *wire, struct rk_reply *reply);

/* The parts of a body in order: parts[0] is JSON, the others are outputs of *reply, borrowed. */
struct rk_wire_part {
    const void *data;
    size_t bytes;
};
struct rk_wire_reply {
    struct rk_text json;
    struct rk_wire_part part[1 + RK_OUT_COUNT];
    size_t parts;
    size_t appended; /* offset in the JSON for the appended version; 0: none */
    bool binary;     /* binary tensors follow, so Inference-Header-Content-Length is needed */
};

/* Upper bound of the bytes for writing the reply, and for compressing it if `packed`. For the
 * budget, before the request is computed. Saturates at SIZE_MAX. */
size_t rk_wire_reply_cost(const struct rk_wire_request *wire, bool packed);

/* Writes the reply except for the version that is known only after the append. RANKD_OVERLOADED if
 * out of memory; then nothing needs clearing. */
enum rankd_status rk_wire_reply_write(struct rk_wire_reply *out, const struct rk_wire_request *wire,
                                      const struct rk_reply *reply, struct rk_err *err)
    __attribute__((warn_unused_result));
/* Inserts info->bank_version_appended, if any. It can't fail, because the append has happened
 * already. */
void rk_wire_reply_complete(struct rk_wire_reply *out, const struct rk_info *info);
/* Bytes of all parts. */
size_t rk_wire_reply_bytes(const struct rk_wire_reply *out);
/* All parts in one buffer of `bytes` = rk_wire_reply_bytes(), which the caller frees. NULL: out of
 * memory. */
void *rk_wire_reply_join(const struct rk_wire_reply *out, size_t bytes) __attribute__((warn_unused_result));
void rk_wire_reply_clear(struct rk_wire_reply *out);

#endif
