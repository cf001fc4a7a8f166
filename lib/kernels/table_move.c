/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/table.h"

#include <math.h>
#include <string.h>

#include "kernels/bits.h"
#include "kernels/table_bins.h"
#include "kernels/tally.h"

struct table_move_pass {
    const struct rk_table_code *code;
    struct rk_table_layout layout;
    uint32_t pairs; /* for which a part's buffer has room */
    struct rk_bucket_map map;
    const struct rk_bucket *before, *after; /* tables of the two rows of thresholds, on one map */
    const uint32_t *crossed_subbuckets;     /* a bit a subbucket: its items may change */
    const uint16_t *number;                 /* each item's number before, NULL: not known; then `before` and
                                               `crossed_subbuckets` are not */
    const float *next; /* [p + 1] the thresholds after the move, then -inf; with `number` only */
    const float *threshold, *perturbed_threshold;
    char *scratch;
};

struct scored_position {
    float score;
    uint32_t position;
};

/* An item's rank changes if a threshold moved over it: it is between the old and the new threshold.
 * Because both rows descend, so do the ends of these intervals. */
static void mark_crossed_subbuckets(const struct rk_pass *pass, const struct table_move_pass *shared,
                                    uint32_t *crossed_subbuckets)
{
    const uint32_t p = pass->list->p;
    uint32_t next = 0;
    memset(crossed_subbuckets, 0, shared->map.subbuckets / 8 + sizeof *crossed_subbuckets);
    for (uint32_t k = 0, items; k < p; k += items) {
        float threshold[2][RK_TABLE_BLOCK] = {0};
        uint32_t subbucket[2][RK_TABLE_BLOCK];
        items = p - k < RK_TABLE_BLOCK ? p - k : RK_TABLE_BLOCK;
        memcpy(threshold[0], pass->threshold + k, items * sizeof(float));
        memcpy(threshold[1], pass->perturbed_threshold + k, items * sizeof(float));
        shared->code->subbuckets(&shared->map, threshold[0], items, subbucket[0]);
        shared->code->subbuckets(&shared->map, threshold[1], items, subbucket[1]);
        for (uint32_t i = 0; i < items; i++) {
            uint32_t from = subbucket[1][i] > next ? subbucket[1][i] : next;
            if (threshold[0][i] == threshold[1][i] || from > subbucket[0][i])
                continue;
            rk_set_bits(crossed_subbuckets, from, subbucket[0][i]);
            next = subbucket[0][i];
        }
    }
}

/* The items of a block whose rank may change, and their positions in the list. */
struct block {
    float score[RK_TABLE_BLOCK];
    uint32_t subbucket[RK_TABLE_BLOCK];
    uint32_t position[RK_TABLE_BLOCK];
    uint32_t before[RK_TABLE_BLOCK];
};

static void put_one_by_one(const struct rk_list *list, const struct block *block, uint32_t items,
                           const uint32_t *after, struct rk_gradient_writer *writer)
{
    for (uint32_t i = 0; i < items; i++) {
        if (block->before[i] != after[i])
            rk_gradient_writer_put(writer, list, block->position[i], (int32_t)(block->before[i] - after[i]));
    }
}

/* Items that a threshold crossed, and their numbers before. */
static void settle(const struct table_move_pass *shared, struct rk_list_range *range,
                   const struct block *block, uint32_t items, int32_t *tally)
{
    const struct rk_list *list = range->pass->list;
    struct rk_gradient_writer *writer = &range->writer;
    uint32_t after[RK_TABLE_BLOCK];
    float value[RK_TABLE_BLOCK];
    shared->code->above(&shared->map, shared->after, shared->perturbed_threshold, items, block->subbucket,
                        block->score, after);
    for (uint32_t i = 0; i < items; i++) {
        tally[block->before[i]]--;
        tally[after[i]]++;
    }
    if (!writer->dense || list->differentiable < list->items) {
        put_one_by_one(list, block, items, after, writer);
        return;
    }
    writer->changed += shared->code->values(writer->w, writer->divisor, items, block->before, after, value,
                                            &writer->abs_differentiable);
    for (uint32_t i = 0; i < items; i++)
        writer->dense[block->position[i]] = value[i];
}

/* Few items of a block are looked up in the two tables, and each look-up waits for memory if tables
 * are long: both tables are read at the same time. */
static void prefetch_after(const struct table_move_pass *shared, const uint32_t *subbucket, uint32_t items)
{
    for (uint32_t i = 0; i < items; i++)
        __builtin_prefetch(&shared->after[subbucket[i] >> shared->map.subbucket_bits]);
}

static void resolve(const struct table_move_pass *shared, struct rk_list_range *range, struct block *block,
                    uint32_t items, int32_t *tally)
{
    if (shared->map.marked)
        prefetch_after(shared, block->subbucket, items);
    shared->code->above(&shared->map, shared->before, shared->threshold, items, block->subbucket,
                        block->score, block->before);
    items = shared->code->crossed(shared->perturbed_threshold, range->pass->list->p, items, block->before,
                                  block->subbucket, block->score, block->position);
    settle(shared, range, block, items, tally);
}

static void clear_span(const struct rk_list_range *range, const struct rk_span *span)
{
    if (range->writer.dense && span->position < range->pass->list->differentiable)
        memset(range->writer.dense + span->position, 0, span->items * sizeof(float));
}

static void move_plain(const struct table_move_pass *shared, struct rk_list_range *range,
                       struct rk_walk *walk, int32_t *tally)
{
    struct block block;
    struct rk_span span;
    while (rk_walk_next(walk, &span)) {
        clear_span(range, &span);
        uint32_t items = shared->code->may_be_crossed(&span, &shared->map, shared->crossed_subbuckets,
                                                      block.subbucket, block.score, block.position);
        if (items > 0)
            resolve(shared, range, &block, items, tally);
    }
}

static void move_remembered(const struct table_move_pass *shared, struct rk_list_range *range,
                            struct rk_walk *walk, int32_t *tally)
{
    struct block block;
    struct rk_span span;
    while (rk_walk_next(walk, &span)) {
        clear_span(range, &span);
        uint32_t items = shared->code->crossed_from_saved_index(
            &span, shared->number + span.position, shared->next, block.score, block.before, block.position);
        if (items == 0)
            continue;
        shared->code->subbuckets(&shared->map, block.score, items, block.subbucket);
        settle(shared, range, &block, items, tally);
    }
}

static void resolve_pairs(const struct table_move_pass *shared, struct rk_list_range *range,
                          const struct scored_position *pair, uint32_t items, int32_t *tally)
{
    struct block block;
    memset(block.score, 0, sizeof block.score);
    for (uint32_t i = 0; i < items; i++) {
        block.score[i] = pair[i].score;
        block.position[i] = pair[i].position;
    }
    shared->code->subbuckets(&shared->map, block.score, items, block.subbucket);
    resolve(shared, range, &block, items, tally);
}

/* Puts the items that may change into bins until the buffer may be full or the walk ends. A pair
 * takes the room of two scores. */
static void fill_bins(const struct table_move_pass *shared, const struct rk_list_range *range,
                      struct rk_walk *walk, struct rk_bins *bins, struct scored_position *buffer)
{
    struct block block;
    struct rk_span span;
    size_t copied = 0;
    for (uint32_t total = 0; total + RK_TABLE_BLOCK <= shared->pairs && rk_walk_next(walk, &span);) {
        clear_span(range, &span);
        uint32_t items = shared->code->may_be_crossed(&span, &shared->map, shared->crossed_subbuckets,
                                                      block.subbucket, block.score, block.position);
        for (uint32_t i = 0; i < items; i++)
            buffer[rk_bins_put(bins, block.subbucket[i])] =
                (struct scored_position){block.score[i], block.position[i]};
        total += items;
        copied += rk_span_sent(walk->list, &span, items);
    }
    rk_exec_copied(walk->exec, copied);
}

static void move_in_order(const struct table_move_pass *shared, struct rk_list_range *range,
                          struct rk_walk *walk, int32_t *tally, struct scored_position *buffer,
                          int32_t *before)
{
    struct rk_bins bins;
    while (walk->position < walk->to && !walk->late) {
        rk_bins_start(&bins, before, shared->map.subbuckets);
        fill_bins(shared, range, walk, &bins, buffer);
        for (unsigned b = 0; b < RK_BINS; b++) {
            uint32_t items;
            for (int32_t block = rk_bins_last(&bins, b, &items); block != RK_BIN_NONE;
                 block = before[block], items = RK_BIN_BLOCK)
                resolve_pairs(shared, range, buffer + (size_t)block * RK_BIN_BLOCK, items, tally);
        }
    }
}

static void move_range(struct rk_list_range *range)
{
    const struct table_move_pass *shared = range->shared;
    const struct rk_table_layout *l = &shared->layout;
    int32_t *tally = (int32_t *)(void *)(shared->scratch + l->tally + range->number * l->tally_stride);
    char *buffer = shared->scratch + l->buffer + range->number * l->buffer_stride;
    struct rk_walk walk = rk_walk_start(range->pass, range->from, range->to, RK_TABLE_BLOCK);
    memset(tally, 0, ((size_t)range->pass->list->p + 1) * sizeof *tally);
    if (l->chunk)
        move_in_order(shared, range, &walk, tally, (struct scored_position *)(void *)buffer,
                      (int32_t *)(void *)(buffer + l->before));
    else if (shared->number)
        move_remembered(shared, range, &walk, tally);
    else
        move_plain(shared, range, &walk, tally);
    range->late = walk.late;
}

static struct rk_bucket *buckets_at(const struct table_move_pass *shared, size_t at)
{
    return (struct rk_bucket *)(void *)(shared->scratch + at);
}

static struct rk_key_prefix *prefixes_of(const struct table_move_pass *shared)
{
    return (struct rk_key_prefix *)(void *)(shared->scratch + shared->layout.prefix);
}

static void prepare(const struct rk_pass *pass, struct table_move_pass *shared)
{
    const struct rk_table_layout *l = &shared->layout;
    struct rk_bucket *before = buckets_at(shared, l->bucket),
                     *after = buckets_at(shared, l->perturbed_bucket);
    uint32_t *crossed_subbuckets = (uint32_t *)(void *)(shared->scratch + l->crossed_subbuckets);
    shared->map = rk_bucket_map_make(
        shared->code, pass->exec->pool, (const float *const[]){pass->threshold, pass->perturbed_threshold},
        &shared->layout.map, (struct rk_score_range){.high = pass->high, .low = pass->low},
        prefixes_of(shared), (struct rk_bucket *const[]){before, after});
    shared->before = before;
    shared->after = after;
    shared->crossed_subbuckets = crossed_subbuckets;
    mark_crossed_subbuckets(pass, shared, crossed_subbuckets);
}

static void prepare_remembered(const struct rk_pass *pass, struct table_move_pass *shared)
{
    struct rk_bucket *after = buckets_at(shared, shared->layout.perturbed_bucket);
    float *next = (float *)(void *)(shared->scratch + shared->layout.next);
    shared->map = rk_bucket_map_make(
        shared->code, pass->exec->pool, (const float *const[]){pass->perturbed_threshold, NULL},
        &shared->layout.map, (struct rk_score_range){.high = pass->high, .low = pass->low},
        prefixes_of(shared), (struct rk_bucket *const[]){after, NULL});
    memcpy(next, pass->perturbed_threshold, pass->list->p * sizeof *next);
    next[pass->list->p] = -INFINITY;
    shared->after = after;
    shared->next = next;
    shared->number = (const uint16_t *)(const void *)shared->scratch;
}

enum rankd_status rk_table_move(struct rk_pass *pass, const struct rk_table_code *code)
{
    const struct rk_list *list = pass->list;
    const unsigned threads = pass->exec->pool ? pass->exec->pool->width : 1;
    struct table_move_pass shared = {.code = code,
                                     .layout = rk_table_layout(list->items, list->p, threads),
                                     .threshold = pass->threshold,
                                     .perturbed_threshold = pass->perturbed_threshold,
                                     .scratch = pass->scratch};
    const struct rk_table_layout *l = &shared.layout;
    shared.pairs = l->chunk ? (l->chunk - RK_BINS * RK_BIN_BLOCK) / 2 : 0;
    if (l->remembers && !rk_table_masked(list))
        prepare_remembered(pass, &shared);
    else
        prepare(pass, &shared);
    unsigned ranges = rk_list_ranges_of(pass, true) == 1 ? 1 : l->ranges;
    enum rankd_status status = rk_list_ranges_run(pass, ranges, move_range, &shared);
    memcpy(pass->perturbed_irrelevant_above, pass->irrelevant_above,
           list->p * sizeof *pass->irrelevant_above);
    for (unsigned range = 0; range < ranges; range++) {
        const uint32_t *tally = (const void *)(shared.scratch + l->tally + range * l->tally_stride);
        rk_tally_sum(tally, list->p, pass->perturbed_irrelevant_above);
    }
    return status;
}
