/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log_crash.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>

static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
enum { NUMBERS = sizeof numbers / sizeof *numbers };

static struct rk_log_writer *_Atomic writing;
static struct sigaction before[NUMBERS];

/* The first thread that crashes writes; another one that crashes meanwhile does not. Afterwards the
 * former handler is in place: a fault occurs again at once, and a signal that was sent is sent
 * again. */
static void on_crash(int number, siginfo_t *info, void *context)
{
    struct rk_log_writer *writer = atomic_exchange(&writing, NULL);
    (void)context;
    if (writer)
        rk_log_writer_crash(writer);
    for (int i = 0; i < NUMBERS; i++) {
        if (numbers[i] == number)
            (void)sigaction(number, &before[i], NULL);
    }
    if (info->si_code <= 0)
        (void)raise(number);
}

void rk_log_crash_begin(struct rk_log_writer *writer)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_crash;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    atomic_store(&writing, writer);
    for (int i = 0; i < NUMBERS; i++)
        (void)sigaction(numbers[i], &action, &before[i]);
}

void rk_log_crash_end(void)
{
    if (!atomic_exchange(&writing, NULL))
        return;
    for (int i = 0; i < NUMBERS; i++)
        (void)sigaction(numbers[i], &before[i], NULL);
}
