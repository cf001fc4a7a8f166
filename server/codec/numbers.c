#include "numbers.h"

#include <math.h>
#include <stdint.h>

#include "json.h"

struct reader {
    const char *name;
    enum rk_dtype dtype;
    size_t count, at;
    void *out;
    struct rk_err *err;
};

static enum rankd_status refuse(const struct reader *reader, const json_t *value, const char *may)
{
    char shown[RK_JSON_SHOWN];
    return rk_fail(reader->err, RANKD_INVALID, "input %s has %s at position %zu of its data; %s takes %s",
                   reader->name, rk_json_show(value, shown), reader->at, rk_dtype_name(reader->dtype), may);
}

static enum rankd_status read_real(struct reader *reader, const json_t *value)
{
    double number;
    if (json_is_number(value))
        number = json_number_value(value);
    else if (json_is_null(value))
        number = NAN;
    else
        return refuse(reader, value, "numbers");
    if (reader->dtype == RK_FP64)
        ((double *)reader->out)[reader->at] = number;
    else
        ((float *)reader->out)[reader->at] = (float)number;
    return RANKD_OK;
}

static enum rankd_status read_bool(struct reader *reader, const json_t *value)
{
    bool one = json_is_true(value) || (json_is_integer(value) && json_integer_value(value) == 1);
    bool zero = json_is_false(value) || (json_is_integer(value) && json_integer_value(value) == 0);
    if (!one && !zero)
        return refuse(reader, value, "true, false, 1 and 0");
    ((uint8_t *)reader->out)[reader->at] = one;
    return RANKD_OK;
}

static enum rankd_status read_integer(struct reader *reader, const json_t *value)
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
    int64_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < range[reader->dtype].min || number > range[reader->dtype].max)
        return refuse(reader, value, range[reader->dtype].may);
    switch (reader->dtype) {
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

static enum rankd_status read_value(struct reader *reader, const json_t *value)
{
    switch (reader->dtype) {
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

static enum rankd_status read_array(struct reader *reader, const json_t *array)
{
    size_t size = json_array_size(array);
    for (size_t i = 0; i < size; i++) {
        const json_t *value = json_array_get(array, i);
        enum rankd_status status = RANKD_OK;
        if (json_is_array(value)) {
            status = read_array(reader, value);
        } else {
            status = read_value(reader, value);
            reader->at++;
        }
        if (status != RANKD_OK)
            return status;
    }
    return RANKD_OK;
}

enum rankd_status rk_numbers_read(const json_t *data, const char *name, enum rk_dtype dtype, size_t count,
                                  void *out, struct rk_err *err)
{
    if (!json_is_array(data)) {
        char shown[RK_JSON_SHOWN];
        return rk_fail(err, RANKD_INVALID, "data of input %s is %s; it must be an array of numbers", name,
                       rk_json_show(data, shown));
    }
    if (dtype == RK_FP16 || dtype == RK_BF16)
        return rk_fail(err, RANKD_INVALID,
                       "input %s has datatype %s and data in JSON; send it as binary data, or as FP32", name,
                       rk_dtype_name(dtype));
    size_t have = leaves(data);
    if (have != count)
        return rk_fail(err, RANKD_INVALID, "data of input %s has %zu elements; its shape takes %zu", name,
                       have, count);
    struct reader reader = {name, dtype, count, 0, out, err};
    return read_array(&reader, data);
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
