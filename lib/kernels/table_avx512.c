/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/table_avx512.h"

#include "kernels/kernels_internal.h"

RK_INLINE uint32_t load_as(const struct rk_span *span, enum rk_dtype dtype, float *score, uint16_t *place)
{
    const __m256i step = _mm256_set1_epi16(16);
    __m256i at = _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < span->items; i += 16, at = _mm256_add_epi16(at, step)) {
        __mmask16 here = rk_lanes(span->items - i);
        __mmask16 lanes = rk_lanes_irrelevant(span->targets, i, here);
        __m512 s = rk_load_scores(span->scores, dtype, i, here);
        if (lanes == 0xffff) {
            _mm512_storeu_ps(score + kept, s);
            _mm256_storeu_si256((void *)(place + kept), at);
            kept += 16;
            continue;
        }
        __m256i at_kept =
            _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(lanes, _mm512_cvtepu16_epi32(at)));
        _mm512_storeu_ps(score + kept, _mm512_maskz_compress_ps(lanes, s));
        _mm256_storeu_si256((void *)(place + kept), at_kept);
        kept += (unsigned)__builtin_popcount(lanes);
    }
    return kept;
}

/* What is stored never reaches beyond the block: at most i items are kept when item i is at
 * hand. */
static uint32_t load_avx512(const struct rk_span *span, float *score, uint16_t *place)
{
    if (span->dtype == RK_FP16)
        return load_as(span, RK_FP16, score, place);
    if (span->dtype == RK_BF16)
        return load_as(span, RK_BF16, score, place);
    return load_as(span, RK_FP32, score, place);
}

static void extend_range_avx512(const float *score, uint32_t items, struct rk_score_range *score_range)
{
    struct vector_range here = vector_range_none();
    for (uint32_t i = 0; i < items; i += 16) {
        __mmask16 lanes = rk_lanes(items - i);
        vector_range_add(&here, lanes, _mm512_maskz_loadu_ps(lanes, score + i));
    }
    vector_range_reduce(&here, score_range);
}

static void subbuckets_avx512(const struct rk_bucket_map *map, const float *score, uint32_t items,
                              uint32_t *subbucket)
{
    for (uint32_t i = 0; i < items; i += 16)
        _mm512_storeu_si512(subbucket + i, subbuckets_of(map, _mm512_loadu_ps(score + i)));
}

static const struct rk_table_code code = {load_avx512,
                                          extend_range_avx512,
                                          subbuckets_avx512,
                                          rk_table_above_avx512,
                                          rk_table_place_avx512,
                                          rk_table_may_be_crossed_avx512,
                                          rk_table_crossed_avx512,
                                          rk_table_crossed_from_saved_index_avx512,
                                          rk_values_avx512};

static enum rankd_status count_pass(struct rk_pass *pass)
{
    return rk_table_count(pass, &code);
}

static enum rankd_status move_pass(struct rk_pass *pass)
{
    return rk_table_move(pass, &code);
}

const struct rk_strategy rk_table_avx512 = {.name = "table",
                                            .most = RK_LIST_MAX,
                                            .scratch = rk_table_scratch,
                                            .kept = rk_table_kept,
                                            .count = count_pass,
                                            .move = move_pass};
