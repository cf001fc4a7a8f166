/* SPDX-License-Identifier: Apache-2.0 */
/* What a request appends to a bank: its items as they are stored, in one block of memory whose
 * layout is also that of a journal's record, so that items are laid out once: column after column,
 * each [lists, items]. The kind of the bank defines the columns (bank/kind.h). */
#ifndef RK_BANK_BATCH_H
#define RK_BANK_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/tensor.h"
#include "request/request.h"

struct rk_bank_kind; /* bank/kind.h */

/* What a bank holds. Never changes while it lives. */
struct rk_bank_shape {
    const struct rk_bank_kind *kind;
    size_t dim, lists;   /* as the kind's fields say; 0 if the kind has no such field */
    size_t capacity;     /* items, of each list where there are lists */
    bool normalize;      /* as above; false */
    enum rk_dtype dtype; /* of the items: one that the kind takes */
};

/* A column of a bank's items. */
enum { RK_BANK_COLUMNS = 4 };
struct rk_bank_column {
    size_t bytes; /* of an item, in one list */
    size_t lists; /* 1, or the number of lists, each list's items side by side */
    bool indexed; /* of int64_t keys, and chunks have an index from key to positions (bank/labels.h) */
};

/* A view of such a block. */
struct rk_batch {
    size_t items;
    void *block;
    size_t bytes;
    void *column[RK_BANK_COLUMNS]; /* in `block`; NULL behind the kind's last */
};

/* Bytes that one item takes in a block (in all lists together). */
size_t rk_batch_item_bytes(const struct rk_bank_shape *shape);

/* Points the arrays into `block` of `bytes` bytes; false if that is not what `items` items take. */
bool rk_batch_at(const struct rk_bank_shape *shape, size_t items, void *block, size_t bytes,
                 struct rk_batch *batch) __attribute__((warn_unused_result));

/* The batch of a request that rk_engine_run() has accepted against this bank: converted, normalised
 * where the bank normalises, rounded to the bank's type, without the items that enqueue_mask leaves
 * out. The inputs are read again, and values that may have changed since (in shared memory) are
 * checked again. RANKD_INVALID: a value that the bank's type cannot hold, or more items than its
 * capacity. The block is malloc'ed: rk_batch_free(). items may be 0. */
enum rankd_status rk_batch_new(const struct rk_bank_shape *shape, const struct rk_request *request,
                               struct rk_batch *batch, struct rk_err *err)
    __attribute__((warn_unused_result));
void rk_batch_free(struct rk_batch *batch);

/* For kinds: a block for that many items. RANKD_INVALID: more than the capacity.
 * RANKD_OVERLOADED. */
enum rankd_status rk_batch_take(const struct rk_bank_shape *shape, size_t items, struct rk_batch *batch,
                                struct rk_err *err) __attribute__((warn_unused_result));

#endif
