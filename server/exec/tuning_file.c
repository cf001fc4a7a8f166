/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/tuning_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "config/file_read.h"

enum { FILE_MOST = 65536, SHOWN = 40 };

/* A line while it is read. */
struct line {
    const char *path;
    unsigned number;
    char *name, *value;
};

static const struct rk_tuning_row *row_named(const char *name)
{
    for (size_t i = 0; i < rk_tuning_row_count; i++) {
        if (strcmp(rk_tuning_rows[i].name, name) == 0)
            return &rk_tuning_rows[i];
    }
    return NULL;
}

static char *trim(char *text)
{
    text += strspn(text, " \t\r");
    size_t length = strlen(text);
    while (length > 0 && strchr(" \t\r", text[length - 1]))
        text[--length] = '\0';
    return text;
}

/* A whole number without a sign; false for anything else. */
static bool whole(const char *text, uint64_t *value)
{
    *value = 0;
    for (const char *at = text; *at; at++) {
        if (*at < '0' || *at > '9' || *value > UINT32_MAX)
            return false;
        *value = *value * 10 + (uint64_t)(*at - '0');
    }
    return *text != '\0';
}

static enum rankd_status fail_name(const struct line *line, struct rk_err *err)
{
    char names[160] = "";
    size_t used = 0;
    for (size_t i = 0; i < rk_tuning_row_count && used < sizeof names; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "",
                                 rk_tuning_rows[i].name);
    return rk_fail(err, RANKD_INVALID, "%s:%u: \"%.*s\" is not a name of a tuning file; it may be one of %s",
                   line->path, line->number, SHOWN, line->name, names);
}

static enum rankd_status take(const struct line *line, struct rk_tuning *tuning, uint32_t *seen,
                              struct rk_err *err)
{
    const struct rk_tuning_row *row = row_named(line->name);
    uint64_t value;
    if (!row)
        return fail_name(line, err);
    const uint32_t bit = UINT32_C(1) << (row - rk_tuning_rows);
    if (*seen & bit)
        return rk_fail(err, RANKD_INVALID, "%s:%u: %s is set a second time; it may stand once", line->path,
                       line->number, row->name);
    if (!whole(line->value, &value) || !rk_tuning_may_be(row, value))
        return rk_fail(
            err, RANKD_INVALID,
            "%s:%u: %s is \"%.*s\"; it may be %" PRIu32 " or a power of two from %" PRIu32 " to %" PRIu32,
            line->path, line->number, row->name, SHOWN, line->value, row->value, row->min, row->max);
    *seen |= bit;
    memcpy((char *)tuning + row->offset, &(uint32_t){(uint32_t)value}, sizeof(uint32_t));
    return RANKD_OK;
}

/* One line, which is changed. */
static enum rankd_status read_line(struct line *line, char *text, struct rk_tuning *tuning, uint32_t *seen,
                                   struct rk_err *err)
{
    text[strcspn(text, "#")] = '\0';
    text = trim(text);
    if (*text == '\0')
        return RANKD_OK;
    char *equals = strchr(text, '=');
    if (!equals)
        return rk_fail(err, RANKD_INVALID, "%s:%u: \"%.*s\" has no =; a line is `name = number`", line->path,
                       line->number, SHOWN, text);
    *equals = '\0';
    line->name = trim(text);
    line->value = trim(equals + 1);
    return take(line, tuning, seen, err);
}

/* Bytes that are no text would be cut off or garble the sentence. */
static bool is_text(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        const unsigned char c = (unsigned char)text[i];
        if ((c < ' ' && !strchr("\t\r\n", c)) || c == '\0' || c > '~')
            return false;
    }
    return true;
}

enum rankd_status rk_tuning_parse(const char *path, const char *text, size_t bytes, struct rk_tuning *tuning,
                                  struct rk_err *err)
{
    struct line line = {.path = path};
    uint32_t seen = 0;
    enum rankd_status status = RANKD_OK;
    *tuning = rk_tuning_default;
    if (!is_text(text, bytes))
        return rk_fail(err, RANKD_INVALID, "%s is not a tuning file: it may contain only printable ASCII",
                       path);
    char *copy = strndup(text, bytes), *next = copy;
    if (!copy)
        return rk_fail(err, RANKD_OVERLOADED, "no memory for the text of %s", path);
    while (status == RANKD_OK && next) {
        char *at = strsep(&next, "\n");
        line.number++;
        status = read_line(&line, at, tuning, &seen, err);
    }
    free(copy);
    return status;
}

enum rankd_status rk_tuning_read(const char *path, struct rk_tuning *tuning, struct rk_err *err)
{
    size_t bytes;
    char *text = rk_file_read_new("--tuning", path, FILE_MOST, &bytes, err);
    if (!text)
        return err->status;
    const enum rankd_status status = rk_tuning_parse(path, text, bytes, tuning, err);
    free(text);
    return status;
}

enum rankd_status rk_tuning_check(const char *path, struct rk_err *err)
{
    struct rk_tuning tuning;
    return *path ? rk_tuning_read(path, &tuning, err) : RANKD_OK;
}

void rk_tuning_write(const struct rk_tuning *tuning, FILE *out)
{
    for (size_t i = 0; i < rk_tuning_row_count; i++) {
        const struct rk_tuning_row *row = &rk_tuning_rows[i];
        uint32_t value;
        memcpy(&value, (const char *)tuning + row->offset, sizeof value);
        (void)fprintf(out, "# %s Default: %" PRIu32 ".\n%s = %" PRIu32 "\n", row->help, row->value, row->name,
                      value);
    }
}
