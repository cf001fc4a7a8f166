/* SPDX-License-Identifier: Apache-2.0 */
#include "bank/chunk.h"

#include <stdlib.h>
#include <string.h>

#include "bank/kind.h"

/* Large enough that few tiles of similarities cross a chunk's end, small enough that evicting whole
 * chunks wastes little. */
enum { CHUNK_BYTES = 2 << 20, CHUNK_ITEMS_MIN = 64, CHUNK_ITEMS_MAX = 1 << 16 };

size_t rk_chunk_items(const struct rk_bank_shape *shape)
{
    size_t items = CHUNK_BYTES / rk_batch_item_bytes(shape);
    items = items < CHUNK_ITEMS_MIN ? CHUNK_ITEMS_MIN : items > CHUNK_ITEMS_MAX ? CHUNK_ITEMS_MAX : items;
    return items > shape->capacity ? shape->capacity : items;
}

static size_t aligned(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

static size_t column_bytes(const struct rk_bank_column *column, size_t room)
{
    return aligned(column->lists * room * column->bytes);
}

size_t rk_chunk_bytes(const struct rk_bank_shape *shape, size_t room)
{
    struct rk_bank_column column[RK_BANK_COLUMNS];
    size_t columns = shape->kind->columns(shape, column), bytes = aligned(sizeof(struct rk_chunk));
    for (size_t c = 0; c < columns; c++)
        bytes += column_bytes(&column[c], room) + (column[c].indexed ? aligned(rk_labels_bytes(room)) : 0);
    return bytes;
}

/* Columns and indexes behind the chunk itself. */
static void place_columns(const struct rk_bank_shape *shape, struct rk_chunk *chunk, char *at, uint64_t seed)
{
    struct rk_bank_column column[RK_BANK_COLUMNS];
    size_t columns = shape->kind->columns(shape, column);
    for (size_t c = 0; c < columns; c++) {
        chunk->column[c] = at;
        at += column_bytes(&column[c], chunk->room);
        if (!column[c].indexed)
            continue;
        chunk->index[c] = rk_labels_at(at, chunk->column[c], chunk->room, seed);
        at += aligned(rk_labels_bytes(chunk->room));
    }
}

struct rk_chunk *rk_chunk_new(const struct rk_bank_shape *shape, size_t room, uint64_t first, uint64_t seed)
{
    size_t bytes = rk_chunk_bytes(shape, room);
    char *at = aligned_alloc(64, bytes);
    if (!at)
        return NULL;
    struct rk_chunk *chunk = (struct rk_chunk *)(void *)at;
    memset(chunk, 0, sizeof *chunk);
    static atomic_uint_fast64_t chunks; /* addresses come back, these numbers do not */
    *chunk = (struct rk_chunk){.first = first,
                               .identity = atomic_fetch_add_explicit(&chunks, 1, memory_order_relaxed) + 1,
                               .room = room,
                               .bytes = bytes,
                               .memory = at};
    atomic_init(&chunk->refs, 1);
    place_columns(shape, chunk, at + aligned(sizeof *chunk), seed);
    return chunk;
}

void rk_chunk_drop(struct rk_chunk *chunk)
{
    if (atomic_fetch_sub(&chunk->refs, 1) == 1)
        free(chunk->memory);
}

/* Copies `count` items of a column between arrays [lists, from_room] and [lists, to_room]. */
static void copy_items(const struct rk_bank_column *column, void *to, size_t to_room, size_t to_item,
                       const void *from, size_t from_room, size_t from_item, size_t count)
{
    for (size_t l = 0; l < column->lists; l++)
        memcpy((char *)to + (l * to_room + to_item) * column->bytes,
               (const char *)from + (l * from_room + from_item) * column->bytes, count * column->bytes);
}

void rk_chunk_fill(const struct rk_bank_shape *shape, struct rk_chunk *chunk, const struct rk_batch *batch,
                   size_t from, size_t count)
{
    struct rk_bank_column column[RK_BANK_COLUMNS];
    size_t columns = shape->kind->columns(shape, column);
    for (size_t c = 0; c < columns; c++) {
        copy_items(&column[c], chunk->column[c], chunk->room, chunk->used, batch->column[c], batch->items,
                   from, count);
        if (chunk->index[c])
            rk_labels_add(chunk->index[c], count);
    }
    chunk->used += count;
}

void rk_chunk_read(const struct rk_bank_shape *shape, const struct rk_chunk *chunk, size_t first,
                   const struct rk_batch *batch)
{
    struct rk_bank_column column[RK_BANK_COLUMNS];
    size_t columns = shape->kind->columns(shape, column);
    for (size_t c = 0; c < columns; c++)
        copy_items(&column[c], batch->column[c], batch->items, 0, chunk->column[c], chunk->room, first,
                   batch->items);
}
