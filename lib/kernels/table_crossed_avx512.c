/* SPDX-License-Identifier: Apache-2.0 */
/* The second pass of a table: which items a threshold may have passed, and which one did. */
#include "kernels/table_avx512.h"

/* As stream_of(), for targets, which are read for every item; without targets scores are read
 * instead. */
RK_INLINE struct prefetch_stream stream_of_targets(const struct rk_span *span)
{
    const char *targets = span->targets ? (const char *)span->targets : span->scores;
    return (struct prefetch_stream){targets + (span->far ? RK_TABLE_BLOCK : 0), 1};
}

static void fetch_words(const uint32_t *word, const uint32_t *at, uint32_t items, uint32_t *out)
{
    for (uint32_t i = 0; i < items; i++) {
        uint32_t k = at[i];
        ONE_BY_ONE(k);
        out[i] = word[k];
    }
}

/* Stores number, score and position of the kept items; returns how many. There is no branch on
 * whether any of sixteen is kept, because it could not be predicted. */
RK_INLINE uint32_t keep_lanes(__mmask16 lanes, __m512 s, float *score, __m512i place, uint32_t *place_out,
                              __m512i number, uint32_t *position)
{
    _mm512_storeu_ps(score, _mm512_maskz_compress_ps(lanes, s));
    _mm512_storeu_si512(place_out, _mm512_maskz_compress_epi32(lanes, place));
    _mm512_storeu_si512(position, _mm512_maskz_compress_epi32(lanes, number));
    return (unsigned)__builtin_popcount(lanes);
}

RK_INLINE uint32_t may_be_crossed_as(const struct rk_span *span, enum rk_dtype dtype,
                                     const struct rk_bucket_map *map, const uint32_t *crossed_subbuckets,
                                     uint32_t *subbucket, float *score, uint32_t *position)
{
    uint32_t all[RK_TABLE_BLOCK], at[RK_TABLE_BLOCK], word[RK_TABLE_BLOCK], kept = 0;
    const struct prefetch_stream stream = stream_of(span, dtype), targets = stream_of_targets(span);
    for (uint32_t i = 0; i < span->items; i += 16) {
        fetch_ahead(&stream, i);
        __m512i c = subbuckets_of(map, rk_load_scores(span->scores, dtype, i, rk_lanes(span->items - i)));
        _mm512_storeu_si512(all + i, c);
        _mm512_storeu_si512(at + i, _mm512_srli_epi32(c, 5));
    }
    fetch_words(crossed_subbuckets, at, span->items, word);
    __m512i number = _mm512_add_epi32(first_sixteen(), _mm512_set1_epi32((int)span->position));
    for (uint32_t i = 0; i < span->items; i += 16, number = _mm512_add_epi32(number, _mm512_set1_epi32(16))) {
        __mmask16 here = rk_lanes(span->items - i);
        __m512i c = _mm512_loadu_si512(all + i);
        __m512i bit = _mm512_sllv_epi32(_mm512_set1_epi32(1), _mm512_and_si512(c, _mm512_set1_epi32(31)));
        __mmask16 lanes = _mm512_mask_test_epi32_mask(here, _mm512_loadu_si512(word + i), bit);
        __m512 s = rk_load_scores(span->scores, dtype, i, here);
        fetch_ahead(&targets, i);
        lanes = rk_lanes_irrelevant(span->targets, i, lanes);
        kept += keep_lanes(lanes, s, score + kept, c, subbucket + kept, number, position + kept);
    }
    return kept;
}

uint32_t rk_table_may_be_crossed_avx512(const struct rk_span *span, const struct rk_bucket_map *map,
                                        const uint32_t *crossed_subbuckets, uint32_t *subbucket, float *score,
                                        uint32_t *position)
{
    if (span->dtype == RK_FP16)
        return may_be_crossed_as(span, RK_FP16, map, crossed_subbuckets, subbucket, score, position);
    if (span->dtype == RK_BF16)
        return may_be_crossed_as(span, RK_BF16, map, crossed_subbuckets, subbucket, score, position);
    return may_be_crossed_as(span, RK_FP32, map, crossed_subbuckets, subbucket, score, position);
}

uint32_t rk_table_crossed_avx512(const float *after, uint32_t p, uint32_t items, uint32_t *before,
                                 uint32_t *subbucket, float *score, uint32_t *position)
{
    const __m512i last = _mm512_set1_epi32((int)p - 1);
    uint32_t at[RK_TABLE_BLOCK], kept = 0;
    float next[RK_TABLE_BLOCK];
    for (uint32_t i = 0; i < items; i += 16)
        _mm512_storeu_si512(at + i, _mm512_min_epu32(_mm512_loadu_si512(before + i), last));
    fetch_thresholds(after, at, items, next);
    for (uint32_t i = 0; i < items; i += 16) {
        __m512i number = _mm512_loadu_si512(before + i);
        __m512 s = _mm512_loadu_ps(score + i);
        __mmask16 lanes = rk_lanes(items - i) & _mm512_cmp_ps_mask(_mm512_loadu_ps(next + i), s, _CMP_GT_OQ);
        lanes =
            _mm512_mask_cmple_epu32_mask(lanes, number, last); /* otherwise no threshold was at or below it */
        if (!lanes)
            continue;
        _mm512_storeu_si512(subbucket + kept,
                            _mm512_maskz_compress_epi32(lanes, _mm512_loadu_si512(subbucket + i)));
        _mm512_storeu_si512(position + kept,
                            _mm512_maskz_compress_epi32(lanes, _mm512_loadu_si512(position + i)));
        _mm512_storeu_si512(before + kept, _mm512_maskz_compress_epi32(lanes, number));
        _mm512_storeu_ps(score + kept, _mm512_maskz_compress_ps(lanes, s));
        kept += (unsigned)__builtin_popcount(lanes);
    }
    return kept;
}

static void fetch_next(const float *after, const uint16_t *number, uint32_t items, float *out)
{
    for (uint32_t i = 0; i < items; i++) {
        uint32_t k = number[i];
        ONE_BY_ONE(k);
        out[i] = after[k];
    }
}

RK_INLINE uint32_t crossed_from_saved_index_as(const struct rk_span *span, enum rk_dtype dtype,
                                               const uint16_t *number, const float *after, float *score,
                                               uint32_t *before, uint32_t *position)
{
    const struct rk_span all = *span; /* a copy: for the compiler, a store might change the span */
    float next[RK_TABLE_BLOCK];
    uint32_t kept = 0;
    const struct prefetch_stream stream = stream_of(span, dtype);
    fetch_next(after, number, all.items, next);
    __m512i at = _mm512_add_epi32(first_sixteen(), _mm512_set1_epi32((int)all.position));
    for (uint32_t i = 0; i < all.items; i += 16, at = _mm512_add_epi32(at, _mm512_set1_epi32(16))) {
        __mmask16 here = rk_lanes(all.items - i);
        __m512 s = rk_load_scores(all.scores, dtype, i, here);
        __mmask16 lanes = _mm512_mask_cmp_ps_mask(here, _mm512_loadu_ps(next + i), s, _CMP_GT_OQ);
        fetch_ahead(&stream, i);
        lanes = rk_lanes_irrelevant(all.targets, i, lanes);
        __m512i was = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(here, number + i));
        kept += keep_lanes(lanes, s, score + kept, was, before + kept, at, position + kept);
    }
    return kept;
}

uint32_t rk_table_crossed_from_saved_index_avx512(const struct rk_span *span, const uint16_t *number,
                                                  const float *after, float *score, uint32_t *before,
                                                  uint32_t *position)
{
    if (span->dtype == RK_FP16)
        return crossed_from_saved_index_as(span, RK_FP16, number, after, score, before, position);
    if (span->dtype == RK_BF16)
        return crossed_from_saved_index_as(span, RK_BF16, number, after, score, before, position);
    return crossed_from_saved_index_as(span, RK_FP32, number, after, score, before, position);
}
