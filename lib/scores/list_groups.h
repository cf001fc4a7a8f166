/* SPDX-License-Identifier: Apache-2.0 */
/* Divides lists into groups of similar size, each large enough to be worth waking a thread. Groups
 * depend on the lists alone, not on threads, and so do results that are added group by group. No
 * memory is taken.
 *
 * Lists of equal length form groups of equal numbers. Lists of different lengths belong to the
 * group in whose window of the flat tensor they begin. No list begins in the window after one that
 * spans two windows or more; such a list is the only one of a group, so that all threads can work
 * on it:
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

/* Lists first..end-1. `alone`: one list of at least two windows, among lists of different
 * lengths. */
struct rk_list_group {
    size_t first, end;
    bool alone;
};

/* Groups of about `items` items; each list has `more` items of the bank beside its own. Groups of
 * lists of equal length are whole tiles (lists.h). */
struct rk_list_groups rk_list_groups_of(const struct rk_lists *lists, size_t items, size_t more);

struct rk_list_group rk_list_group(const struct rk_list_groups *groups, size_t number);

/* True if there is (while measuring: could be) a group with `alone` set. */
static inline bool rk_list_groups_any_alone(const struct rk_list_groups *groups)
{
    return groups->per_group == 0 && groups->lists->items >= 2 * groups->items;
}

#endif
