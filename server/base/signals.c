/* SPDX-License-Identifier: Apache-2.0 */
#include "base/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

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

void rk_signals_stop(void)
{
    on_signal(SIGTERM);
}

int rk_signals_wait(void)
{
    unsigned char byte = 0;
    struct pollfd fd = {.fd = ends[0], .events = POLLIN};
    /* poll() returns at a signal, but a restarted read() does not: ThreadSanitizer delays signals
     * until the call in which they arrived returns. */
    while (read(ends[0], &byte, 1) != 1)
        (void)poll(&fd, 1, -1);
    return byte;
}

int rk_signals_wait_for(uint64_t milliseconds)
{
    unsigned char byte = 0;
    struct pollfd fd = {.fd = ends[0], .events = POLLIN};
    const uint64_t until = rk_now_ns() + milliseconds * 1000000u;
    while (read(ends[0], &byte, 1) != 1) {
        const uint64_t now = rk_now_ns();
        if (now >= until)
            return -1;
        const uint64_t left = (until - now) / 1000000u + 1;
        (void)poll(&fd, 1, left < INT_MAX ? (int)left : INT_MAX);
    }
    return byte;
}

void rk_signals_end(void)
{
    on_signal(0);
}
