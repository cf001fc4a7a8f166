/* SPDX-License-Identifier: Apache-2.0 */
/* Hands out pieces of one block of memory, one after the other, each 64-byte aligned in it. With
 * `base` NULL it only counts what would be handed out, so that the code which takes memory says how
 * much it takes. */
#ifndef RK_BASE_ARENA_H
#define RK_BASE_ARENA_H

#include <stddef.h>

struct rk_arena {
    char *base;  /* borrowed; 64-byte aligned, or NULL */
    size_t used; /* bytes */
};

/* A piece, uninitialised; NULL without a base. */
static inline void *rk_arena_alloc(struct rk_arena *arena, size_t bytes)
{
    void *at = arena->base ? arena->base + arena->used : NULL;
    arena->used += (bytes + 63) / 64 * 64;
    return at;
}

#endif
