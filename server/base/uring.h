/* SPDX-License-Identifier: Apache-2.0 */
/* Opening an io_uring where the kernel may refuse it, in whatever way. */
#ifndef RK_BASE_URING_H
#define RK_BASE_URING_H

#include <liburing.h>

/* A ring of that many entries (`flags`: IORING_SETUP_*) that has carried out an operation: a filter may let
 * the ring be made and refuse its use. 0, or -errno with nothing left open; any errno, for security modules,
 * filters, limits and old kernels each have their own. */
int rk_uring_open(struct io_uring *ring, unsigned entries, unsigned flags)
    __attribute__((warn_unused_result));

#endif
