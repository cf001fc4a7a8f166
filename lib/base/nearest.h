/* SPDX-License-Identifier: Apache-2.0 */
/* "Did you mean": the known name nearest to a mistyped one. */
#ifndef RK_BASE_NEAREST_H
#define RK_BASE_NEAREST_H

#include <stddef.h>

/* Keeps the best of the names offered so far. */
struct rk_nearest {
    const char *name;
    const char *best; /* NULL: none is near enough */
    size_t distance;
};

/* `name` is borrowed for as long as names are offered. */
struct rk_nearest rk_nearest_start(const char *name);

/* `known` is borrowed for as long as `best` is used. The edit distance counts insertions,
 * deletions, replacements and swaps of neighbours. A name is near up to a distance of 2, or of half
 * the longer length. Names over 64 bytes are never near. */
void rk_nearest_offer(struct rk_nearest *nearest, const char *known);

#endif
