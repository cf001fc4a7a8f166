/* A struct rk_reply as the Open Inference Protocol writes it: JSON, and binary tensors behind it. */
#ifndef RK_CODEC_INFER_REPLY_H
#define RK_CODEC_INFER_REPLY_H

#include "base/text.h"
#include "codec/infer_request.h"

/* Puts the caller's memory for outputs in shared memory regions into *reply, before rk_engine_run(). */
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
    size_t appended; /* where in the JSON the version that was appended is to be put; 0: nowhere */
    bool binary;     /* there is more than JSON: Inference-Header-Content-Length is needed */
};

/* Upper bound of the bytes that writing the reply takes, and compressing it where it is `packed`: for
 * budgets, before the request is computed. Saturates at SIZE_MAX. */
size_t rk_wire_reply_cost(const struct rk_wire_request *wire, bool packed);

/* Writes the reply to the request, all but what is known only when its batch was appended to a bank.
 * RANKD_OVERLOADED if out of memory; then nothing needs clearing. */
enum rankd_status rk_wire_reply_write(struct rk_wire_reply *out, const struct rk_wire_request *wire,
                                      const struct rk_reply *reply, struct rk_err *err)
    __attribute__((warn_unused_result));
/* Puts in what was left out: info->bank_version_appended, if any. It can't fail: the effect is there already.
 */
void rk_wire_reply_complete(struct rk_wire_reply *out, const struct rk_info *info);
void rk_wire_reply_clear(struct rk_wire_reply *out);

#endif
