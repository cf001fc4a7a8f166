/* Strategy "table": an item's place among the cuts by a table. The line of scores is divided into cells, and
 * those, some at a time, into slots, finer where there are more cuts. A slot says how many cuts lie above it,
 * and the highest cut within it: one look at eight bytes places an item, unless several cuts lie in its slot.
 * Where there are too many cuts for that to fit the cache, a slot has more cells, and in place of its highest
 * cut a mark for each of them that has a cut: the marks before an item's cell are counted, and only an item
 * in a marked cell is compared with its cut.
 * A cell has one more bit, of the second pass: can the rank of an item in it change?
 *
 * A cell number is any function of the score that never falls as the score grows less: it need not be exact
 * arithmetic, as cuts and items go through the same one. Cell 0 is that of the highest scores.
 *
 * Where there is memory for it, the first pass writes down every item's number, two bytes each; then the
 * second asks for nothing but the cut of that number. (A list of which some items are ignored goes without.)
 *
 * Where the tables do not fit the cache, items are first put in order of the upper bits of their cell (a
 * partition), some millions at a time; then what they look up lies together. table_map.c makes the cells,
 * table_count.c and table_move.c are the two passes, table_<isa>.c what runs over every item. */
#ifndef RK_KERNELS_TABLE_H
#define RK_KERNELS_TABLE_H

#include <math.h>

#include "kernels/span.h"

enum {
    RK_TABLE_BLOCK = 1024, /* items at a time, so that what is known of them stays in the first-level cache */
    RK_COARSE_BITS = 11,
    RK_COARSE = 1 << RK_COARSE_BITS,
    RK_SLOTS_SPARE = 16 /* behind a table's last slot: filling it writes so far */
};

struct rk_slot {
    union {
        float cut;      /* the highest within it; -inf, which is above nothing, where there is none */
        uint32_t marks; /* where map.marked: of its i-th cell, bit i: there is a cut in it */
    };
    uint32_t
        above; /* cuts in slots before it; RK_SLOT_MANY: more than one lies within it, or within a cell */
};

#define RK_SLOT_MANY 0x80000000u
#define RK_SLOT_CUTS 0x7fffffffu

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
    float high, scale, first, top;  /* evenly: (high - s)·scale + first, within 0..top */
    const struct rk_coarse *coarse; /* [RK_COARSE], or NULL: evenly */
    uint32_t cells, slots;
    unsigned fine; /* the slot of a cell is cell >> fine */
    bool marked;   /* what slots hold, see there; fine is then 5 */
};

/* What the first pass saw of the items that it counted. */
struct rk_seen {
    float high, low; /* the highest and the lowest score; -inf and inf before there is any. Not NaN */
    bool nan;        /* there was one */
};

static inline struct rk_seen rk_seen_none(void)
{
    return (struct rk_seen){.high = -INFINITY, .low = INFINITY};
}

static inline void rk_seen_add(struct rk_seen *seen, float high, float low, bool nan)
{
    seen->high = high > seen->high ? high : seen->high;
    seen->low = low < seen->low ? low : seen->low;
    seen->nan |= nan;
}

/* What runs over every item; one of each instruction set. */
struct rk_table_code {
    /* Writes the items of a span of at most RK_TABLE_BLOCK that count, as FP32, and where they lie in the
     * span. Items whose target is 1 or -1 do not count; where span->targets is NULL all do. Returns how many.
     * `score` has room for RK_TABLE_BLOCK, whatever it returns. */
    uint32_t (*load)(const struct rk_span *span, float *score, uint16_t *place);
    /* Adds them to *seen. */
    void (*see)(const float *score, uint32_t items, struct rk_seen *seen);
    /* The cell of each. Both have room for items rounded up to 16. */
    void (*cells)(const struct rk_map *map, const float *score, uint32_t items, uint32_t *cell);
    /* For each item #{k: cut[k] > s}, from the table of those cuts. Rooms as above. */
    void (*above)(const struct rk_map *map, const struct rk_slot *slot, const float *cut, uint32_t items,
                  const uint32_t *cell, const float *score, uint32_t *out);
    /* load, see, cells and above in one: for each item of the span that counts, in order. Returns how many.
     */
    uint32_t (*place)(const struct rk_span *span, const struct rk_map *map, const struct rk_slot *slot,
                      const float *cut, uint32_t *out, struct rk_seen *seen);
    /* The items of a span that count and in whose cell's bit is set in `live`, in order, and their positions
     * in the list. Returns how many. Rooms as above. */
    uint32_t (*sift)(const struct rk_span *span, const struct rk_map *map, const uint32_t *live,
                     uint32_t *cell, float *score, uint32_t *position);
    /* Of items whose before[i] = #{k: cut[k] > s} is known, keeps, in order, those that a cut passed; returns
     * how many. Cuts only ever rise: an item is passed if and only if the highest cut that was at or below
     * it, number before[i], lies above it now, after[before[i]] > s. Rooms as above. */
    uint32_t (*passed)(const float *after, uint32_t p, uint32_t items, uint32_t *before, uint32_t *cell,
                       float *score, uint32_t *position);
    /* The items of a span that count and that a cut passed, as passed() tells from number[i] = #{k: cut[k] >
     * s} of each item of the span; after[p] is -inf. In order, with that number and their positions in the
     * list. Returns how many. Rooms as above. */
    uint32_t (*recall)(const struct rk_span *span, const uint16_t *number, const float *after, float *score,
                       uint32_t *before, uint32_t *position);
    /* value[i] = rk_sink_value() of before[i] - after[i]. Returns how many are not 0, and adds up their
     * sizes. */
    uint32_t (*values)(double w, double lambda, uint32_t items, const uint32_t *before, const uint32_t *after,
                       float *value, uint64_t *size);
};

/* How finely the line of scores is divided, from items and P alone. */
struct rk_map_size {
    uint32_t p, cells; /* cells of an even map */
    unsigned fine;
    bool marked; /* as in struct rk_map */
};
struct rk_map_size rk_map_size(uint32_t items, uint32_t p);

/* Most slots, and most cells, of any map. */
uint32_t rk_map_slots(const struct rk_map_size *size);
uint32_t rk_map_cells(const struct rk_map_size *size);

/* Chooses a map for one or two rows of size->p cuts (descending; cut[1] may be NULL) and fills their tables:
 * slot[r] has room for rk_map_slots() + 1 and RK_SLOTS_SPARE more, of which slots + 1 are filled; coarse is
 * [RK_COARSE]. seen: between which scores items have to be told apart; infinite where that is not known. The
 * map is right for any other score too. pool: NULL, or threads to fill two tables with. */
struct rk_map rk_map_make(const struct rk_table_code *code, struct rk_pool *pool, const float *const cut[2],
                          const struct rk_map_size *size, struct rk_seen seen, struct rk_coarse *coarse,
                          struct rk_slot *const slot[2]);

/* How a list is gone through, from items, P and threads alone. */
struct rk_table_layout {
    unsigned parts;
    struct rk_map_size map;
    uint32_t chunk; /* scores for which a part's buffer has room, to put them in order; 0: they are not */
    bool remembers; /* each item's number, at the beginning; and the cuts after the move, at `next` */
    size_t next, slot, slot_after, live, coarse, tally, buffer,
        bytes; /* where things lie in the scratch memory */
    size_t tally_stride, buffer_stride;
    size_t before; /* within a part's buffer */
};
struct rk_table_layout rk_table_layout(uint32_t items, uint32_t p, unsigned threads);

/* Does the first pass write every item's number down? */
bool rk_table_remembers(uint32_t items, uint32_t p);

/* Are the targets of a list read for every item, or only where something depends on one? */
bool rk_table_masked(const struct rk_list *list);

size_t rk_table_scratch(uint32_t items, uint32_t p, unsigned threads);
size_t rk_table_kept(uint32_t items, uint32_t p, unsigned threads);
enum rankd_status rk_table_count(struct rk_pass *pass, const struct rk_table_code *code);
enum rankd_status rk_table_move(struct rk_pass *pass, const struct rk_table_code *code);

#endif
