/* SPDX-License-Identifier: Apache-2.0 */
/* The loop over io_uring: one ring, one submission for all that is to be started and waited for. */
#include "ring/loop.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/uring.h"

/* Entries are submitted when the queue is full, so this bounds a batch, not the number of
 * connections. */
enum { QUEUE = 256 };

struct uring_loop {
    struct rk_loop base;
    struct io_uring ring;
};

static struct io_uring_sqe *entry(struct uring_loop *loop)
{
    struct io_uring_sqe *sqe;
    while ((sqe = io_uring_get_sqe(&loop->ring)) == NULL)
        (void)io_uring_submit(&loop->ring);
    return sqe;
}

static void uring_start(struct rk_loop *base, struct rk_op *op)
{
    struct io_uring_sqe *sqe = entry((struct uring_loop *)base);
    switch (op->kind) {
    case RK_OP_ACCEPT:
        io_uring_prep_multishot_accept(sqe, op->fd, NULL, NULL, SOCK_CLOEXEC);
        break;
    case RK_OP_RECEIVE:
        io_uring_prep_recv(sqe, op->fd, op->data, op->bytes, 0);
        break;
    case RK_OP_SEND:
        io_uring_prep_send(sqe, op->fd, op->data, op->bytes, MSG_NOSIGNAL);
        break;
    default:
        io_uring_prep_poll_add(sqe, op->fd, POLLIN);
        break;
    }
    io_uring_sqe_set_data(sqe, op);
}

static void uring_cancel(struct rk_loop *base, struct rk_op *op)
{
    struct io_uring_sqe *sqe = entry((struct uring_loop *)base);
    io_uring_prep_cancel(sqe, op, 0);
    io_uring_sqe_set_data(sqe, NULL); /* the operation itself reports the result */
}

static unsigned drain(struct uring_loop *loop)
{
    unsigned count = 0;
    struct io_uring_cqe *cqe;
    while (io_uring_peek_cqe(&loop->ring, &cqe) == 0) {
        struct rk_op *op = io_uring_cqe_get_data(cqe);
        int result = cqe->res;
        unsigned flags = cqe->flags;
        io_uring_cqe_seen(&loop->ring, cqe);
        if (op != NULL) {
            /* A multishot accept that ran out of something ends without the flag. */
            op->pending = (flags & IORING_CQE_F_MORE) != 0;
            op->done(op, result);
            count++;
        }
    }
    return count;
}

static unsigned wait_for(struct rk_loop *base, uint64_t timeout_ns)
{
    struct uring_loop *loop = (struct uring_loop *)base;
    struct io_uring_cqe *cqe;
    if (timeout_ns == 0) {
        (void)io_uring_submit(&loop->ring);
    } else if (timeout_ns == UINT64_MAX) {
        (void)io_uring_submit_and_wait(&loop->ring, 1);
    } else {
        struct __kernel_timespec limit = {(long long)(timeout_ns / 1000000000u),
                                          (long long)(timeout_ns % 1000000000u)};
        (void)io_uring_submit_and_wait_timeout(&loop->ring, &cqe, 1, &limit, NULL);
    }
    return drain(loop);
}

static void free_loop(struct rk_loop *base)
{
    struct uring_loop *loop = (struct uring_loop *)base;
    io_uring_queue_exit(&loop->ring);
    free(loop);
}

static const struct rk_loop_kind uring_kind = {"io_uring", uring_start, uring_cancel, wait_for, free_loop};

struct rk_loop *rk_loop_uring_new(struct rk_err *err, int *reason)
{
    struct uring_loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL) {
        *reason = ENOMEM;
        rk_fail(err, RANKD_OVERLOADED, "out of memory for the ring's event loop");
        return NULL;
    }
    loop->base.kind = &uring_kind;
    loop->base.wake_fd = -1;
    /* Completions are handed over when the loop enters the kernel, without an interrupt; the flag
     * in shared memory says when it is worth entering, so a check costs one load. Both need Linux
     * 5.19, as does the multishot accept. */
    int rc = rk_uring_open(&loop->ring, QUEUE, IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
    if (rc < 0) {
        *reason = -rc;
        rk_fail(err, RANKD_INTERNAL, "io_uring: %s", strerror(-rc));
        free(loop);
        return NULL;
    }
    return &loop->base;
}
