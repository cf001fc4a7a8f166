/* SPDX-License-Identifier: Apache-2.0 */
/* Opens an io_uring where the kernel may refuse it, in any way. */
#ifndef RK_BASE_URING_H
#define RK_BASE_URING_H

#include <liburing.h>

/* A ring of that many entries (`flags`: IORING_SETUP_*) that has carried out one operation, because
 * a filter may allow the creation of a ring and refuse its use. 0, or -errno with nothing left
 * open. Security modules, filters, limits and old kernels return different errors. */
int rk_uring_open(struct io_uring *ring, unsigned entries, unsigned flags)
    __attribute__((warn_unused_result));

#endif
