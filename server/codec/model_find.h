/* SPDX-License-Identifier: Apache-2.0 */
/* Look-up of models by name. */
#ifndef RK_CODEC_MODEL_FIND_H
#define RK_CODEC_MODEL_FIND_H

#include "request/request.h"

/* NULL with RANKD_NOT_FOUND and a sentence with the nearest name if the name is unknown. */
const struct rk_model *rk_model_find_or_fail(const char *name, struct rk_err *err)
    __attribute__((warn_unused_result));

#endif
