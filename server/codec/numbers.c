#include "numbers.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "json.h"
#include "number.h"

struct reader {
    const char *name;
    enum rk_dtype dtype;
    size_t at;
    void *out;
    struct rk_err *err;
};

static enum rankd_status refuse(const struct reader *reader, const json_t *value, const char *may)
{
    char shown[RK_JSON_SHOWN];
    return rk_fail(reader->err, RANKD_INVALID, "input %s has %s at position %zu of its data; %s takes %s",
                   reader->name, rk_json_show(value, shown), reader->at, rk_dtype_name(reader->dtype), may);
}

/* JSON has no numbers for what is not finite: null is NaN, and infinities, which are scores like others, are
 * words. */
static bool real_of(const json_t *value, double *number)
{
    const char *word = json_string_value(value);
    if (json_is_number(value))
        *number = json_number_value(value);
    else if (json_is_null(value))
        *number = NAN;
    else if (word && strcmp(word, "Infinity") == 0)
        *number = INFINITY;
    else if (word && strcmp(word, "-Infinity") == 0)
        *number = -INFINITY;
    else
        return false;
    return true;
}

static enum rankd_status read_real(struct reader *reader, const json_t *value)
{
    double number;
    if (!real_of(value, &number))
        return refuse(reader, value, "numbers, null (NaN), \"Infinity\" and \"-Infinity\"");
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

/* An array without arrays in it. */
static bool is_flat(const json_t *array)
{
    size_t size = json_array_size(array);
    for (size_t i = 0; i < size; i++) {
        if (json_is_array(json_array_get(array, i)))
            return false;
    }
    return true;
}

/* Elements of all rows together, wherever they stand, for the sentence. */
static size_t leaves(const json_t *array)
{
    size_t count = 0, size = json_array_size(array);
    for (size_t i = 0; i < size; i++) {
        const json_t *value = json_array_get(array, i);
        count += json_is_array(value) ? leaves(value) : 1;
    }
    return count;
}

/* Flat, or a matrix with its rows: other nesting means that sender and shape disagree about what is a list.
 */
static enum rankd_status check_nesting(const json_t *data, const char *name, const struct rk_tensor *tensor,
                                       size_t count, struct rk_err *err)
{
    char shape[RK_SHAPE_TEXT];
    (void)rk_shape_text(tensor->rank, tensor->shape, shape);
    size_t rows = json_array_size(data), have = leaves(data);
    if (have != count)
        return rk_fail(err, RANKD_INVALID, "data of input %s has %zu elements; its shape %s takes %zu", name,
                       have, shape, count);
    if (is_flat(data))
        return RANKD_OK;
    bool good = tensor->rank == 2 && rows == tensor->shape[0];
    for (size_t i = 0; i < rows && good; i++) {
        const json_t *row = json_array_get(data, i);
        good = json_is_array(row) && json_array_size(row) == tensor->shape[1] && is_flat(row);
        if (!good)
            return rk_fail(err, RANKD_INVALID,
                           "data of input %s is nested otherwise than its shape %s says, at its element %zu; "
                           "it must be flat, or an array for each row",
                           name, shape, i);
    }
    return good ? RANKD_OK
                : rk_fail(err, RANKD_INVALID,
                          "data of input %s is nested, %zu rows; its shape %s takes a flat array%s", name,
                          rows, shape, tensor->rank == 2 ? ", or an array for each row" : "");
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

enum rankd_status rk_numbers_read(const json_t *data, const char *name, const struct rk_tensor *tensor,
                                  size_t count, void *out, struct rk_err *err)
{
    if (!json_is_array(data)) {
        char shown[RK_JSON_SHOWN];
        return rk_fail(err, RANKD_INVALID, "data of input %s is %s; it must be an array of numbers", name,
                       rk_json_show(data, shown));
    }
    if (tensor->dtype == RK_FP16 || tensor->dtype == RK_BF16)
        return rk_fail(err, RANKD_INVALID,
                       "input %s has datatype %s and data in JSON; send it as binary data, or as FP32", name,
                       rk_dtype_name(tensor->dtype));
    if (check_nesting(data, name, tensor, count, err) != RANKD_OK)
        return err->status;
    struct reader reader = {name, tensor->dtype, 0, out, err};
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
