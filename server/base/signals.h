/* SPDX-License-Identifier: Apache-2.0 */
/* Signals as numbers read from a pipe.
 *
 * Not sigwait(), which needs the signals blocked in every thread. Libraries may start threads
 * before main() in which they are not, and a SIGTERM that the kernel delivers to one of those would
 * end the process at once. */
#ifndef RK_BASE_SIGNALS_H
#define RK_BASE_SIGNALS_H

#include <stdbool.h>
#include <stdint.h>

/* From here on SIGTERM, SIGINT and SIGHUP only make rk_signals_wait() return; SIGPIPE is ignored.
 * False: no pipe. */
bool rk_signals_start(void) __attribute__((warn_unused_result));

/* As if SIGTERM had arrived. Any thread. */
void rk_signals_stop(void);

/* The next signal's number, or 0 once after rk_signals_end(). Any thread. */
int rk_signals_wait(void);

/* The same for at most `milliseconds`; -1 if none came. */
int rk_signals_wait_for(uint64_t milliseconds);

/* Makes one rk_signals_wait() return 0: to end a thread that waits there. */
void rk_signals_end(void);

#endif
