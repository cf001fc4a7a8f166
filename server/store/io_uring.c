/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>

#include "base/uring.h"
#include "store/io.h"

/* A write and a sync may run at the same time on two threads, and a ring belongs to one thread, so
 * each has its own. */
struct uring {
    struct rk_io io;
    struct io_uring writes, syncs;
};

/* Submits the one prepared entry and waits for it: its result, or -errno. */
static int run(struct io_uring *ring)
{
    struct io_uring_cqe *cqe;
    int code = io_uring_submit(ring);
    while (code >= 0 && (code = io_uring_wait_cqe(ring, &cqe)) == -EINTR)
        code = 0;
    if (code < 0)
        return code;
    int result = cqe->res;
    io_uring_cqe_seen(ring, cqe);
    return result;
}

static int uring_write(struct rk_io *io, int fd, const void *bytes, size_t count, uint64_t offset)
{
    struct uring *uring = (struct uring *)(void *)io;
    const char *at = bytes;
    while (count > 0) {
        unsigned piece = count > (1u << 30) ? 1u << 30 : (unsigned)count;
        struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->writes);
        io_uring_prep_write(sqe, fd, at, piece, offset);
        int wrote = run(&uring->writes);
        if (wrote == -EINTR || wrote == -EAGAIN)
            continue;
        if (wrote <= 0)
            return wrote < 0 ? wrote : -EIO;
        at += wrote;
        offset += (uint64_t)wrote;
        count -= (size_t)wrote;
    }
    return 0;
}

static int uring_sync(struct rk_io *io, int fd)
{
    struct uring *uring = (struct uring *)(void *)io;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->syncs);
    io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
    return run(&uring->syncs);
}

static void uring_close(struct rk_io *io)
{
    struct uring *uring = (struct uring *)(void *)io;
    io_uring_queue_exit(&uring->writes);
    io_uring_queue_exit(&uring->syncs);
    free(uring);
}

struct rk_io *rk_io_uring_new(void)
{
    struct uring *uring = calloc(1, sizeof *uring);
    if (!uring)
        return NULL;
    int code = rk_uring_open(&uring->writes, 4, 0);
    if (code == 0 && (code = rk_uring_open(&uring->syncs, 4, 0)) < 0)
        io_uring_queue_exit(&uring->writes);
    if (code < 0) {
        free(uring);
        errno = -code;
        return NULL;
    }
    uring->io = (struct rk_io){uring_write, uring_sync, uring_close, "io_uring"};
    return &uring->io;
}
