/* Strategy "merge": where a good share of a long list is relevant, the irrelevant items are sorted once, and
 * each pass is a merge of two sorted rows. A table of so many cuts misses the cache for every item; a sort
 * streams. */
#include <string.h>

#include "kernels_internal.h"
#include "score.h"
#include "span.h"

enum { BLOCK = 1024, AHEAD = 32 /* items, between asking for a line and using it */ };

/* Irrelevant items best first, all rows [room + 1]. Where they were sorted, the last three rows lie
 * afterwards.
 */
struct rows {
    uint32_t room;      /* as many as there are, unless targets change while they are read */
    uint32_t *items;    /* how many were found */
    uint32_t *key;      /* ascending: best first */
    uint32_t *place;    /* where in `position` */
    uint32_t *position; /* in the list; in the order of the list */
    uint32_t *before;   /* cuts above each */
    void *sort;
    uint32_t *cut; /* [p] keys of a row of cuts, ascending */
    uint32_t *after, *changed;
};

static size_t row_of(uint32_t n)
{
    return ((size_t)n * sizeof(uint32_t) + 63) / 64 * 64;
}

static size_t merge_scratch(uint32_t items, uint32_t p, unsigned threads)
{
    (void)threads;
    size_t sort = rk_order_scratch_scalar(items - p), later = row_of(p) + 2 * row_of(items - p + 1);
    return 64 + 4 * row_of(items - p + 1) + (sort > later ? sort : later);
}

static struct rows lay_out(const struct rk_pass *pass)
{
    struct rows rows = {.room = pass->list->items - pass->list->p, .items = pass->scratch};
    const size_t row = row_of(rows.room + 1) / sizeof(uint32_t);
    rows.key = (uint32_t *)pass->scratch + 16;
    rows.place = rows.key + row;
    rows.position = rows.place + row;
    rows.before = rows.position + row;
    rows.sort = rows.cut = rows.before + row;
    rows.after = rows.cut + row_of(pass->list->p) / sizeof(uint32_t);
    rows.changed = rows.after + row;
    return rows;
}

/* Irrelevant items in the order of the list. */
static enum rankd_status collect(struct rk_pass *pass, const struct rows *rows)
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
            unsigned counts = !span.targets || (span.targets[i] != 1 && span.targets[i] != -1);
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

/* above[j]: cuts above item j. ahead[k]: items at or above cut k. One step takes an item or a cut, without a
 * branch that depends on which. */
static void merge(const struct rows *rows, const float *cut, uint32_t p, uint32_t *above, uint32_t *ahead)
{
    const uint32_t items = *rows->items;
    uint32_t j = 0, k = 0;
    for (uint32_t i = 0; i < p; i++)
        rows->cut[i] = ~rk_key(cut[i]);
    while (j < items && k < p) {
        uint32_t is_item = rows->key[j] <= rows->cut[k];
        above[j] = k;
        ahead[k] = j;
        j += is_item;
        k += 1 - is_item;
    }
    for (; j < items; j++)
        above[j] = p;
    for (; k < p; k++)
        ahead[k] = items;
}

static enum rankd_status merge_count(struct rk_pass *pass)
{
    struct rows rows = lay_out(pass);
    enum rankd_status status = collect(pass, &rows);
    if (status != RANKD_OK || pass->nan)
        return status;
    rk_order_scalar(rows.key, *rows.items, rows.place, rows.key, rows.sort);
    merge(&rows, pass->cut, pass->list->p, rows.before, pass->ahead);
    struct rk_err late = {0};
    return rk_exec_check(pass->exec, &late);
}

/* Items whose number changed. */
static uint32_t find_changed(const struct rows *rows)
{
    uint32_t found = 0;
    for (uint32_t j = 0; j < *rows->items; j++) {
        rows->changed[found] = j;
        found += rows->before[j] != rows->after[j];
    }
    return found;
}

/* Lines far apart: asked for some items ahead. */
static void put(const struct rk_pass *pass, const struct rows *rows, uint32_t items)
{
    const uint32_t *changed = rows->changed;
    struct rk_sink *sink = pass->sink;
    for (uint32_t i = 0; i < items; i++) {
        if (i + 2 * AHEAD < items)
            __builtin_prefetch(&rows->position[rows->place[changed[i + 2 * AHEAD]]]);
        if (sink->dense && i + AHEAD < items) {
            uint32_t next = rows->position[rows->place[changed[i + AHEAD]]];
            if (next < pass->list->graded)
                __builtin_prefetch(&sink->dense[next], 1);
        }
        uint32_t j = changed[i];
        rk_sink_put(sink, pass->list, rows->position[rows->place[j]],
                    (int32_t)(rows->before[j] - rows->after[j]));
    }
}

static enum rankd_status merge_move(struct rk_pass *pass)
{
    struct rows rows = lay_out(pass);
    if (pass->sink->dense)
        memset(pass->sink->dense, 0, pass->list->graded * sizeof(float));
    merge(&rows, pass->cut_after, pass->list->p, rows.after, pass->ahead_after);
    put(pass, &rows, find_changed(&rows));
    return RANKD_OK;
}

const struct rk_strategy rk_merge_scalar = {.name = "merge",
                                            .most = RK_LIST_MAX,
                                            .scratch = merge_scratch,
                                            .kept = merge_scratch,
                                            .count = merge_count,
                                            .move = merge_move};
