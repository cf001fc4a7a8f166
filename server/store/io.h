/* SPDX-License-Identifier: Apache-2.0 */
/* The system calls that the store needs for writing: two implementations, io_uring and plain calls,
 * and in the tests a third that fails on purpose. */
#ifndef RK_STORE_IO_H
#define RK_STORE_IO_H

#include <stddef.h>
#include <stdint.h>

struct rk_io {
    /* All of the bytes at that offset: 0, or -errno (some may be written then). One caller at a
     * time. */
    int (*write)(struct rk_io *io, int fd, const void *bytes, size_t count, uint64_t offset);
    /* The file's data and size are on disk when it returns 0; -errno otherwise. One caller at a
     * time, but beside a write. */
    int (*sync)(struct rk_io *io, int fd);
    void (*close)(struct rk_io *io);
    const char *name;
};

/* pwrite and fdatasync. NULL if out of memory. */
struct rk_io *rk_io_plain_new(void);
/* io_uring; NULL where the kernel refuses it (errno says why) or memory is short. */
struct rk_io *rk_io_uring_new(void);

#endif
