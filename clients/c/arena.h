/* SPDX-License-Identifier: Apache-2.0 */
/* Allocator of the shared arena. Its bookkeeping is outside of the arena, in this process. Not
 * thread-safe. */
#ifndef RANKD_ARENA_H
#define RANKD_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rankd_block;

struct rankd_arena {
    char *base;
    uint64_t bytes;
    uint64_t taken;             /* pieces in use */
    struct rankd_block *blocks; /* by address; neighbours are never both free */
};

bool rankd_arena_open(struct rankd_arena *arena, void *base, uint64_t bytes); /* false: out of memory */
void rankd_arena_close(struct rankd_arena *arena);

/* 64-byte aligned, first fit; NULL if there is no room. A piece of 0 bytes takes 64. */
void *rankd_arena_take(struct rankd_arena *arena, uint64_t bytes);
bool rankd_arena_give(struct rankd_arena *arena, const void *memory); /* false: not one of its pieces */
bool rankd_arena_has(const struct rankd_arena *arena, const void *memory, uint64_t bytes);
uint64_t rankd_arena_largest(const struct rankd_arena *arena);

#endif
