/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the log's lines: any thread puts lines into a bounded buffer, and one thread writes them.
 * Only that thread ever waits for the reader. A line for which there is no room is dropped and
 * counted; once the reader is back, a line in its place tells the number of dropped ones. */
#ifndef RK_BASE_LOG_WRITER_H
#define RK_BASE_LOG_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

struct rk_log_writer;

/* Appends the line (with its line feed) which tells that `lines` lines were dropped. */
typedef void rk_log_notice(void *argument, uint64_t lines, struct rk_text *line);

/* A writer to `fd`, which stays the caller's, with a buffer of `bytes` bytes. NULL: no memory or no
 * thread.  */
struct rk_log_writer *rk_log_writer_start(int fd, size_t bytes, rk_log_notice *notice, void *argument);

/* Takes the line, which ends in a line feed, or drops it. Never waits for the reader. Any
 * thread. */
void rk_log_writer_put(struct rk_log_writer *writer, const char *line, size_t length);

/* Counts a line for which there was no memory. */
void rk_log_writer_miss(struct rk_log_writer *writer);

/* Lines that were dropped since the start. */
uint64_t rk_log_writer_dropped(struct rk_log_writer *writer);

/* Writes the buffered lines, for RK_LOG_FLUSH_MS at most, and ends. No thread may add lines any
 * more. False: the thread hangs in write(), and keeps its memory and `argument` until the process
 * ends. */
enum { RK_LOG_FLUSH_MS = 2000 };
bool rk_log_writer_stop(struct rk_log_writer *writer);

/* For the handler of a signal that ends the process: writes the buffered lines, for RK_LOG_CRASH_MS
 * at most.  */
enum { RK_LOG_CRASH_MS = 1000 };
void rk_log_writer_crash(struct rk_log_writer *writer);

#endif
