/* SPDX-License-Identifier: Apache-2.0 */
/* The way of a log's lines out of the daemon: a bounded buffer that any thread puts lines into, and one
 * thread that writes them. Only that thread ever waits for the reader. A line that finds no room is dropped
 * and counted, and once the reader is back a line in its place says how many there were. */
#ifndef RK_BASE_LOG_WRITER_H
#define RK_BASE_LOG_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

struct rk_log_writer;

/* Appends the line, with its end, that says that `lines` lines were dropped. */
typedef void rk_log_notice(void *argument, uint64_t lines, struct rk_text *line);

/* A writer to `fd`, which stays the caller's, with a buffer of `bytes` bytes. NULL: no memory, no thread. */
struct rk_log_writer *rk_log_writer_start(int fd, size_t bytes, rk_log_notice *notice, void *argument);

/* Takes the line, which ends in a line feed, or drops it. Never waits for the reader. Any thread. */
void rk_log_writer_put(struct rk_log_writer *writer, const char *line, size_t length);

/* Counts a line that could not even be made. */
void rk_log_writer_miss(struct rk_log_writer *writer);

/* Lines that were dropped since the start. */
uint64_t rk_log_writer_dropped(struct rk_log_writer *writer);

/* Writes what waits, for RK_LOG_FLUSH_MS at most, and ends. Nobody puts lines any more. False: the thread
 * hangs in the write itself, and keeps its memory and `argument` until the process ends. */
enum { RK_LOG_FLUSH_MS = 2000 };
bool rk_log_writer_stop(struct rk_log_writer *writer);

/* From the handler of a signal that ends the process: writes what waits, for RK_LOG_CRASH_MS at most. */
enum { RK_LOG_CRASH_MS = 1000 };
void rk_log_writer_crash(struct rk_log_writer *writer);

#endif
