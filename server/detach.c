/* SPDX-License-Identifier: Apache-2.0 */
#include "detach.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static int answer_fd = -1;

/* The exit status that the background process reports; 1 if it ended without one. */
static unsigned char wait_for_answer(int fd)
{
    unsigned char status = 1;
    ssize_t n;
    do
        n = read(fd, &status, 1);
    while (n < 0 && errno == EINTR);
    return n == 1 ? status : 1;
}

enum rankd_status rk_detach_begin(struct rk_err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return rk_fail(err, RANKD_INTERNAL, "detach: no pipe: %s", strerror(errno));
    const pid_t pid = fork();
    if (pid < 0) {
        (void)close(ends[0]);
        (void)close(ends[1]);
        return rk_fail(err, RANKD_INTERNAL, "detach: no process: %s", strerror(errno));
    }
    if (pid > 0) {
        (void)close(ends[1]);
        _exit(wait_for_answer(ends[0]));
    }
    (void)close(ends[0]);
    (void)setsid();
    answer_fd = ends[1];
    return RANKD_OK;
}

void rk_detach_end(unsigned char status)
{
    if (answer_fd < 0)
        return;
    /* The waiting process may be gone, which is no reason to end. */
    if (write(answer_fd, &status, 1) < 0)
        errno = 0;
    (void)close(answer_fd);
    answer_fd = -1;
}
