#include "kernels/table.h"

#include <math.h>
#include <string.h>

#include "kernels/bits.h"
#include "kernels/table_bins.h"
#include "kernels/tally.h"

struct shared {
    const struct rk_table_code *code;
    struct rk_table_layout layout;
    uint32_t pairs; /* for which a part's buffer has room */
    struct rk_map map;
    const struct rk_slot *before, *after; /* tables of the two rows of cuts, on one map */
    const uint32_t *live;                 /* a bit a cell: its items may change */
    const uint16_t *number; /* each item's number before, NULL: not known; then `before` and `live` are not */
    const float *next;      /* [p + 1] the cuts after the move, then -inf; with `number` only */
    const float *cut, *cut_after;
    char *scratch;
};

struct pair {
    float score;
    uint32_t position;
};

/* An item's rank changes where a cut moved over it, so between where the cut was and where it is. As both
 * rows descend, so do the ends of what lies between them. */
static void mark_live(const struct rk_pass *pass, const struct shared *shared, uint32_t *live)
{
    const uint32_t p = pass->list->p;
    uint32_t next = 0;
    memset(live, 0, shared->map.cells / 8 + sizeof *live);
    for (uint32_t k = 0, items; k < p; k += items) {
        float cut[2][RK_TABLE_BLOCK] = {0};
        uint32_t cell[2][RK_TABLE_BLOCK];
        items = p - k < RK_TABLE_BLOCK ? p - k : RK_TABLE_BLOCK;
        memcpy(cut[0], pass->cut + k, items * sizeof(float));
        memcpy(cut[1], pass->cut_after + k, items * sizeof(float));
        shared->code->cells(&shared->map, cut[0], items, cell[0]);
        shared->code->cells(&shared->map, cut[1], items, cell[1]);
        for (uint32_t i = 0; i < items; i++) {
            uint32_t from = cell[1][i] > next ? cell[1][i] : next;
            if (cut[0][i] == cut[1][i] || from > cell[0][i])
                continue;
            rk_set_bits(live, from, cell[0][i]);
            next = cell[0][i];
        }
    }
}

/* Those of a block that may change, and where they are in the list. */
struct block {
    float score[RK_TABLE_BLOCK];
    uint32_t cell[RK_TABLE_BLOCK];
    uint32_t position[RK_TABLE_BLOCK];
    uint32_t before[RK_TABLE_BLOCK];
};

static void put_one_by_one(const struct rk_list *list, const struct block *block, uint32_t items,
                           const uint32_t *after, struct rk_sink *sink)
{
    for (uint32_t i = 0; i < items; i++) {
        if (block->before[i] != after[i])
            rk_sink_put(sink, list, block->position[i], (int32_t)(block->before[i] - after[i]));
    }
}

/* Items that a cut passed, and their numbers before. */
static void settle(const struct shared *shared, struct rk_part *part, const struct block *block,
                   uint32_t items, int32_t *tally)
{
    const struct rk_list *list = part->pass->list;
    struct rk_sink *sink = &part->sink;
    uint32_t after[RK_TABLE_BLOCK];
    float value[RK_TABLE_BLOCK];
    shared->code->above(&shared->map, shared->after, shared->cut_after, items, block->cell, block->score,
                        after);
    for (uint32_t i = 0; i < items; i++) {
        tally[block->before[i]]--;
        tally[after[i]]++;
    }
    if (!sink->dense || list->graded < list->items) {
        put_one_by_one(list, block, items, after, sink);
        return;
    }
    sink->changed +=
        shared->code->values(sink->w, sink->lambda, items, block->before, after, value, &sink->abs_graded);
    for (uint32_t i = 0; i < items; i++)
        sink->dense[block->position[i]] = value[i];
}

/* Few items of a block are looked up in either table, each of which waits for memory where tables are long:
 * the second one is asked while the first one answers. */
static void ask(const struct shared *shared, const uint32_t *cell, uint32_t items)
{
    for (uint32_t i = 0; i < items; i++)
        __builtin_prefetch(&shared->after[cell[i] >> shared->map.fine]);
}

static void resolve(const struct shared *shared, struct rk_part *part, struct block *block, uint32_t items,
                    int32_t *tally)
{
    if (shared->map.marked)
        ask(shared, block->cell, items);
    shared->code->above(&shared->map, shared->before, shared->cut, items, block->cell, block->score,
                        block->before);
    items = shared->code->passed(shared->cut_after, part->pass->list->p, items, block->before, block->cell,
                                 block->score, block->position);
    settle(shared, part, block, items, tally);
}

static void clear(const struct rk_part *part, const struct rk_span *span)
{
    if (part->sink.dense && span->position < part->pass->list->graded)
        memset(part->sink.dense + span->position, 0, span->items * sizeof(float));
}

static void move_plain(const struct shared *shared, struct rk_part *part, struct rk_walk *walk,
                       int32_t *tally)
{
    struct block block;
    struct rk_span span;
    while (rk_walk_next(walk, &span)) {
        clear(part, &span);
        uint32_t items =
            shared->code->sift(&span, &shared->map, shared->live, block.cell, block.score, block.position);
        if (items > 0)
            resolve(shared, part, &block, items, tally);
    }
}

static void move_remembered(const struct shared *shared, struct rk_part *part, struct rk_walk *walk,
                            int32_t *tally)
{
    struct block block;
    struct rk_span span;
    while (rk_walk_next(walk, &span)) {
        clear(part, &span);
        uint32_t items = shared->code->recall(&span, shared->number + span.position, shared->next,
                                              block.score, block.before, block.position);
        if (items == 0)
            continue;
        shared->code->cells(&shared->map, block.score, items, block.cell);
        settle(shared, part, &block, items, tally);
    }
}

static void resolve_pairs(const struct shared *shared, struct rk_part *part, const struct pair *pair,
                          uint32_t items, int32_t *tally)
{
    struct block block;
    memset(block.score, 0, sizeof block.score);
    for (uint32_t i = 0; i < items; i++) {
        block.score[i] = pair[i].score;
        block.position[i] = pair[i].position;
    }
    shared->code->cells(&shared->map, block.score, items, block.cell);
    resolve(shared, part, &block, items, tally);
}

/* Puts the items that may change into bins until the buffer may be full or the walk ends. A pair takes two
 * scores' room. */
static void fill_bins(const struct shared *shared, const struct rk_part *part, struct rk_walk *walk,
                      struct rk_bins *bins, struct pair *buffer)
{
    struct block block;
    struct rk_span span;
    size_t copied = 0;
    for (uint32_t total = 0; total + RK_TABLE_BLOCK <= shared->pairs && rk_walk_next(walk, &span);) {
        clear(part, &span);
        uint32_t items =
            shared->code->sift(&span, &shared->map, shared->live, block.cell, block.score, block.position);
        for (uint32_t i = 0; i < items; i++)
            buffer[rk_bins_put(bins, block.cell[i])] = (struct pair){block.score[i], block.position[i]};
        total += items;
        copied += rk_span_sent(walk->list, &span, items);
    }
    rk_exec_copied(walk->exec, copied);
}

static void move_in_order(const struct shared *shared, struct rk_part *part, struct rk_walk *walk,
                          int32_t *tally, struct pair *buffer, int32_t *before)
{
    struct rk_bins bins;
    while (walk->position < walk->to && !walk->late) {
        rk_bins_start(&bins, before, shared->map.cells);
        fill_bins(shared, part, walk, &bins, buffer);
        for (unsigned b = 0; b < RK_BINS; b++) {
            uint32_t items;
            for (int32_t block = rk_bins_last(&bins, b, &items); block != RK_BIN_NONE;
                 block = before[block], items = RK_BIN_BLOCK)
                resolve_pairs(shared, part, buffer + (size_t)block * RK_BIN_BLOCK, items, tally);
        }
    }
}

static void move_part(struct rk_part *part)
{
    const struct shared *shared = part->shared;
    const struct rk_table_layout *l = &shared->layout;
    int32_t *tally = (int32_t *)(void *)(shared->scratch + l->tally + part->number * l->tally_stride);
    char *buffer = shared->scratch + l->buffer + part->number * l->buffer_stride;
    struct rk_walk walk = rk_walk_start(part->pass, part->from, part->to, RK_TABLE_BLOCK);
    memset(tally, 0, ((size_t)part->pass->list->p + 1) * sizeof *tally);
    if (l->chunk)
        move_in_order(shared, part, &walk, tally, (struct pair *)(void *)buffer,
                      (int32_t *)(void *)(buffer + l->before));
    else if (shared->number)
        move_remembered(shared, part, &walk, tally);
    else
        move_plain(shared, part, &walk, tally);
    part->late = walk.late;
}

static struct rk_slot *slots_at(const struct shared *shared, size_t at)
{
    return (struct rk_slot *)(void *)(shared->scratch + at);
}

static struct rk_coarse *coarse_of(const struct shared *shared)
{
    return (struct rk_coarse *)(void *)(shared->scratch + shared->layout.coarse);
}

static void prepare(const struct rk_pass *pass, struct shared *shared)
{
    const struct rk_table_layout *l = &shared->layout;
    struct rk_slot *before = slots_at(shared, l->slot), *after = slots_at(shared, l->slot_after);
    uint32_t *live = (uint32_t *)(void *)(shared->scratch + l->live);
    shared->map =
        rk_map_make(shared->code, pass->exec->pool, (const float *const[]){pass->cut, pass->cut_after},
                    &shared->layout.map, (struct rk_seen){.high = pass->high, .low = pass->low},
                    coarse_of(shared), (struct rk_slot *const[]){before, after});
    shared->before = before;
    shared->after = after;
    shared->live = live;
    mark_live(pass, shared, live);
}

static void prepare_remembered(const struct rk_pass *pass, struct shared *shared)
{
    struct rk_slot *after = slots_at(shared, shared->layout.slot_after);
    float *next = (float *)(void *)(shared->scratch + shared->layout.next);
    shared->map = rk_map_make(shared->code, pass->exec->pool, (const float *const[]){pass->cut_after, NULL},
                              &shared->layout.map, (struct rk_seen){.high = pass->high, .low = pass->low},
                              coarse_of(shared), (struct rk_slot *const[]){after, NULL});
    memcpy(next, pass->cut_after, pass->list->p * sizeof *next);
    next[pass->list->p] = -INFINITY;
    shared->after = after;
    shared->next = next;
    shared->number = (const uint16_t *)(const void *)shared->scratch;
}

enum rankd_status rk_table_move(struct rk_pass *pass, const struct rk_table_code *code)
{
    const struct rk_list *list = pass->list;
    const unsigned threads = pass->exec->pool ? pass->exec->pool->width : 1;
    struct shared shared = {.code = code,
                            .layout = rk_table_layout(list->items, list->p, threads),
                            .cut = pass->cut,
                            .cut_after = pass->cut_after,
                            .scratch = pass->scratch};
    const struct rk_table_layout *l = &shared.layout;
    shared.pairs = l->chunk ? (l->chunk - RK_BINS * RK_BIN_BLOCK) / 2 : 0;
    if (l->remembers && !rk_table_masked(list))
        prepare_remembered(pass, &shared);
    else
        prepare(pass, &shared);
    unsigned parts = rk_parts_of(pass, true) == 1 ? 1 : l->parts;
    enum rankd_status status = rk_parts_run(pass, parts, move_part, &shared);
    memcpy(pass->ahead_after, pass->ahead, list->p * sizeof *pass->ahead);
    for (unsigned part = 0; part < parts; part++) {
        const uint32_t *tally = (const void *)(shared.scratch + l->tally + part * l->tally_stride);
        rk_tally_sum(tally, list->p, pass->ahead_after);
    }
    return status;
}
