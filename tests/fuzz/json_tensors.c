/* SPDX-License-Identifier: Apache-2.0 */
/* The reference reads each number as a value of Jansson. */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "codec/infer_request.h"
#include "codec/json.h"
#include "targets.h"

size_t rk_fuzz_json_outcomes[3];

struct reference {
    const char *name;
    struct rk_tensor tensor;
    struct rk_json_source source;
    size_t count, at;
    unsigned char *out;
    struct rk_err err;
};

static bool refuse(struct reference *r, const json_t *value, const char *may)
{
    char shown[RK_JSON_SHOWN];
    (void)rk_fail(&r->err, RANKD_INVALID, "input %s has %s at position %zu of its data; %s takes %s", r->name,
                  rk_json_show(&r->source, value, shown), r->at, rk_dtype_name(r->tensor.dtype), may);
    return false;
}

static void store(struct reference *r, const void *value)
{
    const size_t size = rk_dtype_size(r->tensor.dtype);
    memcpy(r->out + r->at++ * size, value, size);
}

static bool read_real(struct reference *r, const json_t *value)
{
    const char *word = json_string_value(value);
    double wide;
    if (json_is_number(value))
        wide = json_number_value(value);
    else if (json_is_null(value))
        wide = NAN;
    else if (word && (strcmp(word, "Infinity") == 0 || strcmp(word, "-Infinity") == 0))
        wide = word[0] == '-' ? -INFINITY : INFINITY;
    else
        return refuse(r, value, "numbers, \"Infinity\", \"-Infinity\", and null for NaN");
    const float narrow = (float)wide;
    store(r, r->tensor.dtype == RK_FP64 ? (const void *)&wide : (const void *)&narrow);
    return true;
}

static bool read_whole(struct reference *r, const json_t *value)
{
    const enum rk_dtype dtype = r->tensor.dtype;
    const char *may = dtype == RK_UINT8   ? "integers from 0 to 255"
                      : dtype == RK_INT8  ? "integers from -128 to 127"
                      : dtype == RK_INT32 ? "integers of 32 bits"
                                          : "integers of 64 bits";
    int64_t number;
    bool fits = rk_json_whole(value, &number);
    fits = fits && (dtype != RK_UINT8 || (number >= 0 && number <= 255));
    fits = fits && (dtype != RK_INT8 || (int8_t)number == number);
    fits = fits && (dtype != RK_INT32 || (int32_t)number == number);
    if (!fits)
        return refuse(r, value, may);
    store(r, &number); /* the low bytes come first */
    return true;
}

static bool read_bool(struct reference *r, const json_t *value)
{
    int64_t number = json_is_true(value);
    const bool known =
        json_is_boolean(value) || (rk_json_whole(value, &number) && (number == 0 || number == 1));
    if (!known)
        return refuse(r, value, "true, false, 1 and 0");
    store(r, &number);
    return true;
}

static bool read_value(struct reference *r, const json_t *value)
{
    if (r->tensor.dtype == RK_FP32 || r->tensor.dtype == RK_FP64)
        return read_real(r, value);
    return r->tensor.dtype == RK_BOOL ? read_bool(r, value) : read_whole(r, value);
}

static size_t leaves(const json_t *array)
{
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *value = json_array_get(array, i);
        count += json_is_array(value) ? leaves(value) : 1;
    }
    return count;
}

static bool refuse_nesting(struct reference *r, const char *where)
{
    char shape[RK_SHAPE_TEXT];
    (void)rk_fail(&r->err, RANKD_INVALID,
                  "data of input %s is nested otherwise than its shape %s: %s; it must be flat, or nested as "
                  "the shape is",
                  r->name, rk_shape_text(r->tensor.rank, r->tensor.shape, shape), where);
    return false;
}

static bool refuse_size(struct reference *r, size_t have, size_t size, unsigned depth)
{
    char where[128];
    if (depth == 0)
        (void)snprintf(where, sizeof where, "the outer array has %zu %s, and not %zu", have,
                       have == 1 ? "element" : "elements", size);
    else
        (void)snprintf(where, sizeof where, "an array of level %u has %zu %s, and not %zu", depth + 1, have,
                       have == 1 ? "element" : "elements", size);
    return refuse_nesting(r, where);
}

static bool read_nested(struct reference *r, const json_t *array, unsigned depth)
{
    const size_t size = json_array_size(array);
    const bool last = depth + 1 == r->tensor.rank;
    if (size != r->tensor.shape[depth])
        return refuse_size(r, size, r->tensor.shape[depth], depth);
    for (size_t i = 0; i < size; i++) {
        const json_t *value = json_array_get(array, i);
        if (json_is_array(value) == last)
            return refuse_nesting(r, last ? "an array is where the shape has a number"
                                          : "a number is where the shape has an array");
        if (!(last ? read_value(r, value) : read_nested(r, value, depth + 1)))
            return false;
    }
    return true;
}

static bool read_array(struct reference *r, const json_t *data)
{
    const size_t have = leaves(data);
    bool flat = true, read = true;
    if (r->tensor.dtype == RK_FP16 || r->tensor.dtype == RK_BF16)
        return rk_fail(&r->err, RANKD_INVALID,
                       "input %s has datatype %s and data in JSON; send it as binary data, or as FP32",
                       r->name, rk_dtype_name(r->tensor.dtype)) == RANKD_OK;
    if (have != r->count)
        return rk_fail(&r->err, RANKD_INVALID, "data of input %s has %zu %s; its shape takes %zu", r->name,
                       have, have == 1 ? "element" : "elements", r->count) == RANKD_OK;
    for (size_t i = 0; i < json_array_size(data); i++)
        flat = flat && !json_is_array(json_array_get(data, i));
    r->out = malloc(r->tensor.bytes + 1);
    assert(r->out);
    for (size_t i = 0; flat && read && i < have; i++)
        read = read_value(r, json_array_get(data, i));
    return flat ? read : read_nested(r, data, 0);
}

/* The input that an object describes; false if the description is invalid. */
static bool describe(struct reference *r, const json_t *input, unsigned *which)
{
    const char *name = json_string_value(json_object_get(input, "name"));
    const char *dtype = json_string_value(json_object_get(input, "datatype"));
    const json_t *shape = json_object_get(input, "shape");
    r->tensor.rank = (unsigned)json_array_size(shape);
    if (!name || !dtype || !rk_dtype_parse(dtype, &r->tensor.dtype) || r->tensor.rank == 0 ||
        r->tensor.rank > RK_MAX_RANK)
        return false;
    for (*which = 0; *which < RK_IN_COUNT && strcmp(rk_input_rows[*which].name, name) != 0;)
        ++*which;
    for (unsigned i = 0; i < r->tensor.rank; i++) {
        int64_t extent;
        if (!rk_json_whole(json_array_get(shape, i), &extent) || extent < 0)
            return false;
        r->tensor.shape[i] = (size_t)extent;
    }
    r->name = name;
    return *which < RK_IN_COUNT &&
           rk_shape_bytes(r->tensor.dtype, r->tensor.rank, r->tensor.shape, &r->count, &r->tensor.bytes);
}

static bool begins(const char *text, const char *with, const char *name, const char *rest)
{
    char start[96];
    (void)snprintf(start, sizeof start, "%s%s%s", with, name, rest);
    return strncmp(text, start, strlen(start)) == 0;
}

static bool ends(const char *text, const char *with)
{
    const size_t bytes = strlen(text), end = strlen(with);
    return bytes >= end && strcmp(text + bytes - end, with) == 0;
}

/* A value that the type does not take: the sentence shows it, and ends with what the type takes. */
static bool is_of_value(const char *text, const char *name)
{
    return begins(text, "input ", name, " has ") && strstr(text, " of its data; ") &&
           (ends(text, "null for NaN") || ends(text, "true, false, 1 and 0") || ends(text, "from 0 to 255") ||
            ends(text, "from -128 to 127") || ends(text, "integers of 32 bits") ||
            ends(text, "integers of 64 bits"));
}

/* By where the sentence begins and ends: what is shown between may hold any words. */
static bool is_of_data(const struct rk_err *err)
{
    bool is = false;
    for (unsigned i = 0; i < RK_IN_COUNT; i++) {
        const char *name = rk_input_rows[i].name;
        is =
            is || is_of_value(err->text, name) ||
            (begins(err->text, "data of input ", name, " has ") && strstr(err->text, "; its shape takes ")) ||
            begins(err->text, "data of input ", name, " is nested otherwise ") ||
            begins(err->text, "input ", name, " has datatype FP16 and data in JSON; ") ||
            begins(err->text, "input ", name, " has datatype BF16 and data in JSON; ");
    }
    return is;
}

static void check_same(const struct rk_err *have, const struct rk_err *want)
{
    if (have->status == want->status && strcmp(have->text, want->text) == 0)
        return;
    (void)fprintf(stderr, "have %d: %s\nwant %d: %s\n", (int)have->status, have->text, (int)want->status,
                  want->text);
    abort();
}

/* Compares one input of both: true if the request's sentence was about this input. */
static bool compare_input(const struct rk_json_source *source, const json_t *input,
                          const struct rk_wire_request *wire, const struct rk_err *err)
{
    struct reference r = {.source = *source};
    unsigned which;
    const json_t *data = json_object_get(input, "data");
    if (!json_is_array(data) || !describe(&r, input, &which))
        return false;
    const bool read = read_array(&r, data);
    if (err->status == RANKD_OK) {
        const struct rk_tensor *tensor = &wire->request.in[which];
        assert(read && tensor->bytes == r.tensor.bytes && memcmp(tensor->data, r.out, r.tensor.bytes) == 0);
    }
    free(r.out);
    if (read)
        return false;
    if (is_of_data(err))
        check_same(err, &r.err);
    return is_of_data(err);
}

static void compare(const json_t *document, const char *text, size_t bytes,
                    const struct rk_wire_request *wire, const struct rk_err *err)
{
    const struct rk_json_source source = {document, text, bytes, NULL};
    const json_t *inputs = json_object_get(document, "inputs");
    bool same = false;
    for (size_t i = 0; i < json_array_size(inputs) && !same; i++)
        same = compare_input(&source, json_array_get(inputs, i), wire, err);
    assert(same || !is_of_data(err));
    rk_fuzz_json_outcomes[0] += err->status == RANKD_OK;
    rk_fuzz_json_outcomes[2] += same;
}

/* One of both finds it too deep: how deep a text is that is no JSON depends on where its strings
 * are taken to begin. */
static bool is_of_depth(const struct rk_err *one, const struct rk_err *other)
{
    return one->status == other->status &&
           (strstr(one->text, " deep at most") || strstr(other->text, " deep at most"));
}

void rk_fuzz_json_tensors(const uint8_t *data, size_t bytes)
{
    /* A copy of exactly that size, so that a sanitizer detects a read beyond it. */
    char *text = malloc(bytes ? bytes : 1);
    assert(text);
    memcpy(text, data, bytes);
    struct rk_err err = {0}, expected = {0};
    struct rk_wire_request wire;
    const struct rk_wire_source source = {.body = text, .bytes = bytes, .json_bytes = bytes};
    const enum rankd_status status = rk_wire_request_parse(&wire, &rk_models[0], &source, &err);
    assert(status == err.status);
    json_t *document = rk_json_parse_new(text, bytes, "the request", &expected);
    if (document) {
        compare(document, text, bytes, &wire, &err);
    } else {
        if (!is_of_depth(&err, &expected))
            check_same(&err, &expected);
        rk_fuzz_json_outcomes[1]++;
    }
    json_decref(document);
    rk_wire_request_clear(&wire);
    free(text);
}
