/* SPDX-License-Identifier: Apache-2.0 */
/* Index from a 64-bit key (a label, an id) to the positions of the items that have it, within one
 * chunk of a bank or one batch.
 *
 * Append-only, so that readers of an older version need no lock: items are linked from the newest
 * back, and a reader passes over those beyond its own end. One writer at a time; readers at any
 * time, also during an append. The key -1 means "none" and is never found. */
#ifndef RK_BANK_LABELS_H
#define RK_BANK_LABELS_H

#include <stddef.h>
#include <stdint.h>

#define RK_LABEL_NONE (-1)            /* the key that stands for none */
#define RK_POSITION_END UINT32_MAX    /* no further item */
#define RK_LABELS_CAPACITY (1u << 30) /* the most items an index may hold */

struct rk_labels;

/* Bytes of an index over that many items (about 12 each); SIZE_MAX over RK_LABELS_CAPACITY. */
size_t rk_labels_bytes(size_t capacity);

/* An index over keys[0..capacity-1], none added yet, in `memory` (rk_labels_bytes(), 8-byte
 * aligned), which the caller frees when no reader is left. `keys` is borrowed: it stays at its
 * place while the index lives, and keys[i] does not change once it was added. `seed` is a number
 * that clients do not know; it spreads the keys, so that no choice of labels makes them collide. No
 * result depends on it. */
struct rk_labels *rk_labels_at(void *memory, const int64_t *keys, size_t capacity, uint64_t seed);

/* Such a number, another one at each call. */
uint64_t rk_labels_seed(void);

/* The same in memory of its own; NULL if there is none. */
struct rk_labels *rk_labels_new(const int64_t *keys, size_t capacity);
void rk_labels_free(
    struct rk_labels *labels); /* what rk_labels_new() made; NULL is fine; no reader may be left */

/* Adds the next `count` items: those whose keys the caller has written behind the ones added
 * before. */
void rk_labels_add(struct rk_labels *labels, size_t count);

/* The last position with that key, RK_POSITION_END if there is none; and the next one before
 * `position`. Positions come in falling order; a reader of an older version skips those at or
 * beyond its own end, and stops below its own first. */
uint32_t rk_labels_last(const struct rk_labels *labels, int64_t key);
/* The last position of a key among first..end-1, RK_POSITION_END if there is none. */
uint32_t rk_labels_within(const struct rk_labels *labels, int64_t key, size_t first, size_t end);
uint32_t rk_labels_before(const struct rk_labels *labels, uint32_t position);

#endif
