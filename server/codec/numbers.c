/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/numbers.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/json_heap.h"
#include "base/number.h"
#include "codec/array_check.h"
#include "codec/decimal.h"
#include "codec/json.h"

/* Numbers are read at `at` and stored one by one. A request is first read by fast code, which gives
 * up at anything unusual; it is then read again by careful code, which tells what is wrong. */
struct number_reader {
    const struct rk_numbers *numbers;
    enum rk_dtype dtype;
    const char *at, *end;
    size_t done; /* elements */
    bool careful;
    struct rk_err *err;
};

static enum rankd_status refuse(const struct number_reader *reader, const struct rk_json_source *source,
                                const char *may)
{
    char shown[RK_JSON_SHOWN];
    return rk_fail(reader->err, RANKD_INVALID, "input %s has %s at position %zu of its data; %s takes %s",
                   reader->numbers->name, rk_json_show(source, source->root, shown), reader->done,
                   rk_dtype_name(reader->dtype), may);
}

static void store_real(struct number_reader *reader, double number)
{
    if (reader->dtype == RK_FP64)
        ((double *)reader->numbers->out)[reader->done] = number;
    else
        ((float *)reader->numbers->out)[reader->done] = (float)number;
}

static void store_bool(struct number_reader *reader, bool value)
{
    ((uint8_t *)reader->numbers->out)[reader->done] = value;
}

static bool is_word(const json_t *value, const char *word)
{
    return json_is_string(value) && strcmp(json_string_value(value), word) == 0;
}

static enum rankd_status read_real(struct number_reader *reader, const struct rk_json_source *source)
{
    const json_t *value = source->root;
    double number;
    if (json_is_number(value))
        number = json_number_value(value);
    else if (json_is_null(value))
        number = NAN;
    else if (is_word(value, "Infinity"))
        number = INFINITY;
    else if (is_word(value, "-Infinity"))
        number = -INFINITY;
    else
        return refuse(reader, source, "numbers, \"Infinity\", \"-Infinity\", and null for NaN");
    store_real(reader, number);
    return RANKD_OK;
}

static enum rankd_status read_bool(struct number_reader *reader, const struct rk_json_source *source)
{
    const json_t *value = source->root;
    int64_t number = -1;
    const bool whole = rk_json_whole(value, &number);
    const bool one = json_is_true(value) || (whole && number == 1);
    const bool zero = json_is_false(value) || (whole && number == 0);
    if (!one && !zero)
        return refuse(reader, source, "true, false, 1 and 0");
    store_bool(reader, one);
    return RANKD_OK;
}

static const struct {
    int64_t min, max;
    const char *may;
} ranges[RK_DTYPE_COUNT] = {
    [RK_UINT8] = {0, UINT8_MAX, "integers from 0 to 255"},
    [RK_INT8] = {INT8_MIN, INT8_MAX, "integers from -128 to 127"},
    [RK_INT32] = {INT32_MIN, INT32_MAX, "integers of 32 bits"},
    [RK_INT64] = {INT64_MIN, INT64_MAX, "integers of 64 bits"},
};

/* False if the type has no such number. */
static bool store_integer(struct number_reader *reader, int64_t number)
{
    void *out = reader->numbers->out;
    if (number < ranges[reader->dtype].min || number > ranges[reader->dtype].max)
        return false;
    switch (reader->dtype) {
    case RK_UINT8:
        ((uint8_t *)out)[reader->done] = (uint8_t)number;
        break;
    case RK_INT8:
        ((int8_t *)out)[reader->done] = (int8_t)number;
        break;
    case RK_INT32:
        ((int32_t *)out)[reader->done] = (int32_t)number;
        break;
    default:
        ((int64_t *)out)[reader->done] = number;
        break;
    }
    return true;
}

static enum rankd_status read_integer(struct number_reader *reader, const struct rk_json_source *source)
{
    int64_t number;
    if (!rk_json_whole(source->root, &number) || !store_integer(reader, number))
        return refuse(reader, source, ranges[reader->dtype].may);
    return RANKD_OK;
}

static bool is_real(enum rk_dtype dtype)
{
    return dtype == RK_FP32 || dtype == RK_FP64;
}

/* True if `at` begins with the word, which is skipped. The caller checks what follows a value. */
static bool take_word(struct number_reader *reader, const char *word, size_t length)
{
    if ((size_t)(reader->end - reader->at) <= length || memcmp(reader->at, word, length) != 0)
        return false;
    reader->at += length;
    return true;
}
#define TAKE_WORD(reader, word) take_word(reader, word, sizeof(word) - 1)

/* One digit, as labels and targets are. */
static bool take_digit(struct number_reader *reader)
{
    const int digit = *reader->at++ - '0';
    if (is_real(reader->dtype))
        store_real(reader, digit);
    else if (reader->dtype != RK_BOOL)
        return store_integer(reader, digit);
    else
        store_bool(reader, digit);
    return reader->dtype != RK_BOOL || digit <= 1;
}

static bool take_number(struct number_reader *reader)
{
    struct rk_decimal number;
    const char *after = rk_decimal_scan(reader->at, reader->end, &number);
    if (!after)
        return false;
    reader->at = after;
    if (number.whole && !is_real(reader->dtype) && reader->dtype != RK_BOOL)
        return number.fits && store_integer(reader, number.integer);
    const double real = rk_decimal_real(&number);
    if (is_real(reader->dtype)) {
        store_real(reader, real);
        return !isinf(real);
    }
    if (reader->dtype == RK_BOOL) {
        store_bool(reader, real != 0);
        return real == 0 || real == 1;
    }
    return real == trunc(real) && fabs(real) <= 0x1p53 && store_integer(reader, (int64_t)real);
}

/* The value at `at` in its usual spelling. False, without an error, if it is spelt otherwise. */
static bool take_usual(struct number_reader *reader)
{
    const char c = *reader->at;
    if (c >= '0' && c <= '9' && reader->end - reader->at > 1 &&
        (reader->at[1] == ',' || reader->at[1] == ']'))
        return take_digit(reader);
    if (c == '-' || (c >= '0' && c <= '9'))
        return take_number(reader);
    if (is_real(reader->dtype)) {
        double number = NAN;
        if (TAKE_WORD(reader, "\"Infinity\""))
            number = INFINITY;
        else if (TAKE_WORD(reader, "\"-Infinity\""))
            number = -INFINITY;
        else if (!TAKE_WORD(reader, "null"))
            return false;
        store_real(reader, number);
        return true;
    }
    const bool one = reader->dtype == RK_BOOL && TAKE_WORD(reader, "true");
    if (!one && (reader->dtype != RK_BOOL || !TAKE_WORD(reader, "false")))
        return false;
    store_bool(reader, one);
    return true;
}

/* A value of an array that was checked. Jansson refuses integers beyond 64 bits unless it reads
 * them as reals. */
static json_t *leaf_new(const char *text, size_t bytes)
{
    struct rk_decimal number;
    const bool wide = rk_decimal_scan(text, text + bytes, &number) && number.whole && !number.fits;
    return json_loadb(text, bytes, JSON_DECODE_ANY | (wide ? JSON_DECODE_INT_AS_REAL : 0), NULL);
}

static enum rankd_status no_memory(const struct number_reader *reader)
{
    if (rk_json_heap_refused(reader->err))
        return reader->err->status;
    return rk_fail(reader->err, RANKD_OVERLOADED, "out of memory while reading the JSON of %s",
                   reader->numbers->what);
}

/* Any value; Jansson reads it. */
static enum rankd_status read_any(struct number_reader *reader)
{
    const char *after = rk_array_after(reader->at, reader->end);
    const struct rk_json_heap_mark mark = rk_json_heap_mark();
    const size_t bytes = (size_t)(after - reader->at);
    json_t *value = leaf_new(reader->at, bytes);
    const struct rk_json_source source = {value, reader->at, bytes, NULL};
    enum rankd_status status;
    if (!value)
        status = no_memory(reader);
    else if (is_real(reader->dtype))
        status = read_real(reader, &source);
    else
        status = reader->dtype == RK_BOOL ? read_bool(reader, &source) : read_integer(reader, &source);
    json_decref(value);
    rk_json_heap_back(mark);
    reader->at = after;
    return status;
}

/* An infinity in another spelling ("\\u0049nfinity"), of an array that was not checked: Jansson
 * does. What it refuses is for the careful reader to describe. */
static enum rankd_status read_spelt(struct number_reader *reader)
{
    size_t depth;
    struct rk_err ignored = {0}, *err = reader->err;
    if (!is_real(reader->dtype) || *reader->at != '"' || !rk_json_skim(reader->at, reader->end, &depth))
        return RANKD_INVALID;
    reader->err = &ignored;
    const enum rankd_status status = read_any(reader);
    reader->err = err;
    return status == RANKD_OK ? RANKD_OK : RANKD_INVALID;
}

/* Values between two looks at the deadline. */
enum { LOOK_VALUES = 4096 };

static enum rankd_status read_value(struct number_reader *reader)
{
    const char *begun = reader->at;
    enum rankd_status status = RANKD_OK;
    if (reader->done % LOOK_VALUES == LOOK_VALUES - 1 &&
        rk_json_text_late(reader->numbers->text, reader->err))
        return reader->err->status;
    if (!take_usual(reader)) {
        reader->at = begun;
        status = reader->careful ? read_any(reader) : read_spelt(reader);
    } else if (reader->careful) {
        reader->at = rk_array_after(begun, reader->end);
    }
    reader->done += status == RANKD_OK;
    return status;
}

static char next(struct number_reader *reader)
{
    reader->at = rk_array_spaces(reader->at, reader->end);
    return reader->at < reader->end ? *reader->at : '\0';
}

static bool take(struct number_reader *reader, char wanted)
{
    const bool is = next(reader) == wanted && reader->at < reader->end;
    reader->at += is;
    return is;
}

static enum rankd_status refuse_nesting(const struct number_reader *reader, const char *where)
{
    char shape[RK_SHAPE_TEXT];
    const struct rk_tensor *tensor = reader->numbers->tensor;
    return rk_fail(reader->err, RANKD_INVALID,
                   "data of input %s is nested otherwise than its shape %s: %s; it must be flat, or nested "
                   "as the shape is",
                   reader->numbers->name, rk_shape_text(tensor->rank, tensor->shape, shape), where);
}

/* Of an array inside of `depth` others. */
static enum rankd_status refuse_size(const struct number_reader *reader, size_t have, size_t size,
                                     unsigned depth)
{
    char where[128], level[32];
    (void)snprintf(level, sizeof level, "an array of level %u", depth + 1);
    (void)snprintf(where, sizeof where, "%s has %zu element%s, and not %zu",
                   depth == 0 ? "the outer array" : level, have, have == 1 ? "" : "s", size);
    return refuse_nesting(reader, where);
}

static enum rankd_status read_array(struct number_reader *reader, unsigned depth, size_t size, bool last);

/* An element of an array of `last` or of others: a value, or an array at that depth. */
static enum rankd_status read_element(struct number_reader *reader, unsigned depth, bool last)
{
    const bool is_array = next(reader) == '[';
    if (is_array == last)
        return !reader->careful ? RANKD_INVALID
               : is_array       ? refuse_nesting(reader, "an array is where the shape has a number")
                                : refuse_nesting(reader, "a number is where the shape has an array");
    if (last)
        return read_value(reader);
    const struct rk_tensor *tensor = reader->numbers->tensor;
    return read_array(reader, depth, tensor->shape[depth], depth + 1 == tensor->rank);
}

/* An array of `size` elements at `at`, values if it is the last on the way down: [[1,2,3],[4,5,6]]
 * for [2,3]. RANKD_INVALID without a sentence if the reader is the fast one. */
static enum rankd_status read_array(struct number_reader *reader, unsigned depth, size_t size, bool last)
{
    const size_t have = reader->careful ? rk_array_size(reader->at, reader->end) : size;
    if (have != size)
        return refuse_size(reader, have, size, depth);
    reader->at++;
    for (size_t i = 0; i < size; i++) {
        if (i > 0 && !take(reader, ','))
            return RANKD_INVALID;
        const enum rankd_status status = read_element(reader, depth + 1, last);
        if (status != RANKD_OK)
            return status;
    }
    return take(reader, ']') ? RANKD_OK : RANKD_INVALID;
}

static enum rankd_status read_all(struct number_reader *reader, bool flat)
{
    const struct rk_numbers *numbers = reader->numbers;
    const enum rankd_status status =
        flat ? read_array(reader, 0, numbers->count, true)
             : read_array(reader, 0, numbers->tensor->shape[0], numbers->tensor->rank == 1);
    return status == RANKD_OK && reader->at != reader->end ? RANKD_INVALID : status;
}

static enum rankd_status read_with_care(struct number_reader *reader)
{
    const struct rk_numbers *numbers = reader->numbers;
    const struct rk_json_array *array = numbers->array;
    if (!rk_json_text_check(numbers->text, numbers->what, reader->err))
        return reader->err->status;
    if (reader->dtype == RK_FP16 || reader->dtype == RK_BF16)
        return rk_fail(reader->err, RANKD_INVALID,
                       "input %s has datatype %s and data in JSON; send it as binary data, or as FP32",
                       numbers->name, rk_dtype_name(reader->dtype));
    if (array->leaves != numbers->count)
        return rk_fail(reader->err, RANKD_INVALID, "data of input %s has %zu element%s; its shape takes %zu",
                       numbers->name, array->leaves, array->leaves == 1 ? "" : "s", numbers->count);
    reader->careful = true;
    return read_all(reader, array->flat);
}

enum rankd_status rk_numbers_read(const struct rk_numbers *numbers, bool may_fit, struct rk_err *err)
{
    struct rk_json_array *array = numbers->array;
    struct number_reader quick = {
        .numbers = numbers,
        .dtype = numbers->tensor->dtype,
        .at = array->text,
        .end = array->text + array->bytes,
        .err = err,
    };
    struct number_reader careful = quick;
    const char *first = rk_array_spaces(array->text + 1, quick.end);
    const bool readable = may_fit && quick.dtype != RK_FP16 && quick.dtype != RK_BF16;
    const bool flat = *first != '[';
    const enum rankd_status status = readable ? read_all(&quick, flat) : RANKD_INVALID;
    if (status == RANKD_OK) {
        array->sound = true;
        array->leaves = numbers->count;
        array->flat = flat;
    }
    return status == RANKD_OK || status == RANKD_DEADLINE ? status : read_with_care(&careful);
}

void rk_numbers_write(struct rk_text *text, enum rk_dtype dtype, const void *data, size_t count)
{
    rk_json_open(text, "data", '[');
    if (dtype == RK_FP32)
        rk_json_fp32s(text, data, count);
    for (size_t i = 0; dtype == RK_INT64 && i < count; i++)
        rk_json_int(text, NULL, ((const int64_t *)data)[i]);
    rk_json_close(text, ']');
}
