/* SPDX-License-Identifier: Apache-2.0 */
/* The log: structured lines on standard error, logfmt (key=value) or JSON. A thread that logs never
 * waits for the reader of the log (log_writer.h). */
#ifndef RK_BASE_LOG_H
#define RK_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rk_log;

/* `level` and `format`: RK_LOG_* of config.h; `buffer_bytes`: of lines that wait for their reader.
 * NULL: no memory, no thread. */
struct rk_log *rk_log_new(int level, int format, size_t buffer_bytes);
/* Writes the buffered lines, for two seconds at most. NULL is allowed. */
void rk_log_free(struct rk_log *log);

/* Lines that were dropped because the log was not read fast enough. `log` NULL: 0. */
uint64_t rk_log_dropped(const struct rk_log *log);

/* A message of the daemon; `part` is the component ("http", "bank"). `log` NULL: dropped. */
void rk_log_say(struct rk_log *log, int level, const char *part, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* A field of a line. Text with anything but plain characters is quoted and escaped: a client can't
 * forge a line. */
struct rk_field {
    const char *key;
    const char *text; /* NULL: the number below */
    double number;
};

/* Whether lines of that level are written: what makes one costly can be left out. `log` NULL:
 * false. */
bool rk_log_wants(const struct rk_log *log, int level);

/* One line of the given fields, after time, level and `part`. */
void rk_log_line(struct rk_log *log, int level, const char *part, const struct rk_field *fields,
                 unsigned count);

#endif
