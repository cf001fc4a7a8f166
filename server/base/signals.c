/* SPDX-License-Identifier: Apache-2.0 */
#include "base/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static int ends[2] = {-1, -1};

static void on_signal(int number)
{
    const int before = errno;
    const unsigned char byte = (unsigned char)number;
    if (write(ends[1], &byte, 1) < 0) {
        /* Full: thousands of signals wait already. */
    }
    errno = before;
}

bool rk_signals_start(void)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    struct sigaction action;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return false;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (sigaction(numbers[i], &action, NULL) != 0)
            return false;
    }
    action.sa_handler = SIG_IGN;
    return sigaction(SIGPIPE, &action, NULL) == 0;
}

int rk_signals_wait(void)
{
    unsigned char byte = 0;
    struct pollfd fd = {.fd = ends[0], .events = POLLIN};
    /* poll() ends at a signal, which a read() that is restarted does not: ThreadSanitizer holds signals back
     * until the call they came in returns. */
    while (read(ends[0], &byte, 1) != 1)
        (void)poll(&fd, 1, -1);
    return byte;
}

void rk_signals_end(void)
{
    on_signal(0);
}
