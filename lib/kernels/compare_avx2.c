/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/compare_avx2.h"
#include "kernels/compare.h"
#include "kernels/kernels_internal.h"
#include "kernels/load_avx2.h"

/* Thresholds at a time: with more their counts would not stay in the sixteen registers. */
enum { GROUP = RK_COMPARE_GROUP_AVX2 };

/* A NaN in place of items that do not count, which no threshold counts; *nan grows by those that
 * count and are NaN, if it is wanted. */
RK_INLINE __m256 mask_out(const int8_t *targets, uint32_t i, uint32_t left, __m256 s, bool wanted,
                          __m256 *nan)
{
    __m256 is_nan = wanted ? _mm256_cmp_ps(s, s, _CMP_UNORD_Q) : _mm256_setzero_ps();
    if (targets || left < 8) {
        __m256i in = rk_irrelevant_avx2(targets, i, left);
        is_nan = _mm256_and_ps(is_nan, _mm256_castsi256_ps(in));
        s = _mm256_or_ps(s, _mm256_castsi256_ps(_mm256_xor_si256(in, _mm256_set1_epi32(-1))));
    }
    *nan = wanted ? _mm256_or_ps(*nan, is_nan) : *nan;
    return s;
}

RK_INLINE void count_step(__m256 s, const __m256 *threshold, __m256i *sum)
{
    RK_UNROLL
    for (int j = 0; j < GROUP; j++)
        sum[j] = _mm256_sub_epi32(sum[j], _mm256_castps_si256(_mm256_cmp_ps(s, threshold[j], _CMP_GE_OQ)));
}

RK_INLINE bool count_group(const struct rk_span *span, enum rk_dtype dtype, bool first,
                           const float *thresholds, uint32_t *count)
{
    __m256 threshold[GROUP], nan = _mm256_setzero_ps();
    __m256i sum[GROUP];
    uint32_t i = 0;
    RK_UNROLL
    for (int j = 0; j < GROUP; j++) {
        threshold[j] = _mm256_set1_ps(thresholds[j]);
        sum[j] = _mm256_setzero_si256();
    }
    for (; !span->targets && i + 16 <= span->items; i += 16) {
        __m256 a = rk_load_eight(span->scores, dtype, i), b = rk_load_eight(span->scores, dtype, i + 8);
        count_step(mask_out(NULL, i, 8, a, first, &nan), threshold, sum);
        count_step(mask_out(NULL, i, 8, b, first, &nan), threshold, sum);
    }
    for (; i + 8 <= span->items; i += 8)
        count_step(mask_out(span->targets, i, 8, rk_load_eight(span->scores, dtype, i), first, &nan),
                   threshold, sum);
    if (i < span->items) {
        const uint32_t left = span->items - i;
        __m256 s = rk_load_last(span->scores, dtype, i, left);
        count_step(mask_out(span->targets, i, left, s, first, &nan), threshold, sum);
    }
    rk_add_sums_avx2(sum, count);
    return _mm256_movemask_ps(nan);
}

/* Groups behind the last threshold are pads. */
RK_INLINE bool count_as(const struct rk_span *span, enum rk_dtype dtype, const float *threshold,
                        uint32_t padded, uint32_t *count)
{
    bool nan = padded > 0 && count_group(span, dtype, true, threshold, count);
    for (uint32_t k = GROUP; k < padded && threshold[k] == threshold[k]; k += GROUP)
        (void)count_group(span, dtype, false, threshold + k, count + k);
    return nan;
}

static bool compare_avx2_count(const struct rk_span *span, const float *threshold, uint32_t padded,
                               uint32_t *counts)
{
    if (span->dtype == RK_FP16)
        return count_as(span, RK_FP16, threshold, padded, counts);
    if (span->dtype == RK_BF16)
        return count_as(span, RK_BF16, threshold, padded, counts);
    return count_as(span, RK_FP32, threshold, padded, counts);
}

static const struct rk_compare_code code = {compare_avx2_count, rk_compare_move_avx2};

static enum rankd_status count_pass(struct rk_pass *pass)
{
    return rk_compare_count(pass, &code);
}

static enum rankd_status move_pass(struct rk_pass *pass)
{
    return rk_compare_move(pass, &code);
}

const struct rk_strategy rk_compare_avx2 = {.name = "compare",
                                            .most = RK_COMPARE_MAX_THRESHOLDS,
                                            .scratch = rk_compare_scratch,
                                            .count = count_pass,
                                            .move = move_pass};
