/* SPDX-License-Identifier: Apache-2.0 */
/* A request that repeats the JSON of the one before. A training loop sends the same names, shapes
 * and parameters at each step and other tensors behind them; parsing these few hundred bytes takes
 * as long as computing 32 lists of 64 scores. So a connection keeps what its last request was
 * parsed to. */
#ifndef RK_CODEC_REPEAT_H
#define RK_CODEC_REPEAT_H

#include "codec/infer_request.h"

/* All zeros: nothing is kept. */
struct rk_repeat {
    char *json; /* NULL: nothing is kept; malloc'ed */
    size_t json_bytes;
    size_t bytes;                 /* of the JSON and the tensors behind it */
    struct rk_wire_request *wire; /* without addresses of tensors; malloc'ed */
    size_t offset[RK_IN_COUNT];   /* of each tensor in the body; 0: it was not sent */
};

/* If the source has the JSON and the size of the kept request, and the model is the same: fills
 * *wire as rk_wire_request_parse() would, and returns true. */
bool rk_repeat_take(const struct rk_repeat *repeat, struct rk_wire_request *wire,
                    const struct rk_model *model, const struct rk_wire_source *source)
    __attribute__((warn_unused_result));

/* Keeps a request that was just parsed from the source, in place of the one before. Nothing is kept
 * without memory, of a long JSON, or of tensors that do not all lie in the body. */
void rk_repeat_keep(struct rk_repeat *repeat, const struct rk_wire_request *wire,
                    const struct rk_wire_source *source);

void rk_repeat_free(struct rk_repeat *repeat);

#endif
