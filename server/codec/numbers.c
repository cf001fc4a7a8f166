#include "codec/numbers.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/number.h"
#include "codec/json.h"

struct number_reader {
    const char *name;
    const struct rk_tensor *tensor;
    const struct rk_json_source *source;
    size_t at;
    void *out;
    struct rk_err *err;
};

static enum rankd_status refuse(const struct number_reader *reader, const json_t *value, const char *may)
{
    char shown[RK_JSON_SHOWN];
    return rk_fail(reader->err, RANKD_INVALID, "input %s has %s at position %zu of its data; %s takes %s",
                   reader->name, rk_json_show(reader->source, value, shown), reader->at,
                   rk_dtype_name(reader->tensor->dtype), may);
}

static bool is_word(const json_t *value, const char *word)
{
    return json_is_string(value) && strcmp(json_string_value(value), word) == 0;
}

static enum rankd_status read_real(struct number_reader *reader, const json_t *value)
{
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
        return refuse(reader, value, "numbers, \"Infinity\", \"-Infinity\", and null for NaN");
    if (reader->tensor->dtype == RK_FP64)
        ((double *)reader->out)[reader->at] = number;
    else
        ((float *)reader->out)[reader->at] = (float)number;
    return RANKD_OK;
}

static enum rankd_status read_bool(struct number_reader *reader, const json_t *value)
{
    int64_t number = -1;
    const bool whole = rk_json_whole(value, &number);
    const bool one = json_is_true(value) || (whole && number == 1);
    const bool zero = json_is_false(value) || (whole && number == 0);
    if (!one && !zero)
        return refuse(reader, value, "true, false, 1 and 0");
    ((uint8_t *)reader->out)[reader->at] = one;
    return RANKD_OK;
}

static enum rankd_status read_integer(struct number_reader *reader, const json_t *value)
{
    static const struct {
        int64_t min, max;
        const char *may;
    } range[RK_DTYPE_COUNT] = {
        [RK_UINT8] = {0, UINT8_MAX, "integers from 0 to 255"},
        [RK_INT8] = {INT8_MIN, INT8_MAX, "integers from -128 to 127"},
        [RK_INT32] = {INT32_MIN, INT32_MAX, "integers of 32 bits"},
        [RK_INT64] = {INT64_MIN, INT64_MAX, "integers of 64 bits"},
    };
    const enum rk_dtype dtype = reader->tensor->dtype;
    int64_t number;
    if (!rk_json_whole(value, &number) || number < range[dtype].min || number > range[dtype].max)
        return refuse(reader, value, range[dtype].may);
    switch (dtype) {
    case RK_UINT8:
        ((uint8_t *)reader->out)[reader->at] = (uint8_t)number;
        break;
    case RK_INT8:
        ((int8_t *)reader->out)[reader->at] = (int8_t)number;
        break;
    case RK_INT32:
        ((int32_t *)reader->out)[reader->at] = (int32_t)number;
        break;
    default:
        ((int64_t *)reader->out)[reader->at] = number;
        break;
    }
    return RANKD_OK;
}

static enum rankd_status read_value(struct number_reader *reader, const json_t *value)
{
    switch (reader->tensor->dtype) {
    case RK_FP32:
    case RK_FP64:
        return read_real(reader, value);
    case RK_BOOL:
        return read_bool(reader, value);
    default:
        return read_integer(reader, value);
    }
}

/* Elements below an array, however nested (the depth was limited when it was parsed). */
static size_t leaves(const json_t *array)
{
    size_t count = 0, size = json_array_size(array);
    for (size_t i = 0; i < size; i++) {
        const json_t *value = json_array_get(array, i);
        count += json_is_array(value) ? leaves(value) : 1;
    }
    return count;
}

static bool is_flat(const json_t *array)
{
    const size_t size = json_array_size(array);
    for (size_t i = 0; i < size; i++) {
        if (json_is_array(json_array_get(array, i)))
            return false;
    }
    return true;
}

static enum rankd_status refuse_nesting(const struct number_reader *reader, size_t have, unsigned depth)
{
    char shape[RK_SHAPE_TEXT];
    const struct rk_tensor *tensor = reader->tensor;
    return rk_fail(
        reader->err, RANKD_INVALID,
        "data of input %s is nested otherwise than its shape %s: %zu elements in an array at depth "
        "%u; it must be flat, or nested as the shape is",
        reader->name, rk_shape_text(tensor->rank, tensor->shape, shape), have, depth);
}

/* An array at that depth of data that is nested as the shape is: [[1,2,3],[4,5,6]] for [2,3]. */
static enum rankd_status read_nested(struct number_reader *reader, const json_t *array, unsigned depth)
{
    const struct rk_tensor *tensor = reader->tensor;
    const size_t size = json_array_size(array);
    if (size != tensor->shape[depth])
        return refuse_nesting(reader, size, depth);
    for (size_t i = 0; i < size; i++) {
        const json_t *value = json_array_get(array, i);
        const bool last = depth + 1 == tensor->rank;
        if (json_is_array(value) == last)
            return refuse_nesting(reader, last ? json_array_size(value) : 1, depth + 1);
        const enum rankd_status status =
            last ? read_value(reader, value) : read_nested(reader, value, depth + 1);
        if (status != RANKD_OK)
            return status;
        reader->at += last;
    }
    return RANKD_OK;
}

static enum rankd_status read_flat(struct number_reader *reader, const json_t *array)
{
    const size_t size = json_array_size(array);
    for (; reader->at < size; reader->at++) {
        const enum rankd_status status = read_value(reader, json_array_get(array, reader->at));
        if (status != RANKD_OK)
            return status;
    }
    return RANKD_OK;
}

enum rankd_status rk_numbers_read(const json_t *data, const struct rk_json_source *source, const char *name,
                                  const struct rk_tensor *tensor, size_t count, void *out, struct rk_err *err)
{
    if (!json_is_array(data)) {
        char shown[RK_JSON_SHOWN];
        return rk_fail(err, RANKD_INVALID, "data of input %s is %s; it must be an array of numbers", name,
                       rk_json_show(source, data, shown));
    }
    if (tensor->dtype == RK_FP16 || tensor->dtype == RK_BF16)
        return rk_fail(err, RANKD_INVALID,
                       "input %s has datatype %s and data in JSON; send it as binary data, or as FP32", name,
                       rk_dtype_name(tensor->dtype));
    const size_t have = leaves(data);
    if (have != count)
        return rk_fail(err, RANKD_INVALID, "data of input %s has %zu elements; its shape takes %zu", name,
                       have, count);
    struct number_reader reader = {name, tensor, source, 0, out, err};
    return is_flat(data) ? read_flat(&reader, data) : read_nested(&reader, data, 0);
}

void rk_numbers_write(struct rk_text *text, enum rk_dtype dtype, const void *data, size_t count)
{
    rk_json_open(text, "data", '[');
    for (size_t i = 0; i < count; i++) {
        if (dtype == RK_INT64)
            rk_json_int(text, NULL, ((const int64_t *)data)[i]);
        else
            rk_json_fp32(text, ((const float *)data)[i]);
    }
    rk_json_close(text, ']');
}
