/* SPDX-License-Identifier: Apache-2.0 */
#include "bank/labels.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* Open addressing: a slot holds the newest position of a key, and `before` links each position to
 * the next older one of its key. A position is published by the store of its slot, after its link
 * is written; its key was written before rk_labels_add() was called. */
struct rk_labels {
    const int64_t *keys;
    uint64_t seed;
    size_t added;
    uint32_t shift; /* 64 - log2(slots) */
    uint32_t mask;  /* slots - 1 */
    _Atomic uint32_t *slot;
    uint32_t *before; /* [capacity] */
};

/* At least twice as many slots as items: probes stay short. */
static size_t slots_for(size_t capacity)
{
    size_t slots = 4;
    while (slots < 2 * capacity)
        slots *= 2;
    return slots;
}

size_t rk_labels_bytes(size_t capacity)
{
    if (capacity > RK_LABELS_CAPACITY)
        return SIZE_MAX;
    return sizeof(struct rk_labels) + (slots_for(capacity) + capacity) * sizeof(uint32_t);
}

struct rk_labels *rk_labels_at(void *memory, const int64_t *keys, size_t capacity, uint64_t seed)
{
    struct rk_labels *labels = memory;
    size_t slots = slots_for(capacity);
    *labels = (struct rk_labels){.keys = keys, .seed = seed, .mask = (uint32_t)(slots - 1)};
    labels->shift = 64u - (uint32_t)__builtin_ctzll(slots);
    labels->slot = (_Atomic uint32_t *)(labels + 1);
    labels->before = (uint32_t *)(labels->slot + slots);
    for (size_t i = 0; i < slots; i++)
        atomic_init(&labels->slot[i], RK_POSITION_END);
    return labels;
}

uint64_t rk_labels_seed(void)
{
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) == (ssize_t)sizeof seed)
        return seed;
    struct timespec now; /* early at boot: fall back to the clock */
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_nsec * 0x9e3779b97f4a7c15u;
}

struct rk_labels *rk_labels_new(const int64_t *keys, size_t capacity)
{
    size_t bytes = rk_labels_bytes(capacity);
    void *memory = bytes == SIZE_MAX ? NULL : malloc(bytes);
    if (!memory)
        return NULL;
    return rk_labels_at(memory, keys, capacity, rk_labels_seed());
}

void rk_labels_free(struct rk_labels *labels)
{
    free(labels);
}

/* The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): every bit of the key reaches the
 * top ones. */
static uint32_t first_slot(const struct rk_labels *labels, int64_t key)
{
    uint64_t x = (uint64_t)key ^ labels->seed;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((x ^ (x >> 31)) >> labels->shift);
}

/* The slot of that key, or the free one where it would go. */
static uint32_t find_slot(const struct rk_labels *labels, int64_t key, uint32_t *newest)
{
    uint32_t at = first_slot(labels, key);
    for (;; at = (at + 1) & labels->mask) {
        *newest = atomic_load_explicit(&labels->slot[at], memory_order_acquire);
        if (*newest == RK_POSITION_END || labels->keys[*newest] == key)
            return at;
    }
}

void rk_labels_add(struct rk_labels *labels, size_t count)
{
    for (size_t i = labels->added; i < labels->added + count; i++) {
        labels->before[i] = RK_POSITION_END;
        if (labels->keys[i] == RK_LABEL_NONE)
            continue;
        uint32_t at = find_slot(labels, labels->keys[i], &labels->before[i]);
        atomic_store_explicit(&labels->slot[at], (uint32_t)i, memory_order_release);
    }
    labels->added += count;
}

uint32_t rk_labels_last(const struct rk_labels *labels, int64_t key)
{
    uint32_t newest = RK_POSITION_END;
    if (key != RK_LABEL_NONE)
        (void)find_slot(labels, key, &newest);
    return newest;
}

uint32_t rk_labels_before(const struct rk_labels *labels, uint32_t position)
{
    return labels->before[position];
}

uint32_t rk_labels_within(const struct rk_labels *labels, int64_t key, size_t first, size_t end)
{
    uint32_t at = rk_labels_last(labels, key);
    while (at != RK_POSITION_END && at >= end)
        at = rk_labels_before(labels, at);
    return at != RK_POSITION_END && at >= first ? at : RK_POSITION_END;
}
