/* SPDX-License-Identifier: Apache-2.0 */
/* Errors: a status and one sentence that names the field, its value and the allowed values. */
#ifndef RK_BASE_ERR_H
#define RK_BASE_ERR_H

#include "rankd_status.h"

#define RK_ERR_TEXT 512

/* Zero-initialise before use. `text` is always NUL-terminated. */
struct rk_err {
    enum rankd_status status;
    char text[RK_ERR_TEXT];
};

/* Records the error unless one is recorded already: the first message wins, because it is nearest
 * to the cause. Returns the recorded status, so that a failing function can `return rk_fail(err,
 * …)`. `err` may not be NULL. Text that does not fit is cut at RK_ERR_TEXT - 1 bytes. */
enum rankd_status rk_fail(struct rk_err *err, enum rankd_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
