/* SPDX-License-Identifier: Apache-2.0 */
/* The event loop of the ring: accept, receive, send, poll, wake-ups and a bounded wait, over
 * io_uring or epoll.
 *
 * An operation is started, and its `done` is called once (an accept: once per connection until
 * cancelled) from rk_loop_wait() on the thread of the loop. Until then the loop borrows the struct
 * and its buffer. All functions except rk_loop_wake() must be called on that thread. */
#ifndef RK_RING_LOOP_H
#define RK_RING_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "config/config.h" /* RK_IO_* */

struct rk_op {
    int fd;
    void *data; /* receive: destination; send: source */
    size_t bytes;
    /* `result`: accept: the new fd (close-on-exec); receive, send: bytes, 0 at end of file; poll: >
     * 0; or
     * -errno, -ECANCELED after rk_loop_cancel(). `data` may be reused and the struct freed from here. */
    void (*done)(struct rk_op *op, int result);
    bool pending; /* started and `done` not called yet. This and the rest belong to the loop */
    unsigned char kind;
    bool known;    /* epoll: the fd is in its set */
    bool finished; /* epoll: completed without an event; `done` is called at the next wait */
    int result;
    struct rk_op *next;
};

struct rk_loop {
    const struct rk_loop_kind *kind;
    int wake_fd; /* an eventfd of the daemon; clients have no access */
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

/* NULL with *err and errno in *reason if the kernel refuses. */
struct rk_loop *rk_loop_uring_new(struct rk_err *err, int *reason);
struct rk_loop *rk_loop_epoll_new(struct rk_err *err, int *reason);

/* RK_IO_AUTO uses io_uring, or epoll if io_uring is refused for any reason; then `note` has a
 * sentence for the log, else it is "". NULL with *err on failure. */
struct rk_loop *rk_loop_new(int io, char *note, size_t note_bytes, struct rk_err *err);
void rk_loop_free(struct rk_loop *loop); /* NULL is fine; pending operations are dropped */
const char *rk_loop_name(const struct rk_loop *loop);

/* `op` must have fd, done and, for receive and send, data and bytes. Sends on sockets raise no
 * SIGPIPE. The kernel drops a file descriptor that comes with a packet, because receives offer no
 * room for it. */
void rk_loop_accept(struct rk_loop *loop, struct rk_op *op);
void rk_loop_receive(struct rk_loop *loop, struct rk_op *op);
void rk_loop_send(struct rk_loop *loop, struct rk_op *op);
void rk_loop_poll(struct rk_loop *loop, struct rk_op *op); /* readable */

/* `done` is called with -ECANCELED, or with a result that came first. Does nothing if `op` is not
 * pending. */
void rk_loop_cancel(struct rk_loop *loop, struct rk_op *op);

/* Calls `done` of completed operations; sleeps up to `timeout_ns` for the first (0: no sleep;
 * UINT64_MAX: no limit). Returns the number of completions. */
unsigned rk_loop_wait(struct rk_loop *loop, uint64_t timeout_ns);

/* Ends a wait. Any thread. */
void rk_loop_wake(struct rk_loop *loop);

#endif
