/* SPDX-License-Identifier: Apache-2.0 */
/* Jansson reads a request's text with its arrays left out. If the text isn't JSON, Jansson reads it
 * again with the arrays replaced by text of the same length, so that its sentence names the right
 * line and column.  */
#include <string.h>

#include "base/json_heap.h"
#include "codec/array_check.h"
#include "codec/json_arrays.h"

struct reader {
    const struct rk_json_text *text;
    size_t at;
    size_t array; /* the next one */
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

static size_t read_without(void *buffer, size_t room, void *data)
{
    struct reader *reader = data;
    size_t bytes = until_array(reader);
    if (bytes == 0 && reader->array < reader->text->arrays) {
        reader->at += reader->text->array[reader->array++].bytes;
        memcpy(buffer, "[]", 2);
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
static bool find_wrong(const struct rk_json_text *text, struct rk_array_check *check)
{
    for (size_t i = 0; i < text->arrays; i++) {
        if (!rk_array_check(check, text->array[i].text, text->array[i].bytes))
            return true;
    }
    return false;
}

/* Makes Jansson describe what is wrong with the text, or else just states that it isn't JSON. */
static void explain(const struct rk_json_text *text, const struct rk_array_check *wrong, const char *what,
                    struct rk_err *err)
{
    json_error_t error = {0};
    struct reader reader = {.text = text, .wrong = wrong};
    json_t *value = json_load_callback(read_blank, &reader, JSON_REJECT_DUPLICATES, &error);
    json_decref(rk_json_parsed(value, &error, what, err));
    if (!rk_json_heap_refused(err))
        (void)rk_fail(err, RANKD_INVALID, "%s is not JSON", what);
}

json_t *rk_json_text_parse_new(const struct rk_json_text *text, const char *what, struct rk_err *err)
{
    json_error_t error = {0};
    struct rk_array_check check;
    struct reader reader = {.text = text};
    if (!rk_json_may_parse(text->text, text->bytes, text->depth, what, err))
        return NULL;
    json_t *value = json_load_callback(read_without, &reader, JSON_REJECT_DUPLICATES, &error);
    const bool refused = json_error_code(&error) == json_error_out_of_memory || rk_json_heap_refused(err);
    if (!value && !refused && text->arrays > 0)
        explain(text, find_wrong(text, &check) ? &check : NULL, what, err);
    return rk_json_parsed(value, &error, what, err);
}

bool rk_json_text_check(const struct rk_json_text *text, const char *what, struct rk_err *err)
{
    struct rk_array_check check;
    if (!find_wrong(text, &check))
        return true;
    explain(text, &check, what, err);
    return false;
}
