/* Standard input, output and error of a program of ours: descriptors 0 to 2 are theirs, also where whoever
 * started it closed them. Otherwise the next file, pipe or socket that is opened becomes one of them, and
 * what is printed or logged goes there: into a lock file, or back into the program's own pipe of signals. */
#ifndef RANKD_STREAMS_H
#define RANKD_STREAMS_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

/* Opens /dev/null in place of those that are closed. To be called before anything else is opened. False where
 * /dev/null can't be opened: then nothing may be opened either. */
static inline bool rankd_streams_open(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
            continue;
        if (open("/dev/null", O_RDWR) != fd) /* the lowest that is free */
            return false;
    }
    return true;
}

#endif
