/* What a request appends to a bank: its items as they are stored, in one block of memory whose layout is also
 * that of a journal's record, so that what was ranked is laid out once.
 *
 *   embeddings   labels [items] int64, ids [items] int64 (-1 = none), rows [items, dim] in the bank's type
 *   scores       scores [lists, items] FP32, targets [lists, items] int8 */
#ifndef RK_BANK_BATCH_H
#define RK_BANK_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/tensor.h"
#include "request/request.h"

/* What a bank holds. Never changes while it lives. */
struct rk_bank_shape {
    bool is_embeddings;
    size_t dim;          /* of embeddings */
    size_t lists;        /* of a score bank */
    size_t capacity;     /* items, of each list in a score bank */
    bool normalize;      /* embeddings */
    enum rk_dtype dtype; /* of embeddings: RK_FP32, RK_FP16, RK_BF16. Scores are FP32 */
};

/* A view of such a block; the arrays lie in `block`. */
struct rk_batch {
    size_t items;
    void *block;
    size_t bytes;
    int64_t *labels, *ids; /* embeddings */
    void *rows;
    float *scores; /* scores */
    int8_t *targets;
};

/* Bytes that one item takes in a block (in all lists together). */
size_t rk_batch_item_bytes(const struct rk_bank_shape *shape);

/* Points the arrays into `block` of `bytes` bytes; false if that is not what `items` items take. */
bool rk_batch_at(const struct rk_bank_shape *shape, size_t items, void *block, size_t bytes,
                 struct rk_batch *batch) __attribute__((warn_unused_result));

/* The batch of a request that rk_engine_run() has accepted against this bank: converted, normalised where the
 * bank normalises, rounded to the bank's type, without the items that enqueue_mask leaves out. The inputs are
 * read once more, and what may have changed since (in shared memory) is checked again. RANKD_INVALID: a value
 * that the bank's type cannot hold, or more items than its capacity. The block is malloc'ed: rk_batch_free().
 * items may be 0. */
enum rankd_status rk_batch_new(const struct rk_bank_shape *shape, const struct rk_request *request,
                               struct rk_batch *batch, struct rk_err *err)
    __attribute__((warn_unused_result));
void rk_batch_free(struct rk_batch *batch);

/* Nearest, ties to even. */
uint16_t rk_fp16_of_float(float value);
uint16_t rk_bf16_of_float(float value);

#endif
