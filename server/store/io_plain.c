/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/io.h"

static int plain_write(struct rk_io *io, int fd, const void *bytes, size_t count, uint64_t offset)
{
    (void)io;
    const char *at = bytes;
    while (count > 0) {
        ssize_t wrote = pwrite(fd, at, count, (off_t)offset);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return wrote < 0 ? -errno : -EIO;
        at += wrote;
        offset += (uint64_t)wrote;
        count -= (size_t)wrote;
    }
    return 0;
}

static int plain_sync(struct rk_io *io, int fd)
{
    (void)io;
    return fdatasync(fd) == 0 ? 0 : -errno;
}

static void plain_close(struct rk_io *io)
{
    free(io);
}

struct rk_io *rk_io_plain_new(void)
{
    struct rk_io *io = malloc(sizeof *io);
    if (io)
        *io = (struct rk_io){plain_write, plain_sync, plain_close, "plain"};
    return io;
}
