/* SPDX-License-Identifier: Apache-2.0 */
/* Loads of sixteen scores or targets of any type at any alignment. Only for *_avx512.c. */
#ifndef RK_KERNELS_LOAD_AVX512_H
#define RK_KERNELS_LOAD_AVX512_H

#include <immintrin.h>

#include "kernels/span.h"
#include "kernels/unroll.h"

/* Mask of the first min(left, 16) lanes. */
RK_INLINE __mmask16 rk_lanes(uint32_t left)
{
    return left >= 16 ? (__mmask16)0xffff : (__mmask16)((1u << left) - 1u);
}

/* Converts to FP32. Lanes outside of `lanes` are not read, and are 0. */
RK_INLINE __m512 rk_load_scores(const void *scores, enum rk_dtype dtype, uint32_t i, __mmask16 lanes)
{
    const char *at = scores;
    if (dtype == RK_FP16)
        return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, at + 2 * (size_t)i));
    if (dtype == RK_BF16)
        return _mm512_castsi512_ps(_mm512_slli_epi32(
            _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, at + 2 * (size_t)i)), 16));
    return _mm512_maskz_loadu_ps(lanes, at + 4 * (size_t)i);
}

/* Those of `lanes` with a target of 0; all of them if `targets` is NULL. */
RK_INLINE __mmask16 rk_lanes_irrelevant(const int8_t *targets, uint32_t i, __mmask16 lanes)
{
    if (!targets)
        return lanes;
    __m128i t = _mm_maskz_loadu_epi8(lanes, targets + i);
    return _mm_mask_cmpeq_epi8_mask(lanes, t, _mm_setzero_si128());
}

/* rk_gradient_value() of 16 differences, in the same FP64 steps. */
RK_INLINE __m512 rk_gradient_values_avx512(__m512i delta, double w, double divisor)
{
    __m512d minus_w = _mm512_set1_pd(-w), by = _mm512_set1_pd(divisor);
    __m512d low = _mm512_cvtepi32_pd(_mm512_castsi512_si256(delta));
    __m512d high = _mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(delta, 1));
    __m256 a = _mm512_cvtpd_ps(_mm512_div_pd(_mm512_mul_pd(minus_w, low), by));
    __m256 b = _mm512_cvtpd_ps(_mm512_div_pd(_mm512_mul_pd(minus_w, high), by));
    __m512 value = _mm512_insertf32x8(_mm512_castps256_ps512(a), b, 1);
    return _mm512_add_ps(value, _mm512_setzero_ps()); /* -0.0 to +0.0 */
}

#endif
