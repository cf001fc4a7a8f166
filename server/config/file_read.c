/* SPDX-License-Identifier: Apache-2.0 */
#include "config/file_read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reads until the end or one byte beyond the limit, for which there is room. -1: errno. */
static ssize_t read_all(int fd, char *text, size_t limit)
{
    size_t got = 0;
    while (got <= limit) {
        const ssize_t more = read(fd, text + got, limit + 1 - got);
        if (more < 0 && errno != EINTR)
            return -1;
        if (more == 0)
            break;
        got += more > 0 ? (size_t)more : 0;
    }
    return (ssize_t)got;
}

static char *read_opened(int fd, const char *option, const char *path, size_t limit, size_t *bytes,
                         struct rk_err *err)
{
    struct stat file;
    if (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode)) {
        (void)rk_fail(err, RANKD_INVALID, "%s is '%s'; it must be a regular file", option, path);
        return NULL;
    }
    char *text = calloc(1, limit + 2);
    if (!text) {
        (void)rk_fail(err, RANKD_INTERNAL, "no memory to read %s", path);
        return NULL;
    }
    const ssize_t got = read_all(fd, text, limit);
    if (got >= 0 && (size_t)got <= limit) {
        *bytes = (size_t)got;
        return text;
    }
    if (got < 0)
        (void)rk_fail(err, RANKD_INVALID, "%s is '%s': %s", option, path, strerror(errno));
    else
        (void)rk_fail(err, RANKD_INVALID, "%s is '%s', which has more than %zu bytes, the most it may have",
                      option, path, limit);
    rk_file_forget(text, limit + 1);
    return NULL;
}

char *rk_file_read_new(const char *option, const char *path, size_t limit, size_t *bytes, struct rk_err *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        (void)rk_fail(err, RANKD_INVALID, "%s is '%s': %s", option, path, strerror(errno));
        return NULL;
    }
    char *text = read_opened(fd, option, path, limit, bytes, err);
    (void)close(fd);
    return text;
}

void rk_file_forget(char *text, size_t bytes)
{
    if (text)
        explicit_bzero(text, bytes);
    free(text);
}
