/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/reorder.h"

#include <string.h>

enum { FEW = 8 /* at most one item in FEW is put aside */ };

/* Memory: two rows of n for the items to sort, one row for places, then the scratch of the sort. */
struct reorder_rows {
    uint32_t *key, *place, *other;
    void *sort;
};

static size_t row_of(uint32_t n)
{
    return (n * sizeof(uint32_t) + 63) / 64 * 64;
}

size_t rk_reorder_scratch(const struct rk_kernels *kernels, uint32_t n)
{
    return 3 * row_of(n) + kernels->argsort_scratch(n);
}

static struct reorder_rows lay_out(void *scratch, uint32_t n)
{
    char *at = scratch;
    return (struct reorder_rows){.key = (uint32_t *)scratch,
                                 .place = (uint32_t *)(void *)(at + row_of(n)),
                                 .other = (uint32_t *)(void *)(at + 2 * row_of(n)),
                                 .sort = at + 3 * row_of(n)};
}

struct keyed_place {
    uint32_t key, index;
};

static inline struct keyed_place keyed(const uint32_t *key, const uint32_t *index, uint32_t place)
{
    return (struct keyed_place){key[place], index[place]};
}

static inline bool is_before(struct keyed_place a, struct keyed_place b)
{
    return a.key < b.key || (a.key == b.key && a.index < b.index);
}

/* Kept places go to perm, the others to `aside`. Returns how many were kept; 0 if too few were. The
 * last one kept is held in registers: nearly all are kept, and looking it up would be a chain
 * through memory. */
static uint32_t keep_ascending(const uint32_t *key, const uint32_t *index, uint32_t n, uint32_t *perm,
                               uint32_t *aside)
{
    uint32_t kept = 0, dropped = 0, most = n / FEW;
    struct keyed_place last = {0};
    for (uint32_t k = 0; k < n; k++) {
        struct keyed_place here = keyed(key, index, k);
        if (kept == 0 || is_before(last, here)) {
            perm[kept++] = k;
            last = here;
            continue;
        }
        if (dropped + 2 > most)
            return 0;
        aside[dropped++] = perm[--kept];
        aside[dropped++] = k;
        if (kept > 0)
            last = keyed(key, index, perm[kept - 1]);
    }
    return kept;
}

/* Stable, so by index first and then by key. */
static void sort_aside(const struct rk_kernels *kernels, const uint32_t *key, const uint32_t *index,
                       uint32_t n, const struct reorder_rows *room)
{
    uint32_t *aside = room->place, *perm = room->other;
    for (int by_key = 0; by_key < 2; by_key++) {
        for (uint32_t i = 0; i < n; i++)
            room->key[i] = by_key ? key[aside[i]] : index[aside[i]];
        kernels->argsort(room->key, n, perm, NULL, room->sort);
        for (uint32_t i = 0; i < n; i++)
            room->key[i] = aside[perm[i]];
        memcpy(aside, room->key, n * sizeof *aside);
    }
}

/* From the end, into the room behind those that were kept. */
static void merge_aside(const uint32_t *key, const uint32_t *index, uint32_t *perm, uint32_t kept,
                        const uint32_t *aside, uint32_t n)
{
    for (uint32_t at = kept + n; n > 0;) {
        bool from_kept =
            kept > 0 && is_before(keyed(key, index, aside[n - 1]), keyed(key, index, perm[kept - 1]));
        perm[--at] = from_kept ? perm[--kept] : aside[--n];
    }
}

/* If items are in index order, a stable sort by key suffices. */
static void sort_all(const struct rk_kernels *kernels, uint32_t *key, const uint32_t *index, uint32_t n,
                     uint32_t *perm, const struct reorder_rows *room)
{
    for (uint32_t k = 0; k < n; k++) {
        room->key[index[k]] = key[k];
        room->place[index[k]] = k;
    }
    kernels->argsort(room->key, n, perm, key, room->sort);
    for (uint32_t k = 0; k < n; k++)
        perm[k] = room->place[perm[k]];
}

void rk_reorder(const struct rk_kernels *kernels, uint32_t *key, const uint32_t *index, uint32_t n,
                uint32_t *perm, void *scratch)
{
    struct reorder_rows room = lay_out(scratch, n);
    uint32_t kept = keep_ascending(key, index, n, perm, room.place);
    if (kept == 0) {
        sort_all(kernels, key, index, n, perm, &room);
        return;
    }
    if (kept == n)
        return;
    sort_aside(kernels, key, index, n - kept, &room);
    merge_aside(key, index, perm, kept, room.place, n - kept);
    for (uint32_t k = 0; k < n; k++)
        room.key[k] = key[perm[k]];
    memcpy(key, room.key, n * sizeof *key);
}
