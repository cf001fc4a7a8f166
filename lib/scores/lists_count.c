/* SPDX-License-Identifier: Apache-2.0 */
/* Counts the relevant items of the lists of a request, and checks every target. */
#include <stdatomic.h>
#include <string.h>

#include "base/number.h"
#include "base/schedule.h"
#include "scores/list_groups.h"

enum { BLOCK = 1024, PIECE = 1 << 20 /* targets per thread, so that a thread is worth waking */ };

static enum rankd_status refuse(const struct rk_lists *lists, struct rk_err *err)
{
    char value[RK_NUMBER_TEXT];
    char place[RK_LISTS_PLACE_TEXT];
    size_t at = 0;
    const char *may = rk_target_may_be(lists->rule, lists->target_dtype);
    if (!rk_targets_first_bad(lists->targets, lists->target_dtype, lists->rule, lists->elements, &at, value))
        return rk_fail(err, RANKD_INVALID, "targets changed while they were read; they may be %s", may);
    return rk_fail(err, RANKD_INVALID, "targets%s is %s; it may be %s", rk_lists_place(lists, at, place),
                   value, may);
}

static void add(struct rk_list_count *count, size_t items, struct rk_scan scan)
{
    count->n += (uint32_t)(items - scan.ignored);
    count->p += (uint32_t)scan.relevant;
}

/* Items from..to-1 of a list. */
static bool count_some(const struct rk_lists *lists, const struct rk_kernels *kernels, size_t list,
                       size_t from, size_t to, struct rk_list_count *count)
{
    const size_t size = rk_dtype_size(lists->target_dtype);
    const char *at = (const char *)lists->targets + (rk_lists_start(lists, list) + from) * size;
    if (rk_targets_are_bytes(lists->target_dtype, lists->rule)) {
        struct rk_scan scan = kernels->scan(at, to - from, rk_targets_most(lists->target_dtype, lists->rule),
                                            lists->target_dtype == RK_INT8);
        add(count, to - from, scan);
        return !scan.bad;
    }
    int8_t block[BLOCK];
    for (size_t left = to - from, here; left > 0; left -= here, at += here * size) {
        here = left < BLOCK ? left : BLOCK;
        rk_targets_narrow(at, lists->target_dtype, lists->rule, here, block);
        struct rk_scan scan = kernels->scan(block, here, 1, true);
        add(count, here, scan);
        if (scan.bad)
            return false;
    }
    return true;
}

/* Adds up rows of narrow targets: bytes per column, as many as a byte can count. */
enum { BYTE_ROWS = 255 };
struct tally {
    uint8_t relevant[BLOCK], ignored[BLOCK];
    bool bad;
};

/* Sixteen targets at a time: a comparison that holds is -1 in its lane. Counts are unsigned, up to
 * 255. */
typedef int8_t lanes __attribute__((vector_size(16)));
typedef uint8_t counts __attribute__((vector_size(16)));
enum { LANES = sizeof(lanes) };

static lanes add_lanes(struct tally *tally, const int8_t *row, size_t c)
{
    lanes target;
    counts relevant, ignored;
    memcpy(&target, row, LANES);
    memcpy(&relevant, tally->relevant + c, LANES);
    memcpy(&ignored, tally->ignored + c, LANES);
    relevant -= (counts)(target == 1);
    ignored -= (counts)(target == -1);
    memcpy(tally->relevant + c, &relevant, LANES);
    memcpy(tally->ignored + c, &ignored, LANES);
    return (target > 1) | (target < -1);
}

static void add_row(struct tally *tally, const int8_t *row, size_t columns)
{
    lanes bad = {0};
    size_t c = 0;
    for (; c + LANES <= columns; c += LANES)
        bad |= add_lanes(tally, row + c, c);
    if (c < columns) {
        int8_t rest[LANES] = {0};
        memcpy(rest, row + c, columns - c);
        bad |= add_lanes(tally, rest, c);
    }
    for (size_t i = 0; i < LANES; i++)
        tally->bad |= bad[i] != 0;
}

/* Rows of `columns` targets, `pitch` bytes apart; column c belongs to list c % lists_here. In place
 * if the type is INT8 and targets are binary. Types without -1 are narrowed. */
static bool count_rows(const struct rk_lists *lists, const char *from, size_t pitch, size_t rows,
                       size_t columns, size_t lists_here, struct rk_list_count *count)
{
    int8_t narrow[BLOCK];
    bool bad = false;
    for (size_t r = 0; r < rows;) {
        struct tally tally = {0};
        const size_t begun = r, end = rows - r < BYTE_ROWS ? rows : r + BYTE_ROWS;
        for (; r < end; r++) {
            const void *row = from + r * pitch;
            if (lists->target_dtype != RK_INT8 || lists->rule != RK_TARGET_BINARY) {
                rk_targets_narrow(row, lists->target_dtype, lists->rule, columns, narrow);
                row = narrow;
            }
            add_row(&tally, row, columns);
        }
        for (size_t c = 0; c < columns; c++) {
            count[c % lists_here].n += (uint32_t)(end - begun - tally.ignored[c]);
            count[c % lists_here].p += tally.relevant[c];
        }
        bad |= tally.bad;
    }
    return !bad;
}

/* Columns first..first+columns-1 of all rows. Where these are all columns, as many rows as fit a
 * block are one: a row of a few columns would leave most lanes without a target. */
static bool count_some_columns(const struct rk_lists *lists, size_t first, size_t columns,
                               struct rk_list_count *count)
{
    const size_t size = rk_dtype_size(lists->target_dtype), pitch = lists->lists * size;
    const char *from = (const char *)lists->targets + first * size;
    const size_t group = columns == lists->lists ? BLOCK / columns : 1, groups = lists->items / group;
    const bool good = count_rows(lists, from, group * pitch, groups, group * columns, columns, count);
    return count_rows(lists, from + groups * group * pitch, pitch, lists->items - groups * group, columns,
                      columns, count) &&
           good;
}

/* State shared by the threads. A unit of work is some whole lists, or a piece of a long one, or
 * some columns. */
struct counting {
    const struct rk_lists *lists;
    const struct rk_kernels *kernels;
    struct rk_list_count *count;  /* of each list; of each unit where a list has several pieces */
    size_t per_unit;              /* lists, where all have as many items */
    size_t pieces;                /* of a list */
    struct rk_list_groups groups; /* units of lists that differ in length */
    size_t units;
    atomic_bool bad;
};

static size_t pieces_of(size_t items)
{
    return items / PIECE + (items % PIECE != 0);
}

static bool count_piece(const struct counting *c, size_t unit)
{
    size_t from = unit % c->pieces * PIECE, left = c->lists->items - from;
    return count_some(c->lists, c->kernels, unit / c->pieces, from, from + (left < PIECE ? left : PIECE),
                      &c->count[unit]);
}

static bool count_whole(const struct counting *c, size_t first, size_t end)
{
    bool good = true;
    if (c->lists->by_column)
        return count_some_columns(c->lists, first, end - first, &c->count[first]);
    for (size_t l = first; l < end && good; l++)
        good = count_some(c->lists, c->kernels, l, 0, rk_lists_items(c->lists, l), &c->count[l]);
    return good;
}

static void count_unit(void *arg, size_t unit)
{
    struct counting *c = arg;
    size_t first = unit * c->per_unit, left = c->lists->lists - first;
    size_t end = first + (left < c->per_unit ? left : c->per_unit);
    if (atomic_load_explicit(&c->bad, memory_order_relaxed))
        return;
    if (c->lists->start) {
        const struct rk_list_group group = rk_list_group(&c->groups, unit);
        first = group.first, end = group.end;
    }
    bool good = c->pieces > 1 ? count_piece(c, unit) : count_whole(c, first, end);
    if (!good)
        atomic_store_explicit(&c->bad, true, memory_order_relaxed);
}

static void divide(struct counting *c)
{
    const struct rk_lists *lists = c->lists;
    c->pieces = lists->by_column || lists->start || lists->items <= PIECE ? 1 : pieces_of(lists->items);
    if (lists->start) {
        c->groups = rk_list_groups_of(lists, PIECE, 0);
        c->units = c->groups.count;
        return;
    }
    if (lists->by_column)
        c->per_unit = BLOCK;
    else
        c->per_unit = lists->items > 0 && lists->items < PIECE ? PIECE / lists->items : 1;
    c->units = c->pieces > 1 ? lists->lists * c->pieces : (lists->lists + c->per_unit - 1) / c->per_unit;
}

static void count_units(struct counting *c, struct rk_pool *pool, struct rk_list_count *count)
{
    memset(count, 0, c->lists->lists * sizeof *count);
    if (c->pieces > 1)
        memset(c->count, 0, c->units * sizeof *c->count);
    if (pool && c->units > 1)
        pool->run(pool, c->units, count_unit, c);
    else
        for (size_t u = 0; u < c->units; u++)
            count_unit(c, u);
    for (size_t u = 0; c->pieces > 1 && u < c->units; u++) {
        count[u / c->pieces].n += c->count[u].n;
        count[u / c->pieces].p += c->count[u].p;
    }
}

enum rankd_status rk_lists_count(const struct rk_lists *lists, const struct rk_exec *exec,
                                 struct rk_list_count *count, struct rk_err *err)
{
    struct counting c = {.lists = lists, .kernels = exec->kernels, .count = count};
    const size_t mark = rk_scratch_mark(exec->scratch);
    divide(&c);
    if (c.pieces > 1)
        c.count = rk_scratch_array(exec->scratch, c.units, sizeof *c.count);
    if (!c.count)
        return rk_fail_scratch(err, exec->scratch);
    if (!rk_exec_measures(exec))
        count_units(&c, exec->pool, count);
    rk_scratch_release(exec->scratch, mark);
    return atomic_load(&c.bad) ? refuse(lists, err) : RANKD_OK;
}
