/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log_crash.h"
#include "base/log_writer.h"
#include "base/text.h"
#include "config/config.h"

struct rk_log {
    int level, format;
    struct rk_log_writer *writer;
};

static void field_number(struct rk_text *line, bool json, const char *key, double number)
{
    if (json) {
        rk_json_real(line, key, number);
        return;
    }
    rk_text_printf(line, " %s=%.12g", key, number);
}

/* Plain characters need no quotes in logfmt. */
static bool plain(const char *text)
{
    for (const char *c = text; *c; c++) {
        if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7f || *c == '"' || *c == '=' || *c == '\\')
            return false;
    }
    return *text != '\0';
}

static void field_text(struct rk_text *line, bool json, const char *key, const char *value)
{
    if (json) {
        rk_json_text(line, key, value);
        return;
    }
    rk_text_printf(line, line->length ? " %s=" : "%s=", key);
    line->comma = false;
    if (plain(value))
        rk_text_puts(line, value);
    else
        rk_json_text(line, NULL, value);
}

static void timestamp(char out[40])
{
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    size_t length = strftime(out, 40, "%Y-%m-%dT%H:%M:%S", &parts);
    (void)snprintf(out + length, 40 - length, ".%06ldZ", now.tv_nsec / 1000);
}

static void make_line(const struct rk_log *log, int level, const char *part, const struct rk_field *fields,
                      unsigned count, struct rk_text *line)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    bool json = log->format == RK_LOG_JSON;
    char when[40];
    timestamp(when);
    if (json)
        rk_json_open(line, NULL, '{');
    field_text(line, json, "time", when);
    field_text(line, json, "level", names[level]);
    field_text(line, json, "component", part);
    for (unsigned i = 0; i < count; i++) {
        if (fields[i].text)
            field_text(line, json, fields[i].key, fields[i].text);
        else
            field_number(line, json, fields[i].key, fields[i].number);
    }
    if (json)
        rk_json_close(line, '}');
    rk_text_add(line, "\n", 1);
}

static void make_notice(void *argument, uint64_t lines, struct rk_text *line)
{
    char message[96];
    (void)snprintf(message, sizeof message, "%llu lines dropped: the log was not read fast enough",
                   (unsigned long long)lines);
    const struct rk_field field = {"message", message, 0};
    make_line(argument, RK_LOG_WARN, "log", &field, 1, line);
}

struct rk_log *rk_log_new(int level, int format, size_t buffer_bytes)
{
    struct rk_log *log = calloc(1, sizeof *log);
    if (!log)
        return NULL;
    log->level = level;
    log->format = format;
    log->writer = rk_log_writer_start(STDERR_FILENO, buffer_bytes, make_notice, log);
    if (!log->writer) {
        free(log);
        return NULL;
    }
    rk_log_crash_begin(log->writer);
    return log;
}

void rk_log_free(struct rk_log *log)
{
    if (!log)
        return;
    rk_log_crash_end();
    /* If the log is not read, the writer may outlive this function, and it makes the notice from
     * `log`. */
    if (rk_log_writer_stop(log->writer))
        free(log);
}

uint64_t rk_log_dropped(const struct rk_log *log)
{
    return log ? rk_log_writer_dropped(log->writer) : 0;
}

bool rk_log_wants(const struct rk_log *log, int level)
{
    return log && level >= log->level;
}

void rk_log_line(struct rk_log *log, int level, const char *part, const struct rk_field *fields,
                 unsigned count)
{
    struct rk_text line = {0};
    if (!rk_log_wants(log, level))
        return;
    make_line(log, level, part, fields, count, &line);
    if (line.failed)
        rk_log_writer_miss(log->writer);
    else
        rk_log_writer_put(log->writer, line.data, line.length);
    rk_text_free(&line);
}

void rk_log_say(struct rk_log *log, int level, const char *part, const char *format, ...)
{
    char message[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    const struct rk_field field = {"message", message, 0};
    rk_log_line(log, level, part, &field, 1);
}
