/* SPDX-License-Identifier: Apache-2.0 */
#include "scores/lists.h"

#include <stdio.h>
#include <string.h>

#include "base/transpose.h"
#include "kernels/score.h"

enum { TILE = 64 };
#define TILE_BYTES ((size_t)8 << 20)

/* Neighbouring columns share cache lines, so the columns of one line of targets are loaded
 * together, unless they are so long that the tile would not fit the cache. */
static size_t tile_of(const struct rk_lists *lists)
{
    if (!lists->by_column)
        return 1;
    size_t tile = lists->lists < TILE ? lists->lists : TILE;
    while (tile > 16 && tile * lists->items * sizeof(float) > TILE_BYTES)
        tile /= 2;
    return tile;
}

struct rk_lists rk_lists_of(const struct rk_tensor *scores, const struct rk_tensor *targets, bool by_column)
{
    struct rk_lists lists = {
        .scores = scores->data,
        .targets = targets->data,
        .score_dtype = scores->dtype,
        .target_dtype = targets->dtype,
        .by_column = by_column,
        .lists = scores->shape[by_column ? 1 : 0],
        .elements = scores->shape[0] * scores->shape[1],
        .items = (uint32_t)scores->shape[by_column ? 0 : 1],
        .dtype = scores->dtype == RK_FP64 ? RK_FP32 : scores->dtype,
    };
    lists.tile = tile_of(&lists);
    return lists;
}

/* What a list may have at most while nothing was read. */
static uint32_t longest_of(size_t elements, size_t longest)
{
    const size_t most = longest > 0 && longest < elements ? longest : elements;
    return most < RK_LIST_MAX ? (uint32_t)most : RK_LIST_MAX;
}

struct rk_lists rk_lists_ragged(const struct rk_exec *exec, const struct rk_tensor *scores,
                                const struct rk_tensor *targets, const size_t *start, size_t lists,
                                size_t longest)
{
    const size_t elements = scores->shape[0];
    struct rk_lists ragged = {
        .scores = scores->data,
        .targets = targets->data,
        .score_dtype = scores->dtype,
        .target_dtype = targets->dtype,
        .lists = lists,
        .start = start,
        .elements = elements,
        .tile = 1,
        .dtype = scores->dtype == RK_FP64 ? RK_FP32 : scores->dtype,
    };
    if (rk_exec_measures(exec))
        ragged.items = longest_of(elements, longest);
    for (size_t l = 0; l < lists && !rk_exec_measures(exec); l++) {
        const uint32_t items = rk_lists_items(&ragged, l);
        ragged.items = items > ragged.items ? items : ragged.items;
    }
    return ragged;
}

const char *rk_lists_place(const struct rk_lists *lists, size_t index, char text[RK_LISTS_PLACE_TEXT])
{
    const size_t columns = lists->by_column ? lists->lists : lists->items;
    if (lists->start)
        (void)snprintf(text, RK_LISTS_PLACE_TEXT, "[%zu]", index);
    else
        (void)snprintf(text, RK_LISTS_PLACE_TEXT, "[%zu, %zu]", index / columns, index % columns);
    return text;
}

struct rk_lists rk_lists_flat(const struct rk_lists *lists)
{
    struct rk_lists flat = *lists;
    flat.by_column = false;
    flat.items = (uint32_t)(lists->items * lists->lists);
    flat.lists = 1;
    flat.tile = 1;
    return flat;
}

bool rk_lists_scores_in_place(const struct rk_lists *lists)
{
    return !lists->by_column && lists->score_dtype != RK_FP64;
}

static bool targets_in_place(const struct rk_lists *lists)
{
    return !lists->by_column && rk_targets_are_bytes(lists->target_dtype, lists->rule);
}

size_t rk_lists_copied(const struct rk_lists *lists, size_t first, size_t count)
{
    size_t items = lists->start ? lists->start[first + count] - lists->start[first] : count * lists->items;
    return (rk_lists_scores_in_place(lists) ? 0 : items * rk_dtype_size(lists->score_dtype)) +
           (targets_in_place(lists) ? 0 : items * rk_dtype_size(lists->target_dtype));
}

static size_t padded(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static size_t score_bytes(const struct rk_lists *lists)
{
    return rk_lists_scores_in_place(lists) ? 0
                                           : padded(lists->tile * lists->items * rk_dtype_size(lists->dtype));
}

size_t rk_lists_buffer(const struct rk_lists *lists)
{
    return score_bytes(lists) + (targets_in_place(lists) ? 0 : padded(lists->tile * lists->items));
}

/* FP64 is rounded and wide targets are narrowed some rows at a time, on the way. */
enum { ROWS = 16 };

static void load_score_columns(const struct rk_lists *lists, size_t first, size_t count, char *to)
{
    size_t size = rk_dtype_size(lists->score_dtype), pitch = lists->lists * size;
    size_t out = rk_dtype_size(lists->dtype), to_pitch = lists->items * out;
    const char *from = (const char *)lists->scores + first * size;
    float block[ROWS][TILE];
    if (lists->score_dtype != RK_FP64) {
        rk_transpose(from, pitch, lists->items, count, size, to, to_pitch);
        return;
    }
    for (size_t r = 0, here; r < lists->items; r += here) {
        here = lists->items - r < ROWS ? lists->items - r : ROWS;
        for (size_t i = 0; i < here; i++)
            rk_scores_widen(from + (r + i) * pitch, RK_FP64, count, block[i]);
        rk_transpose(block, sizeof block[0], here, count, sizeof(float), to + r * out, to_pitch);
    }
}

static void load_target_columns(const struct rk_lists *lists, size_t first, size_t count, int8_t *to)
{
    size_t size = rk_dtype_size(lists->target_dtype), pitch = lists->lists * size;
    const char *from = (const char *)lists->targets + first * size;
    int8_t block[ROWS][TILE];
    if (rk_targets_are_bytes(lists->target_dtype, lists->rule)) {
        rk_transpose(from, pitch, lists->items, count, 1, to, lists->items);
        return;
    }
    for (size_t r = 0, here; r < lists->items; r += here) {
        here = lists->items - r < ROWS ? lists->items - r : ROWS;
        for (size_t i = 0; i < here; i++)
            rk_targets_narrow(from + (r + i) * pitch, lists->target_dtype, lists->rule, count, block[i]);
        rk_transpose(block, sizeof block[0], here, count, 1, to + r, lists->items);
    }
}

struct rk_lists_tile rk_lists_load(const struct rk_lists *lists, size_t first, size_t count, void *buffer)
{
    size_t score_size = rk_dtype_size(lists->score_dtype), target_size = rk_dtype_size(lists->target_dtype);
    const size_t start = rk_lists_start(lists, first);
    const uint32_t items = rk_lists_items(lists, first);
    const char *scores = (const char *)lists->scores + start * score_size;
    const char *targets = (const char *)lists->targets + start * target_size;
    struct rk_lists_tile tile = {.score_stride = lists->items * rk_dtype_size(lists->dtype),
                                 .target_stride = lists->items};
    char *score_buffer = buffer;
    int8_t *target_buffer = (int8_t *)buffer + score_bytes(lists);
    tile.scores = rk_lists_scores_in_place(lists) ? scores : score_buffer;
    tile.targets = targets_in_place(lists) ? (const int8_t *)targets : target_buffer;
    if (lists->by_column) {
        load_score_columns(lists, first, count, score_buffer);
        load_target_columns(lists, first, count, target_buffer);
        return tile;
    }
    if (!rk_lists_scores_in_place(lists))
        rk_scores_widen(scores, lists->score_dtype, items, (float *)(void *)score_buffer);
    if (!targets_in_place(lists))
        rk_targets_narrow(targets, lists->target_dtype, lists->rule, items, target_buffer);
    return tile;
}

struct rk_grades rk_lists_grades(const struct rk_lists *lists, size_t list)
{
    const size_t size = rk_dtype_size(lists->target_dtype);
    if (lists->rule == RK_TARGET_BINARY)
        return (struct rk_grades){0};
    return (struct rk_grades){.first = (const char *)lists->targets + rk_lists_index(lists, list, 0) * size,
                              .dtype = lists->target_dtype,
                              .stride = lists->by_column ? lists->lists * size : size};
}

void rk_lists_store(const struct rk_lists *lists, size_t first, size_t count, const float *tile,
                    float *gradient)
{
    rk_transpose(tile, lists->items * sizeof *tile, count, lists->items, sizeof *tile, gradient + first,
                 lists->lists * sizeof *gradient);
}
