/* SPDX-License-Identifier: Apache-2.0 */
/* Strategy "merge", for long lists with a large share of relevant items: the irrelevant items are
 * sorted once, and each pass merges two sorted rows. A table of that many thresholds misses the
 * cache for every item; sorting reads memory in order. */
#include <string.h>

#include "kernels/kernels_internal.h"
#include "kernels/score.h"
#include "kernels/span.h"

enum { BLOCK = 1024, AHEAD = 32 /* items between the prefetch of a line and its use */ };

/* Irrelevant items best first, all rows [room + 1]. The last three rows share the memory in which
 * they were sorted. */
struct merge_rows {
    uint32_t room;      /* the number of them, unless targets change while they are read */
    uint32_t *items;    /* how many were found */
    uint32_t *key;      /* ascending: best first */
    uint32_t *place;    /* where in `position` */
    uint32_t *position; /* in the list; in the order of the list */
    uint32_t *before;   /* thresholds above each */
    void *sort;
    uint32_t *threshold; /* [p] keys of a row of thresholds, ascending */
    uint32_t *after, *changed;
};

static size_t row_of(uint32_t n)
{
    return ((size_t)n * sizeof(uint32_t) + 63) / 64 * 64;
}

static size_t merge_scratch(uint32_t items, uint32_t p, unsigned threads)
{
    (void)threads;
    size_t sort = rk_argsort_scratch_scalar(items - p), later = row_of(p) + 2 * row_of(items - p + 1);
    return 64 + 4 * row_of(items - p + 1) + (sort > later ? sort : later);
}

static struct merge_rows lay_out(const struct rk_pass *pass)
{
    struct merge_rows rows = {.room = pass->list->items - pass->list->p, .items = pass->scratch};
    const size_t row = row_of(rows.room + 1) / sizeof(uint32_t);
    rows.key = (uint32_t *)pass->scratch + 16;
    rows.place = rows.key + row;
    rows.position = rows.place + row;
    rows.before = rows.position + row;
    rows.sort = rows.threshold = rows.before + row;
    rows.after = rows.threshold + row_of(pass->list->p) / sizeof(uint32_t);
    rows.changed = rows.after + row;
    return rows;
}

/* Irrelevant items in the order of the list. */
static enum rankd_status collect_irrelevant(struct rk_pass *pass, const struct merge_rows *rows)
{
    float score[BLOCK];
    uint32_t found = 0;
    unsigned nan = 0;
    size_t copied = 0;
    struct rk_walk walk = rk_walk_start(pass, 0, pass->list->items, BLOCK);
    struct rk_span span;
    while (rk_walk_next(&walk, &span)) {
        uint32_t first = found;
        rk_scores_widen(span.scores, span.dtype, span.items, score);
        for (uint32_t i = 0; i < span.items; i++) {
            unsigned counts = !span.targets || span.targets[i] == 0;
            rows->key[found] = ~rk_key(score[i]); /* written always and kept if it counts: no branch */
            rows->position[found] = span.position + i;
            nan |= (unsigned)(score[i] != score[i]) & counts;
            found += counts & (found < rows->room);
        }
        copied += rk_span_sent(pass->list, &span, found - first);
    }
    rk_exec_copied(pass->exec, copied);
    *rows->items = found;
    pass->nan = nan;
    return walk.late ? RANKD_DEADLINE : RANKD_OK;
}

static enum rankd_status merge_begin(struct rk_pass *pass)
{
    struct merge_rows rows = lay_out(pass);
    enum rankd_status status = collect_irrelevant(pass, &rows);
    if (status != RANKD_OK || pass->nan)
        return status;
    rk_argsort_scalar(rows.key, *rows.items, rows.place, rows.key, rows.sort);
    struct rk_err late = {0};
    return rk_exec_check(pass->exec, &late);
}

/* Two rows merged: sorted items and sorted thresholds. A step takes an item or a threshold, so the
 * steps can be shared out. */
struct merging {
    const struct merge_rows *rows;
    const float *threshold;
    uint32_t p;
    uint32_t *above;            /* [items] thresholds above each */
    uint32_t *irrelevant_above; /* [p] items at or above each */
};

static void make_keys(void *arg, struct rk_range range)
{
    const struct merging *m = arg;
    for (uint32_t k = range.from; k < range.to; k++)
        m->rows->threshold[k] = ~rk_key(m->threshold[k]);
}

/* An item comes before a threshold that it is at or above. Returns how many of the
 * first `steps` steps take an item. */
static uint32_t items_of(const struct merging *m, uint32_t steps)
{
    const uint32_t *item = m->rows->key, *threshold = m->rows->threshold, items = *m->rows->items;
    uint32_t low = steps > m->p ? steps - m->p : 0, high = steps < items ? steps : items;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (item[middle] <= threshold[steps - middle - 1])
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Where a run of steps is, and where it ends. */
struct lane {
    uint32_t item, threshold, items, thresholds;
};

static struct lane lane_of(const struct merging *m, uint32_t from, uint32_t to)
{
    uint32_t item = items_of(m, from), items = items_of(m, to);
    return (struct lane){.item = item, .threshold = from - item, .items = items, .thresholds = to - items};
}

static inline bool has_both(const struct lane *lane)
{
    return lane->item < lane->items && lane->threshold < lane->thresholds;
}

/* Without a branch that depends on which of the two it takes. */
static inline void step(const struct merging *m, struct lane *lane)
{
    const uint32_t is_item = m->rows->key[lane->item] <= m->rows->threshold[lane->threshold];
    m->above[lane->item] = lane->threshold;
    m->irrelevant_above[lane->threshold] = lane->item;
    lane->item += is_item;
    lane->threshold += 1 - is_item;
}

static void finish(const struct merging *m, struct lane lane)
{
    while (has_both(&lane))
        step(m, &lane);
    for (; lane.item < lane.items; lane.item++)
        m->above[lane.item] = lane.threshold;
    for (; lane.threshold < lane.thresholds; lane.threshold++)
        m->irrelevant_above[lane.threshold] = lane.item;
}

/* A step waits for the one before it, so the steps of two halves alternate. */
static void merge_some(void *arg, struct rk_range range)
{
    const struct merging merging = *(const struct merging *)arg, *m = &merging;
    const uint32_t middle = range.from + (range.to - range.from) / 2;
    struct lane low = lane_of(m, range.from, middle), high = lane_of(m, middle, range.to);
    while (has_both(&low) && has_both(&high)) {
        step(m, &low);
        step(m, &high);
    }
    finish(m, low);
    finish(m, high);
}

static void merge_sorted(struct rk_pool *pool, struct merging m)
{
    rk_ranges_run(pool, m.p, RK_RANGE_MIN, make_keys, &m);
    rk_ranges_run(pool, *m.rows->items + m.p, RK_RANGE_MIN, merge_some, &m);
}

static enum rankd_status merge_count(struct rk_pass *pass)
{
    struct merge_rows rows = lay_out(pass);
    if (pass->nan)
        return RANKD_OK;
    merge_sorted(pass->exec->pool, (struct merging){.rows = &rows,
                                                    .threshold = pass->threshold,
                                                    .p = pass->list->p,
                                                    .above = rows.before,
                                                    .irrelevant_above = pass->irrelevant_above});
    struct rk_err late = {0};
    return rk_exec_check(pass->exec, &late);
}

/* Items whose number changed, of a range; to its own part of the row. */
static uint32_t find_changed(const struct merge_rows *rows, struct rk_range range)
{
    uint32_t found = range.from;
    for (uint32_t j = range.from; j < range.to; j++) {
        rows->changed[found] = j;
        found += rows->before[j] != rows->after[j];
    }
    return found - range.from;
}

/* The lines are far apart, so they are prefetched. */
static void put_merged(const struct rk_pass *pass, const struct merge_rows *rows, const uint32_t *changed,
                       uint32_t items, struct rk_gradient_writer *writer)
{
    for (uint32_t i = 0; i < items; i++) {
        if (i + 2 * AHEAD < items)
            __builtin_prefetch(&rows->position[rows->place[changed[i + 2 * AHEAD]]]);
        if (writer->dense && i + AHEAD < items) {
            uint32_t next = rows->position[rows->place[changed[i + AHEAD]]];
            if (next < pass->list->differentiable)
                __builtin_prefetch(&writer->dense[next], 1);
        }
        uint32_t j = changed[i];
        rk_gradient_writer_put(writer, pass->list, rows->position[rows->place[j]],
                               (int32_t)(rows->before[j] - rows->after[j]));
    }
}

struct moving {
    const struct merge_rows *rows;
    unsigned ranges;
};

/* A part of the list is replaced by the same share of the sorted items. */
static void move_range(struct rk_list_range *list_range)
{
    const struct moving *moving = list_range->shared;
    const struct merge_rows *rows = moving->rows;
    const struct rk_range range = rk_range(*rows->items, list_range->number, moving->ranges);
    put_merged(list_range->pass, rows, rows->changed + range.from, find_changed(rows, range),
               &list_range->writer);
}

static void clear_dense(void *arg, struct rk_range range)
{
    float *dense = arg;
    memset(dense + range.from, 0, (range.to - range.from) * sizeof *dense);
}

static enum rankd_status merge_move(struct rk_pass *pass)
{
    struct merge_rows rows = lay_out(pass);
    struct moving moving = {.rows = &rows, .ranges = rk_list_ranges_of(pass, true)};
    struct rk_pool *pool = pass->exec->pool;
    if (pass->writer->dense)
        rk_ranges_run(pool, pass->list->differentiable, RK_RANGE_MIN, clear_dense, pass->writer->dense);
    merge_sorted(pool, (struct merging){.rows = &rows,
                                        .threshold = pass->perturbed_threshold,
                                        .p = pass->list->p,
                                        .above = rows.after,
                                        .irrelevant_above = pass->perturbed_irrelevant_above});
    return rk_list_ranges_run(pass, moving.ranges, move_range, &moving);
}

const struct rk_strategy rk_merge_scalar = {.name = "merge",
                                            .most = RK_LIST_MAX,
                                            .scratch = merge_scratch,
                                            .kept = merge_scratch,
                                            .begin = merge_begin,
                                            .count = merge_count,
                                            .move = merge_move};
