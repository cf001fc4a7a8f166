/* SPDX-License-Identifier: Apache-2.0 */
/* Lists in groups of some items each, so that threads share them by size and a thread gets enough to be worth
 * waking. Groups depend on the lists alone, not on threads: results that are added up group by group do not
 * depend on them either. Nothing is taken from memory.
 *
 * Lists of equal length are counted off. Lists of different lengths belong to the group in whose window of
 * the flat tensor they begin; one of two windows or more leaves the next window without a beginning, and is
 * the only list of that group, so that all threads can work on it:
 *
 *     windows   |    0    |    1    |    2    |    3    |
 *     lists     a..b..c...d...........................e..
 *     groups    0: a b c   1: d   2: (none)   3: e */
#ifndef RK_SCORES_LIST_GROUPS_H
#define RK_SCORES_LIST_GROUPS_H

#include "scores/lists.h"

struct rk_list_groups {
    const struct rk_lists *lists;
    size_t items;     /* of a window */
    size_t per_group; /* lists; 0: their lengths differ */
    size_t count;     /* of groups */
};

/* Lists first..end-1. `alone`: one list of at least two windows, among lists of different lengths. */
struct rk_list_group {
    size_t first, end;
    bool alone;
};

/* Groups of about `items` items, where a list has `more` items of memory beside its own. Groups of lists of
 * equal length are whole tiles (lists.h). */
struct rk_list_groups rk_list_groups_of(const struct rk_lists *lists, size_t items, size_t more);

struct rk_list_group rk_list_group(const struct rk_list_groups *groups, size_t number);

/* True if there is, or while measuring could be, a group of one list alone. */
static inline bool rk_list_groups_any_alone(const struct rk_list_groups *groups)
{
    return groups->per_group == 0 && groups->lists->items >= 2 * groups->items;
}

#endif
