/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the log's buffer when the daemon crashes. */
#ifndef RK_BASE_LOG_CRASH_H
#define RK_BASE_LOG_CRASH_H

#include "base/log_writer.h"

/* From now on the signals of faults and abort() first write the lines in `writer`. One writer at a
 * time. The former handlers run afterwards, and are restored by rk_log_crash_end(). */
void rk_log_crash_begin(struct rk_log_writer *writer);
void rk_log_crash_end(void);

#endif
