/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of a retrieval request's inputs against each other and against the bank. */
#ifndef RK_RETRIEVAL_CHECK_H
#define RK_RETRIEVAL_CHECK_H

#include <stdbool.h>

#include "request/request.h"

/* Shapes, the bank's dimension and kind, the mask's values, limits. RANKD_INVALID or
 * RANKD_TOO_LARGE, naming the field. */
enum rankd_status rk_retrieval_check(const struct rk_request *request, struct rk_err *err)
    __attribute__((warn_unused_result));

/* True if the memory of a request can be counted in bytes; larger requests are refused. Any request
 * may be asked about. */
bool rk_retrieval_measurable(const struct rk_request *request) __attribute__((warn_unused_result));

#endif
