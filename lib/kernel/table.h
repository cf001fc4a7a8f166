/* Strategy "table": an item's place among the cuts by a table. The line of scores is divided into cells,
 * finer where there are more cuts; a table says how many cuts lie above each cell, and only where a cut lies
 * within the item's own cell is anything compared.
 *
 * A cell number is any function of the score that never falls as the score grows less: it need not be exact
 * arithmetic, as cuts and items go through the same one. Cell 0 is that of the highest scores.
 *
 * Where the tables do not fit the cache, items are first put in order of the upper bits of their cell (a
 * partition), some millions at a time; then what they look up lies together. table_map.c makes the cells,
 * table_count.c and table_move.c are the two passes, table_<isa>.c what runs over every item. */
#ifndef RK_TABLE_H
#define RK_TABLE_H

#include "span.h"

enum {
    RK_TABLE_BLOCK = 1024, /* items at a time, so that what is known of them stays in the first-level cache */
    RK_COARSE_BITS = 11,
    RK_COARSE = 1 << RK_COARSE_BITS
};

/* Bit 31 of a table's entry: some cut lies within the cell. The rest: cuts in cells before it. */
#define RK_CELL_MIXED 0x80000000u
#define RK_CELL_CUTS 0x7fffffffu

/* Keys (descending scores) that agree in their upper bits, and the cells they are divided into. */
struct rk_coarse {
    uint32_t low;   /* the first key that matters; those before it share its cell */
    uint32_t first; /* cell */
    uint32_t last;  /* cell, counted from the first */
    uint32_t shift;
};

/* From scores to cells. Either evenly over the range of the cuts, which costs next to nothing; or by the
 * upper bits of the score, and evenly within those, for cuts that lie too unevenly. */
struct rk_map {
    float high, scale, top;         /* evenly: (high - s)·scale, within 0..top */
    const struct rk_coarse *coarse; /* [RK_COARSE], or NULL: evenly */
    uint32_t cells;
};

/* What runs over every item; one of each instruction set. */
struct rk_table_code {
    /* Writes the items of a span of at most RK_TABLE_BLOCK that count, as FP32, and where they lie in the
     * span. Items whose target is 1 or -1 do not count; where span->targets is NULL all do. Returns how many.
     * `score` has room for RK_TABLE_BLOCK, whatever it returns. */
    uint32_t (*load)(const struct rk_span *span, float *score, uint16_t *place);
    /* True if one of them is NaN. */
    bool (*nan)(const float *score, uint32_t items);
    /* The cell of each. Both have room for items rounded up to 16. */
    void (*cells)(const struct rk_map *map, const float *score, uint32_t items, uint32_t *cell);
    /* Keeps, in order, the items in whose cell's bit is set in `live`; returns how many. Rooms as above. */
    uint32_t (*keep)(const uint32_t *live, uint32_t items, uint32_t *cell, float *score, uint16_t *place);
    /* For each item #{k: cut[k] > s}, from the table of those cuts. Rooms as above. */
    void (*above)(const uint32_t *base, const float *cut, uint32_t items, const uint32_t *cell,
                  const float *score, uint32_t *out);
    /* Of items whose before[i] = #{k: cut[k] > s} is known, keeps, in order, those that a cut passed; returns
     * how many. Cuts only ever rise: an item is passed if and only if the highest cut that was at or below
     * it, number before[i], lies above it now, after[before[i]] > s. before[i] comes as `above` left it, and
     * is kept as the number alone. Rooms as above. */
    uint32_t (*passed)(const float *after, uint32_t p, uint32_t items, uint32_t *before, uint32_t *cell,
                       float *score, uint32_t *position);
    /* value[i] = rk_sink_value() of before[i] - after[i]. Returns how many are not 0, and adds up their
     * sizes. */
    uint32_t (*values)(double w, double lambda, uint32_t items, const uint32_t *before, const uint32_t *after,
                       float *value, uint64_t *size);
};

/* Most cells for that many cuts. */
uint32_t rk_map_cells(uint32_t p);

/* Chooses a map for one or two rows of p cuts (descending; cut[1] may be NULL) and fills their tables:
 * base[r] has room for rk_map_cells(p) + 1, of which cells + 1 are filled; coarse is [RK_COARSE]. */
struct rk_map rk_map_make(const struct rk_table_code *code, const float *const cut[2], uint32_t p,
                          struct rk_coarse *coarse, uint32_t *const base[2]);

/* How a list is gone through, from items, P and threads alone. */
struct rk_table_layout {
    unsigned parts;
    uint32_t chunk; /* bytes / 4 of a part's buffer, in which items are put in order; 0: they are not */
    size_t base, base_after, live, coarse, tally, buffer, bytes; /* where things lie in the scratch memory */
    size_t tally_stride, buffer_stride;
};
struct rk_table_layout rk_table_layout(uint32_t items, uint32_t p, unsigned threads);

enum { RK_BUCKETS = 2048 };

/* Item counts of buckets become the buckets' first places. */
void rk_table_first_places(uint32_t *bucket);

/* Are the targets of a list read for every item, or only where something depends on one? */
bool rk_table_masked(const struct rk_list *list);

/* Cells of a bucket are neighbours: bucket = cell >> shift. */
unsigned rk_table_bucket_shift(uint32_t cells);

size_t rk_table_scratch(uint32_t items, uint32_t p, unsigned threads);
enum rankd_status rk_table_count(struct rk_pass *pass, const struct rk_table_code *code);
enum rankd_status rk_table_move(struct rk_pass *pass, const struct rk_table_code *code);

#endif
