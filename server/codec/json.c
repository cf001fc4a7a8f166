/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/json.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/json_heap.h"
#include "base/nearest.h"
#include "base/number.h"
#include "codec/decimal.h"
#include "codec/json_arrays.h"

void rk_json_depth_add(struct rk_json_depth *depth, const char *bytes, size_t count)
{
    bool quoted = false;
    for (size_t i = 0; i < count; i++) {
        char c = bytes[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '[' || c == '{') {
            depth->now++;
            depth->most = depth->now > depth->most ? depth->now : depth->most;
        } else if ((c == ']' || c == '}') && depth->now > 0) {
            depth->now--;
        }
    }
}

bool rk_json_may_parse(const char *bytes, size_t count, size_t depth, const char *what, struct rk_err *err)
{
    if (count == 0) {
        rk_fail(err, RANKD_INVALID, "%s is empty; it must be a JSON object", what);
        return false;
    }
    /* Jansson's own limit is fixed at 2048, and it recurses. */
    if (depth > RK_JSON_DEPTH_MAX) {
        rk_fail(err, RANKD_INVALID, "%s is JSON nested %zu deep; it may be nested %d deep at most", what,
                depth, RK_JSON_DEPTH_MAX);
        return false;
    }
    const char *nul = memchr(bytes, '\0', count);
    if (nul) {
        rk_fail(err, RANKD_INVALID, "%s is not JSON: its byte %zu is NUL, which JSON has nowhere", what,
                (size_t)(nul - bytes));
        return false;
    }
    return true;
}

json_t *rk_json_parsed(json_t *value, const json_error_t *error, const char *what, struct rk_err *err)
{
    if (!value) {
        if (rk_json_heap_refused(err))
            return NULL;
        if (json_error_code(error) == json_error_out_of_memory)
            rk_fail(err, RANKD_OVERLOADED, "out of memory while reading the JSON of %s", what);
        else
            rk_fail(err, RANKD_INVALID, "%s is not JSON: line %d, column %d: %.200s", what, error->line,
                    error->column, error->text);
        return NULL;
    }
    if (rk_json_heap_refused(err)) { /* something may be missing in it */
        json_decref(value);
        return NULL;
    }
    if (!json_is_object(value)) {
        rk_fail(err, RANKD_INVALID, "%s is a JSON array; it must be a JSON object", what);
        json_decref(value);
        return NULL;
    }
    return value;
}

const char *rk_json_wide(const char *at, const char *end)
{
    struct rk_decimal number;
    for (bool quoted = false; at < end; at++) {
        if (*at == '"')
            quoted = !quoted;
        else if (quoted && *at == '\\')
            at++;
        if (quoted || (*at != '-' && (*at < '0' || *at > '9')))
            continue;
        const char *after = rk_decimal_scan(at, end, &number);
        if (after && number.whole && !number.fits)
            return after;
        at = after ? after - 1 : at;
    }
    return end;
}

/* Not in the middle of a UTF-8 character. */
static size_t cut_at(const char *string, size_t length, size_t most)
{
    if (length <= most)
        return length;
    while (most > 0 && ((unsigned char)string[most] & 0xc0) == 0x80)
        most--;
    return most;
}

/* Counts the numbers of the document up to `wanted`; true if it was found. */
static bool count_numbers(const json_t *at, const json_t *wanted, size_t *count)
{
    const char *key;
    json_t *inner;
    size_t i;
    if (json_is_number(at)) {
        ++*count;
        return at == wanted;
    }
    json_object_foreach((json_t *)(uintptr_t)at, key, inner)
    {
        if (count_numbers(inner, wanted, count))
            return true;
    }
    json_array_foreach(at, i, inner)
    {
        if (count_numbers(inner, wanted, count))
            return true;
    }
    return false;
}

/* The end of the array that begins at `at` and was left out of the document; `at` if there is
 * none. */
static const char *after_array(const struct rk_json_text *text, const char *at)
{
    for (size_t i = 0; text && i < text->arrays; i++) {
        if (text->array[i].text == at)
            return at + text->array[i].bytes;
    }
    return at;
}

/* Where the number-th number of the document begins in its text; NULL if there are not as many. */
static const char *find_number(const struct rk_json_source *source, size_t number)
{
    bool quoted = false, inside = false;
    const char *end = source->text + source->bytes;
    for (const char *c = source->text; c < end; c++) {
        if (*c == '[' && !quoted)
            c = after_array(source->arrays, c);
        const bool numeric = !quoted && (*c == '-' || (*c >= '0' && *c <= '9'));
        if (numeric && !inside && --number == 0)
            return c;
        inside = numeric || (inside && !quoted && strchr("+.eE", *c) && *c);
        if (quoted && *c == '\\')
            c++;
        else if (*c == '"')
            quoted = !quoted;
    }
    return NULL;
}

/* The number as it was sent, cut where it is long; false if it can't be found. */
static bool show_literal(const struct rk_json_source *source, const json_t *value, char text[RK_JSON_SHOWN])
{
    size_t number = 0, length = 0;
    if (!source || !source->text || !count_numbers(source->root, value, &number))
        return false;
    const char *at = find_number(source, number);
    const char *end = source->text + source->bytes;
    while (at && at + length < end && at[length] && strchr("0123456789+-.eE", at[length]))
        length++;
    (void)snprintf(text, RK_JSON_SHOWN, "%.*s%s", (int)(length < 48 ? length : 48), at ? at : "",
                   length < 48 ? "" : "...");
    return length != 0;
}

static void show_number(const struct rk_json_source *source, const json_t *value, char text[RK_JSON_SHOWN])
{
    char number[RK_NUMBER_TEXT];
    if (show_literal(source, value, text))
        return;
    if (json_is_integer(value))
        (void)snprintf(text, RK_JSON_SHOWN, "%lld", (long long)json_integer_value(value));
    else
        (void)snprintf(text, RK_JSON_SHOWN, "%s", rk_number_text(json_real_value(value), number));
}

static void show_string(const json_t *value, char text[RK_JSON_SHOWN])
{
    const char *string = json_string_value(value);
    const size_t length = json_string_length(value), cut = cut_at(string, length, 48);
    (void)snprintf(text, RK_JSON_SHOWN, "\"%.*s%s\"", (int)cut, string, cut < length ? "..." : "");
    for (char *c = text; *c; c++)
        *c = (unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c;
}

const char *rk_json_show(const struct rk_json_source *source, const json_t *value, char text[RK_JSON_SHOWN])
{
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_STRING:
        show_string(value, text);
        return text;
    case JSON_INTEGER:
    case JSON_REAL:
        show_number(source, value, text);
        return text;
    case JSON_TRUE:
        return strcpy(text, "true");
    case JSON_FALSE:
        return strcpy(text, "false");
    case JSON_OBJECT:
        return strcpy(text, "an object");
    case JSON_ARRAY:
        return strcpy(text, "an array");
    default:
        return strcpy(text, "null");
    }
}

const json_t *rk_json_member(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

bool rk_json_whole(const json_t *value, int64_t *out)
{
    if (json_is_integer(value)) {
        *out = json_integer_value(value);
        return true;
    }
    const double number = json_is_real(value) ? json_real_value(value) : 0.5;
    if (number != trunc(number) || fabs(number) > 0x1p53)
        return false;
    *out = (int64_t)number;
    return true;
}

static bool is_one_of(const char *key, const char *const *known)
{
    while (*known && strcmp(*known, key) != 0)
        known++;
    return *known != NULL;
}

bool rk_json_only(const json_t *object, const char *const *known, const char *where, struct rk_err *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (is_one_of(key, known))
            continue;
        struct rk_nearest nearest = rk_nearest_start(key);
        for (size_t i = 0; known[i]; i++)
            rk_nearest_offer(&nearest, known[i]);
        rk_fail(err, RANKD_INVALID, "%s has an unknown field \"%.64s\"%s%s%s", where, key,
                nearest.best ? "; did you mean \"" : "", nearest.best ? nearest.best : "",
                nearest.best ? "\"?" : "");
        return false;
    }
    return true;
}
