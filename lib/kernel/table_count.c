#include "table.h"

#include <string.h>

enum {
    CACHED = 32768,      /* cuts up to which the tables stay in the second-level cache */
    CHUNK_MIN = 1 << 16, /* items put in order at a time: enough that looking through the tables pays */
    CHUNK_PER_CUT = 4,
    CHUNK_SHARE = 8, /* and at most one in so many of the list's */
    MASKED_SHARE = 8 /* relevant items, one in so many, from which on targets are read while counting */
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
    unsigned parts = rk_parts(items, threads), most = items / (2 * p) < 2 ? 2 : items / (2 * p);
    return parts < most ? parts : most;
}

struct rk_table_layout rk_table_layout(uint32_t items, uint32_t p, unsigned threads)
{
    struct rk_table_layout l = {.parts = parts_of(items, p, threads)};
    l.chunk = chunk_of(items / l.parts, p);
    size_t base = padded((rk_map_cells(p) + 1) * sizeof(uint32_t));
    l.base_after = l.base + base;
    l.live = l.base_after + base;
    l.coarse = l.live + padded(rk_map_cells(p) / 8 + sizeof(uint32_t));
    l.tally = l.coarse + padded(RK_COARSE * sizeof(struct rk_coarse));
    l.tally_stride = padded(((size_t)p + 1) * sizeof(uint32_t));
    l.buffer = l.tally + l.parts * l.tally_stride;
    l.buffer_stride = padded((size_t)l.chunk * sizeof(float));
    l.bytes = l.buffer + l.parts * l.buffer_stride;
    return l;
}

size_t rk_table_scratch(uint32_t items, uint32_t p, unsigned threads)
{
    return rk_table_layout(items, p, threads).bytes;
}

unsigned rk_table_bucket_shift(uint32_t cells)
{
    unsigned shift = 10;
    while (cells >> shift >= RK_BUCKETS)
        shift++;
    return shift;
}

bool rk_table_masked(const struct rk_list *list)
{
    return list->n != list->items || list->p > list->n / MASKED_SHARE;
}

struct shared {
    const struct rk_table_code *code;
    struct rk_table_layout layout;
    struct rk_map map;
    const uint32_t *base;
    const float *cut;
    char *scratch;
    bool masked;
    bool nan[RK_PARTS_MAX];
};

/* Adds to tally[b] the items with b cuts above them. */
static void tally_block(const struct shared *shared, const float *score, uint32_t items, uint32_t *tally)
{
    uint32_t cell[RK_TABLE_BLOCK], above[RK_TABLE_BLOCK];
    shared->code->cells(&shared->map, score, items, cell);
    shared->code->above(shared->base, shared->cut, items, cell, score, above);
    for (uint32_t i = 0; i < items; i++)
        tally[above[i] & RK_CELL_CUTS]++;
}

static uint32_t load(const struct shared *shared, struct rk_span *span, float *score)
{
    uint16_t place[RK_TABLE_BLOCK];
    if (!shared->masked)
        span->targets = NULL;
    return shared->code->load(span, score, place);
}

static bool count_plain(const struct shared *shared, struct rk_walk *walk, uint32_t *tally)
{
    float score[RK_TABLE_BLOCK];
    struct rk_span span;
    bool nan = false;
    while (rk_walk_next(walk, &span)) {
        uint32_t items = load(shared, &span, score);
        nan |= shared->code->nan(score, items);
        tally_block(shared, score, items, tally);
    }
    return nan;
}

/* Goes on until the buffer is full or the walk ends, and counts the items of each bucket. */
static uint32_t survey(const struct shared *shared, struct rk_walk *walk, uint32_t *bucket, bool *nan)
{
    const unsigned shift = rk_table_bucket_shift(shared->map.cells);
    float score[RK_TABLE_BLOCK];
    uint32_t cell[RK_TABLE_BLOCK], total = 0;
    struct rk_span span;
    memset(bucket, 0, RK_BUCKETS * sizeof *bucket);
    while (total + RK_TABLE_BLOCK <= shared->layout.chunk && rk_walk_next(walk, &span)) {
        uint32_t items = load(shared, &span, score);
        *nan |= shared->code->nan(score, items);
        shared->code->cells(&shared->map, score, items, cell);
        for (uint32_t i = 0; i < items; i++)
            bucket[cell[i] >> shift]++;
        total += items;
    }
    return total;
}

void rk_table_first_places(uint32_t *bucket)
{
    for (uint32_t b = 0, sum = 0; b < RK_BUCKETS; b++) {
        uint32_t here = bucket[b];
        bucket[b] = sum;
        sum += here;
    }
}

/* The same items again, each to its bucket. A client that changes its scores meanwhile must not make us write
 * outside: `total` bounds every place. */
static void put_in_order(const struct shared *shared, struct rk_walk walk, uint32_t to, uint32_t total,
                         uint32_t *bucket, float *buffer)
{
    const unsigned shift = rk_table_bucket_shift(shared->map.cells);
    float score[RK_TABLE_BLOCK];
    uint32_t cell[RK_TABLE_BLOCK];
    struct rk_span span;
    const struct rk_exec *exec = walk.exec;
    size_t copied = 0;
    walk.to = to;
    walk.exec = NULL;
    rk_table_first_places(bucket);
    while (rk_walk_next(&walk, &span)) {
        uint32_t items = load(shared, &span, score);
        shared->code->cells(&shared->map, score, items, cell);
        for (uint32_t i = 0; i < items; i++) {
            uint32_t at = bucket[cell[i] >> shift]++;
            if (__builtin_expect(at < total, 1))
                buffer[at] = score[i];
        }
        copied += rk_span_sent(walk.list, &span, items);
    }
    rk_exec_copied(exec, copied);
}

static bool count_ordered(const struct shared *shared, struct rk_walk *walk, uint32_t *tally, float *buffer)
{
    uint32_t bucket[RK_BUCKETS];
    bool nan = false;
    for (;;) {
        struct rk_walk start = *walk;
        uint32_t total = survey(shared, walk, bucket, &nan);
        if (total == 0)
            return nan;
        put_in_order(shared, start, walk->position, total, bucket, buffer);
        for (uint32_t i = 0, items; i < total; i += items) {
            items = total - i < RK_TABLE_BLOCK ? total - i : RK_TABLE_BLOCK;
            tally_block(shared, buffer + i, items, tally);
        }
    }
}

static void count_part(struct rk_part *part)
{
    struct shared *shared = part->shared;
    const struct rk_table_layout *l = &shared->layout;
    uint32_t *tally = (uint32_t *)(void *)(shared->scratch + l->tally + part->number * l->tally_stride);
    float *buffer = (float *)(void *)(shared->scratch + l->buffer + part->number * l->buffer_stride);
    struct rk_walk walk = rk_walk_start(part->pass, part->from, part->to, RK_TABLE_BLOCK);
    memset(tally, 0, ((size_t)part->pass->list->p + 1) * sizeof *tally);
    shared->nan[part->number] =
        l->chunk ? count_ordered(shared, &walk, tally, buffer) : count_plain(shared, &walk, tally);
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

/* An item with b cuts above it is at or above the b-th cut and all after it. */
static void sum_up(const struct rk_list *list, const struct shared *shared, uint32_t *ahead)
{
    const struct rk_table_layout *l = &shared->layout;
    memset(ahead, 0, list->p * sizeof *ahead);
    for (unsigned part = 0; part < l->parts; part++) {
        const uint32_t *tally = (const void *)(shared->scratch + l->tally + part * l->tally_stride);
        uint32_t sum = 0;
        for (uint32_t k = 0; k < list->p; k++) {
            sum += tally[k];
            ahead[k] += sum;
        }
    }
}

enum rankd_status rk_table_count(struct rk_pass *pass, const struct rk_table_code *code)
{
    const struct rk_list *list = pass->list;
    struct shared shared = {.code = code,
                            .layout = rk_table_layout(list->items, list->p, rk_parts_of(pass, false)),
                            .cut = pass->cut,
                            .scratch = pass->scratch,
                            .masked = rk_table_masked(list)};
    uint32_t *base = (uint32_t *)(void *)(shared.scratch + shared.layout.base);
    shared.map = rk_map_make(code, (const float *const[]){pass->cut, NULL}, list->p,
                             (struct rk_coarse *)(void *)(shared.scratch + shared.layout.coarse),
                             (uint32_t *const[]){base, NULL});
    shared.base = base;
    enum rankd_status status = rk_parts_run(pass, shared.layout.parts, count_part, &shared);
    sum_up(list, &shared, pass->ahead);
    pass->nan = false;
    for (unsigned i = 0; i < shared.layout.parts; i++)
        pass->nan |= shared.nan[i];
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
