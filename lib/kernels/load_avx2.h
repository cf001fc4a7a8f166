/* SPDX-License-Identifier: Apache-2.0 */
/* Loads of eight scores or targets of any type at any alignment. Only for *_avx2.c. */
#ifndef RK_KERNELS_LOAD_AVX2_H
#define RK_KERNELS_LOAD_AVX2_H

#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "kernels/score.h"
#include "kernels/span.h"
#include "kernels/unroll.h"

/* The first min(left, 8) lanes: all ones in those. */
RK_INLINE __m256i rk_lanes_avx2(uint32_t left)
{
    static const int32_t lanes[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
    return _mm256_loadu_si256((const void *)(lanes + 8 - (left < 8 ? left : 8)));
}

/* Eight scores, all there. */
RK_INLINE __m256 rk_load_eight(const void *scores, enum rk_dtype dtype, uint32_t i)
{
    const char *at = scores;
    if (dtype == RK_FP16)
        return _mm256_cvtph_ps(_mm_loadu_si128((const void *)(at + 2 * (size_t)i)));
    if (dtype == RK_BF16)
        return _mm256_castsi256_ps(_mm256_slli_epi32(
            _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)(at + 2 * (size_t)i))), 16));
    return _mm256_loadu_ps((const void *)(at + 4 * (size_t)i));
}

/* The scores from i on, fewer than eight; 0 in lanes beyond the end, which are not read. */
RK_INLINE __m256 rk_load_last(const void *scores, enum rk_dtype dtype, uint32_t i, uint32_t left)
{
    const char *at = (const char *)scores + i * rk_dtype_size(dtype);
    if (dtype == RK_FP32)
        return _mm256_maskload_ps((const void *)at, rk_lanes_avx2(left));
    uint16_t some[8] = {0};
    for (uint32_t lane = 0; lane < left; lane++)
        memcpy(&some[lane], at + 2 * (size_t)lane, sizeof some[lane]);
    return rk_load_eight(some, dtype, 0);
}

/* Fewer than eight targets, and 1 in lanes beyond the end, which are not read. */
RK_INLINE uint64_t rk_last_targets(const int8_t *targets, uint32_t left)
{
    uint64_t some = 0x0101010101010101u;
    for (uint32_t lane = left; lane-- > 0;)
        some = some << 8 | (uint8_t)targets[lane];
    return some;
}

/* Those of the first min(left, 8) lanes with a target of 0; all of them if `targets` is NULL. */
RK_INLINE __m256i rk_irrelevant_avx2(const int8_t *targets, uint32_t i, uint32_t left)
{
    if (!targets)
        return rk_lanes_avx2(left);
    __m128i t = left >= 8 ? _mm_loadl_epi64((const void *)(targets + i))
                          : _mm_cvtsi64_si128((int64_t)rk_last_targets(targets + i, left));
    return _mm256_cmpeq_epi32(_mm256_cvtepi8_epi32(t), _mm256_setzero_si256());
}

/* rk_gradient_value() of eight differences, in the same FP64 steps. */
RK_INLINE __m256 rk_gradient_values_avx2(__m256i delta, double w, double divisor)
{
    __m256d minus_w = _mm256_set1_pd(-w), by = _mm256_set1_pd(divisor);
    __m256d low = _mm256_cvtepi32_pd(_mm256_castsi256_si128(delta));
    __m256d high = _mm256_cvtepi32_pd(_mm256_extracti128_si256(delta, 1));
    __m128 a = _mm256_cvtpd_ps(_mm256_div_pd(_mm256_mul_pd(minus_w, low), by));
    __m128 b = _mm256_cvtpd_ps(_mm256_div_pd(_mm256_mul_pd(minus_w, high), by));
    return _mm256_add_ps(_mm256_set_m128(b, a), _mm256_setzero_ps()); /* -0.0 to +0.0 */
}

/* The sum of eight lanes. */
RK_INLINE uint32_t rk_sum_avx2(__m256i x)
{
    __m128i y = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    y = _mm_add_epi32(y, _mm_shuffle_epi32(y, 0x4e));
    y = _mm_add_epi32(y, _mm_shuffle_epi32(y, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(y);
}

/* Adds the sum of each of four vectors to a number. */
RK_INLINE void rk_add_sums_avx2(const __m256i *x, void *number)
{
    __m256i both = _mm256_hadd_epi32(_mm256_hadd_epi32(x[0], x[1]), _mm256_hadd_epi32(x[2], x[3]));
    __m128i sums = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
    _mm_storeu_si128(number, _mm_add_epi32(_mm_loadu_si128(number), sums));
}

#endif
