/* SPDX-License-Identifier: Apache-2.0 */
/* The first pass of a table: the number of thresholds above each item. */
#include "kernels/table_avx512.h"

/* Lanes whose threshold at that place is above the score. */
RK_INLINE __mmask16 is_above(const float *threshold, __m512i at, __m512 s, __mmask16 lanes)
{
    __m512 value = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), lanes, at, threshold, 4);
    return _mm512_mask_cmp_ps_mask(lanes, value, s, _CMP_GT_OQ);
}

/* #{k: threshold[k] > s} of each lane, known to be low to low+size, all lanes in step. */
RK_INLINE __m512i search(const float *threshold, __m512i low, __m512i size, __m512 s, __mmask16 lanes)
{
    const __m512i one = _mm512_set1_epi32(1);
    while ((lanes = _mm512_mask_cmpgt_epi32_mask(lanes, size, _mm512_setzero_si512()))) {
        __m512i half = _mm512_srli_epi32(size, 1), middle = _mm512_add_epi32(low, half);
        __mmask16 up = is_above(threshold, middle, s, lanes);
        __m512i rest = _mm512_sub_epi32(_mm512_sub_epi32(size, half), one);
        low = _mm512_mask_add_epi32(low, up, middle, one);
        size = _mm512_mask_mov_epi32(half, up, rest);
    }
    return low;
}

static void fetch(const struct rk_bucket *bucket, const uint32_t *at, uint32_t items, struct rk_bucket *out)
{
    for (uint32_t i = 0; i < items; i++) {
        uint32_t k = at[i];
        ONE_BY_ONE(k);
        out[i] = bucket[k];
    }
}

/* Items that must be compared with thresholds of their bucket, put aside: where their number goes,
 * and `low`, its lower bound. The number is `low` or one more, unless RK_BUCKET_MANY says that
 * there may be more thresholds. */
struct table_aside {
    uint32_t items;
    uint32_t asked; /* whose first threshold was prefetched */
    uint32_t out[RK_TABLE_BLOCK + 16], low[RK_TABLE_BLOCK + 16], bucket[RK_TABLE_BLOCK + 16];
    float score[RK_TABLE_BLOCK + 16];
};

RK_INLINE void put_aside(struct table_aside *aside, __mmask16 lanes, __m512i out, __m512i low, __m512i bucket,
                         __m512 s)
{
    _mm512_storeu_si512(aside->out + aside->items, _mm512_maskz_compress_epi32(lanes, out));
    _mm512_storeu_si512(aside->low + aside->items, _mm512_maskz_compress_epi32(lanes, low));
    _mm512_storeu_si512(aside->bucket + aside->items, _mm512_maskz_compress_epi32(lanes, bucket));
    _mm512_storeu_ps(aside->score + aside->items, _mm512_maskz_compress_ps(lanes, s));
    aside->items += (unsigned)__builtin_popcount(lanes);
}

/* One at a time: where there are too many thresholds for the cache, there is about one such item in
 * sixteen. */
RK_INLINE void prefetch_threshold(struct table_aside *aside, const float *threshold)
{
    _mm_prefetch((const char *)(threshold + (aside->low[aside->asked] & RK_BUCKET_THRESHOLDS)), _MM_HINT_T0);
    aside->asked += aside->asked < aside->items;
}

/* The last threshold that each of them has to be compared with. */
RK_INLINE void find_last(const struct rk_bucket *bucket, const struct table_aside *aside, uint32_t *last)
{
    const __m512i thresholds = _mm512_set1_epi32((int)RK_BUCKET_THRESHOLDS), one = _mm512_set1_epi32(1);
    const int *above = (const int *)(const void *)&bucket->above;
    for (uint32_t j = 0; j < aside->items; j += 16) {
        __m512i low = _mm512_maskz_loadu_epi32(rk_lanes(aside->items - j), aside->low + j);
        __mmask16 many = _mm512_movepi32_mask(low);
        low = _mm512_and_si512(low, thresholds);
        if (many) {
            __m512i after = _mm512_add_epi32(_mm512_maskz_loadu_epi32(many, aside->bucket + j), one);
            __m512i next = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), many, after, above, 8);
            low = _mm512_mask_sub_epi32(low, many, _mm512_and_si512(next, thresholds), one);
        }
        _mm512_storeu_si512(last + j, low);
    }
}

/* As rk_bucket_search(): the last threshold is looked at before any other, because many thresholds
 * in one place are mostly equal ones. */
static __attribute__((noinline)) void search_aside(const struct rk_bucket *bucket, const float *threshold,
                                                   const struct table_aside *aside, uint32_t *out)
{
    const __m512i one = _mm512_set1_epi32(1);
    uint32_t last[RK_TABLE_BLOCK + 16], found[16];
    float lowest[RK_TABLE_BLOCK + 16];
    find_last(bucket, aside, last);
    fetch_thresholds(threshold, last, aside->items, lowest);
    for (uint32_t j = 0; j < aside->items; j += 16) {
        __mmask16 here = rk_lanes(aside->items - j);
        __m512i low = _mm512_maskz_loadu_epi32(here, aside->low + j), end = _mm512_loadu_si512(last + j);
        __mmask16 many = _mm512_movepi32_mask(low);
        __m512 s = _mm512_maskz_loadu_ps(here, aside->score + j);
        __mmask16 all = _mm512_mask_cmp_ps_mask(here, _mm512_loadu_ps(lowest + j), s, _CMP_GT_OQ);
        low = _mm512_and_si512(low, _mm512_set1_epi32((int)RK_BUCKET_THRESHOLDS));
        low = _mm512_mask_add_epi32(low, all, end, one);
        many = many & (__mmask16)~all;
        if (many) /* between the two, of the lanes that are left */
            low = search(threshold, low, _mm512_sub_epi32(end, low), s, many);
        _mm512_storeu_si512(found, low);
        for (uint32_t k = j; k < aside->items && k < j + 16; k++)
            out[aside->out[k]] = found[k - j];
    }
}

/* Bits that are set, of each lane; not every processor with AVX-512 has an instruction for it. */
RK_INLINE __m512i count_bits(__m512i x)
{
    const __m512i four = _mm512_set1_epi8(15);
    const __m512i bits =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    __m512i low = _mm512_shuffle_epi8(bits, _mm512_and_si512(x, four));
    __m512i high = _mm512_shuffle_epi8(bits, _mm512_and_si512(_mm512_srli_epi32(x, 4), four));
    __m512i pairs = _mm512_maddubs_epi16(_mm512_add_epi8(low, high), _mm512_set1_epi8(1));
    return _mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
}

_Static_assert(sizeof(struct rk_bucket) == 8 && offsetof(struct rk_bucket, above) == 4, "taken apart below");

/* The numbers of sixteen buckets: #{k: threshold[k] > s}, except in the lanes of *aside, where it
 * is the `low` of struct aside. */
RK_INLINE __m512i look_up(const struct rk_bucket *bucket, bool marked, __m512i subbucket, __m512 s,
                          __mmask16 *aside)
{
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    const __m512i one = _mm512_set1_epi32(1);
    __m512i low = _mm512_loadu_si512(bucket), high = _mm512_loadu_si512(bucket + 8);
    __m512i first = _mm512_permutex2var_epi32(low, even, high);
    __m512i above = _mm512_permutex2var_epi32(low, odd, high);
    __mmask16 many = _mm512_movepi32_mask(above);
    if (marked) {
        __m512i mark = _mm512_sllv_epi32(one, _mm512_and_si512(subbucket, _mm512_set1_epi32(31)));
        __m512i before = count_bits(_mm512_and_si512(first, _mm512_sub_epi32(mark, one)));
        *aside = many | _mm512_test_epi32_mask(first, mark);
        return _mm512_mask_add_epi32(above, (__mmask16)~many, above, before);
    }
    __mmask16 is_above = _mm512_cmp_ps_mask(_mm512_castsi512_ps(first), s, _CMP_GT_OQ);
    *aside = many & is_above;
    above = _mm512_mask_and_epi32(above, (__mmask16) ~*aside, above,
                                  _mm512_set1_epi32((int)RK_BUCKET_THRESHOLDS));
    return _mm512_mask_add_epi32(above, is_above, above, one);
}

RK_INLINE void above_as(bool marked, const struct rk_bucket_map *map, const struct rk_bucket *bucket,
                        const float *threshold, uint32_t items, const uint32_t *subbucket, const float *score,
                        uint32_t *out)
{
    uint32_t at[RK_TABLE_BLOCK];
    struct rk_bucket entry[RK_TABLE_BLOCK];
    struct table_aside aside;
    aside.items = aside.asked = aside.low[0] = 0;
    const __m128i subbucket_bits = _mm_cvtsi32_si128((int)map->subbucket_bits);
    for (uint32_t i = 0; i < items; i += 16)
        _mm512_storeu_si512(at + i, _mm512_srl_epi32(_mm512_loadu_si512(subbucket + i), subbucket_bits));
    fetch(bucket, at, items, entry);
    for (uint32_t i = 0; i < items; i += 16) {
        __mmask16 here = rk_lanes(items - i), pending;
        __m512 s = _mm512_loadu_ps(score + i);
        __m512i found = look_up(entry + i, marked, _mm512_loadu_si512(subbucket + i), s, &pending);
        _mm512_mask_storeu_epi32(out + i, here, found);
        if (pending & here)
            put_aside(&aside, pending & here, _mm512_add_epi32(first_sixteen(), _mm512_set1_epi32((int)i)),
                      found, _mm512_loadu_si512(at + i), s);
        if (marked)
            prefetch_threshold(&aside, threshold);
    }
    if (aside.items > 0)
        search_aside(bucket, threshold, &aside, out);
}

void rk_table_above_avx512(const struct rk_bucket_map *map, const struct rk_bucket *bucket,
                           const float *threshold, uint32_t items, const uint32_t *subbucket,
                           const float *score, uint32_t *out)
{
    if (map->marked)
        above_as(true, map, bucket, threshold, items, subbucket, score, out);
    else
        above_as(false, map, bucket, threshold, items, subbucket, score, out);
}

RK_INLINE uint32_t place_as(const struct rk_span *span, enum rk_dtype dtype, bool marked,
                            const struct rk_bucket_map *map, const struct rk_bucket *bucket,
                            const float *threshold, uint32_t *out, struct rk_score_range *score_range)
{
    uint32_t at[RK_TABLE_BLOCK], subbucket[RK_TABLE_BLOCK], kept = 0;
    struct rk_bucket entry[RK_TABLE_BLOCK];
    struct table_aside aside;
    aside.items = aside.asked = aside.low[0] = 0;
    struct vector_range all = vector_range_none();
    const struct prefetch_stream stream = stream_of(span, dtype);
    const __m128i subbucket_bits = _mm_cvtsi32_si128((int)map->subbucket_bits);
    for (uint32_t i = 0; i < span->items; i += 16) {
        fetch_ahead(&stream, i);
        __m512i c = subbuckets_of(map, rk_load_scores(span->scores, dtype, i, rk_lanes(span->items - i)));
        if (marked)
            _mm512_storeu_si512(subbucket + i, c);
        _mm512_storeu_si512(at + i, _mm512_srl_epi32(c, subbucket_bits));
    }
    fetch(bucket, at, span->items, entry);
    for (uint32_t i = 0; i < span->items; i += 16) {
        __mmask16 here = rk_lanes(span->items - i), pending;
        __mmask16 lanes = rk_lanes_irrelevant(span->targets, i, here);
        __m512 s = rk_load_scores(span->scores, dtype, i, here);
        __m512i c = marked ? _mm512_loadu_si512(subbucket + i) : _mm512_setzero_si512();
        __m512i found = look_up(entry + i, marked, c, s, &pending);
        vector_range_add(&all, lanes, s);
        _mm512_storeu_si512(out + kept, _mm512_maskz_compress_epi32(lanes, found));
        if (pending & lanes) {
            __m512i number = _mm512_add_epi32(_mm512_set1_epi32((int)kept),
                                              _mm512_maskz_expand_epi32(lanes, first_sixteen()));
            put_aside(&aside, pending & lanes, number, found, _mm512_loadu_si512(at + i), s);
        }
        if (marked)
            prefetch_threshold(&aside, threshold);
        kept += (unsigned)__builtin_popcount(lanes);
    }
    if (aside.items > 0)
        search_aside(bucket, threshold, &aside, out);
    vector_range_reduce(&all, score_range);
    return kept;
}

RK_INLINE uint32_t place_any(const struct rk_span *span, bool marked, const struct rk_bucket_map *map,
                             const struct rk_bucket *bucket, const float *threshold, uint32_t *out,
                             struct rk_score_range *score_range)
{
    if (span->dtype == RK_FP16)
        return place_as(span, RK_FP16, marked, map, bucket, threshold, out, score_range);
    if (span->dtype == RK_BF16)
        return place_as(span, RK_BF16, marked, map, bucket, threshold, out, score_range);
    return place_as(span, RK_FP32, marked, map, bucket, threshold, out, score_range);
}

uint32_t rk_table_place_avx512(const struct rk_span *span, const struct rk_bucket_map *map,
                               const struct rk_bucket *bucket, const float *threshold, uint32_t *out,
                               struct rk_score_range *score_range)
{
    return map->marked ? place_any(span, true, map, bucket, threshold, out, score_range)
                       : place_any(span, false, map, bucket, threshold, out, score_range);
}
