/* SPDX-License-Identifier: Apache-2.0 */
#include "store/rules.h"

#include "bank/window.h"

bool rk_rule_segment_follows(struct rk_bank_position end, struct rk_bank_position next)
{
    return next.version == end.version && next.end == end.end && next.generation >= end.generation;
}

bool rk_rule_record_follows(struct rk_bank_position end, bool open, const struct rk_record_head *head)
{
    const bool id_only = head->items == 0 && head->version == end.version;
    const uint64_t version = end.version + (open || id_only ? 0 : 1);
    return head->version == version && head->generation == end.generation && head->first == end.end;
}

bool rk_rule_whole(struct rk_origin origin, uint64_t capacity, uint64_t first, uint64_t end)
{
    return first <= rk_window_start(origin.base, capacity, end);
}

bool rk_rule_may_go(struct rk_origin origin, uint64_t capacity, uint64_t next, uint64_t first,
                    uint64_t oldest, struct rk_mark synced)
{
    return next <= synced.number && first <= oldest && rk_rule_whole(origin, capacity, first, synced.end);
}

size_t rk_rule_segment_bytes(const struct rk_bank_shape *shape)
{
    const size_t least = (size_t)1 << 20, most = (size_t)64 << 20;
    const size_t eighth = shape->capacity * rk_batch_item_bytes(shape) / 8;
    return eighth < least ? least : eighth > most ? most : eighth;
}
