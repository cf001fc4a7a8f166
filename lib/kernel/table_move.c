#include "table.h"

#include <string.h>

struct shared {
    const struct rk_table_code *code;
    struct rk_table_layout layout;
    struct rk_map map;
    const uint32_t *before, *after; /* tables of the two rows of cuts, on one map */
    const uint32_t *live;           /* a bit a cell: its items may change */
    const float *cut, *cut_after;
    char *scratch;
    bool masked;
};

struct pair {
    float score;
    uint32_t position;
};

/* Cells through which no cut moved, and within which none did, keep their items' ranks. */
static bool is_still(const struct rk_pass *pass, const uint32_t *before, const uint32_t *after, uint32_t cell)
{
    uint32_t from = before[cell] & RK_CELL_CUTS, to = before[cell + 1] & RK_CELL_CUTS;
    if ((after[cell] & RK_CELL_CUTS) != from || (after[cell + 1] & RK_CELL_CUTS) != to)
        return false;
    while (from < to && pass->cut[from] == pass->cut_after[from])
        from++;
    return from == to;
}

static void mark_live(const struct rk_pass *pass, const struct shared *shared, uint32_t *live)
{
    memset(live, 0, shared->map.cells / 8 + sizeof *live);
    for (uint32_t c = 0; c < shared->map.cells; c++)
        live[c / 32] |= (uint32_t)!is_still(pass, shared->before, shared->after, c) << (c % 32);
}

/* The items of a span that may change. */
static uint32_t take(const struct shared *shared, const struct rk_span *span, uint32_t *cell, float *score,
                     uint16_t *place)
{
    struct rk_span all = *span;
    if (!shared->masked)
        all.targets = NULL;
    uint32_t items = shared->code->load(&all, score, place), kept = 0;
    shared->code->cells(&shared->map, score, items, cell);
    items = shared->code->keep(shared->live, items, cell, score, place);
    if (shared->masked || !span->targets)
        return items;
    for (uint32_t i = 0; i < items; i++) {
        int8_t target = span->targets[place[i]];
        cell[kept] = cell[i];
        score[kept] = score[i];
        place[kept] = place[i];
        kept += target != 1 && target != -1;
    }
    return kept;
}

/* Those of a block that may change, and where they are in the list. */
struct block {
    float score[RK_TABLE_BLOCK];
    uint32_t cell[RK_TABLE_BLOCK];
    uint32_t position[RK_TABLE_BLOCK];
};

static void put_one_by_one(const struct rk_list *list, const struct block *block, uint32_t items,
                           const uint32_t *before, const uint32_t *after, struct rk_sink *sink)
{
    for (uint32_t i = 0; i < items; i++) {
        if (before[i] != after[i])
            rk_sink_put(sink, list, block->position[i], (int32_t)(before[i] - after[i]));
    }
}

static void resolve(const struct shared *shared, struct rk_part *part, struct block *block, uint32_t items,
                    int32_t *tally)
{
    const struct rk_list *list = part->pass->list;
    struct rk_sink *sink = &part->sink;
    uint32_t before[RK_TABLE_BLOCK], after[RK_TABLE_BLOCK];
    float value[RK_TABLE_BLOCK];
    shared->code->above(shared->before, shared->cut, items, block->cell, block->score, before);
    items = shared->code->passed(shared->cut_after, list->p, items, before, block->cell, block->score,
                                 block->position);
    shared->code->above(shared->after, shared->cut_after, items, block->cell, block->score, after);
    for (uint32_t i = 0; i < items; i++) {
        after[i] &= RK_CELL_CUTS;
        tally[before[i]]--;
        tally[after[i]]++;
    }
    if (!sink->dense || list->graded < list->items) {
        put_one_by_one(list, block, items, before, after, sink);
        return;
    }
    sink->changed +=
        shared->code->values(sink->w, sink->lambda, items, before, after, value, &sink->abs_graded);
    for (uint32_t i = 0; i < items; i++)
        sink->dense[block->position[i]] = value[i];
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
    uint16_t place[RK_TABLE_BLOCK];
    struct rk_span span;
    while (rk_walk_next(walk, &span)) {
        clear(part, &span);
        uint32_t items = take(shared, &span, block.cell, block.score, place);
        for (uint32_t i = 0; i < items; i++)
            block.position[i] = span.position + place[i];
        if (items > 0)
            resolve(shared, part, &block, items, tally);
    }
}

static uint32_t survey(const struct shared *shared, const struct rk_part *part, struct rk_walk *walk,
                       uint32_t *bucket)
{
    const unsigned shift = rk_table_bucket_shift(shared->map.cells);
    float score[RK_TABLE_BLOCK];
    uint32_t cell[RK_TABLE_BLOCK], total = 0;
    uint16_t place[RK_TABLE_BLOCK];
    struct rk_span span;
    memset(bucket, 0, RK_BUCKETS * sizeof *bucket);
    while (total + RK_TABLE_BLOCK <= shared->layout.chunk / 2 && rk_walk_next(walk, &span)) {
        clear(part, &span);
        uint32_t items = take(shared, &span, cell, score, place);
        for (uint32_t i = 0; i < items; i++)
            bucket[cell[i] >> shift]++;
        total += items;
    }
    return total;
}

/* As in table_count.c: `total` bounds every place. */
static void put_in_order(const struct shared *shared, struct rk_walk walk, uint32_t to, uint32_t total,
                         uint32_t *bucket, struct pair *buffer)
{
    const unsigned shift = rk_table_bucket_shift(shared->map.cells);
    float score[RK_TABLE_BLOCK];
    uint32_t cell[RK_TABLE_BLOCK];
    uint16_t place[RK_TABLE_BLOCK];
    struct rk_span span;
    const struct rk_exec *exec = walk.exec;
    size_t copied = 0;
    walk.to = to;
    walk.exec = NULL;
    rk_table_first_places(bucket);
    while (rk_walk_next(&walk, &span)) {
        uint32_t items = take(shared, &span, cell, score, place);
        for (uint32_t i = 0; i < items; i++) {
            uint32_t at = bucket[cell[i] >> shift]++;
            if (__builtin_expect(at < total, 1))
                buffer[at] = (struct pair){score[i], span.position + place[i]};
        }
        copied += rk_span_sent(walk.list, &span, items);
    }
    rk_exec_copied(exec, copied);
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

static void move_ordered(const struct shared *shared, struct rk_part *part, struct rk_walk *walk,
                         int32_t *tally, struct pair *buffer)
{
    uint32_t bucket[RK_BUCKETS];
    while (walk->position < walk->to && !walk->late) {
        struct rk_walk start = *walk;
        uint32_t total = survey(shared, part, walk, bucket);
        memset(buffer, 0, total * sizeof *buffer); /* bounds positions if a client changes scores meanwhile */
        put_in_order(shared, start, walk->position, total, bucket, buffer);
        for (uint32_t i = 0, items; i < total; i += items) {
            items = total - i < RK_TABLE_BLOCK ? total - i : RK_TABLE_BLOCK;
            resolve_pairs(shared, part, buffer + i, items, tally);
        }
    }
}

static void move_part(struct rk_part *part)
{
    const struct shared *shared = part->shared;
    const struct rk_table_layout *l = &shared->layout;
    int32_t *tally = (int32_t *)(void *)(shared->scratch + l->tally + part->number * l->tally_stride);
    void *buffer = shared->scratch + l->buffer + part->number * l->buffer_stride;
    struct rk_walk walk = rk_walk_start(part->pass, part->from, part->to, RK_TABLE_BLOCK);
    memset(tally, 0, ((size_t)part->pass->list->p + 1) * sizeof *tally);
    if (l->chunk)
        move_ordered(shared, part, &walk, tally, buffer);
    else
        move_plain(shared, part, &walk, tally);
    part->late = walk.late;
}

enum rankd_status rk_table_move(struct rk_pass *pass, const struct rk_table_code *code)
{
    const struct rk_list *list = pass->list;
    const unsigned threads = pass->exec->pool ? pass->exec->pool->width : 1;
    struct shared shared = {.code = code,
                            .layout = rk_table_layout(list->items, list->p, threads),
                            .cut = pass->cut,
                            .cut_after = pass->cut_after,
                            .scratch = pass->scratch,
                            .masked = rk_table_masked(list)};
    const struct rk_table_layout *l = &shared.layout;
    uint32_t *before = (uint32_t *)(void *)(shared.scratch + l->base);
    uint32_t *after = (uint32_t *)(void *)(shared.scratch + l->base_after);
    uint32_t *live = (uint32_t *)(void *)(shared.scratch + l->live);
    shared.map = rk_map_make(code, (const float *const[]){pass->cut, pass->cut_after}, list->p,
                             (struct rk_coarse *)(void *)(shared.scratch + l->coarse),
                             (uint32_t *const[]){before, after});
    shared.before = before;
    shared.after = after;
    shared.live = live;
    mark_live(pass, &shared, live);
    unsigned parts = rk_parts_of(pass, true) == 1 ? 1 : l->parts;
    enum rankd_status status = rk_parts_run(pass, parts, move_part, &shared);
    memcpy(pass->ahead_after, pass->ahead, list->p * sizeof *pass->ahead);
    for (unsigned part = 0; part < parts; part++) {
        const int32_t *tally = (const void *)(shared.scratch + l->tally + part * l->tally_stride);
        uint32_t sum = 0;
        for (uint32_t k = 0; k < list->p; k++) {
            sum += (uint32_t)tally[k];
            pass->ahead_after[k] += sum;
        }
    }
    return status;
}
