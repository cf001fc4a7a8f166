/* The ring's event loop: accept, receive, send, poll, wake-ups and a bounded wait, over io_uring or epoll.
 *
 * An operation is started, and its `done` is called once (an accept: once per connection until cancelled)
 * from rk_loop_wait() on the loop's thread. Until then the loop borrows the struct and its buffer. All
 * functions but rk_loop_wake() belong to the loop's thread. */
#ifndef RK_RING_LOOP_H
#define RK_RING_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "config/config.h" /* RK_IO_* */

struct rk_op {
    int fd;
    void *data; /* receive: where to; send: from where */
    size_t bytes;
    /* `result`: accept: the new fd (close-on-exec); receive, send: bytes, 0 at end of file; poll: > 0; or
     * -errno, -ECANCELED after rk_loop_cancel(). `data` may be reused and the struct freed from here. */
    void (*done)(struct rk_op *op, int result);
    bool pending; /* started, and `done` still to come. This and the rest are the loop's */
    unsigned char kind;
    bool known;    /* epoll: the fd is in its set */
    bool finished; /* epoll: completed without an event, in the list of those to tell */
    int result;
    struct rk_op *next;
};

struct rk_loop {
    const struct rk_loop_kind *kind;
    int wake_fd; /* the daemon's own eventfd; no client ever sees it */
    uint64_t wake_count;
    struct rk_op wake_op;
};

/* The two implementations. */
struct rk_loop_kind {
    const char *name;
    void (*start)(struct rk_loop *loop, struct rk_op *op);
    void (*cancel)(struct rk_loop *loop, struct rk_op *op);
    unsigned (*wait)(struct rk_loop *loop, uint64_t timeout_ns);
    void (*free)(struct rk_loop *loop);
};
enum { RK_OP_ACCEPT, RK_OP_RECEIVE, RK_OP_SEND, RK_OP_POLL };

/* NULL and *err (with errno in *reason) where the kernel refuses. */
struct rk_loop *rk_loop_uring_new(struct rk_err *err, int *reason);
struct rk_loop *rk_loop_epoll_new(struct rk_err *err, int *reason);

/* RK_IO_AUTO takes io_uring, and epoll where that is refused, for whatever reason; `note` then has one
 * sentence for the log, else it is "". NULL and *err on failure. */
struct rk_loop *rk_loop_new(int io, char *note, size_t note_bytes, struct rk_err *err);
void rk_loop_free(struct rk_loop *loop); /* NULL is fine; operations that are pending are forgotten */
const char *rk_loop_name(const struct rk_loop *loop);

/* `op` must have fd, done and, for receive and send, data and bytes. Sockets' sends raise no SIGPIPE. A fd
 * that was passed along with a packet is dropped by the kernel, because no room for it is offered. */
void rk_loop_accept(struct rk_loop *loop, struct rk_op *op);
void rk_loop_receive(struct rk_loop *loop, struct rk_op *op);
void rk_loop_send(struct rk_loop *loop, struct rk_op *op);
void rk_loop_poll(struct rk_loop *loop, struct rk_op *op); /* readable */

/* `done` will be called with -ECANCELED, or with a result that came first. Fine if nothing is pending. */
void rk_loop_cancel(struct rk_loop *loop, struct rk_op *op);

/* Calls `done` of what has completed; sleeps up to `timeout_ns` for the first (0: does not sleep; UINT64_MAX:
 * without end). Returns how many completed. */
unsigned rk_loop_wait(struct rk_loop *loop, uint64_t timeout_ns);

/* Ends a wait. From any thread. */
void rk_loop_wake(struct rk_loop *loop);

#endif
