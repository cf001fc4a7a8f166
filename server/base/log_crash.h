/* SPDX-License-Identifier: Apache-2.0 */
/* What the log's buffer holds when the daemon crashes. */
#ifndef RK_BASE_LOG_CRASH_H
#define RK_BASE_LOG_CRASH_H

#include "base/log_writer.h"

/* From here on a signal that a fault or abort() raises first writes what `writer` holds. One writer at a
 * time; what handled these signals before does so again afterwards, and after rk_log_crash_end(). */
void rk_log_crash_begin(struct rk_log_writer *writer);
void rk_log_crash_end(void);

#endif
