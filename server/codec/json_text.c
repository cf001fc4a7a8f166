/* SPDX-License-Identifier: Apache-2.0 */
/* Jansson reads a request's text with its arrays left out. If the text isn't JSON, Jansson reads it
 * again with the arrays replaced by text of the same length, so that its sentence names the right
 * line and column. */
#include <string.h>

#include "base/clock.h"
#include "base/json_heap.h"
#include "codec/array_check.h"
#include "codec/json_arrays.h"

struct reader {
    const struct rk_json_text *text;
    size_t at;
    size_t array;     /* the next one */
    bool widening;    /* whole numbers beyond 64 bits get a point: */
    const char *wide; /* the end of the next one before the next array; NULL: to be found */
    bool late;        /* the deadline passed, and Jansson was told that the text ends here */
    const struct rk_array_check
        *wrong; /* the error in the array that isn't JSON; the text is unchanged from there */
};

/* Bytes before the next array, or before the end. */
static size_t until_array(const struct reader *reader)
{
    const struct rk_json_text *text = reader->text;
    const size_t end =
        reader->array < text->arrays ? (size_t)(text->array[reader->array].text - text->text) : text->bytes;
    return end - reader->at;
}

/* Bytes before the end of the next whole number beyond 64 bits, or before `bytes` where there is
 * none. */
static size_t until_wide(struct reader *reader, size_t bytes)
{
    const char *at = reader->text->text + reader->at;
    if (!reader->wide)
        reader->wide = rk_json_wide(at, at + bytes);
    return (size_t)(reader->wide - at);
}

static size_t read_without(void *buffer, size_t room, void *data)
{
    static const char empty[] = "[]", point[] = ".0";
    struct reader *reader = data;
    struct rk_err ignored = {0};
    const size_t all = until_array(reader);
    size_t bytes = reader->widening ? until_wide(reader, all) : all;
    reader->late = reader->late || rk_json_text_late(reader->text, &ignored);
    if (reader->late)
        return 0;
    if (bytes == 0 && (all > 0 || reader->array < reader->text->arrays)) {
        reader->wide = NULL;
        if (all == 0)
            reader->at += reader->text->array[reader->array++].bytes;
        memcpy(buffer, all == 0 ? empty : point, 2);
        return 2;
    }
    bytes = bytes < room ? bytes : room;
    memcpy(buffer, reader->text->text + reader->at, bytes);
    reader->at += bytes;
    return bytes;
}

enum { NOTHING = -1 };

/* The replacement of a byte of an array for Jansson: bytes that it must see stay, others keep lines
 * and columns. */
static int blank(const struct reader *reader, const struct rk_json_array *array, const char *at)
{
    const struct rk_array_check *wrong = reader->wrong;
    if (at == array->text)
        return '[';
    if (at == array->text + array->bytes - 1)
        return ']';
    for (size_t i = 0; wrong && i < wrong->depth; i++) {
        if (at == wrong->open[i])
            return '[';
    }
    if (wrong && at == wrong->element)
        return '0';
    if (wrong && at == wrong->comma)
        return ',';
    if ((*at & 0xc0) == 0x80)
        return NOTHING;
    return *at == '\n' ? '\n' : ' ';
}

static size_t read_blank(void *buffer, size_t room, void *data)
{
    struct reader *reader = data;
    const struct rk_json_text *text = reader->text;
    const size_t end = reader->wrong ? (size_t)(reader->wrong->wrong - text->text) : text->bytes;
    char *out = buffer;
    size_t made = 0;
    for (; made < room && reader->at < text->bytes; reader->at++) {
        const struct rk_json_array *array = &text->array[reader->array];
        const char *at = text->text + reader->at;
        if (reader->at >= end || reader->array == text->arrays || at < array->text) {
            out[made++] = *at;
            continue;
        }
        const int byte = blank(reader, array, at);
        out[made] = (char)byte;
        made += byte != NOTHING;
        reader->array += at == array->text + array->bytes - 1;
    }
    return made;
}

/* The first array that isn't JSON; false if there is none. */
static bool find_wrong(struct rk_json_text *text, struct rk_array_check *check)
{
    for (size_t i = 0; i < text->arrays; i++) {
        struct rk_json_array *array = &text->array[i];
        if (array->sound)
            continue;
        if (!rk_array_check(check, array->text, array->bytes, text->deadline_ns))
            return true;
        array->sound = true;
        array->leaves = check->leaves;
        array->flat = check->flat;
    }
    return false;
}

bool rk_json_text_late(const struct rk_json_text *text, struct rk_err *err)
{
    if (!text->deadline_ns || rk_now_ns() <= text->deadline_ns)
        return false;
    (void)rk_fail(err, RANKD_DEADLINE,
                  "the deadline passed while the JSON was read; allow more time, or send tensors in binary");
    return true;
}

/* Makes Jansson describe what is wrong with the text, or else just states that it isn't JSON. */
static void explain(const struct rk_json_text *text, const struct rk_array_check *wrong, const char *what,
                    struct rk_err *err)
{
    json_error_t error = {0};
    struct reader reader = {.text = text, .wrong = wrong};
    if (wrong && wrong->late && rk_json_text_late(text, err))
        return;
    json_t *value =
        json_load_callback(read_blank, &reader, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &error);
    json_decref(rk_json_parsed(value, &error, what, err));
    if (!rk_json_heap_refused(err))
        (void)rk_fail(err, RANKD_INVALID, "%s is not JSON", what);
}

/* NULL, with the reason in *error, or in *err if that is the deadline. */
static json_t *load(const struct rk_json_text *text, size_t flags, bool widening, json_error_t *error,
                    struct rk_err *err)
{
    struct reader reader = {.text = text, .widening = widening};
    json_t *value = json_load_callback(read_without, &reader, JSON_REJECT_DUPLICATES | flags, error);
    if (!reader.late)
        return value;
    json_decref(value);
    (void)rk_json_text_late(text, err);
    return NULL;
}

/* A whole number beyond 64 bits is a number of JSON, which Jansson refuses unless it reads all of
 * them as reals. So it does, to know that the rest is JSON; then it gets each of those with a point
 * behind it, and the others stay exact. */
static json_t *load_any_size(const struct rk_json_text *text, json_error_t *error, struct rk_err *err)
{
    const struct rk_json_heap_mark mark = rk_json_heap_mark();
    json_t *value = load(text, 0, false, error, err);
    if (value || err->status != RANKD_OK || json_error_code(error) != json_error_numeric_overflow)
        return value;
    *error = (json_error_t){0};
    value = load(text, JSON_DECODE_INT_AS_REAL, false, error, err);
    if (!value)
        return NULL;
    json_decref(value);
    rk_json_heap_back(mark);
    return load(text, 0, true, error, err);
}

json_t *rk_json_text_parse_new(struct rk_json_text *text, const char *what, struct rk_err *err)
{
    json_error_t error = {0};
    struct rk_array_check check;
    if (!rk_json_may_parse(text->text, text->bytes, text->depth, what, err))
        return NULL;
    json_t *value = load_any_size(text, &error, err);
    if (err->status != RANKD_OK)
        return NULL;
    const bool refused = json_error_code(&error) == json_error_out_of_memory || rk_json_heap_refused(err);
    if (!value && !refused && text->arrays > 0)
        explain(text, find_wrong(text, &check) ? &check : NULL, what, err);
    return rk_json_parsed(value, &error, what, err);
}

json_t *rk_json_parse_new(const void *bytes, size_t count, const char *what, struct rk_err *err)
{
    struct rk_json_depth depth = {0};
    rk_json_depth_add(&depth, bytes, count);
    struct rk_json_text text = {.text = bytes, .bytes = count, .depth = depth.most};
    return rk_json_text_parse_new(&text, what, err);
}

bool rk_json_text_check(struct rk_json_text *text, const char *what, struct rk_err *err)
{
    struct rk_array_check check;
    if (!find_wrong(text, &check))
        return true;
    explain(text, &check, what, err);
    return false;
}
