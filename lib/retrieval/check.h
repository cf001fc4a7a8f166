/* What the inputs of a retrieval request have to do with each other and with the bank. */
#ifndef RK_RETRIEVAL_CHECK_H
#define RK_RETRIEVAL_CHECK_H

#include <stdbool.h>

#include "request/request.h"

/* Shapes, the bank's dimension and kind, the mask's values, limits. RANKD_INVALID or RANKD_TOO_LARGE, naming
 * the field. */
enum rankd_status rk_retrieval_check(const struct rk_request *request, struct rk_err *err)
    __attribute__((warn_unused_result));

/* True if no product of its sizes overflows. What is larger is refused; not all else is in order. Any request
 * may be asked about. */
bool rk_retrieval_measurable(const struct rk_request *request) __attribute__((warn_unused_result));

#endif
