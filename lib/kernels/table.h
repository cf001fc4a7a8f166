/* Strategy "table": an item's place among the thresholds by a table. The line of scores is divided into
 * subbuckets, and those, some at a time, into buckets, finer where there are more thresholds. A bucket says
 * how many thresholds lie above it, and the highest threshold within it: one look at eight bytes places an
 * item, unless several thresholds lie in its bucket. Where there are too many thresholds for that to fit the
 * cache, a bucket has more subbuckets, and in place of its highest threshold a mark for each of them that has
 * a threshold: the marks before an item's subbucket are counted, and only an item in a marked subbucket is
 * compared with its threshold. A subbucket has one more bit, of the second pass: can the rank of an item in
 * it change?
 *
 * A subbucket number is any function of the score that never falls as the score grows less: it need not be
 * exact arithmetic, as thresholds and items go through the same one. Subbucket 0 is that of the highest
 * scores.
 *
 * Where there is memory for it, the first pass writes down every item's number, two bytes each; then the
 * second asks for nothing but the threshold of that number. (A list of which some items are ignored goes
 * without.)
 *
 * Where the tables do not fit the cache, items are first put in order of the upper bits of their subbucket (a
 * partition), some millions at a time; then what they look up lies together. table_map.c makes the
 * subbuckets, table_count.c and table_move.c are the two passes, table_<isa>.c what runs over every item. */
#ifndef RK_KERNELS_TABLE_H
#define RK_KERNELS_TABLE_H

#include <math.h>

#include "kernels/span.h"

enum {
    RK_TABLE_BLOCK = 1024, /* items at a time, so that what is known of them stays in the first-level cache */
    RK_KEY_PREFIX_BITS = 11,
    RK_KEY_PREFIXES = 1 << RK_KEY_PREFIX_BITS,
    RK_BUCKETS_SPARE = 16 /* behind a table's last bucket: filling it writes so far */
};

struct rk_bucket {
    union {
        float threshold; /* the highest within it; -inf, which is above nothing, where there is none */
        uint32_t marks;  /* where map.marked: of its i-th subbucket, bit i: there is a threshold in it */
    };
    uint32_t above; /* thresholds in buckets before it; RK_BUCKET_MANY: more than one lies within it, or
                       within a subbucket */
};

#define RK_BUCKET_MANY 0x80000000u
#define RK_BUCKET_THRESHOLDS 0x7fffffffu

/* Keys (descending scores) that agree in their upper bits, and the subbuckets they are divided into. */
struct rk_key_prefix {
    uint32_t low;   /* the first key that matters; those before it share its subbucket */
    uint32_t first; /* subbucket */
    uint32_t last;  /* subbucket, counted from the first */
    uint32_t shift;
};

/* From scores to subbuckets. Either evenly over the range of the thresholds, which costs next to nothing; or
 * by the upper bits of the score, and evenly within those, for thresholds that lie too unevenly. */
struct rk_bucket_map {
    float high, scale, first, top;      /* evenly: (high - s)·scale + first, within 0..top */
    const struct rk_key_prefix *prefix; /* [RK_KEY_PREFIXES], or NULL: evenly */
    uint32_t subbuckets, buckets;
    unsigned subbucket_bits; /* the bucket of a subbucket is subbucket >> subbucket_bits */
    bool marked;             /* what buckets hold, see there; subbucket_bits is then 5 */
};

/* What the first pass saw of the items that it counted. */
struct rk_score_range {
    float high, low; /* the highest and the lowest score; -inf and inf before there is any. Not NaN */
    bool nan;        /* there was one */
};

static inline struct rk_score_range rk_score_range_none(void)
{
    return (struct rk_score_range){.high = -INFINITY, .low = INFINITY};
}

static inline void rk_score_range_add(struct rk_score_range *score_range, float high, float low, bool nan)
{
    score_range->high = high > score_range->high ? high : score_range->high;
    score_range->low = low < score_range->low ? low : score_range->low;
    score_range->nan |= nan;
}

/* What runs over every item; one of each instruction set. */
struct rk_table_code {
    /* Writes the items of a span of at most RK_TABLE_BLOCK that count, as FP32, and where they lie in the
     * span. Items whose target is 1 or -1 do not count; where span->targets is NULL all do. Returns how many.
     * `score` has room for RK_TABLE_BLOCK, whatever it returns. */
    uint32_t (*load)(const struct rk_span *span, float *score, uint16_t *place);
    /* Adds them to *seen. */
    void (*extend_range)(const float *score, uint32_t items, struct rk_score_range *score_range);
    /* The subbucket of each. Both have room for items rounded up to 16. */
    void (*subbuckets)(const struct rk_bucket_map *map, const float *score, uint32_t items,
                       uint32_t *subbucket);
    /* For each item #{k: threshold[k] > s}, from the table of those thresholds. Rooms as above. */
    void (*above)(const struct rk_bucket_map *map, const struct rk_bucket *bucket, const float *threshold,
                  uint32_t items, const uint32_t *subbucket, const float *score, uint32_t *out);
    /* load, extend_range, subbuckets and above in one: for each item of the span that counts, in order.
     * Returns how many.
     */
    uint32_t (*place)(const struct rk_span *span, const struct rk_bucket_map *map,
                      const struct rk_bucket *bucket, const float *threshold, uint32_t *out,
                      struct rk_score_range *score_range);
    /* The items of a span that count and in whose subbucket's bit is set in `crossed_subbuckets`, in order,
     * and their positions in the list. Returns how many. Rooms as above. */
    uint32_t (*may_be_crossed)(const struct rk_span *span, const struct rk_bucket_map *map,
                               const uint32_t *crossed_subbuckets, uint32_t *subbucket, float *score,
                               uint32_t *position);
    /* Of items whose before[i] = #{k: threshold[k] > s} is known, keeps, in order, those that a threshold
     * crossed; returns how many. Thresholds only ever rise: an item is crossed if and only if the highest
     * threshold that was at or below it, number before[i], lies above it now, after[before[i]] > s. Rooms as
     * above. */
    uint32_t (*crossed)(const float *after, uint32_t p, uint32_t items, uint32_t *before, uint32_t *subbucket,
                        float *score, uint32_t *position);
    /* The items of a span that count and that a threshold crossed, as crossed() tells from number[i] = #{k:
     * threshold[k] > s} of each item of the span; after[p] is -inf. In order, with that number and their
     * positions in the list. Returns how many. Rooms as above. */
    uint32_t (*crossed_from_saved_index)(const struct rk_span *span, const uint16_t *number,
                                         const float *after, float *score, uint32_t *before,
                                         uint32_t *position);
    /* value[i] = rk_gradient_value() of before[i] - after[i]. Returns how many are not 0, and adds up their
     * sizes. */
    uint32_t (*values)(double w, double lambda, uint32_t items, const uint32_t *before, const uint32_t *after,
                       float *value, uint64_t *size);
};

/* How finely the line of scores is divided, from items and P alone. */
struct rk_bucket_map_size {
    uint32_t p, subbuckets; /* subbuckets of an even map */
    unsigned subbucket_bits;
    bool marked; /* as in struct rk_bucket_map */
};
struct rk_bucket_map_size rk_bucket_map_size(uint32_t items, uint32_t p);

/* Most buckets, and most subbuckets, of any map. */
uint32_t rk_bucket_map_buckets(const struct rk_bucket_map_size *size);
uint32_t rk_bucket_map_subbuckets(const struct rk_bucket_map_size *size);

/* Chooses a map for one or two rows of size->p thresholds (descending; threshold[1] may be NULL) and fills
 * their tables: bucket[r] has room for rk_bucket_map_buckets() + 1 and RK_BUCKETS_SPARE more, of which
 * buckets + 1 are filled; prefix is [RK_KEY_PREFIXES]. score_range: between which scores items have to be
 * told apart; infinite where that is not known. The map is right for any other score too. pool: NULL, or
 * threads to fill two tables with. */
struct rk_bucket_map rk_bucket_map_make(const struct rk_table_code *code, struct rk_pool *pool,
                                        const float *const threshold[2],
                                        const struct rk_bucket_map_size *size,
                                        struct rk_score_range score_range, struct rk_key_prefix *prefix,
                                        struct rk_bucket *const bucket[2]);

/* How a list is gone through, from items, P and threads alone. */
struct rk_table_layout {
    unsigned ranges;
    struct rk_bucket_map_size map;
    uint32_t chunk; /* scores for which a part's buffer has room, to put them in order; 0: they are not */
    bool remembers; /* each item's number, at the beginning; and the thresholds after the move, at `next` */
    size_t next, bucket, perturbed_bucket, crossed_subbuckets, prefix, tally, buffer,
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
