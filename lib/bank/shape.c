/* SPDX-License-Identifier: Apache-2.0 */
#include "bank/bank.h"
#include "bank/chunk.h"
#include "bank/kind.h"

static enum rankd_status check_fields(const struct rk_bank_shape *shape, struct rk_err *err)
{
    for (const struct rk_bank_field *field = shape->kind->field; field->name; field++) {
        size_t value = rk_bank_field_count(field, shape);
        if (field->type == RK_BANK_FIELD_COUNT && (value < field->min || value > field->max))
            return rk_fail(err, RANKD_INVALID, "%s of the bank is %zu; it must be from %zu to %zu",
                           field->name, value, field->min, field->max);
    }
    return RANKD_OK;
}

enum rankd_status rk_bank_shape_check(const struct rk_bank_shape *shape, struct rk_err *err)
{
    size_t bytes;
    if (check_fields(shape, err) != RANKD_OK)
        return err->status;
    if (shape->capacity == 0 || shape->capacity > 0x3fffffff)
        return rk_fail(err, RANKD_INVALID, "capacity of the bank is %zu; it must be from 1 to 1073741823",
                       shape->capacity);
    if (!(shape->kind->dtypes & RK_BANK_DTYPE(shape->dtype)))
        return rk_fail(err, RANKD_INVALID, "datatype of the bank is %s; it must be %s",
                       rk_dtype_name(shape->dtype), shape->kind->dtypes_text);
    if (__builtin_mul_overflow(shape->capacity, rk_batch_item_bytes(shape), &bytes) || bytes > SIZE_MAX / 8)
        return rk_fail(err, RANKD_INVALID, "a bank of %zu items of %zu bytes is more than can be addressed",
                       shape->capacity, rk_batch_item_bytes(shape));
    return RANKD_OK;
}

size_t rk_chunk_slack(const struct rk_bank_shape *shape)
{
    return shape->capacity / 4 + rk_chunk_items(shape);
}

size_t rk_bank_shape_bytes(const struct rk_bank_shape *shape)
{
    size_t room = rk_chunk_items(shape);
    return ((shape->capacity + rk_chunk_slack(shape)) / room + 2) * rk_chunk_bytes(shape, room);
}
