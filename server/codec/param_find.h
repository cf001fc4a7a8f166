/* SPDX-License-Identifier: Apache-2.0 */
/* Look-up of parameters by name. */
#ifndef RK_CODEC_PARAM_FIND_H
#define RK_CODEC_PARAM_FIND_H

#include "request/request.h"

/* NULL with RANKD_INVALID and a sentence with the nearest parameter of the model if the name is
 * unknown. */
const struct rk_param_row *rk_param_find_or_fail(const struct rk_model *model, const char *name,
                                                 struct rk_err *err) __attribute__((warn_unused_result));

#endif
