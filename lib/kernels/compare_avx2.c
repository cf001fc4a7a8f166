/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>
#include <math.h>

#include "kernels/compare.h"
#include "kernels/kernels_internal.h"
#include "kernels/score.h"
#include "kernels/unroll.h"

/* Eight scores whole. */
RK_INLINE __m256 load_scores(const void *scores, enum rk_dtype dtype, uint32_t i)
{
    const char *at = scores;
    if (dtype == RK_FP16)
        return _mm256_cvtph_ps(_mm_loadu_si128((const void *)(at + 2 * (size_t)i)));
    if (dtype == RK_BF16)
        return _mm256_castsi256_ps(_mm256_slli_epi32(
            _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)(at + 2 * (size_t)i))), 16));
    return _mm256_loadu_ps((const void *)(at + 4 * (size_t)i));
}

static bool is_irrelevant(const int8_t *targets, uint32_t i)
{
    return !targets || targets[i] == 0;
}

/* The remaining items of a vector. Items that do not count and lanes beyond the end become NaN, which no
 * threshold counts. */
static __m256 load_some(const struct rk_span *span, uint32_t i, bool *nan)
{
    float s[8];
    for (uint32_t lane = 0; lane < 8; lane++) {
        s[lane] = NAN;
        if (i + lane >= span->items || !is_irrelevant(span->targets, i + lane))
            continue;
        s[lane] = rk_score_at(span->scores, span->dtype, i + lane);
        *nan |= s[lane] != s[lane];
    }
    return _mm256_loadu_ps(s);
}

/* A NaN in place of items that do not count; *nan grows by those that count and are NaN. */
RK_INLINE __m256 mask_out(const int8_t *targets, uint32_t i, __m256 s, __m256 *nan)
{
    if (targets) {
        __m256i t = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)(targets + i)));
        __m256i in = _mm256_cmpeq_epi32(t, _mm256_setzero_si256());
        __m256i out = _mm256_xor_si256(in, _mm256_set1_epi32(-1));
        *nan =
            _mm256_or_ps(*nan, _mm256_andnot_ps(_mm256_castsi256_ps(out), _mm256_cmp_ps(s, s, _CMP_UNORD_Q)));
        return _mm256_or_ps(s, _mm256_castsi256_ps(out)); /* all ones are a NaN */
    }
    *nan = _mm256_or_ps(*nan, _mm256_cmp_ps(s, s, _CMP_UNORD_Q));
    return s;
}

RK_INLINE void count_step(__m256 s, int group, const __m256 *threshold, __m256i *sum)
{
    RK_UNROLL
    for (int j = 0; j < group; j++)
        sum[j] = _mm256_sub_epi32(sum[j], _mm256_castps_si256(_mm256_cmp_ps(s, threshold[j], _CMP_GE_OQ)));
}

static uint32_t sum_lanes(__m256i x)
{
    __m128i y = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    y = _mm_add_epi32(y, _mm_shuffle_epi32(y, 0x4e));
    y = _mm_add_epi32(y, _mm_shuffle_epi32(y, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(y);
}

RK_INLINE bool count_group(const struct rk_span *span, enum rk_dtype dtype, int group,
                           const float *thresholds, uint32_t *count)
{
    __m256 threshold[RK_COMPARE_PAD], nan = _mm256_setzero_ps();
    __m256i sum[RK_COMPARE_PAD];
    bool nan_left = false;
    uint32_t i = 0;
    RK_UNROLL
    for (int j = 0; j < group; j++) {
        threshold[j] = _mm256_set1_ps(thresholds[j]);
        sum[j] = _mm256_setzero_si256();
    }
    for (; i + 8 <= span->items; i += 8)
        count_step(mask_out(span->targets, i, load_scores(span->scores, dtype, i), &nan), group, threshold,
                   sum);
    if (i < span->items)
        count_step(load_some(span, i, &nan_left), group, threshold, sum);
    RK_UNROLL
    for (int j = 0; j < group; j++)
        count[j] += sum_lanes(sum[j]);
    return _mm256_movemask_ps(nan) || nan_left;
}

RK_INLINE bool count_as(const struct rk_span *span, enum rk_dtype dtype, const float *threshold,
                        uint32_t padded, uint32_t *count)
{
    bool nan = false;
    for (uint32_t k = 0; k < padded; k += RK_COMPARE_PAD) {
        bool half = threshold[k + RK_COMPARE_PAD / 2] != threshold[k + RK_COMPARE_PAD / 2];
        nan |= half ? count_group(span, dtype, RK_COMPARE_PAD / 2, threshold + k, count + k)
                    : count_group(span, dtype, RK_COMPARE_PAD, threshold + k, count + k);
    }
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

/* rk_gradient_value() of eight differences, in the same FP64 steps. */
static __m256 gradient_values(__m256i delta, double w, double divisor)
{
    __m256d minus_w = _mm256_set1_pd(-w), by = _mm256_set1_pd(divisor);
    __m256d low = _mm256_cvtepi32_pd(_mm256_castsi256_si128(delta));
    __m256d high = _mm256_cvtepi32_pd(_mm256_extracti128_si256(delta, 1));
    __m128 a = _mm256_cvtpd_ps(_mm256_div_pd(_mm256_mul_pd(minus_w, low), by));
    __m128 b = _mm256_cvtpd_ps(_mm256_div_pd(_mm256_mul_pd(minus_w, high), by));
    return _mm256_add_ps(_mm256_set_m128(b, a), _mm256_setzero_ps()); /* -0.0 to +0.0 */
}

/* Writes the differences of at most eight items. */
static void put_eight(const struct rk_span *span, uint32_t i, uint32_t items, __m256i delta,
                      bool differentiable, struct rk_gradient_writer *writer)
{
    int32_t value[8];
    float gradient[8];
    _mm256_storeu_si256((void *)value, delta);
    if (differentiable && writer->dense) {
        _mm256_storeu_ps(gradient, gradient_values(delta, writer->w, writer->divisor));
        memcpy(writer->dense + span->position + i, gradient, items * sizeof *gradient);
    }
    for (uint32_t lane = 0; lane < items; lane++) {
        uint64_t size = (uint64_t)(value[lane] < 0 ? -(int64_t)value[lane] : (int64_t)value[lane]);
        if (!differentiable) {
            writer->changed_bank += size > 0;
            writer->abs_bank += size;
            continue;
        }
        if (!writer->dense && size > 0 && writer->changed < writer->room)
            writer->sparse[writer->changed] = (struct rk_delta){span->position + i + lane, value[lane]};
        writer->changed += size > 0;
        writer->abs_differentiable += size;
    }
}

/* At most eight items of which some changed: the difference of each, and of each threshold's count. */
static __attribute__((noinline)) void move_changed(const struct rk_span *span, uint32_t i,
                                                   const struct rk_compare_move *move,
                                                   struct rk_gradient_writer *writer)
{
    bool unused = false;
    __m256 s = load_some(span, i, &unused);
    __m256i delta = _mm256_setzero_si256();
    for (uint32_t k = 0; k < move->padded; k++) {
        __m256 before = _mm256_cmp_ps(s, _mm256_set1_ps(move->before[k]), _CMP_GE_OQ);
        __m256 after = _mm256_cmp_ps(s, _mm256_set1_ps(move->after[k]), _CMP_GE_OQ);
        delta = _mm256_sub_epi32(delta, _mm256_castps_si256(after));
        delta = _mm256_add_epi32(delta, _mm256_castps_si256(before));
        move->moved[k] += __builtin_popcount((unsigned)_mm256_movemask_ps(after)) -
                          __builtin_popcount((unsigned)_mm256_movemask_ps(before));
    }
    put_eight(span, i, span->items - i < 8 ? span->items - i : 8, delta, move->differentiable, writer);
}

RK_INLINE void move_as(const struct rk_span *span, enum rk_dtype dtype, const struct rk_compare_move *move,
                       struct rk_gradient_writer *writer)
{
    uint32_t i = 0;
    for (; i + 16 <= span->items; i += 16) {
        __m256 a = load_scores(span->scores, dtype, i), b = load_scores(span->scores, dtype, i + 8);
        __m256 in_a = _mm256_setzero_ps(), in_b = in_a;
        for (uint32_t m = 0; m < move->intervals; m++) {
            __m256 low = _mm256_set1_ps(move->low[m]), high = _mm256_set1_ps(move->high[m]);
            in_a = _mm256_or_ps(
                in_a, _mm256_and_ps(_mm256_cmp_ps(a, low, _CMP_GE_OQ), _mm256_cmp_ps(a, high, _CMP_LT_OQ)));
            in_b = _mm256_or_ps(
                in_b, _mm256_and_ps(_mm256_cmp_ps(b, low, _CMP_GE_OQ), _mm256_cmp_ps(b, high, _CMP_LT_OQ)));
        }
        if (__builtin_expect(_mm256_movemask_ps(_mm256_or_ps(in_a, in_b)), 0)) {
            move_changed(span, i, move, writer);
            move_changed(span, i + 8, move, writer);
        } else if (writer->dense && move->differentiable) {
            _mm256_storeu_ps(writer->dense + span->position + i, _mm256_setzero_ps());
            _mm256_storeu_ps(writer->dense + span->position + i + 8, _mm256_setzero_ps());
        }
    }
    for (; i < span->items; i += 8)
        move_changed(span, i, move, writer);
}

static uint32_t compare_avx2_move(const struct rk_span *span, const struct rk_compare_move *by,
                                  struct rk_gradient_writer *writer)
{
    if (span->dtype == RK_FP16)
        move_as(span, RK_FP16, by, writer);
    else if (span->dtype == RK_BF16)
        move_as(span, RK_BF16, by, writer);
    else
        move_as(span, RK_FP32, by, writer);
    return 0;
}

static const struct rk_compare_code code = {compare_avx2_count, compare_avx2_move};

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
