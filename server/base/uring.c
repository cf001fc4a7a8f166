/* SPDX-License-Identifier: Apache-2.0 */
#include "base/uring.h"

#include <errno.h>

static int try_once(struct io_uring *ring)
{
    struct io_uring_cqe *cqe;
    io_uring_prep_nop(io_uring_get_sqe(ring)); /* an empty queue has an entry */
    int code = io_uring_submit(ring);
    if (code >= 0) {
        do
            code = io_uring_wait_cqe(ring, &cqe);
        while (code == -EINTR);
    }
    if (code < 0)
        return code;
    code = cqe->res;
    io_uring_cqe_seen(ring, cqe);
    return code;
}

int rk_uring_open(struct io_uring *ring, unsigned entries, unsigned flags)
{
    int code = io_uring_queue_init(entries, ring, flags);
    if (code < 0)
        return code;
    code = try_once(ring);
    if (code < 0)
        io_uring_queue_exit(ring);
    return code;
}
