/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/table.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernels/score.h"

enum {
    SHARED = 1 << 15, /* thresholds from which on two rows are filled by two threads */
    CROWD = 64        /* thresholds to search among from which on an even map is not taken */
};

/* The subbuckets of some thresholds, at most RK_TABLE_BLOCK. */
static void subbuckets_of(const struct rk_table_code *code, const struct rk_bucket_map *map,
                          const float *threshold, uint32_t thresholds, uint32_t *subbucket)
{
    float score[RK_TABLE_BLOCK];
    memcpy(score, threshold, thresholds * sizeof *score);
    memset(score + thresholds, 0, (RK_TABLE_BLOCK - thresholds) * sizeof *score);
    code->subbuckets(map, score, thresholds, subbucket);
}

/* Buckets from..to-1 have no threshold, and k thresholds above them. */
static inline void fill_to(struct rk_bucket *bucket, uint32_t from, uint32_t to, uint32_t k)
{
    for (; from < to; from++)
        bucket[from] = (struct rk_bucket){.threshold = -INFINITY, .above = k};
}

typedef uint32_t two_buckets __attribute__((vector_size(2 * sizeof(struct rk_bucket))));

/* The same for RK_BUCKETS_SPARE buckets, two at a time. */
static inline void fill_ahead(struct rk_bucket *bucket, uint32_t k)
{
    const uint32_t none = 0xff800000u; /* -inf */
    const two_buckets two = {none, k, none, k};
    for (size_t i = 0; i < RK_BUCKETS_SPARE; i += 2)
        memcpy(bucket + i, &two, sizeof two);
}

/* Every threshold writes its bucket, and the next ones as if they had none; those that have one are
 * overwritten later. So there is no branch on whether a bucket has a threshold yet, and mostly none
 * on the number of empty buckets that follow. Returns the most thresholds that an item may have to
 * be searched among: in one bucket, unless they are all equal, when the first or the last tells, or
 * above all items. */
static uint32_t fill_thresholds(const struct rk_table_code *code, const struct rk_bucket_map *map,
                                const float *threshold, uint32_t p, struct rk_bucket *bucket)
{
    uint32_t filled = 0, last = UINT32_MAX, within = 0, crowd = 0, subbucket[RK_TABLE_BLOCK];
    unsigned differ = 0;
    struct rk_bucket here = {.threshold = -INFINITY};
    for (uint32_t k = 0, thresholds; k < p; k += thresholds) {
        thresholds = p - k < RK_TABLE_BLOCK ? p - k : RK_TABLE_BLOCK;
        subbuckets_of(code, map, threshold + k, thresholds, subbucket);
        for (uint32_t i = 0; i < thresholds; i++) {
            const uint32_t at = subbucket[i] >> map->subbucket_bits;
            const bool is_first = at != last;
            differ = (differ | (threshold[k + i] != here.threshold)) & (unsigned)!is_first;
            if (at > filled)
                fill_to(bucket, filled, at, k + i);
            here.threshold = is_first ? threshold[k + i] : here.threshold;
            here.above = is_first ? k + i : here.above | RK_BUCKET_MANY;
            within = is_first ? 1 : within + 1;
            crowd = within > crowd && differ && at > 0 ? within : crowd;
            bucket[at] = here;
            fill_ahead(bucket + at + 1, k + i + 1);
            filled = at + 1 + RK_BUCKETS_SPARE;
            last = at;
        }
    }
    if (filled <= map->buckets)
        fill_to(bucket, filled, map->buckets + 1, p);
    return crowd;
}

/* Here there are fewer buckets than thresholds, so the thresholds of each bucket are counted first,
 * without a branch on whether it has any yet, and then summed up. Returns the most thresholds in
 * one bucket, except those above all items. */
static uint32_t fill_marks(const struct rk_table_code *code, const struct rk_bucket_map *map,
                           const float *threshold, uint32_t p, struct rk_bucket *bucket)
{
    uint32_t sum = 0, most = 0, subbucket[RK_TABLE_BLOCK];
    memset(bucket, 0, ((size_t)map->buckets + 1) * sizeof *bucket);
    for (uint32_t k = 0, thresholds; k < p; k += thresholds) {
        thresholds = p - k < RK_TABLE_BLOCK ? p - k : RK_TABLE_BLOCK;
        subbuckets_of(code, map, threshold + k, thresholds, subbucket);
        for (uint32_t i = 0; i < thresholds; i++) {
            struct rk_bucket *at = &bucket[subbucket[i] >> map->subbucket_bits];
            const uint32_t bit = subbucket[i] & 31, twice = at->marks >> bit & 1;
            at->marks |= 1u << bit;
            at->above = (at->above + 1) | twice * RK_BUCKET_MANY;
        }
    }
    for (uint32_t at = 0; at <= map->buckets; at++) {
        uint32_t thresholds = bucket[at].above & RK_BUCKET_THRESHOLDS;
        bucket[at].above = sum | (bucket[at].above & RK_BUCKET_MANY);
        sum += thresholds;
        most = thresholds > most && at > 0 ? thresholds : most;
    }
    return most;
}

/* Fills bucket[buckets + 1]. Returns the most thresholds that an item may have to be searched
 * among. */
static uint32_t fill(const struct rk_table_code *code, const struct rk_bucket_map *map,
                     const float *threshold, uint32_t p, struct rk_bucket *bucket)
{
    return map->marked ? fill_marks(code, map, threshold, p, bucket)
                       : fill_thresholds(code, map, threshold, p, bucket);
}

/* The highest and the lowest finite threshold; false if there is none. */
static bool finite_range(const float *threshold, uint32_t p, float *high, float *low)
{
    uint32_t first = 0, last = p;
    while (first < p && isinf(threshold[first]))
        first++;
    while (last > first && isinf(threshold[last - 1]))
        last--;
    if (first == last)
        return false;
    *high = fmaxf(*high, threshold[first]);
    *low = fminf(*low, threshold[last - 1]);
    return true;
}

/* Evenly over the range that thresholds and items share. The first bucket is left for thresholds
 * above that range, infinities too, and the last one for those below: however many these are, no
 * item is searched for among them. */
static struct rk_bucket_map even_map(const float *const threshold[2], const struct rk_bucket_map_size *size,
                                     struct rk_score_range score_range)
{
    float high = -FLT_MAX, low = FLT_MAX;
    const uint32_t subbuckets = size->subbuckets, bucket = 1u << size->subbucket_bits;
    bool any = finite_range(threshold[0], size->p, &high, &low);
    if (threshold[1])
        any |= finite_range(threshold[1], size->p, &high, &low);
    high = any ? fminf(high, fmaxf(score_range.high, -FLT_MAX)) : 0;
    low = any ? fmaxf(low, fminf(score_range.low, FLT_MAX)) : 0;
    double range = (double)high - (double)low;
    double scale = range > 0 ? (double)(subbuckets - 1 - 2 * bucket) / range : (double)FLT_MAX;
    return (struct rk_bucket_map){.high = high,
                                  .scale = scale > (double)FLT_MAX ? FLT_MAX : (float)scale,
                                  .first = (float)bucket,
                                  .top = (float)(subbuckets - 1),
                                  .subbuckets = subbuckets,
                                  .buckets = subbuckets >> size->subbucket_bits,
                                  .subbucket_bits = size->subbucket_bits,
                                  .marked = size->marked};
}

/* A row of thresholds, as keys that ascend. */
struct threshold_row {
    const float *threshold;
    uint32_t p, at;
};

/* Skips the thresholds of a prefix subbucket, and extends low..high to them; returns their
 * number. */
static uint32_t step_over(struct threshold_row *row, uint32_t prefix, uint32_t *low, uint32_t *high)
{
    uint32_t from = row->at;
    while (row->at < row->p) {
        uint32_t key = ~rk_key(row->threshold[row->at]);
        if (key >> (32 - RK_KEY_PREFIX_BITS) != prefix)
            break;
        *low = key < *low ? key : *low;
        *high = key > *high ? key : *high;
        row->at++;
    }
    return row->at - from;
}

/* Every prefix subbucket is divided according to the number of its thresholds, over the range of
 * its thresholds. Unless buckets are marked, every subbucket is a bucket: this distinguishes
 * thresholds that are close to each other. */
static struct rk_bucket_map prefix_map(const float *const threshold[2], const struct rk_bucket_map_size *size,
                                       struct rk_key_prefix *prefix)
{
    const uint32_t p = size->p;
    struct threshold_row before = {threshold[0], p, 0}, after = {threshold[1], threshold[1] ? p : 0, 0};
    const unsigned subbucket_bits = size->marked ? size->subbucket_bits : 0;
    uint64_t budget = size->subbuckets >> (size->subbucket_bits - subbucket_bits),
             rows = threshold[1] ? 2 : 1;
    uint32_t subbucket = 0;
    for (uint32_t c = 0; c < RK_KEY_PREFIXES; c++) {
        uint32_t low = UINT32_MAX, high = 0, shift = 0;
        uint64_t thresholds = step_over(&before, c, &low, &high);
        thresholds += step_over(&after, c, &low, &high);
        prefix[c] = (struct rk_key_prefix){.first = subbucket};
        if (thresholds > 0 && p > 0) {
            while ((high - low) >> shift > budget * thresholds / (rows * p))
                shift++;
            prefix[c] = (struct rk_key_prefix){
                .low = low, .first = subbucket, .last = (high - low) >> shift, .shift = shift};
        }
        subbucket += prefix[c].last + 1;
    }
    return (struct rk_bucket_map){.prefix = prefix,
                                  .subbuckets = subbucket,
                                  .buckets = ((subbucket - 1) >> subbucket_bits) + 1,
                                  .subbucket_bits = subbucket_bits,
                                  .marked = size->marked};
}

/* One row of thresholds or two, on two threads where that is worth it. */
struct filling {
    const struct rk_table_code *code;
    const struct rk_bucket_map *map;
    const float *const *threshold;
    uint32_t p;
    struct rk_bucket *const *bucket;
    uint32_t most[2];
};

static void fill_row(void *arg, size_t row)
{
    struct filling *f = arg;
    f->most[row] = fill(f->code, f->map, f->threshold[row], f->p, f->bucket[row]);
}

/* Returns the most thresholds that an item may have to be searched among. */
static uint32_t fill_rows(struct filling *f, struct rk_pool *pool)
{
    const size_t rows = f->threshold[1] ? 2 : 1;
    f->most[1] = 0;
    if (pool && f->p >= SHARED)
        pool->run(pool, rows, fill_row, f);
    else
        for (size_t row = 0; row < rows; row++)
            fill_row(f, row);
    return f->most[0] > f->most[1] ? f->most[0] : f->most[1];
}

struct rk_bucket_map rk_bucket_map_make(const struct rk_table_code *code, struct rk_pool *pool,
                                        const float *const threshold[2],
                                        const struct rk_bucket_map_size *size,
                                        struct rk_score_range score_range, struct rk_key_prefix *prefix,
                                        struct rk_bucket *const bucket[2])
{
    struct rk_bucket_map map = even_map(threshold, size, score_range);
    struct filling filling = {
        .code = code, .map = &map, .threshold = threshold, .p = size->p, .bucket = bucket};
    if (fill_rows(&filling, pool) <= CROWD)
        return map;
    map = prefix_map(threshold, size, prefix);
    (void)fill_rows(&filling, pool);
    return map;
}
