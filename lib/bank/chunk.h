/* SPDX-License-Identifier: Apache-2.0 */
/* A piece of a bank: consecutive items, only ever appended to, with counted references. Written
 * items never change, so a reader that knows where its own end is needs no lock. */
#ifndef RK_BANK_CHUNK_H
#define RK_BANK_CHUNK_H

#include <stdatomic.h>

#include "bank/batch.h"
#include "bank/labels.h"

struct rk_chunk {
    atomic_size_t refs;
    uint64_t first;    /* sequence number of item 0 */
    uint64_t identity; /* request/bank_view.h: of this memory, never used again for another */
    size_t used, room, bytes;
    void *column[RK_BANK_COLUMNS];            /* each [lists, room] */
    struct rk_labels *index[RK_BANK_COLUMNS]; /* of an indexed column; otherwise NULL */
    void *memory;
};

/* The number of items that a chunk of such a bank has room for, and the bytes of such a chunk. */
size_t rk_chunk_items(const struct rk_bank_shape *shape);
/* Items that a bank keeps beyond its capacity. */
size_t rk_chunk_slack(const struct rk_bank_shape *shape);
size_t rk_chunk_bytes(const struct rk_bank_shape *shape, size_t room);

/* Empty, with one reference; NULL if out of memory. `seed` is that of the label indexes. */
struct rk_chunk *rk_chunk_new(const struct rk_bank_shape *shape, size_t room, uint64_t first, uint64_t seed);
void rk_chunk_drop(struct rk_chunk *chunk); /* one reference */

/* Appends items from..from+count-1 of the batch. There must be room. */
void rk_chunk_fill(const struct rk_bank_shape *shape, struct rk_chunk *chunk, const struct rk_batch *batch,
                   size_t from, size_t count);

/* The reverse: copies items first..first+batch->items-1 of the chunk into a batch, which they
 * fill. */
void rk_chunk_read(const struct rk_bank_shape *shape, const struct rk_chunk *chunk, size_t first,
                   const struct rk_batch *batch);

#endif
