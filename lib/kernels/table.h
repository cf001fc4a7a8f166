/* SPDX-License-Identifier: Apache-2.0 */
/* Strategy "table": a table tells the position of an item among the thresholds. The range of scores
 * is divided into subbuckets, finer where there are more thresholds; several consecutive subbuckets
 * are a bucket. A bucket holds the number of thresholds above it and the highest threshold within
 * it, so that reading eight bytes places an item, unless several thresholds are in its bucket. If
 * there are too many thresholds for such a table to fit the cache, a bucket has more subbuckets,
 * and instead of its highest threshold it holds a mark for each subbucket that has one: the marks
 * before an item's subbucket are counted, and only an item in a marked subbucket is compared with a
 * threshold. The second pass adds a bit for each subbucket: whether the rank of an item in it can
 * change.
 *
 * The number of a subbucket is any function of the score that never falls as the score decreases.
 * Its arithmetic need not be exact, because it is the same for thresholds and items. Subbucket 0
 * has the highest scores.
 *
 * A list is read in one of several modes, each chosen independently:
 *
 *   P             1             64k, n/32             64k             1.5M              n
 *   buckets       | highest threshold within           | marked: a bit a subbucket       |
 *   first pass    | numbers written *  | counts alone                                    |
 *   items         | as they lie                                       | in order, by chunk
 *
 *   * Two bytes an item; not where some items are ignored.
 *
 *   map           even --- more than 64 unequal thresholds in one bucket ---> by prefix of the score
 *
 *   numbers written   place() writes number[i]; crossed_from_saved_index() compares the thresholds
 *                     of that number before and after the move: no item is looked up again
 *   counts alone      place() counts; may_be_crossed() finds items whose subbucket's bit is set,
 *                     they are looked up in both tables, and crossed() compares
 *   in order          as counts alone, but items are put in order before they are looked up
 *
 * "In order" is a partition by the upper bits of the subbucket, some millions of items at a time:
 * if the tables do not fit the cache, consecutive items then read neighbouring entries.
 * table_layout.c chooses all modes but the map's (table_map.c); table_count.c and table_move.c are
 * the two passes, table_<isa>.c what runs over every item. */
#ifndef RK_KERNELS_TABLE_H
#define RK_KERNELS_TABLE_H

#include <math.h>

#include "kernels/span.h"
#include "kernels/table_layout.h"

/* From scores to subbuckets. Either evenly over the range of the thresholds, which costs next to
 * nothing; or by the upper bits of the score, and evenly within those, for thresholds that are
 * spread too unevenly. */
struct rk_bucket_map {
    float high, scale, first, top;      /* evenly: (high - s)·scale + first, within 0..top */
    const struct rk_key_prefix *prefix; /* [RK_KEY_PREFIXES], or NULL: evenly */
    uint32_t subbuckets, buckets;
    unsigned subbucket_bits; /* the bucket of a subbucket is subbucket >> subbucket_bits */
    bool marked;             /* what buckets hold, see there; subbucket_bits is then 5 */
};

/* The range of the scores that the first pass counted. */
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
    /* Writes the items of a span of at most RK_TABLE_BLOCK that count, as FP32, and their positions
     * in the span. Items whose target is 1 or -1 do not count; where span->targets is NULL all do.
     * Returns how many. `score` has room for RK_TABLE_BLOCK, whatever it returns. */
    uint32_t (*load)(const struct rk_span *span, float *score, uint16_t *place);
    /* Extends *seen by their scores. */
    void (*extend_range)(const float *score, uint32_t items, struct rk_score_range *score_range);
    /* The subbucket of each. Both have room for items rounded up to 16. */
    void (*subbuckets)(const struct rk_bucket_map *map, const float *score, uint32_t items,
                       uint32_t *subbucket);
    /* For each item #{k: threshold[k] > s}, from the table of those thresholds. Rooms as above. */
    void (*above)(const struct rk_bucket_map *map, const struct rk_bucket *bucket, const float *threshold,
                  uint32_t items, const uint32_t *subbucket, const float *score, uint32_t *out);
    /* load, extend_range, subbuckets and above in one: for each item of the span that counts, in
     * order. Returns how many. */
    uint32_t (*place)(const struct rk_span *span, const struct rk_bucket_map *map,
                      const struct rk_bucket *bucket, const float *threshold, uint32_t *out,
                      struct rk_score_range *score_range);
    /* The items of a span that count and in whose subbucket's bit is set in `crossed_subbuckets`,
     * in order, and their positions in the list. Returns how many. Rooms as above. */
    uint32_t (*may_be_crossed)(const struct rk_span *span, const struct rk_bucket_map *map,
                               const uint32_t *crossed_subbuckets, uint32_t *subbucket, float *score,
                               uint32_t *position);
    /* Of items whose before[i] = #{k: threshold[k] > s} is known, keeps, in order, those that a
     * threshold crossed; returns how many. Thresholds only ever rise: an item is crossed if and
     * only if the highest threshold that was at or below it, number before[i], lies above it now,
     * after[before[i]] > s. Rooms as above. */
    uint32_t (*crossed)(const float *after, uint32_t p, uint32_t items, uint32_t *before, uint32_t *subbucket,
                        float *score, uint32_t *position);
    /* The items of a span that count and that a threshold crossed, as crossed() tells from
     * number[i] = #{k: threshold[k] > s} of each item of the span; after[p] is -inf. In order, with
     * that number and their positions in the list. Returns how many. Rooms as above. */
    uint32_t (*crossed_from_saved_index)(const struct rk_span *span, const uint16_t *number,
                                         const float *after, float *score, uint32_t *before,
                                         uint32_t *position);
    /* value[i] = rk_gradient_value() of before[i] - after[i]. Returns how many are not 0, and adds
     * up their sizes. */
    uint32_t (*values)(double w, double divisor, uint32_t items, const uint32_t *before,
                       const uint32_t *after, float *value, uint64_t *size);
};

/* Chooses a map for one or two rows of size->p thresholds (descending; threshold[1] may be NULL)
 * and fills their tables: bucket[r] has room for rk_bucket_map_buckets() + 1 and RK_BUCKETS_SPARE
 * more, of which buckets + 1 are filled; prefix is [RK_KEY_PREFIXES]. score_range: the scores
 * between which items must be distinguished; infinite where that is not known. The map is right for
 * any other score too. pool: NULL, or threads to fill two tables with. */
struct rk_bucket_map rk_bucket_map_make(const struct rk_table_code *code, struct rk_pool *pool,
                                        const float *const threshold[2],
                                        const struct rk_bucket_map_size *size,
                                        struct rk_score_range score_range, struct rk_key_prefix *prefix,
                                        struct rk_bucket *const bucket[2]);

enum rankd_status rk_table_count(struct rk_pass *pass, const struct rk_table_code *code);
enum rankd_status rk_table_move(struct rk_pass *pass, const struct rk_table_code *code);

#endif
