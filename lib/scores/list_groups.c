/* SPDX-License-Identifier: Apache-2.0 */
#include "scores/list_groups.h"

struct rk_list_groups rk_list_groups_of(const struct rk_lists *lists, size_t items, size_t more)
{
    struct rk_list_groups groups = {.lists = lists, .items = items};
    const size_t each = lists->items + more;
    if (lists->start) {
        groups.count = lists->elements / items + 1; /* the last window is for empty lists at the end */
        return groups;
    }
    groups.per_group = each < items ? items / each : 1;
    groups.per_group = (groups.per_group + lists->tile - 1) / lists->tile * lists->tile;
    groups.count = (lists->lists + groups.per_group - 1) / groups.per_group;
    return groups;
}

/* The first list that begins at `position` or later. */
static size_t first_from(const struct rk_lists *lists, size_t position)
{
    size_t low = 0, high = lists->lists;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (lists->start[middle] < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_long(const struct rk_list_groups *groups, size_t list)
{
    return rk_lists_items(groups->lists, list) >= 2 * groups->items;
}

/* Lists of different lengths. A long list is the last one that begins in its window, because it
 * ends behind it. */
static struct rk_list_group window(const struct rk_list_groups *groups, size_t number)
{
    const struct rk_lists *lists = groups->lists;
    struct rk_list_group group = {.first = first_from(lists, number * groups->items),
                                  .end = first_from(lists, (number + 1) * groups->items)};
    if (group.end > group.first) {
        group.end -= is_long(groups, group.end - 1);
        return group;
    }
    const size_t before = group.first > 0 ? group.first - 1 : 0;
    group.alone = number > 0 && group.first > 0 && is_long(groups, before) &&
                  lists->start[before] >= (number - 1) * groups->items;
    group.first -= group.alone;
    return group;
}

struct rk_list_group rk_list_group(const struct rk_list_groups *groups, size_t number)
{
    if (groups->per_group == 0)
        return window(groups, number);
    const size_t first = number * groups->per_group, left = groups->lists->lists - first;
    return (struct rk_list_group){first, first + (left < groups->per_group ? left : groups->per_group),
                                  false};
}
