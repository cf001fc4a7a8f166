#include "bank/chunk.h"
#include "bank/labels.h"

#include <stdlib.h>
#include <string.h>

/* Large enough that a tile of similarities is seldom cut, small enough that evicting in whole chunks wastes
 * little. */
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

size_t rk_chunk_bytes(const struct rk_bank_shape *shape, size_t room)
{
    size_t bytes = aligned(sizeof(struct rk_chunk));
    if (!shape->is_embeddings)
        return bytes + aligned(shape->lists * room * sizeof(float)) + aligned(shape->lists * room);
    return bytes + aligned(room * shape->dim * rk_dtype_size(shape->dtype)) +
           2 * aligned(room * sizeof(int64_t)) + 2 * aligned(rk_labels_bytes(room));
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
    at += aligned(sizeof *chunk);
    if (!shape->is_embeddings) {
        chunk->scores = (float *)(void *)at;
        chunk->targets = (int8_t *)(at + aligned(shape->lists * room * sizeof(float)));
        return chunk;
    }
    chunk->rows = at;
    at += aligned(room * shape->dim * rk_dtype_size(shape->dtype));
    chunk->labels = (int64_t *)(void *)at;
    at += aligned(room * sizeof(int64_t));
    chunk->ids = (int64_t *)(void *)at;
    at += aligned(room * sizeof(int64_t));
    chunk->by_label = rk_labels_at(at, chunk->labels, room, seed);
    chunk->by_id = rk_labels_at(at + aligned(rk_labels_bytes(room)), chunk->ids, room, seed);
    return chunk;
}

void rk_chunk_drop(struct rk_chunk *chunk)
{
    if (atomic_fetch_sub(&chunk->refs, 1) == 1)
        free(chunk->memory);
}

void rk_chunk_fill(const struct rk_bank_shape *shape, struct rk_chunk *chunk, const struct rk_batch *batch,
                   size_t from, size_t count)
{
    size_t at = chunk->used;
    if (shape->is_embeddings) {
        size_t row = shape->dim * rk_dtype_size(shape->dtype);
        memcpy((char *)chunk->rows + at * row, (const char *)batch->rows + from * row, count * row);
        memcpy(chunk->labels + at, batch->labels + from, count * sizeof(int64_t));
        memcpy(chunk->ids + at, batch->ids + from, count * sizeof(int64_t));
        rk_labels_add(chunk->by_label, count);
        rk_labels_add(chunk->by_id, count);
    } else {
        for (size_t l = 0; l < shape->lists; l++) {
            size_t to = l * chunk->room + at, source = l * batch->items + from;
            memcpy(chunk->scores + to, batch->scores + source, count * sizeof(float));
            memcpy(chunk->targets + to, batch->targets + source, count);
        }
    }
    chunk->used += count;
}
