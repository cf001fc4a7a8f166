/* SPDX-License-Identifier: Apache-2.0 */
/* --detach: the process that was started stays until the daemon in the background takes requests or gives up,
 * and ends with its exit status. */
#ifndef RK_DETACH_H
#define RK_DETACH_H

#include "base/err.h"

/* Forks: before any thread is started. Returns in the background process alone, which leads a
 * session of its own. On failure there is only the process that called. */
enum rankd_status rk_detach_begin(struct rk_err *err) __attribute__((warn_unused_result));

/* Lets the process that waits end with `status`. Does nothing without rk_detach_begin(). A
 * background process that ends without this counts as a failure. */
void rk_detach_end(unsigned char status);

#endif
