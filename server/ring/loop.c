/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/loop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void begin_operation(struct rk_loop *loop, struct rk_op *op, unsigned char kind)
{
    op->kind = kind;
    op->pending = true;
    loop->kind->start(loop, op);
}

void rk_loop_accept(struct rk_loop *loop, struct rk_op *op)
{
    begin_operation(loop, op, RK_OP_ACCEPT);
}

void rk_loop_receive(struct rk_loop *loop, struct rk_op *op)
{
    begin_operation(loop, op, RK_OP_RECEIVE);
}

void rk_loop_send(struct rk_loop *loop, struct rk_op *op)
{
    begin_operation(loop, op, RK_OP_SEND);
}

void rk_loop_poll(struct rk_loop *loop, struct rk_op *op)
{
    begin_operation(loop, op, RK_OP_POLL);
}

void rk_loop_cancel(struct rk_loop *loop, struct rk_op *op)
{
    if (op->pending)
        loop->kind->cancel(loop, op);
}

unsigned rk_loop_wait(struct rk_loop *loop, uint64_t timeout_ns)
{
    return loop->kind->wait(loop, timeout_ns);
}

const char *rk_loop_name(const struct rk_loop *loop)
{
    return loop->kind->name;
}

void rk_loop_wake(struct rk_loop *loop)
{
    uint64_t one = 1;
    /* The only way to fail is a full counter, and then a wake-up is pending already. */
    (void)!write(loop->wake_fd, &one, sizeof one);
}

static void woken(struct rk_op *op, int result)
{
    struct rk_loop *loop = (struct rk_loop *)((char *)op - offsetof(struct rk_loop, wake_op));
    if (result != -ECANCELED) {
        (void)!read(loop->wake_fd, &loop->wake_count, sizeof loop->wake_count);
        rk_loop_poll(loop, op);
    }
}

static struct rk_loop *with_wake(struct rk_loop *loop, struct rk_err *err)
{
    if (loop == NULL)
        return NULL;
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wake_fd < 0) {
        rk_fail(err, RANKD_INTERNAL, "eventfd: %s", strerror(errno));
        rk_loop_free(loop);
        return NULL;
    }
    loop->wake_op = (struct rk_op){.fd = loop->wake_fd, .done = woken};
    rk_loop_poll(loop, &loop->wake_op);
    return loop;
}

struct rk_loop *rk_loop_new(int io, char *note, size_t note_bytes, struct rk_err *err)
{
    int reason = 0;
    note[0] = '\0';
    if (io == RK_IO_EPOLL)
        return with_wake(rk_loop_epoll_new(err, &reason), err);
    struct rk_err refused = {0};
    struct rk_loop *loop = rk_loop_uring_new(&refused, &reason);
    if (loop == NULL && io != RK_IO_AUTO) {
        *err = refused;
        return NULL;
    }
    if (loop == NULL) {
        (void)snprintf(note, note_bytes, "io_uring is refused here (%s), the ring uses epoll",
                       strerror(reason));
        loop = rk_loop_epoll_new(err, &reason);
    }
    return with_wake(loop, err);
}

void rk_loop_free(struct rk_loop *loop)
{
    if (loop == NULL)
        return;
    if (loop->wake_fd >= 0)
        (void)close(loop->wake_fd);
    loop->kind->free(loop);
}
