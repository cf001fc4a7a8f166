/* SPDX-License-Identifier: Apache-2.0 */
/* What the two passes of a table share where there is AVX-512. Only for table*_avx512.c. */
#ifndef RK_KERNELS_TABLE_AVX512_H
#define RK_KERNELS_TABLE_AVX512_H

#include "kernels/load_avx512.h"
#include "kernels/table.h"

/* As in struct rk_table_code. table_place_avx512.c: */
void rk_table_above_avx512(const struct rk_bucket_map *map, const struct rk_bucket *bucket,
                           const float *threshold, uint32_t items, const uint32_t *subbucket,
                           const float *score, uint32_t *out);
uint32_t rk_table_place_avx512(const struct rk_span *span, const struct rk_bucket_map *map,
                               const struct rk_bucket *bucket, const float *threshold, uint32_t *out,
                               struct rk_score_range *score_range);

/* kernels/table_crossed_avx512.c: */
uint32_t rk_table_may_be_crossed_avx512(const struct rk_span *span, const struct rk_bucket_map *map,
                                        const uint32_t *crossed_subbuckets, uint32_t *subbucket, float *score,
                                        uint32_t *position);
uint32_t rk_table_crossed_avx512(const float *after, uint32_t p, uint32_t items, uint32_t *before,
                                 uint32_t *subbucket, float *score, uint32_t *position);
uint32_t rk_table_crossed_from_saved_index_avx512(const struct rk_span *span, const uint16_t *number,
                                                  const float *after, float *score, uint32_t *before,
                                                  uint32_t *position);

/* Sixteen of struct rk_score_range. */
struct vector_range {
    __m512 high, low;
    unsigned nan;
};

RK_INLINE struct vector_range vector_range_none(void)
{
    return (struct vector_range){.high = _mm512_set1_ps(-INFINITY), .low = _mm512_set1_ps(INFINITY)};
}

/* Of a NaN and another, either instruction gives the second. */
RK_INLINE void vector_range_add(struct vector_range *score_range, __mmask16 lanes, __m512 s)
{
    score_range->high = _mm512_mask_max_ps(score_range->high, lanes, s, score_range->high);
    score_range->low = _mm512_mask_min_ps(score_range->low, lanes, s, score_range->low);
    score_range->nan |= _mm512_mask_cmp_ps_mask(lanes, s, s, _CMP_UNORD_Q);
}

RK_INLINE void vector_range_reduce(const struct vector_range *here, struct rk_score_range *score_range)
{
    rk_score_range_add(score_range, _mm512_reduce_max_ps(here->high), _mm512_reduce_min_ps(here->low),
                       here->nan);
}

RK_INLINE __m512i even_subbuckets(const struct rk_bucket_map *map, __m512 s)
{
    __m512 x = _mm512_fmadd_ps(_mm512_sub_ps(_mm512_set1_ps(map->high), s), _mm512_set1_ps(map->scale),
                               _mm512_set1_ps(map->first));
    x = _mm512_max_ps(x, _mm512_setzero_ps()); /* the second operand where x is NaN */
    return _mm512_cvttps_epi32(_mm512_min_ps(x, _mm512_set1_ps(map->top)));
}

/* As rk_prefix_subbucket(): table_scalar.h. */
RK_INLINE __m512i prefix_subbuckets(const struct rk_bucket_map *map, __m512 s)
{
    __m512i bits = _mm512_castps_si512(_mm512_add_ps(s, _mm512_setzero_ps())); /* -0.0 to +0.0 */
    __m512i key =
        _mm512_mask_xor_epi32(bits, _mm512_movepi32_mask(bits) ^ 0xffff, bits, _mm512_set1_epi32(0x7fffffff));
    __m512i at = _mm512_slli_epi32(_mm512_srli_epi32(key, 32 - RK_KEY_PREFIX_BITS), 2);
    const int *fields = (const int *)(const void *)map->prefix;
    __m512i low = _mm512_i32gather_epi32(at, fields, 4);
    __m512i first = _mm512_i32gather_epi32(at, fields + 1, 4);
    __m512i last = _mm512_i32gather_epi32(at, fields + 2, 4);
    __m512i shift = _mm512_i32gather_epi32(at, fields + 3, 4);
    __m512i in = _mm512_srlv_epi32(_mm512_sub_epi32(_mm512_max_epu32(key, low), low), shift);
    return _mm512_add_epi32(first, _mm512_min_epu32(in, last));
}

_Static_assert(sizeof(struct rk_key_prefix) == 16 && offsetof(struct rk_key_prefix, shift) == 12,
               "gathered above");

/* Within the map for every lane, whatever is in it. */
RK_INLINE __m512i subbuckets_of(const struct rk_bucket_map *map, __m512 s)
{
    return map->prefix ? prefix_subbuckets(map, s) : even_subbuckets(map, s);
}

RK_INLINE __m512i first_sixteen(void)
{
    return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

/* One load an item. On an Intel Xeon (Ice Lake) a gather took 8 ns, of eight as of sixteen, and
 * waited for the slowest; a load took 0.3 to 0.5 ns where the table is in the first-level cache,
 * 0.9 in the third. */
#define ONE_BY_ONE(index) __asm__("" : "+r"(index)) /* or compilers make a gather of the loop */

static inline void fetch_thresholds(const float *threshold, const uint32_t *at, uint32_t items, float *out)
{
    for (uint32_t i = 0; i < items; i++) {
        uint32_t k = at[i];
        ONE_BY_ONE(k);
        out[i] = threshold[k];
    }
}

/* Each block of a list too long for a cache asks for the next one: between the look-ups for every
 * item the processor does not prefetch by itself. There may be no next block. */
struct prefetch_stream {
    const char *next; /* score 0 of it */
    size_t size;      /* of a score */
};

RK_INLINE struct prefetch_stream stream_of(const struct rk_span *span, enum rk_dtype dtype)
{
    size_t size = dtype == RK_FP32 ? sizeof(float) : sizeof(uint16_t);
    return (struct prefetch_stream){(const char *)span->scores + (span->far ? RK_TABLE_BLOCK * size : 0),
                                    size};
}

RK_INLINE void fetch_ahead(const struct prefetch_stream *stream, uint32_t i)
{
    _mm_prefetch(stream->next + i * stream->size, _MM_HINT_T0);
}

#endif
