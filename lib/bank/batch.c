/* SPDX-License-Identifier: Apache-2.0 */
#include "bank/batch.h"

#include <stdlib.h>
#include <string.h>

#include "bank/kind.h"

size_t rk_batch_item_bytes(const struct rk_bank_shape *shape)
{
    struct rk_bank_column column[RK_BANK_COLUMNS];
    size_t columns = shape->kind->columns(shape, column), bytes = 0;
    for (size_t c = 0; c < columns; c++)
        bytes += column[c].lists * column[c].bytes;
    return bytes;
}

bool rk_batch_at(const struct rk_bank_shape *shape, size_t items, void *block, size_t bytes,
                 struct rk_batch *batch)
{
    struct rk_bank_column column[RK_BANK_COLUMNS];
    size_t columns = shape->kind->columns(shape, column), want;
    if (__builtin_mul_overflow(items, rk_batch_item_bytes(shape), &want) || want != bytes)
        return false;
    *batch = (struct rk_batch){.items = items, .block = block, .bytes = bytes};
    char *at = block;
    for (size_t c = 0; c < columns; c++) {
        batch->column[c] = at;
        at += column[c].lists * items * column[c].bytes;
    }
    return true;
}

enum rankd_status rk_batch_take(const struct rk_bank_shape *shape, size_t items, struct rk_batch *batch,
                                struct rk_err *err)
{
    if (items > shape->capacity)
        return rk_fail(err, RANKD_INVALID, "the batch has %zu items to append; the bank's capacity is %zu",
                       items, shape->capacity);
    size_t bytes =
        items * rk_batch_item_bytes(shape); /* at most the capacity's, which was checked at creation */
    void *block = malloc(bytes ? bytes : 1);
    if (!block)
        return rk_fail(err, RANKD_OVERLOADED,
                       "no memory for a batch of %zu bytes now; try again after a while", bytes);
    return rk_batch_at(shape, items, block, bytes, batch)
               ? RANKD_OK
               : rk_fail(err, RANKD_INTERNAL, "a batch of %zu items has no layout", items);
}

enum rankd_status rk_batch_new(const struct rk_bank_shape *shape, const struct rk_request *request,
                               struct rk_batch *batch, struct rk_err *err)
{
    memset(batch, 0, sizeof *batch);
    enum rankd_status status = shape->kind->read(shape, request, batch, err);
    if (status != RANKD_OK)
        rk_batch_free(batch);
    return status;
}

void rk_batch_free(struct rk_batch *batch)
{
    free(batch->block);
    memset(batch, 0, sizeof *batch);
}
