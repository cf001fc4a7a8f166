/* SPDX-License-Identifier: Apache-2.0 */
/* Reserves descriptors 0 to 2 for standard input, output and error, also if the parent process
 * closed them. Otherwise the next file, pipe or socket that is opened becomes one of them, and
 * output goes there: into a lock file, or into the signal pipe of the program. */
#ifndef RANKD_STREAMS_H
#define RANKD_STREAMS_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

/* Opens /dev/null for those that are closed. Call it before anything else is opened. False if
 * /dev/null can't be opened; then nothing else may be opened either. */
static inline bool rankd_streams_open(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
            continue;
        if (open("/dev/null", O_RDWR) != fd) /* open returns the lowest free one */
            return false;
    }
    return true;
}

#endif
