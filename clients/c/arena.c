/* SPDX-License-Identifier: Apache-2.0 */
#include "arena.h"

#include <stdlib.h>

enum { ALIGN = 64 };

struct rankd_block {
    struct rankd_block *next;
    uint64_t offset, bytes;
    bool taken;
};

bool rankd_arena_open(struct rankd_arena *arena, void *base, uint64_t bytes)
{
    *arena = (struct rankd_arena){.base = base, .bytes = bytes / ALIGN * ALIGN};
    arena->blocks = calloc(1, sizeof *arena->blocks);
    if (arena->blocks != NULL)
        arena->blocks->bytes = arena->bytes;
    return arena->blocks != NULL;
}

void rankd_arena_close(struct rankd_arena *arena)
{
    while (arena->blocks != NULL) {
        struct rankd_block *next = arena->blocks->next;
        free(arena->blocks);
        arena->blocks = next;
    }
}

/* Cuts `block` after `bytes` bytes; the rest becomes a free neighbour. */
static bool cut(struct rankd_block *block, uint64_t bytes)
{
    if (block->bytes == bytes)
        return true;
    struct rankd_block *rest = calloc(1, sizeof *rest);
    if (rest == NULL)
        return false;
    *rest = (struct rankd_block){block->next, block->offset + bytes, block->bytes - bytes, false};
    block->next = rest;
    block->bytes = bytes;
    return true;
}

void *rankd_arena_take(struct rankd_arena *arena, uint64_t bytes)
{
    if (bytes > arena->bytes)
        return NULL;
    bytes = bytes == 0 ? ALIGN : (bytes + ALIGN - 1) / ALIGN * ALIGN;
    for (struct rankd_block *block = arena->blocks; block != NULL; block = block->next) {
        if (block->taken || block->bytes < bytes)
            continue;
        if (!cut(block, bytes))
            return NULL;
        block->taken = true;
        arena->taken++;
        return arena->base + block->offset;
    }
    return NULL;
}

static void join_next(struct rankd_block *block)
{
    struct rankd_block *next = block->next;
    if (next == NULL || next->taken || block->taken)
        return;
    block->bytes += next->bytes;
    block->next = next->next;
    free(next);
}

bool rankd_arena_give(struct rankd_arena *arena, const void *memory)
{
    struct rankd_block *before = NULL;
    for (struct rankd_block *block = arena->blocks; block != NULL; before = block, block = block->next) {
        if (!block->taken || arena->base + block->offset != (const char *)memory)
            continue;
        block->taken = false;
        arena->taken--;
        join_next(block);
        if (before != NULL)
            join_next(before);
        return true;
    }
    return false;
}

bool rankd_arena_has(const struct rankd_arena *arena, const void *memory, uint64_t bytes)
{
    uintptr_t base = (uintptr_t)arena->base, at = (uintptr_t)memory;
    return at >= base && at - base <= arena->bytes && bytes <= arena->bytes - (at - base);
}

uint64_t rankd_arena_largest(const struct rankd_arena *arena)
{
    uint64_t largest = 0;
    for (const struct rankd_block *block = arena->blocks; block != NULL; block = block->next) {
        if (!block->taken && block->bytes > largest)
            largest = block->bytes;
    }
    return largest;
}
