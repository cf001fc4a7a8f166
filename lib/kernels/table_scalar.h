/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies of rk_table_code in plain C, for any instruction set that includes them. */
#ifndef RK_KERNELS_TABLE_SCALAR_H
#define RK_KERNELS_TABLE_SCALAR_H

#include "kernels/score.h"
#include "kernels/table.h"
#include "kernels/unroll.h"

enum { RK_ROW = 16 /* items per loop of constant length, which compilers vectorize */ };

static inline uint32_t rk_table_load(const struct rk_span *span, float *score, uint16_t *place)
{
    float all[RK_TABLE_BLOCK];
    uint32_t kept = 0;
    if (!span->targets) {
        rk_scores_widen(span->scores, span->dtype, span->items, score);
        for (uint32_t i = 0; i < span->items; i++)
            place[i] = (uint16_t)i;
        return span->items;
    }
    rk_scores_widen(span->scores, span->dtype, span->items, all);
    for (uint32_t i = 0; i < span->items; i++) {
        score[kept] = all[i]; /* written always and kept if it counts: no branch to mispredict */
        place[kept] = (uint16_t)i;
        kept += span->targets[i] == 0;
    }
    return kept;
}

/* A comparison with NaN is false, so that one changes neither bound. */
static inline void rk_table_extend_range(const float *score, uint32_t items,
                                         struct rk_score_range *score_range)
{
    float high[RK_ROW], low[RK_ROW];
    unsigned nan = 0;
    uint32_t i = 0;
    for (uint32_t j = 0; j < RK_ROW; j++) {
        high[j] = score_range->high;
        low[j] = score_range->low;
    }
    for (; i + RK_ROW <= items; i += RK_ROW) {
        for (uint32_t j = 0; j < RK_ROW; j++) {
            float s = score[i + j];
            high[j] = s > high[j] ? s : high[j];
            low[j] = s < low[j] ? s : low[j];
            nan |= s != s;
        }
    }
    for (; i < items; i++)
        rk_score_range_add(score_range, score[i], score[i], score[i] != score[i]);
    for (uint32_t j = 0; j < RK_ROW; j++)
        rk_score_range_add(score_range, high[j], low[j], nan);
}

static inline uint32_t rk_prefix_subbucket(const struct rk_bucket_map *map, float s)
{
    uint32_t key = ~rk_key(s);
    const struct rk_key_prefix *c = &map->prefix[key >> (32 - RK_KEY_PREFIX_BITS)];
    uint32_t at = (key < c->low ? 0 : key - c->low) >> c->shift;
    return c->first + (at < c->last ? at : c->last);
}

/* Zeros from the last item to the end of its row, because rows are computed whole. */
static inline void rk_table_fill_row(float score[RK_TABLE_BLOCK], uint32_t items)
{
    for (uint32_t i = items; i % RK_ROW; i++)
        score[i] = 0;
}

/* Of whole rows: those behind the items are computed too. */
static inline void rk_table_subbuckets(const struct rk_bucket_map *map, const float *score, uint32_t items,
                                       uint32_t *subbucket)
{
    if (map->prefix) {
        for (uint32_t i = 0; i < items; i++)
            subbucket[i] = rk_prefix_subbucket(map, score[i]);
        return;
    }
    const float high = map->high, scale = map->scale, first = map->first, top = map->top;
    for (uint32_t i = 0; i < items; i += RK_ROW) {
        for (uint32_t j = i; j < i + RK_ROW; j++) {
            float x = (high - score[j]) * scale + first;
            x = x > 0 ? x : 0; /* a NaN too */
            x = x < top ? x : top;
            subbucket[j] = (uint32_t)(int32_t)x;
        }
    }
}

/* #{k: threshold[k] > s}, known to be low to next. The lowest is looked at first: many thresholds in one
 * place are mostly equal ones. */
static inline uint32_t rk_bucket_search(const float *threshold, uint32_t low, uint32_t next, float s)
{
    uint32_t size = next - low;
    if (threshold[next - 1] > s)
        return next;
    while (size > 1) {
        uint32_t half = size / 2;
        low += threshold[low + half - 1] > s ? half : 0;
        size -= half;
    }
    return low + (threshold[low] > s);
}

/* The number of an item from its bucket. True if a search among the bucket's thresholds must be
 * added: *number is then the number of thresholds above the bucket (or of its highest threshold),
 * with RK_BUCKET_MANY. */
static inline unsigned rk_bucket_look_up(struct rk_bucket bucket, float s, uint32_t *number)
{
    unsigned is_above = bucket.threshold > s, many = is_above & bucket.above >> 31;
    *number = (bucket.above & (many ? ~0u : RK_BUCKET_THRESHOLDS)) + is_above;
    return many;
}

/* Bits that are set. Without the instruction compilers call a function. */
static inline uint32_t rk_count_bits(uint32_t x)
{
#ifdef __POPCNT__
    return (uint32_t)__builtin_popcount(x);
#else
    x -= x >> 1 & 0x55555555;
    x = (x & 0x33333333) + (x >> 2 & 0x33333333);
    return ((x + (x >> 4)) & 0x0f0f0f0f) * 0x01010101 >> 24;
#endif
}

static inline unsigned rk_bucket_look_up_marked(struct rk_bucket bucket, uint32_t subbucket, uint32_t *number)
{
    uint32_t mark = 1u << (subbucket & 31), many = bucket.above >> 31;
    *number = bucket.above + (many ? 0 : rk_count_bits(bucket.marks & (mark - 1)));
    return many | ((bucket.marks & mark) != 0);
}

static inline void rk_table_above(const struct rk_bucket_map *map, const struct rk_bucket *bucket,
                                  const float *threshold, uint32_t items, const uint32_t *subbucket,
                                  const float *score, uint32_t *out)
{
    uint16_t pending[RK_TABLE_BLOCK];
    uint32_t aside = 0;
    if (map->marked) {
        for (uint32_t i = 0; i < items; i++) {
            pending[aside] = (uint16_t)i;
            aside +=
                rk_bucket_look_up_marked(bucket[subbucket[i] >> map->subbucket_bits], subbucket[i], &out[i]);
        }
    } else {
        for (uint32_t i = 0; i < items; i++) {
            pending[aside] = (uint16_t)i;
            aside += rk_bucket_look_up(bucket[subbucket[i] >> map->subbucket_bits], score[i], &out[i]);
        }
    }
    for (uint32_t j = 0; j < aside; j++) {
        uint32_t i = pending[j], low = out[i] & RK_BUCKET_THRESHOLDS, next = low + 1;
        if (out[i] & RK_BUCKET_MANY)
            next = bucket[(subbucket[i] >> map->subbucket_bits) + 1].above & RK_BUCKET_THRESHOLDS;
        out[i] = rk_bucket_search(threshold, low, next, score[i]);
    }
}

/* The body of rk_table_code.place, with the instruction set's own `above`. */
RK_INLINE uint32_t rk_table_place_by(
    const struct rk_span *span, const struct rk_bucket_map *map, const struct rk_bucket *bucket,
    const float *threshold, uint32_t *out, struct rk_score_range *score_range,
    void (*above)(const struct rk_bucket_map *map, const struct rk_bucket *bucket, const float *threshold,
                  uint32_t items, const uint32_t *subbucket, const float *score, uint32_t *out))
{
    float score[RK_TABLE_BLOCK];
    uint32_t subbucket[RK_TABLE_BLOCK];
    uint16_t place[RK_TABLE_BLOCK];
    uint32_t items = rk_table_load(span, score, place);
    rk_table_extend_range(score, items, score_range);
    rk_table_fill_row(score, items);
    rk_table_subbuckets(map, score, items, subbucket);
    above(map, bucket, threshold, items, subbucket, score, out);
    return items;
}

static inline uint32_t rk_table_place(const struct rk_span *span, const struct rk_bucket_map *map,
                                      const struct rk_bucket *bucket, const float *threshold, uint32_t *out,
                                      struct rk_score_range *score_range)
{
    return rk_table_place_by(span, map, bucket, threshold, out, score_range, rk_table_above);
}

static inline uint32_t rk_table_may_be_crossed(const struct rk_span *span, const struct rk_bucket_map *map,
                                               const uint32_t *crossed_subbuckets, uint32_t *subbucket,
                                               float *score, uint32_t *position)
{
    uint16_t place[RK_TABLE_BLOCK];
    uint32_t items = rk_table_load(span, score, place), kept = 0;
    rk_table_subbuckets(map, score, items, subbucket);
    for (uint32_t i = 0; i < items; i++) {
        uint32_t c = subbucket[i];
        score[kept] = score[i];
        position[kept] = span->position + place[i];
        subbucket[kept] = c;
        kept += crossed_subbuckets[c / 32] >> (c % 32) & 1;
    }
    return kept;
}

static inline uint32_t rk_table_crossed(const float *after, uint32_t p, uint32_t items, uint32_t *before,
                                        uint32_t *subbucket, float *score, uint32_t *position)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < items; i++) {
        uint32_t above = before[i];
        float s = score[i];
        before[kept] = above;
        subbucket[kept] = subbucket[i];
        score[kept] = s;
        position[kept] = position[i];
        kept += above < p && after[above] > s;
    }
    return kept;
}

static inline uint32_t rk_table_crossed_from_saved_index(const struct rk_span *span, const uint16_t *number,
                                                         const float *after, float *score, uint32_t *before,
                                                         uint32_t *position)
{
    float all[RK_TABLE_BLOCK];
    uint32_t kept = 0;
    rk_scores_widen(span->scores, span->dtype, span->items, all);
    for (uint32_t i = 0; i < span->items; i++) {
        score[kept] = all[i];
        before[kept] = number[i];
        position[kept] = span->position + i;
        kept += (unsigned)(after[number[i]] > all[i]) & (unsigned)(!span->targets || span->targets[i] == 0);
    }
    return kept;
}

static inline uint32_t rk_table_values(double w, double divisor, uint32_t items, const uint32_t *before,
                                       const uint32_t *after, float *value, uint64_t *size)
{
    uint32_t changed = 0;
    for (uint32_t i = 0; i < items; i++) {
        int32_t delta = (int32_t)(before[i] - after[i]);
        value[i] = rk_gradient_value(w, divisor, delta);
        changed += delta != 0;
        *size += (uint64_t)(delta < 0 ? -(int64_t)delta : (int64_t)delta);
    }
    return changed;
}

#endif
