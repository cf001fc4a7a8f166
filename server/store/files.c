/* SPDX-License-Identifier: Apache-2.0 */
#include "store/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 1 << 20 };

enum rankd_status rk_file_failed(struct rk_err *err, const char *what, const char *path)
{
    return rk_fail(err, errno == ENOSPC || errno == EDQUOT ? RANKD_NO_SPACE : RANKD_INTERNAL,
                   "cannot %s %s: %s", what, path, strerror(errno));
}

enum rankd_status rk_sync_folder(const char *path, struct rk_err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return rk_fail(err, RANKD_INTERNAL, "cannot open %s: %s", path, strerror(errno));
    int code = fsync(fd) == 0 ? 0 : errno;
    (void)close(fd);
    return code ? rk_fail(err, RANKD_INTERNAL, "fsync of %s failed: %s", path, strerror(code)) : RANKD_OK;
}

/* 0, or an errno. */
static int copy_bytes(int from, int to, uint64_t bytes, char *piece)
{
    for (uint64_t at = 0; at < bytes;) {
        size_t want = bytes - at < PIECE ? (size_t)(bytes - at) : PIECE;
        ssize_t got = pread(from, piece, want, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? errno : EIO; /* it became shorter */
        for (ssize_t put = 0; put < got;) {
            ssize_t wrote = pwrite(to, piece + put, (size_t)(got - put), (off_t)at + put);
            if (wrote < 0 && errno == EINTR)
                continue;
            if (wrote <= 0)
                return wrote < 0 ? errno : EIO;
            put += wrote;
        }
        at += (uint64_t)got;
    }
    return fsync(to) == 0 ? 0 : errno;
}

enum rankd_status rk_file_copy(int fd, uint64_t bytes, const char *to, struct rk_err *err)
{
    char *piece = malloc(PIECE);
    if (!piece)
        return rk_fail(err, RANKD_OVERLOADED, "no memory to write %s", to);
    int copy = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int code = copy < 0 ? errno : copy_bytes(fd, copy, bytes, piece);
    if (copy >= 0)
        (void)close(copy);
    if (copy >= 0 && code)
        (void)unlink(to);
    free(piece);
    errno = code;
    return code ? rk_file_failed(err, "write", to) : RANKD_OK;
}

enum rankd_status rk_file_link(const char *from, const char *to, struct rk_err *err)
{
    struct stat stat;
    if (link(from, to) == 0)
        return RANKD_OK;
    if (errno != EMLINK && errno != EPERM && errno != ENOTSUP && errno != EXDEV)
        return rk_file_failed(err, "link", to);
    int fd = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &stat) != 0)
        (void)rk_file_failed(err, "read", from);
    else
        (void)!rk_file_copy(fd, (uint64_t)stat.st_size, to, err);
    if (fd >= 0)
        (void)close(fd);
    return err->status;
}

bool rk_file_read(const char *path, char *text, size_t size, size_t *bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t got = fd < 0 ? -1 : read(fd, text, size);
    if (fd >= 0)
        (void)close(fd);
    if (got < 0 || (size_t)got == size)
        return false;
    text[got] = '\0';
    *bytes = (size_t)got;
    return true;
}
