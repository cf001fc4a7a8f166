/* SPDX-License-Identifier: Apache-2.0 */
/* The loop over epoll: turns readiness into completions by making the call. */
#include "ring/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 64 };

struct epoll_loop {
    struct rk_loop base;
    int fd;
    struct rk_op *finished; /* completed without an event: reported by the next wait */
};

static void finish_later(struct epoll_loop *loop, struct rk_op *op, int result)
{
    op->result = result;
    op->finished = true;
    op->next = loop->finished;
    loop->finished = op;
}

static void watch(struct epoll_loop *loop, struct rk_op *op, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = op};
    op->known = epoll_ctl(loop->fd, EPOLL_CTL_ADD, op->fd, &event) == 0;
    if (!op->known)
        finish_later(loop, op, -errno);
}

static void forget(struct epoll_loop *loop, struct rk_op *op)
{
    if (op->known)
        (void)epoll_ctl(loop->fd, EPOLL_CTL_DEL, op->fd, NULL);
    op->known = false;
}

/* A socket can be in the set only once, and there it waits for packets. So a send that has to wait
 * uses a duplicate of the descriptor until it is done. */
static void send_now_or_later(struct epoll_loop *loop, struct rk_op *op)
{
    ssize_t n = send(op->fd, op->data, op->bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0 || errno != EAGAIN) {
        finish_later(loop, op, n >= 0 ? (int)n : -errno);
        return;
    }
    op->fd = dup(op->fd);
    if (op->fd < 0)
        finish_later(loop, op, -errno);
    else
        watch(loop, op, EPOLLOUT);
}

static void epoll_start(struct rk_loop *base, struct rk_op *op)
{
    struct epoll_loop *loop = (struct epoll_loop *)base;
    if (op->kind == RK_OP_SEND)
        send_now_or_later(loop, op);
    else if (!op->known)
        watch(loop, op, EPOLLIN);
}

static void end_of_twin(struct rk_op *op)
{
    if (op->kind == RK_OP_SEND)
        (void)close(op->fd);
}

static void epoll_cancel(struct rk_loop *base, struct rk_op *op)
{
    struct epoll_loop *loop = (struct epoll_loop *)base;
    if (op->finished)
        return;
    forget(loop, op);
    end_of_twin(op);
    finish_later(loop, op, -ECANCELED);
}

/* One attempt; -EAGAIN if the event was spurious. */
static int attempt(const struct rk_op *op)
{
    ssize_t n = 1;
    if (op->kind == RK_OP_ACCEPT)
        n = accept4(op->fd, NULL, NULL, SOCK_CLOEXEC);
    else if (op->kind == RK_OP_RECEIVE)
        n = recv(op->fd, op->data, op->bytes, MSG_DONTWAIT);
    else if (op->kind == RK_OP_SEND)
        n = send(op->fd, op->data, op->bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? -errno : (int)n;
}

static unsigned happened(struct epoll_loop *loop, struct rk_op *op)
{
    if (!op->pending || op->finished)
        return 0;
    int result = attempt(op);
    if (result == -EAGAIN || result == -EINTR)
        return 0;
    op->pending = op->kind == RK_OP_ACCEPT && result >= 0;
    /* An accept stays in the set, and so does a socket that is read again soon. Others would be
     * reported again and again. */
    bool stays = op->pending || (op->kind == RK_OP_RECEIVE && result > 0);
    if (!stays) {
        forget(loop, op);
        end_of_twin(op);
    }
    op->done(op, result);
    return 1;
}

static unsigned tell_finished(struct epoll_loop *loop)
{
    unsigned count = 0;
    while (loop->finished != NULL) {
        struct rk_op *op = loop->finished;
        loop->finished = op->next;
        op->finished = false;
        op->pending = false;
        count++;
        op->done(op, op->result);
    }
    return count;
}

static int milliseconds(const struct epoll_loop *loop, uint64_t timeout_ns)
{
    if (loop->finished != NULL || timeout_ns == 0)
        return 0;
    if (timeout_ns > UINT64_C(3600000000000))
        return -1;
    return (int)((timeout_ns + 999999) / 1000000);
}

static unsigned wait_for(struct rk_loop *base, uint64_t timeout_ns)
{
    struct epoll_loop *loop = (struct epoll_loop *)base;
    struct epoll_event events[BATCH];
    int n = epoll_wait(loop->fd, events, BATCH, milliseconds(loop, timeout_ns));
    unsigned count = 0;
    for (int i = 0; i < n; i++)
        count += happened(loop, events[i].data.ptr);
    return count + tell_finished(loop);
}

static void free_loop(struct rk_loop *base)
{
    struct epoll_loop *loop = (struct epoll_loop *)base;
    (void)close(loop->fd);
    free(loop);
}

static const struct rk_loop_kind epoll_kind = {"epoll", epoll_start, epoll_cancel, wait_for, free_loop};

struct rk_loop *rk_loop_epoll_new(struct rk_err *err, int *reason)
{
    struct epoll_loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL) {
        *reason = ENOMEM;
        rk_fail(err, RANKD_OVERLOADED, "out of memory for the ring's event loop");
        return NULL;
    }
    loop->base.kind = &epoll_kind;
    loop->base.wake_fd = -1;
    loop->fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->fd < 0) {
        *reason = errno;
        rk_fail(err, RANKD_INTERNAL, "epoll_create1: %s", strerror(errno));
        free(loop);
        return NULL;
    }
    return &loop->base;
}
