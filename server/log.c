#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "codec/text.h"
#include "config.h"

struct rk_log {
    int level, format;
};

struct rk_log *rk_log_new(int level, int format)
{
    struct rk_log *log = malloc(sizeof *log);
    if (log)
        *log = (struct rk_log){level, format};
    return log;
}

void rk_log_free(struct rk_log *log)
{
    free(log);
}

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

void rk_log_line(struct rk_log *log, int level, const char *part, const struct rk_field *fields,
                 unsigned count)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    if (!log || level < log->level)
        return;
    bool json = log->format == RK_LOG_JSON;
    char when[40];
    struct rk_text line = {0};
    timestamp(when);
    if (json)
        rk_json_open(&line, NULL, '{');
    field_text(&line, json, "time", when);
    field_text(&line, json, "level", names[level]);
    field_text(&line, json, "part", part);
    for (unsigned i = 0; i < count; i++) {
        if (fields[i].text)
            field_text(&line, json, fields[i].key, fields[i].text);
        else
            field_number(&line, json, fields[i].key, fields[i].number);
    }
    if (json)
        rk_json_close(&line, '}');
    rk_text_add(&line, "\n", 1);
    if (!line.failed && write(STDERR_FILENO, line.data, line.length) < 0) {
        /* Nowhere left to say so. */
    }
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
