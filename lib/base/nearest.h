/* "Did you mean": the known name that is most like a mistyped one. */
#ifndef RK_BASE_NEAREST_H
#define RK_BASE_NEAREST_H

#include <stddef.h>

/* Keeps the best of the names offered so far. */
struct rk_nearest {
    const char *name;
    const char *best; /* NULL: none is near */
    size_t distance;
};

/* `name` is borrowed for as long as names are offered. */
struct rk_nearest rk_nearest_start(const char *name);

/* `known` is borrowed for as long as `best` is used. Edit distance counts insertions, deletions, replacements
 * and swaps of neighbours; near is at most 2, or half of the longer one's length. Names over 64 bytes are
 * near nothing. */
void rk_nearest_offer(struct rk_nearest *nearest, const char *known);

#endif
