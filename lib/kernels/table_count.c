/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/table.h"

#include <string.h>

#include "kernels/table_bins.h"
#include "kernels/tally.h"

struct table_count_pass {
    const struct rk_table_code *code;
    struct rk_table_layout layout;
    struct rk_bucket_map map;
    const struct rk_bucket *bucket;
    const float *threshold;
    char *scratch;
    bool masked;
    struct rk_score_range score_range[RK_RANGES_MAX];
};

static void add_to_tally(const uint32_t *above, uint32_t items, uint32_t *tally)
{
    for (uint32_t i = 0; i < items; i++)
        tally[above[i]]++;
}

/* Adds to tally[b] the items with b thresholds above them. */
static void tally_block(const struct table_count_pass *shared, const float *score, uint32_t items,
                        uint32_t *tally)
{
    uint32_t subbucket[RK_TABLE_BLOCK], above[RK_TABLE_BLOCK];
    shared->code->subbuckets(&shared->map, score, items, subbucket);
    shared->code->above(&shared->map, shared->bucket, shared->threshold, items, subbucket, score, above);
    add_to_tally(above, items, tally);
}

/* The same, and stores each item's number. */
static void add_and_remember(const uint32_t *above, uint32_t items, uint32_t *tally, uint16_t *number)
{
    for (uint32_t i = 0; i < items; i++) {
        uint32_t b = above[i];
        tally[b]++;
        number[i] = (uint16_t)b;
    }
}

static struct rk_score_range count_plain(const struct table_count_pass *shared, struct rk_walk *walk,
                                         uint32_t *tally)
{
    uint16_t *number = shared->layout.remembers && !shared->masked ? (void *)shared->scratch : NULL;
    uint32_t above[RK_TABLE_BLOCK + 16];
    struct rk_span span;
    struct rk_score_range score_range = rk_score_range_none();
    while (rk_walk_next(walk, &span)) {
        if (!shared->masked)
            span.targets = NULL;
        uint32_t items =
            shared->code->place(&span, &shared->map, shared->bucket, shared->threshold, above, &score_range);
        if (number)
            add_and_remember(above, items, tally, number + span.position);
        else
            add_to_tally(above, items, tally);
    }
    return score_range;
}

/* Puts items into bins until the buffer may be full or the walk ends. */
static void fill_bins(const struct table_count_pass *shared, struct rk_walk *walk, struct rk_bins *bins,
                      float *buffer, struct rk_score_range *score_range)
{
    float score[RK_TABLE_BLOCK];
    uint32_t subbucket[RK_TABLE_BLOCK];
    uint16_t place[RK_TABLE_BLOCK];
    struct rk_span span;
    size_t copied = 0;
    for (uint32_t total = 0; total + RK_TABLE_BLOCK <= shared->layout.chunk && rk_walk_next(walk, &span);) {
        if (!shared->masked)
            span.targets = NULL;
        uint32_t items = shared->code->load(&span, score, place);
        shared->code->extend_range(score, items, score_range);
        shared->code->subbuckets(&shared->map, score, items, subbucket);
        for (uint32_t i = 0; i < items; i++)
            buffer[rk_bins_put(bins, subbucket[i])] = score[i];
        total += items;
        copied += rk_span_sent(walk->list, &span, items);
    }
    rk_exec_copied(walk->exec, copied);
}

static struct rk_score_range count_in_order(const struct table_count_pass *shared, struct rk_walk *walk,
                                            uint32_t *tally, float *buffer, int32_t *before)
{
    struct rk_bins bins;
    struct rk_score_range score_range = rk_score_range_none();
    while (walk->position < walk->to && !walk->late) {
        rk_bins_start(&bins, before, shared->map.subbuckets);
        fill_bins(shared, walk, &bins, buffer, &score_range);
        for (unsigned b = 0; b < RK_BINS; b++) {
            uint32_t items;
            for (int32_t block = rk_bins_last(&bins, b, &items); block != RK_BIN_NONE;
                 block = before[block], items = RK_BIN_BLOCK)
                tally_block(shared, buffer + (size_t)block * RK_BIN_BLOCK, items, tally);
        }
    }
    return score_range;
}

static void count_range(struct rk_list_range *range)
{
    struct table_count_pass *shared = range->shared;
    const struct rk_table_layout *l = &shared->layout;
    uint32_t *tally = (uint32_t *)(void *)(shared->scratch + l->tally + range->number * l->tally_stride);
    char *buffer = shared->scratch + l->buffer + range->number * l->buffer_stride;
    struct rk_walk walk = rk_walk_start(range->pass, range->from, range->to, RK_TABLE_BLOCK);
    memset(tally, 0, ((size_t)range->pass->list->p + 1) * sizeof *tally);
    shared->score_range[range->number] = l->chunk
                                             ? count_in_order(shared, &walk, tally, (float *)(void *)buffer,
                                                              (int32_t *)(void *)(buffer + l->before))
                                             : count_plain(shared, &walk, tally);
    range->late = walk.late;
}

/* Where targets were not read, the relevant items were counted too. */
static void take_relevant_off(const struct rk_list *list, const struct table_count_pass *shared,
                              uint32_t *own)
{
    float score[RK_TABLE_BLOCK];
    memset(own, 0, ((size_t)list->p + 1) * sizeof *own);
    for (uint32_t k = 0, items; k < list->p; k += items) {
        items = list->p - k < RK_TABLE_BLOCK ? list->p - k : RK_TABLE_BLOCK;
        memcpy(score, list->raw + k, items * sizeof *score);
        memset(score + items, 0, (RK_TABLE_BLOCK - items) * sizeof *score);
        tally_block(shared, score, items, own);
    }
}

static void sum_up(const struct rk_list *list, const struct table_count_pass *shared,
                   uint32_t *irrelevant_above)
{
    const struct rk_table_layout *l = &shared->layout;
    memset(irrelevant_above, 0, list->p * sizeof *irrelevant_above);
    for (unsigned range = 0; range < l->ranges; range++) {
        const uint32_t *tally = (const void *)(shared->scratch + l->tally + range * l->tally_stride);
        rk_tally_sum(tally, list->p, irrelevant_above);
    }
}

enum rankd_status rk_table_count(struct rk_pass *pass, const struct rk_table_code *code)
{
    const struct rk_list *list = pass->list;
    struct table_count_pass shared; /* no initializer: it would clear the score ranges of all 64 parts */
    shared.code = code;
    shared.layout = rk_table_layout(list->items, list->p, rk_list_ranges_of(pass, false));
    shared.threshold = pass->threshold;
    shared.scratch = pass->scratch;
    shared.masked = rk_table_masked(list);
    struct rk_bucket *bucket = (struct rk_bucket *)(void *)(shared.scratch + shared.layout.bucket);
    shared.map =
        rk_bucket_map_make(code, pass->exec->pool, (const float *const[]){pass->threshold, NULL},
                           &shared.layout.map, (struct rk_score_range){.high = INFINITY, .low = -INFINITY},
                           (struct rk_key_prefix *)(void *)(shared.scratch + shared.layout.prefix),
                           (struct rk_bucket *const[]){bucket, NULL});
    shared.bucket = bucket;
    enum rankd_status status = rk_list_ranges_run(pass, shared.layout.ranges, count_range, &shared);
    sum_up(list, &shared, pass->irrelevant_above);
    struct rk_score_range score_range = rk_score_range_none();
    for (unsigned i = 0; i < shared.layout.ranges; i++)
        rk_score_range_add(&score_range, shared.score_range[i].high, shared.score_range[i].low,
                           shared.score_range[i].nan);
    pass->nan = score_range.nan;
    pass->high = score_range.high;
    pass->low = score_range.low;
    if (shared.masked)
        return status;
    uint32_t *own = (uint32_t *)(void *)(shared.scratch + shared.layout.tally), sum = 0;
    take_relevant_off(list, &shared, own);
    for (uint32_t k = 0; k < list->p; k++) {
        sum += own[k];
        pass->irrelevant_above[k] -= sum;
    }
    return status;
}
