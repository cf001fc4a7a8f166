#include "kernels/table.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/score.h"

enum {
    MARKED = 1 << 16, /* cuts from which on slots are marked */
    PER_CUT = 8,      /* slots a cut before, while that many fit the cache, */
    SLOTS_CACHED = 1 << 17,
    SLOTS_PER_CUT = 2, /* and beyond */
    SLOTS_MIN = 256,
    FINE = 3,            /* such a slot has 2^FINE cells, */
    FINE_MARKED = 5,     /* and a marked one so many */
    CELLS_PER_CUT = 56,  /* of those, while they can be counted */
    CELLS_MAX = 1 << 24, /* FP32 counts that far */
    ITEM_BYTES = 8,      /* of scratch memory for an item, where few are relevant, */
    RELEVANT_BYTES = 44, /* of those so many for each that is, with two threads' tallies */
    SHARED = 1 << 15,    /* cuts from which on two rows are filled by two threads */
    CROWD = 64           /* cuts to search among from which on an even map is not taken */
};

/* So many slots, and a bit for each of their cells, twice, are what is left of the bytes that a list's
 * scratch memory may take, beside its relevant items and what the first pass remembers. */
static uint64_t affordable(uint32_t items, uint32_t p)
{
    const uint64_t all = (uint64_t)ITEM_BYTES * items;
    const uint64_t taken =
        (uint64_t)RELEVANT_BYTES * p + (rk_table_remembers(items, p) ? 2 * (uint64_t)items : 0);
    return all > taken ? (all - taken) / (2 * sizeof(struct rk_slot) + (1 << FINE) / 8) : 0;
}

static uint32_t slots_of(uint32_t items, uint32_t p)
{
    uint64_t slots = (uint64_t)p * PER_CUT, least = (uint64_t)p * SLOTS_PER_CUT, most = affordable(items, p);
    slots = slots < SLOTS_CACHED ? slots : SLOTS_CACHED;
    slots = slots < most ? slots : most;
    least = least > SLOTS_MIN ? least : SLOTS_MIN;
    return (uint32_t)(slots > least ? slots : least);
}

struct rk_map_size rk_map_size(uint32_t items, uint32_t p)
{
    struct rk_map_size size = {.p = p, .fine = FINE, .marked = p > MARKED};
    if (size.marked) {
        size.fine = FINE_MARKED;
        size.cells = p < CELLS_MAX / CELLS_PER_CUT ? p * CELLS_PER_CUT : CELLS_MAX;
    } else {
        size.cells = slots_of(items, p) << FINE;
    }
    return size;
}

uint32_t rk_map_slots(const struct rk_map_size *size)
{
    return (size->cells >> size->fine) + RK_COARSE;
}

uint32_t rk_map_cells(const struct rk_map_size *size)
{
    return size->cells + RK_COARSE;
}

/* The cells of some cuts, at most RK_TABLE_BLOCK. */
static void cells_of(const struct rk_table_code *code, const struct rk_map *map, const float *cut,
                     uint32_t cuts, uint32_t *cell)
{
    float score[RK_TABLE_BLOCK];
    memcpy(score, cut, cuts * sizeof *score);
    memset(score + cuts, 0, (RK_TABLE_BLOCK - cuts) * sizeof *score);
    code->cells(map, score, cuts, cell);
}

/* Slots from..to-1 have no cut, and k cuts above them. */
static inline void fill_to(struct rk_slot *slot, uint32_t from, uint32_t to, uint32_t k)
{
    for (; from < to; from++)
        slot[from] = (struct rk_slot){.cut = -INFINITY, .above = k};
}

typedef uint32_t two_slots __attribute__((vector_size(2 * sizeof(struct rk_slot))));

/* The same for RK_SLOTS_SPARE slots, two at a time. */
static inline void fill_ahead(struct rk_slot *slot, uint32_t k)
{
    const uint32_t none = 0xff800000u; /* -inf */
    const two_slots two = {none, k, none, k};
    for (size_t i = 0; i < RK_SLOTS_SPARE; i += 2)
        memcpy(slot + i, &two, sizeof two);
}

/* Every cut writes its slot, and the next ones as if they had none: what is written too far is written again.
 * So there is no branch on whether a slot has a cut yet, nor, mostly, on how many follow that have none.
 * Returns the most cuts that an item may have to be searched among: in one slot, unless they are all equal,
 * when the first or the last tells, or above all items. */
static uint32_t fill_cuts(const struct rk_table_code *code, const struct rk_map *map, const float *cut,
                          uint32_t p, struct rk_slot *slot)
{
    uint32_t filled = 0, last = UINT32_MAX, within = 0, crowd = 0, cell[RK_TABLE_BLOCK];
    unsigned differ = 0;
    struct rk_slot here = {.cut = -INFINITY};
    for (uint32_t k = 0, cuts; k < p; k += cuts) {
        cuts = p - k < RK_TABLE_BLOCK ? p - k : RK_TABLE_BLOCK;
        cells_of(code, map, cut + k, cuts, cell);
        for (uint32_t i = 0; i < cuts; i++) {
            const uint32_t at = cell[i] >> map->fine;
            const bool is_first = at != last;
            differ = (differ | (cut[k + i] != here.cut)) & (unsigned)!is_first;
            if (at > filled)
                fill_to(slot, filled, at, k + i);
            here.cut = is_first ? cut[k + i] : here.cut;
            here.above = is_first ? k + i : here.above | RK_SLOT_MANY;
            within = is_first ? 1 : within + 1;
            crowd = within > crowd && differ && at > 0 ? within : crowd;
            slot[at] = here;
            fill_ahead(slot + at + 1, k + i + 1);
            filled = at + 1 + RK_SLOTS_SPARE;
            last = at;
        }
    }
    if (filled <= map->slots)
        fill_to(slot, filled, map->slots + 1, p);
    return crowd;
}

/* Here slots are fewer than cuts, so they count theirs first, without a branch on whether one has any yet;
 * then they are summed up. Returns the most cuts in one slot, but for those above all items. */
static uint32_t fill_marks(const struct rk_table_code *code, const struct rk_map *map, const float *cut,
                           uint32_t p, struct rk_slot *slot)
{
    uint32_t sum = 0, most = 0, cell[RK_TABLE_BLOCK];
    memset(slot, 0, ((size_t)map->slots + 1) * sizeof *slot);
    for (uint32_t k = 0, cuts; k < p; k += cuts) {
        cuts = p - k < RK_TABLE_BLOCK ? p - k : RK_TABLE_BLOCK;
        cells_of(code, map, cut + k, cuts, cell);
        for (uint32_t i = 0; i < cuts; i++) {
            struct rk_slot *at = &slot[cell[i] >> map->fine];
            const uint32_t bit = cell[i] & 31, twice = at->marks >> bit & 1;
            at->marks |= 1u << bit;
            at->above = (at->above + 1) | twice * RK_SLOT_MANY;
        }
    }
    for (uint32_t at = 0; at <= map->slots; at++) {
        uint32_t cuts = slot[at].above & RK_SLOT_CUTS;
        slot[at].above = sum | (slot[at].above & RK_SLOT_MANY);
        sum += cuts;
        most = cuts > most && at > 0 ? cuts : most;
    }
    return most;
}

/* Fills slot[slots + 1]. Returns the most cuts that an item may have to be searched among. */
static uint32_t fill(const struct rk_table_code *code, const struct rk_map *map, const float *cut, uint32_t p,
                     struct rk_slot *slot)
{
    return map->marked ? fill_marks(code, map, cut, p, slot) : fill_cuts(code, map, cut, p, slot);
}

/* The highest and the lowest finite cut; false if there is none. */
static bool finite_range(const float *cut, uint32_t p, float *high, float *low)
{
    uint32_t first = 0, last = p;
    while (first < p && isinf(cut[first]))
        first++;
    while (last > first && isinf(cut[last - 1]))
        last--;
    if (first == last)
        return false;
    *high = fmaxf(*high, cut[first]);
    *low = fminf(*low, cut[last - 1]);
    return true;
}

/* Evenly over the range that cuts and items share. The first slot is left to what lies above it, infinities
 * too, and the last one to what lies below: however many cuts are there, no item is searched for among them.
 */
static struct rk_map even_map(const float *const cut[2], const struct rk_map_size *size, struct rk_seen seen)
{
    float high = -FLT_MAX, low = FLT_MAX;
    const uint32_t cells = size->cells, slot = 1u << size->fine;
    bool any = finite_range(cut[0], size->p, &high, &low);
    if (cut[1])
        any |= finite_range(cut[1], size->p, &high, &low);
    high = any ? fminf(high, fmaxf(seen.high, -FLT_MAX)) : 0;
    low = any ? fmaxf(low, fminf(seen.low, FLT_MAX)) : 0;
    double range = (double)high - (double)low;
    double scale = range > 0 ? (double)(cells - 1 - 2 * slot) / range : (double)FLT_MAX;
    return (struct rk_map){.high = high,
                           .scale = scale > (double)FLT_MAX ? FLT_MAX : (float)scale,
                           .first = (float)slot,
                           .top = (float)(cells - 1),
                           .cells = cells,
                           .slots = cells >> size->fine,
                           .fine = size->fine,
                           .marked = size->marked};
}

/* A row of cuts, as keys that ascend. */
struct row {
    const float *cut;
    uint32_t p, at;
};

/* Steps over the cuts of a coarse cell, and widens low..high to theirs; how many they were. */
static uint32_t step_over(struct row *row, uint32_t coarse, uint32_t *low, uint32_t *high)
{
    uint32_t from = row->at;
    while (row->at < row->p) {
        uint32_t key = ~rk_key(row->cut[row->at]);
        if (key >> (32 - RK_COARSE_BITS) != coarse)
            break;
        *low = key < *low ? key : *low;
        *high = key > *high ? key : *high;
        row->at++;
    }
    return row->at - from;
}

/* Every coarse cell is divided according to the number of its cuts, over the range of its cuts. Unless slots
 * are marked, every cell is a slot: cuts that lie close need it to be told apart. */
static struct rk_map coarse_map(const float *const cut[2], const struct rk_map_size *size,
                                struct rk_coarse *coarse)
{
    const uint32_t p = size->p;
    struct row before = {cut[0], p, 0}, after = {cut[1], cut[1] ? p : 0, 0};
    const unsigned fine = size->marked ? size->fine : 0;
    uint64_t budget = size->cells >> (size->fine - fine), rows = cut[1] ? 2 : 1;
    uint32_t cell = 0;
    for (uint32_t c = 0; c < RK_COARSE; c++) {
        uint32_t low = UINT32_MAX, high = 0, shift = 0;
        uint64_t cuts = step_over(&before, c, &low, &high);
        cuts += step_over(&after, c, &low, &high);
        coarse[c] = (struct rk_coarse){.first = cell};
        if (cuts > 0 && p > 0) {
            while ((high - low) >> shift > budget * cuts / (rows * p))
                shift++;
            coarse[c] =
                (struct rk_coarse){.low = low, .first = cell, .last = (high - low) >> shift, .shift = shift};
        }
        cell += coarse[c].last + 1;
    }
    return (struct rk_map){.coarse = coarse,
                           .cells = cell,
                           .slots = ((cell - 1) >> fine) + 1,
                           .fine = fine,
                           .marked = size->marked};
}

/* One row of cuts or two, on two threads where that is worth it. */
struct filling {
    const struct rk_table_code *code;
    const struct rk_map *map;
    const float *const *cut;
    uint32_t p;
    struct rk_slot *const *slot;
    uint32_t most[2];
};

static void fill_row(void *arg, size_t row)
{
    struct filling *f = arg;
    f->most[row] = fill(f->code, f->map, f->cut[row], f->p, f->slot[row]);
}

/* Returns the most cuts that an item may have to be searched among. */
static uint32_t fill_rows(struct filling *f, struct rk_pool *pool)
{
    const size_t rows = f->cut[1] ? 2 : 1;
    f->most[1] = 0;
    if (pool && f->p >= SHARED)
        pool->run(pool, rows, fill_row, f);
    else
        for (size_t row = 0; row < rows; row++)
            fill_row(f, row);
    return f->most[0] > f->most[1] ? f->most[0] : f->most[1];
}

struct rk_map rk_map_make(const struct rk_table_code *code, struct rk_pool *pool, const float *const cut[2],
                          const struct rk_map_size *size, struct rk_seen seen, struct rk_coarse *coarse,
                          struct rk_slot *const slot[2])
{
    struct rk_map map = even_map(cut, size, seen);
    struct filling filling = {.code = code, .map = &map, .cut = cut, .p = size->p, .slot = slot};
    if (fill_rows(&filling, pool) <= CROWD)
        return map;
    map = coarse_map(cut, size, coarse);
    (void)fill_rows(&filling, pool);
    return map;
}
