#include "lists.h"

#include <string.h>

#include "kernel/score.h"
#include "number.h"
#include "target.h"
#include "transpose.h"

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

bool rk_lists_scores_in_place(const struct rk_lists *lists)
{
    return !lists->by_column && lists->score_dtype != RK_FP64;
}

static bool targets_in_place(const struct rk_lists *lists)
{
    return !lists->by_column && rk_dtype_size(lists->target_dtype) == 1;
}

size_t rk_lists_copied(const struct rk_lists *lists, size_t count)
{
    size_t items = count * lists->items;
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
    if (size == 1) {
        rk_transpose(from, pitch, lists->items, count, 1, to, lists->items);
        return;
    }
    for (size_t r = 0, here; r < lists->items; r += here) {
        here = lists->items - r < ROWS ? lists->items - r : ROWS;
        for (size_t i = 0; i < here; i++)
            rk_targets_narrow(from + (r + i) * pitch, lists->target_dtype, count, block[i]);
        rk_transpose(block, sizeof block[0], here, count, 1, to + r, lists->items);
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
    tile.scores = rk_lists_scores_in_place(lists) ? scores : score_buffer;
    tile.targets = targets_in_place(lists) ? (const int8_t *)targets : target_buffer;
    if (lists->by_column) {
        load_score_columns(lists, first, count, score_buffer);
        load_target_columns(lists, first, count, target_buffer);
        return tile;
    }
    if (!rk_lists_scores_in_place(lists))
        rk_scores_widen(scores, lists->score_dtype, lists->items, (float *)(void *)score_buffer);
    if (!targets_in_place(lists))
        rk_targets_narrow(targets, lists->target_dtype, lists->items, target_buffer);
    return tile;
}

void rk_lists_store(const struct rk_lists *lists, size_t first, size_t count, const float *tile,
                    float *gradient)
{
    rk_transpose(tile, lists->items * sizeof *tile, count, lists->items, sizeof *tile, gradient + first,
                 lists->lists * sizeof *gradient);
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

/* Adds up rows of narrow targets: bytes per column, as many as a byte can count. */
enum { BYTE_ROWS = 255 };
struct tally {
    uint8_t relevant[BLOCK], ignored[BLOCK];
    bool bad;
};

/* Sixteen targets at a time: a comparison that holds is -1 in its lane. Counts have no sign: they go to 255.
 */
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

/* Columns first..first+columns-1 of all rows. In place where the type is INT8: other bytes are narrowed, for
 * whom -1 is no target. */
static bool count_some_columns(const struct rk_lists *lists, size_t first, size_t columns,
                               struct rk_list_count *count)
{
    size_t size = rk_dtype_size(lists->target_dtype), pitch = lists->lists * size;
    const char *from = (const char *)lists->targets + first * size;
    int8_t narrow[BLOCK];
    bool bad = false;
    for (size_t r = 0; r < lists->items;) {
        struct tally tally = {0};
        size_t end = lists->items - r < BYTE_ROWS ? lists->items : r + BYTE_ROWS, rows = end - r;
        for (; r < end; r++) {
            const void *row = from + r * pitch;
            if (lists->target_dtype != RK_INT8) {
                rk_targets_narrow(row, lists->target_dtype, columns, narrow);
                row = narrow;
            }
            add_row(&tally, row, columns);
        }
        for (size_t c = 0; c < columns; c++) {
            count[c].n += (uint32_t)(rows - tally.ignored[c]);
            count[c].p += tally.relevant[c];
        }
        bad |= tally.bad;
    }
    return !bad;
}

static bool count_columns(const struct rk_lists *lists, struct rk_list_count *count)
{
    bool good = true;
    for (size_t c = 0, here; c < lists->lists && good; c += here) {
        here = lists->lists - c < BLOCK ? lists->lists - c : BLOCK;
        good = count_some_columns(lists, c, here, count + c);
    }
    return good;
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
