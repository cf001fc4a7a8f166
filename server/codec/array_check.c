/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/array_check.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/json_heap.h"
#include "codec/decimal.h"
#include "codec/json_arrays.h"

/* The position behind a number or a word. Jansson reads one character more and puts it back: if it
 * is not UTF-8 the error names the number. (Only ASCII characters are valid there.) */
static const char *after_token(const char *at, const char *end)
{
    return at == end || (unsigned char)*at >= 0x80 ? NULL : at;
}

static const char *after_number(const char *at, const char *end)
{
    struct rk_decimal number;
    at = rk_decimal_scan(at, end, &number);
    if (!at || isinf(rk_decimal_real(&number)))
        return NULL;
    return after_token(at, end);
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static const char *after_word(const char *at, const char *end)
{
    static const char *const words[] = {"true", "false", "null"};
    size_t bytes = 0;
    while (at + bytes < end && is_letter(at[bytes]))
        bytes++;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strlen(words[i]) == bytes && memcmp(words[i], at, bytes) == 0)
            return after_token(at + bytes, end);
    }
    return NULL;
}

/* Strings and objects are rare among numbers, so Jansson reads them. */
static const char *after_other(const char *at, const char *end)
{
    size_t depth;
    const char *after = rk_json_skim(at, end, &depth);
    const struct rk_json_heap_mark mark = rk_json_heap_mark();
    json_t *value =
        after ? json_loadb(at, (size_t)(after - at), JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL) : NULL;
    json_decref(value);
    rk_json_heap_back(mark);
    return value ? after : NULL;
}

/* The end of the value at `at`, which is no array; NULL if it isn't JSON, or
 * rk_json_heap_refused(). */
static const char *after_leaf(const char *at, const char *end)
{
    if (at == end)
        return NULL;
    if (*at == '-' || (*at >= '0' && *at <= '9'))
        return after_number(at, end);
    if (is_letter(*at))
        return after_word(at, end);
    static const char infinity[] = "\"Infinity\"";
    if ((size_t)(end - at) > sizeof infinity && memcmp(at, infinity, sizeof infinity - 1) == 0)
        return at + sizeof infinity - 1;
    return *at == '"' || *at == '{' ? after_other(at, end) : NULL;
}

/* The position behind a value at `at`, or at the end of an empty array; NULL if there is
 * neither. */
static const char *take_value(struct rk_array_check *check, const char *at, const char *end)
{
    if (at < end && *at == '[' && check->depth < RK_JSON_DEPTH_MAX) {
        check->flat = false;
        check->open[check->depth++] = at;
        check->element = check->comma = NULL;
        return at + 1;
    }
    const char *after = after_leaf(at, end);
    if (!after)
        return NULL;
    check->leaves++;
    check->element = at;
    check->comma = NULL;
    return after;
}

static const char *take_token(struct rk_array_check *check, const char *at, const char *end)
{
    const bool wants_value = !check->element || check->comma;
    if (at < end && *at == ']' && !check->comma) {
        check->element = check->open[--check->depth];
        return at + 1;
    }
    if (wants_value)
        return take_value(check, at, end);
    if (at == end || *at != ',')
        return NULL;
    check->comma = at;
    return at + 1;
}

/* Tokens between two looks at the deadline. */
enum { LOOK_TOKENS = 4096 };

bool rk_array_check(struct rk_array_check *check, const char *text, size_t bytes, uint64_t deadline_ns)
{
    const char *end = text + bytes, *at = text + 1;
    size_t tokens = 0;
    *check = (struct rk_array_check){.flat = true, .open = {text}, .depth = 1};
    while (check->depth > 0) {
        check->late = deadline_ns && ++tokens % LOOK_TOKENS == 0 && rk_now_ns() > deadline_ns;
        if (check->late)
            return false;
        at = rk_array_spaces(at, end);
        check->wrong = at;
        at = take_token(check, at, end);
        if (!at)
            return false;
    }
    check->wrong = at;
    return at == end;
}

const char *rk_array_after(const char *at, const char *end)
{
    size_t depth;
    if (*at == '"' || *at == '[' || *at == '{')
        return rk_json_skim(at, end, &depth);
    while (*at != ',' && *at != ']' && rk_array_spaces(at, end) == at)
        at++;
    return at;
}

size_t rk_array_size(const char *at, const char *end)
{
    size_t size = 0;
    at = rk_array_spaces(at + 1, end);
    while (*at != ']') {
        at = rk_array_spaces(rk_array_after(at, end), end);
        size++;
        if (*at == ',')
            at = rk_array_spaces(at + 1, end);
    }
    return size;
}
