#include "lists.h"

#include <stdio.h>
#include <string.h>

#include "kernel/score.h"
#include "number.h"
#include "target.h"

enum { TILE = 64, BLOCK = 1024 };
#define TILE_BYTES ((size_t)8 << 20)

static size_t rows_of(const struct rk_lists *lists)
{
    return lists->by_column ? lists->items : lists->lists;
}

static size_t columns_of(const struct rk_lists *lists)
{
    return lists->by_column ? lists->lists : lists->items;
}

/* Neighbouring columns share cache lines, so as many as make a line of targets are loaded together, unless
 * they are so long that the tile itself would leave the cache for good. */
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
        .items = (uint32_t)scores->shape[by_column ? 0 : 1],
        .dtype = scores->dtype == RK_FP64 ? RK_FP32 : scores->dtype,
    };
    lists.tile = tile_of(&lists);
    return lists;
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

static bool scores_in_place(const struct rk_lists *lists)
{
    return !lists->by_column && lists->score_dtype != RK_FP64;
}

static bool targets_in_place(const struct rk_lists *lists)
{
    return !lists->by_column && rk_dtype_size(lists->target_dtype) == 1;
}

static size_t padded(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static size_t score_bytes(const struct rk_lists *lists)
{
    return scores_in_place(lists) ? 0 : padded(lists->tile * lists->items * rk_dtype_size(lists->dtype));
}

size_t rk_lists_buffer(const struct rk_lists *lists)
{
    return score_bytes(lists) + (targets_in_place(lists) ? 0 : padded(lists->tile * lists->items));
}

/* Transposes rows of `count` elements of `size` bytes, `pitch` bytes apart, into `count` lists. */
static void transpose(const char *from, size_t pitch, size_t rows, size_t count, size_t size, char *to)
{
    for (size_t r = 0; r < rows; r++, from += pitch) {
        switch (size) {
        case 2:
            for (size_t c = 0; c < count; c++)
                memcpy(to + (c * rows + r) * 2, from + c * 2, 2);
            break;
        default:
            for (size_t c = 0; c < count; c++)
                memcpy(to + (c * rows + r) * 4, from + c * 4, 4);
            break;
        }
    }
}

static void load_score_columns(const struct rk_lists *lists, size_t first, size_t count, char *to)
{
    size_t size = rk_dtype_size(lists->score_dtype), pitch = lists->lists * size;
    const char *from = (const char *)lists->scores + first * size;
    if (lists->score_dtype != RK_FP64) {
        transpose(from, pitch, lists->items, count, size, to);
        return;
    }
    float row[TILE];
    for (size_t r = 0; r < lists->items; r++, from += pitch) {
        rk_scores_widen(from, RK_FP64, count, row);
        for (size_t c = 0; c < count; c++)
            memcpy(to + (c * lists->items + r) * sizeof(float), &row[c], sizeof(float));
    }
}

static void load_target_columns(const struct rk_lists *lists, size_t first, size_t count, int8_t *to)
{
    size_t size = rk_dtype_size(lists->target_dtype);
    int8_t row[TILE];
    for (size_t r = 0; r < lists->items; r++) {
        const char *from = (const char *)lists->targets + (r * lists->lists + first) * size;
        rk_targets_narrow(from, lists->target_dtype, count, row);
        for (size_t c = 0; c < count; c++)
            to[c * lists->items + r] = row[c];
    }
}

struct rk_lists_tile rk_lists_load(const struct rk_lists *lists, size_t first, size_t count, void *buffer)
{
    size_t score_size = rk_dtype_size(lists->score_dtype), target_size = rk_dtype_size(lists->target_dtype);
    const char *scores = (const char *)lists->scores + first * lists->items * score_size;
    const char *targets = (const char *)lists->targets + first * lists->items * target_size;
    struct rk_lists_tile tile = {.score_stride = lists->items * rk_dtype_size(lists->dtype),
                                 .target_stride = lists->items};
    char *score_buffer = buffer;
    int8_t *target_buffer = (int8_t *)buffer + score_bytes(lists);
    tile.scores = scores_in_place(lists) ? scores : score_buffer;
    tile.targets = targets_in_place(lists) ? (const int8_t *)targets : target_buffer;
    if (lists->by_column) {
        load_score_columns(lists, first, count, score_buffer);
        load_target_columns(lists, first, count, target_buffer);
        return tile;
    }
    if (!scores_in_place(lists))
        rk_scores_widen(scores, lists->score_dtype, lists->items, (float *)(void *)score_buffer);
    if (!targets_in_place(lists))
        rk_targets_narrow(targets, lists->target_dtype, lists->items, target_buffer);
    return tile;
}

void rk_lists_store(const struct rk_lists *lists, size_t first, size_t count, const float *tile,
                    float *gradient)
{
    for (size_t r = 0; r < lists->items; r++) {
        float *row = gradient + r * lists->lists + first;
        for (size_t c = 0; c < count; c++)
            row[c] = tile[c * lists->items + r];
    }
}

static enum rankd_status refuse(const struct rk_lists *lists, struct rk_err *err)
{
    char value[RK_NUMBER_TEXT];
    size_t columns = columns_of(lists), at = 0;
    const char *may = lists->target_dtype == RK_BOOL || lists->target_dtype == RK_UINT8
                          ? "1 (relevant) or 0 (irrelevant)"
                          : "1 (relevant), 0 (irrelevant) or -1 (ignored)";
    if (columns == 0 ||
        !rk_targets_first_bad(lists->targets, lists->target_dtype, rows_of(lists) * columns, &at, value))
        return rk_fail(err, RANKD_INVALID, "targets changed while they were read; they may be %s", may);
    return rk_fail(err, RANKD_INVALID, "targets[%zu, %zu] is %s; it may be %s", at / columns, at % columns,
                   value, may);
}

static void add(struct rk_list_count *count, size_t items, struct rk_scan scan)
{
    count->n += (uint32_t)(items - scan.ignored);
    count->p += (uint32_t)scan.relevant;
}

static bool count_row(const struct rk_lists *lists, const struct rk_kernels *kernels, size_t list,
                      struct rk_list_count *count)
{
    const char *at = (const char *)lists->targets + list * lists->items * rk_dtype_size(lists->target_dtype);
    if (rk_dtype_size(lists->target_dtype) == 1) {
        struct rk_scan scan = kernels->scan(at, lists->items, lists->target_dtype == RK_INT8);
        add(count, lists->items, scan);
        return !scan.bad;
    }
    int8_t block[BLOCK];
    for (size_t done = 0, here; done < lists->items; done += here) {
        here = lists->items - done < BLOCK ? lists->items - done : BLOCK;
        rk_targets_narrow(at + done * rk_dtype_size(lists->target_dtype), lists->target_dtype, here, block);
        struct rk_scan scan = kernels->scan(block, here, true);
        add(count, here, scan);
        if (scan.bad)
            return false;
    }
    return true;
}

/* Row by row, so that memory is read in order. */
static bool count_columns(const struct rk_lists *lists, struct rk_list_count *count)
{
    size_t size = rk_dtype_size(lists->target_dtype);
    int8_t block[BLOCK];
    bool bad = false;
    for (size_t r = 0; r < lists->items; r++) {
        for (size_t c = 0, here; c < lists->lists; c += here) {
            here = lists->lists - c < BLOCK ? lists->lists - c : BLOCK;
            rk_targets_narrow((const char *)lists->targets + (r * lists->lists + c) * size,
                              lists->target_dtype, here, block);
            for (size_t i = 0; i < here; i++) {
                count[c + i].p += block[i] == 1;
                count[c + i].n += block[i] != -1;
                bad |= block[i] == RK_TARGET_BAD;
            }
        }
    }
    return !bad;
}

enum rankd_status rk_lists_count(const struct rk_lists *lists, const struct rk_kernels *kernels,
                                 struct rk_list_count *count, struct rk_err *err)
{
    bool good = true;
    memset(count, 0, lists->lists * sizeof *count);
    if (lists->by_column)
        good = count_columns(lists, count);
    else
        for (size_t l = 0; l < lists->lists && good; l++)
            good = count_row(lists, kernels, l, &count[l]);
    return good ? RANKD_OK : refuse(lists, err);
}
