/* SPDX-License-Identifier: Apache-2.0 */
/* As the plain code, with eight items at a time where it would spend a branch-free step on each.
 * What few items need is done for those alone, found as the bits of a mask. */
#include <immintrin.h>

#include "kernels/kernels_internal.h"
#include "kernels/table_scalar.h"

enum { LANES = 8 };

RK_INLINE unsigned mask_of(__m256i lanes)
{
    return (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(lanes));
}

/* The buckets of four items, by loads, which are faster than a gather. */
RK_INLINE __m256i four_buckets(const struct rk_bucket *bucket, const uint32_t *at)
{
    __m128i a = _mm_loadl_epi64((const void *)&bucket[at[0]]),
            b = _mm_loadl_epi64((const void *)&bucket[at[1]]);
    __m128i c = _mm_loadl_epi64((const void *)&bucket[at[2]]),
            d = _mm_loadl_epi64((const void *)&bucket[at[3]]);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_unpacklo_epi64(a, b)), _mm_unpacklo_epi64(c, d),
                                   1);
}

/* Items low to high in two registers, as (threshold, above) of each: all thresholds, then all of
 * `above`. */
RK_INLINE void split(__m256i low, __m256i high, __m256 *threshold, __m256i *above)
{
    const __m256 x = _mm256_castsi256_ps(low), y = _mm256_castsi256_ps(high);
    const __m256i even = _mm256_castps_si256(_mm256_shuffle_ps(x, y, 0x88));
    const __m256i odd = _mm256_castps_si256(_mm256_shuffle_ps(x, y, 0xdd));
    *threshold = _mm256_castsi256_ps(_mm256_permute4x64_epi64(even, 0xd8));
    *above = _mm256_permute4x64_epi64(odd, 0xd8);
}

/* rk_bucket_look_up() of eight items. The lanes that need a search. */
RK_INLINE unsigned look_up_eight(const struct rk_bucket *bucket, const uint32_t *at, const float *score,
                                 uint32_t *number)
{
    __m256 threshold;
    __m256i above;
    split(four_buckets(bucket, at), four_buckets(bucket, at + 4), &threshold, &above);
    __m256i is_above = _mm256_castps_si256(_mm256_cmp_ps(threshold, _mm256_loadu_ps(score), _CMP_GT_OQ));
    __m256i many = _mm256_and_si256(is_above, _mm256_srai_epi32(above, 31));
    __m256i kept = _mm256_or_si256(many, _mm256_set1_epi32((int32_t)RK_BUCKET_THRESHOLDS));
    _mm256_storeu_si256((void *)number, _mm256_sub_epi32(_mm256_and_si256(above, kept), is_above));
    return mask_of(many);
}

/* As rk_table_above(). */
static void above_avx2(const struct rk_bucket_map *map, const struct rk_bucket *bucket,
                       const float *threshold, uint32_t items, const uint32_t *subbucket, const float *score,
                       uint32_t *out)
{
    uint16_t pending[RK_TABLE_BLOCK];
    uint32_t aside = 0, at[LANES], i = 0;
    if (map->marked) {
        rk_table_above(map, bucket, threshold, items, subbucket, score, out);
        return;
    }
    for (; i + LANES <= items; i += LANES) {
        _mm256_storeu_si256((void *)at, _mm256_srli_epi32(_mm256_loadu_si256((const void *)(subbucket + i)),
                                                          (int)map->subbucket_bits));
        for (unsigned left = look_up_eight(bucket, at, score + i, out + i); left; left &= left - 1)
            pending[aside++] = (uint16_t)(i + (unsigned)__builtin_ctz(left));
    }
    for (; i < items; i++) {
        pending[aside] = (uint16_t)i;
        aside += rk_bucket_look_up(bucket[subbucket[i] >> map->subbucket_bits], score[i], &out[i]);
    }
    for (uint32_t j = 0; j < aside; j++) {
        const uint32_t k = pending[j], low = out[k] & RK_BUCKET_THRESHOLDS;
        const uint32_t next = bucket[(subbucket[k] >> map->subbucket_bits) + 1].above & RK_BUCKET_THRESHOLDS;
        out[k] = rk_bucket_search(threshold, low, next, score[k]);
    }
}

static uint32_t place_avx2(const struct rk_span *span, const struct rk_bucket_map *map,
                           const struct rk_bucket *bucket, const float *threshold, uint32_t *out,
                           struct rk_score_range *score_range)
{
    return rk_table_place_by(span, map, bucket, threshold, out, score_range, above_avx2);
}

/* Eight thresholds by the index of each. */
RK_INLINE __m256 thresholds_of(const float *threshold, const uint16_t *number)
{
    return _mm256_i32gather_ps(threshold, _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)number)), 4);
}

static uint32_t crossed_from_saved_index_avx2(const struct rk_span *span, const uint16_t *number,
                                              const float *after, float *score, uint32_t *before,
                                              uint32_t *position)
{
    float all[RK_TABLE_BLOCK];
    uint32_t kept = 0, i = 0;
    rk_scores_widen(span->scores, span->dtype, span->items, all);
    for (; i + LANES <= span->items; i += LANES) {
        const __m256 passed =
            _mm256_cmp_ps(thresholds_of(after, number + i), _mm256_loadu_ps(all + i), _CMP_GT_OQ);
        for (unsigned left = (unsigned)_mm256_movemask_ps(passed); left; left &= left - 1) {
            const uint32_t k = i + (unsigned)__builtin_ctz(left);
            score[kept] = all[k];
            before[kept] = number[k];
            position[kept] = span->position + k;
            kept += !span->targets || span->targets[k] == 0;
        }
    }
    for (; i < span->items; i++) {
        score[kept] = all[i];
        before[kept] = number[i];
        position[kept] = span->position + i;
        kept += (unsigned)(after[number[i]] > all[i]) & (unsigned)(!span->targets || span->targets[i] == 0);
    }
    return kept;
}

static const struct rk_table_code code = {
    rk_table_load,           rk_table_extend_range, rk_table_subbuckets,           above_avx2,     place_avx2,
    rk_table_may_be_crossed, rk_table_crossed,      crossed_from_saved_index_avx2, rk_table_values};

static enum rankd_status count_pass(struct rk_pass *pass)
{
    return rk_table_count(pass, &code);
}

static enum rankd_status move_pass(struct rk_pass *pass)
{
    return rk_table_move(pass, &code);
}

const struct rk_strategy rk_table_avx2 = {.name = "table",
                                          .most = RK_LIST_MAX,
                                          .scratch = rk_table_scratch,
                                          .kept = rk_table_kept,
                                          .count = count_pass,
                                          .move = move_pass};
