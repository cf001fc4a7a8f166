#include "kernels/table.h"

#include <string.h>

#include "kernels/table_bins.h"
#include "kernels/tally.h"

enum {
    CACHED = 3 << 19,    /* cuts up to which looking through the tables out of order is faster */
    CHUNK_MIN = 1 << 18, /* items put in order at a time: enough that looking through the tables pays */
    CHUNK_PER_CUT = 8,
    CHUNK_SHARE = 8,       /* and at most one in so many of the list's */
    REMEMBERED_SHARE = 32, /* relevant items, one in so many, up to which two bytes an item are to spare */
    MASKED_SHARE = 8       /* relevant items, one in so many, from which on targets are read while counting */
};

static size_t padded(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static uint32_t chunk_of(uint32_t items, uint32_t p)
{
    uint64_t chunk = (uint64_t)p * CHUNK_PER_CUT;
    if (p <= CACHED)
        return 0;
    if (chunk > items / CHUNK_SHARE)
        chunk = items / CHUNK_SHARE;
    return chunk < CHUNK_MIN ? CHUNK_MIN : (uint32_t)chunk;
}

/* Every part has counts of its own: two bytes an item at most, unless there are no more than two parts. */
static unsigned parts_of(uint32_t items, uint32_t p, unsigned threads)
{
    unsigned parts = rk_ranges(items, RK_RANGE_MIN, threads),
             most = items / (2 * p) < 2 ? 2 : items / (2 * p);
    return parts < most ? parts : most;
}

bool rk_table_remembers(uint32_t items, uint32_t p)
{
    return p < UINT16_MAX && p <= items / REMEMBERED_SHARE;
}

size_t rk_table_kept(uint32_t items, uint32_t p, unsigned threads)
{
    (void)threads;
    return rk_table_remembers(items, p) ? padded(items * sizeof(uint16_t)) : 0;
}

struct rk_table_layout rk_table_layout(uint32_t items, uint32_t p, unsigned threads)
{
    struct rk_table_layout l = {.parts = parts_of(items, p, threads),
                                .map = rk_map_size(items, p),
                                .remembers = rk_table_remembers(items, p)};
    l.chunk = chunk_of(items / l.parts, p);
    size_t slots = padded(((size_t)rk_map_slots(&l.map) + 1 + RK_SLOTS_SPARE) * sizeof(struct rk_slot));
    l.next = rk_table_kept(items, p, threads);
    l.slot = l.next + (l.remembers ? padded(((size_t)p + 1) * sizeof(float)) : 0);
    l.slot_after = l.slot + slots;
    l.live = l.slot_after + slots;
    l.coarse = l.live + padded(rk_map_cells(&l.map) / 8 + sizeof(uint32_t));
    l.tally = l.coarse + padded(RK_COARSE * sizeof(struct rk_coarse));
    l.tally_stride = padded(((size_t)p + 1) * sizeof(uint32_t));
    l.buffer = l.tally + l.parts * l.tally_stride;
    uint32_t blocks = l.chunk ? rk_bins_blocks(l.chunk) : 0;
    l.before = padded((size_t)blocks * RK_BIN_BLOCK * sizeof(float));
    l.buffer_stride = l.before + padded((size_t)blocks * sizeof(int32_t));
    l.bytes = l.buffer + l.parts * l.buffer_stride;
    return l;
}

size_t rk_table_scratch(uint32_t items, uint32_t p, unsigned threads)
{
    return rk_table_layout(items, p, threads).bytes;
}

bool rk_table_masked(const struct rk_list *list)
{
    return list->n != list->items || list->p > list->n / MASKED_SHARE;
}

struct shared {
    const struct rk_table_code *code;
    struct rk_table_layout layout;
    struct rk_map map;
    const struct rk_slot *slot;
    const float *cut;
    char *scratch;
    bool masked;
    struct rk_seen seen[RK_RANGES_MAX];
};

static void add(const uint32_t *above, uint32_t items, uint32_t *tally)
{
    for (uint32_t i = 0; i < items; i++)
        tally[above[i]]++;
}

/* Adds to tally[b] the items with b cuts above them. */
static void tally_block(const struct shared *shared, const float *score, uint32_t items, uint32_t *tally)
{
    uint32_t cell[RK_TABLE_BLOCK], above[RK_TABLE_BLOCK];
    shared->code->cells(&shared->map, score, items, cell);
    shared->code->above(&shared->map, shared->slot, shared->cut, items, cell, score, above);
    add(above, items, tally);
}

/* The same, and writes each item's number down. */
static void add_and_remember(const uint32_t *above, uint32_t items, uint32_t *tally, uint16_t *number)
{
    for (uint32_t i = 0; i < items; i++) {
        uint32_t b = above[i];
        tally[b]++;
        number[i] = (uint16_t)b;
    }
}

static struct rk_seen count_plain(const struct shared *shared, struct rk_walk *walk, uint32_t *tally)
{
    uint16_t *number = shared->layout.remembers && !shared->masked ? (void *)shared->scratch : NULL;
    uint32_t above[RK_TABLE_BLOCK + 16];
    struct rk_span span;
    struct rk_seen seen = rk_seen_none();
    while (rk_walk_next(walk, &span)) {
        if (!shared->masked)
            span.targets = NULL;
        uint32_t items = shared->code->place(&span, &shared->map, shared->slot, shared->cut, above, &seen);
        if (number)
            add_and_remember(above, items, tally, number + span.position);
        else
            add(above, items, tally);
    }
    return seen;
}

/* Puts items into bins until the buffer may be full or the walk ends. */
static void fill_bins(const struct shared *shared, struct rk_walk *walk, struct rk_bins *bins, float *buffer,
                      struct rk_seen *seen)
{
    float score[RK_TABLE_BLOCK];
    uint32_t cell[RK_TABLE_BLOCK];
    uint16_t place[RK_TABLE_BLOCK];
    struct rk_span span;
    size_t copied = 0;
    for (uint32_t total = 0; total + RK_TABLE_BLOCK <= shared->layout.chunk && rk_walk_next(walk, &span);) {
        if (!shared->masked)
            span.targets = NULL;
        uint32_t items = shared->code->load(&span, score, place);
        shared->code->see(score, items, seen);
        shared->code->cells(&shared->map, score, items, cell);
        for (uint32_t i = 0; i < items; i++)
            buffer[rk_bins_put(bins, cell[i])] = score[i];
        total += items;
        copied += rk_span_sent(walk->list, &span, items);
    }
    rk_exec_copied(walk->exec, copied);
}

static struct rk_seen count_in_order(const struct shared *shared, struct rk_walk *walk, uint32_t *tally,
                                     float *buffer, int32_t *before)
{
    struct rk_bins bins;
    struct rk_seen seen = rk_seen_none();
    while (walk->position < walk->to && !walk->late) {
        rk_bins_start(&bins, before, shared->map.cells);
        fill_bins(shared, walk, &bins, buffer, &seen);
        for (unsigned b = 0; b < RK_BINS; b++) {
            uint32_t items;
            for (int32_t block = rk_bins_last(&bins, b, &items); block != RK_BIN_NONE;
                 block = before[block], items = RK_BIN_BLOCK)
                tally_block(shared, buffer + (size_t)block * RK_BIN_BLOCK, items, tally);
        }
    }
    return seen;
}

static void count_part(struct rk_part *part)
{
    struct shared *shared = part->shared;
    const struct rk_table_layout *l = &shared->layout;
    uint32_t *tally = (uint32_t *)(void *)(shared->scratch + l->tally + part->number * l->tally_stride);
    char *buffer = shared->scratch + l->buffer + part->number * l->buffer_stride;
    struct rk_walk walk = rk_walk_start(part->pass, part->from, part->to, RK_TABLE_BLOCK);
    memset(tally, 0, ((size_t)part->pass->list->p + 1) * sizeof *tally);
    shared->seen[part->number] = l->chunk ? count_in_order(shared, &walk, tally, (float *)(void *)buffer,
                                                           (int32_t *)(void *)(buffer + l->before))
                                          : count_plain(shared, &walk, tally);
    part->late = walk.late;
}

/* Where targets were not read, the relevant items were counted too. */
static void take_relevant_off(const struct rk_list *list, const struct shared *shared, uint32_t *own)
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

static void sum_up(const struct rk_list *list, const struct shared *shared, uint32_t *ahead)
{
    const struct rk_table_layout *l = &shared->layout;
    memset(ahead, 0, list->p * sizeof *ahead);
    for (unsigned part = 0; part < l->parts; part++) {
        const uint32_t *tally = (const void *)(shared->scratch + l->tally + part * l->tally_stride);
        rk_tally_sum(tally, list->p, ahead);
    }
}

enum rankd_status rk_table_count(struct rk_pass *pass, const struct rk_table_code *code)
{
    const struct rk_list *list = pass->list;
    struct shared shared; /* no initializer: it would clear what 64 parts could have seen */
    shared.code = code;
    shared.layout = rk_table_layout(list->items, list->p, rk_parts_of(pass, false));
    shared.cut = pass->cut;
    shared.scratch = pass->scratch;
    shared.masked = rk_table_masked(list);
    struct rk_slot *slot = (struct rk_slot *)(void *)(shared.scratch + shared.layout.slot);
    shared.map = rk_map_make(code, pass->exec->pool, (const float *const[]){pass->cut, NULL},
                             &shared.layout.map, (struct rk_seen){.high = INFINITY, .low = -INFINITY},
                             (struct rk_coarse *)(void *)(shared.scratch + shared.layout.coarse),
                             (struct rk_slot *const[]){slot, NULL});
    shared.slot = slot;
    enum rankd_status status = rk_parts_run(pass, shared.layout.parts, count_part, &shared);
    sum_up(list, &shared, pass->ahead);
    struct rk_seen seen = rk_seen_none();
    for (unsigned i = 0; i < shared.layout.parts; i++)
        rk_seen_add(&seen, shared.seen[i].high, shared.seen[i].low, shared.seen[i].nan);
    pass->nan = seen.nan;
    pass->high = seen.high;
    pass->low = seen.low;
    if (shared.masked)
        return status;
    uint32_t *own = (uint32_t *)(void *)(shared.scratch + shared.layout.tally), sum = 0;
    take_relevant_off(list, &shared, own);
    for (uint32_t k = 0; k < list->p; k++) {
        sum += own[k];
        pass->ahead[k] -= sum;
    }
    return status;
}
