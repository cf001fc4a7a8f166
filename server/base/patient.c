/* SPDX-License-Identifier: Apache-2.0 */
#include "base/patient.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <unistd.h>

ssize_t rk_patient_write(int fd, const void *bytes, size_t count, int patience_ms)
{
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    const int found = poll(&ready, 1, patience_ms);
    if (found == 0 || (found < 0 && (errno == EINTR || errno == EAGAIN)))
        return 0;
    const ssize_t wrote = found < 0 ? -1 : write(fd, bytes, count < PIPE_BUF ? count : PIPE_BUF);
    return wrote < 0 && (errno == EINTR || errno == EAGAIN) ? 0 : wrote;
}
