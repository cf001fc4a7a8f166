/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/compare.h"
#include "kernels/kernels_internal.h"
#include "kernels/load_avx512.h"

enum { STEP = 4 /* vectors that are compared together, so that compares do not wait for each other */ };

/* One vector against GROUP thresholds. */
RK_INLINE void count_step(__m512 s, __mmask16 lanes, int group, const __m512 *threshold, __m512i *sum)
{
    const __m512i one = _mm512_set1_epi32(1);
    RK_UNROLL
    for (int j = 0; j < group; j++)
        sum[j] = _mm512_mask_add_epi32(sum[j], _mm512_mask_cmp_ps_mask(lanes, s, threshold[j], _CMP_GE_OQ),
                                       sum[j], one);
}

RK_INLINE bool count_group(const struct rk_span *span, enum rk_dtype dtype, int group,
                           const float *thresholds, uint32_t *count)
{
    __m512 threshold[RK_COMPARE_PAD];
    __m512i sum[RK_COMPARE_PAD];
    unsigned nan = 0;
    uint32_t i = 0;
    RK_UNROLL
    for (int j = 0; j < group; j++) {
        threshold[j] = _mm512_set1_ps(thresholds[j]);
        sum[j] = _mm512_setzero_si512();
    }
    for (; !span->targets && i + 16 <= span->items; i += 16) {
        __m512 s = rk_load_scores(span->scores, dtype, i, 0xffff);
        nan |= _mm512_cmp_ps_mask(s, s, _CMP_UNORD_Q);
        count_step(s, 0xffff, group, threshold, sum);
    }
    for (; i < span->items; i += 16) {
        __mmask16 here = rk_lanes(span->items - i);
        __mmask16 lanes = rk_lanes_irrelevant(span->targets, i, here);
        __m512 s = rk_load_scores(span->scores, dtype, i, here);
        nan |= _mm512_mask_cmp_ps_mask(lanes, s, s, _CMP_UNORD_Q);
        count_step(s, lanes, group, threshold, sum);
    }
    RK_UNROLL
    for (int j = 0; j < group; j++)
        count[j] += (uint32_t)_mm512_reduce_add_epi32(sum[j]);
    return nan;
}

RK_INLINE bool count_as(const struct rk_span *span, enum rk_dtype dtype, const float *threshold,
                        uint32_t padded, uint32_t *count)
{
    bool nan = false;
    for (uint32_t k = 0; k < padded; k += RK_COMPARE_PAD) {
        /* The second half of the last group is often empty. */
        bool half = threshold[k + RK_COMPARE_PAD / 2] != threshold[k + RK_COMPARE_PAD / 2];
        nan |= half ? count_group(span, dtype, RK_COMPARE_PAD / 2, threshold + k, count + k)
                    : count_group(span, dtype, RK_COMPARE_PAD, threshold + k, count + k);
    }
    return nan;
}

static bool compare_avx512_count(const struct rk_span *span, const float *threshold, uint32_t padded,
                                 uint32_t *counts)
{
    if (span->dtype == RK_FP16)
        return count_as(span, RK_FP16, threshold, padded, counts);
    if (span->dtype == RK_BF16)
        return count_as(span, RK_BF16, threshold, padded, counts);
    return count_as(span, RK_FP32, threshold, padded, counts);
}

/* Items of a span whose ranks may have changed, put aside: one vector in four has such an item, so
 * that processing them together is a tenth of the work. */
struct compare_aside {
    uint32_t items;
    float score[RK_COMPARE_BLOCK + 16];
    uint32_t position[RK_COMPARE_BLOCK + 16];
};

RK_INLINE void put_aside(struct compare_aside *aside, __mmask16 lanes, __m512 s, uint32_t position)
{
    const __m512i first = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512i at = _mm512_add_epi32(first, _mm512_set1_epi32((int)position));
    _mm512_storeu_ps(aside->score + aside->items, _mm512_maskz_compress_ps(lanes, s));
    _mm512_storeu_si512(aside->position + aside->items, _mm512_maskz_compress_epi32(lanes, at));
    aside->items += (unsigned)__builtin_popcount(lanes);
}

/* Differences that are not 0: all at once, or one by one into the sparse pairs. */
static void put_lanes(const uint32_t *position, __mmask16 lanes, __m512i delta,
                      struct rk_gradient_writer *writer)
{
    int32_t whole[16];
    if (writer->dense) {
        _mm512_mask_i32scatter_ps(writer->dense, lanes, _mm512_loadu_si512(position),
                                  rk_gradient_values_avx512(delta, writer->w, writer->divisor),
                                  sizeof(float));
        writer->changed += (unsigned)__builtin_popcount(lanes);
        return;
    }
    _mm512_storeu_si512(whole, delta);
    for (unsigned left = lanes; left; left &= left - 1) {
        unsigned lane = (unsigned)__builtin_ctz(left);
        if (writer->changed < writer->room)
            writer->sparse[writer->changed] = (struct rk_delta){position[lane], whole[lane]};
        writer->changed++;
    }
}

/* The difference of each item put aside, and of each threshold's count. */
static void move_aside(const struct compare_aside *aside, const struct rk_compare_move *move,
                       struct rk_gradient_writer *writer)
{
    const __m512i one = _mm512_set1_epi32(1);
    for (uint32_t i = 0; i < aside->items; i += 16) {
        __mmask16 lanes = rk_lanes(aside->items - i);
        __m512 s = _mm512_maskz_loadu_ps(lanes, aside->score + i);
        __m512i delta = _mm512_setzero_si512();
        for (uint32_t k = 0; k < move->padded; k++) {
            __mmask16 before = _mm512_mask_cmp_ps_mask(lanes, s, _mm512_set1_ps(move->before[k]), _CMP_GE_OQ);
            __mmask16 after = _mm512_mask_cmp_ps_mask(lanes, s, _mm512_set1_ps(move->after[k]), _CMP_GE_OQ);
            delta = _mm512_mask_add_epi32(delta, after, delta, one);
            delta = _mm512_mask_sub_epi32(delta, before, delta, one);
            move->moved[k] += __builtin_popcount(after) - __builtin_popcount(before);
        }
        __mmask16 changed = _mm512_test_epi32_mask(delta, delta);
        uint64_t size = (uint64_t)_mm512_reduce_add_epi32(_mm512_abs_epi32(delta));
        if (move->differentiable) {
            put_lanes(aside->position + i, changed, delta, writer);
            writer->abs_differentiable += size;
        } else {
            writer->changed_bank += (unsigned)__builtin_popcount(changed);
            writer->abs_bank += size;
        }
    }
}

/* Which lanes of n vectors are in an interval. */
RK_INLINE void inside(const __m512 *s, int n, const struct rk_compare_move *move, __mmask16 *in)
{
    for (uint32_t m = 0; m < move->intervals; m++) {
        __m512 low = _mm512_set1_ps(move->low[m]), high = _mm512_set1_ps(move->high[m]);
        RK_UNROLL
        for (int v = 0; v < n; v++)
            in[v] |=
                _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(s[v], low, _CMP_GE_OQ), s[v], high, _CMP_LT_OQ);
    }
}

/* Stores sixteen floats and prefetches the line some pages ahead, because stores that wait for
 * their line hold up all others. There may be no such line. */
RK_INLINE void clear_lanes(float *to, __mmask16 here)
{
    enum { AHEAD = 2048 };
    __builtin_prefetch(to + AHEAD, 1);
    _mm512_mask_storeu_ps(to, here, _mm512_setzero_ps());
}

/* As cell_of() in compare.c. */
RK_INLINE __mmask16 filter_lanes(__m512 s, const struct rk_interval_filter *filter)
{
    const __m512i low = _mm512_loadu_si512(filter->crossed_cells),
                  high = _mm512_loadu_si512(filter->crossed_cells + 16);
    __m512 x = _mm512_mul_ps(_mm512_sub_ps(_mm512_set1_ps(filter->high), s), _mm512_set1_ps(filter->scale));
    __m512i cell = _mm512_cvttps_epi32(x);
    __m512i word = _mm512_permutex2var_epi32(low, _mm512_srli_epi32(cell, 5), high);
    return _mm512_test_epi32_mask(_mm512_rorv_epi32(word, cell), _mm512_set1_epi32(1));
}

_Static_assert(RK_INTERVAL_FILTER_WORDS == 32, "two registers, above");

/* n vectors from item i on; `here`: lanes of the last one. */
RK_INLINE void move_step(const struct rk_span *span, enum rk_dtype dtype, bool filters, uint32_t i, int n,
                         __mmask16 here, const struct rk_compare_move *move,
                         const struct rk_gradient_writer *writer, struct compare_aside *aside)
{
    __m512 s[STEP];
    __mmask16 in[STEP] = {0};
    RK_UNROLL
    for (int v = 0; v < n; v++)
        s[v] = rk_load_scores(span->scores, dtype, i + 16 * (uint32_t)v, here);
    if (!filters)
        inside(s, n, move, in);
    RK_UNROLL
    for (int v = 0; v < n && filters; v++)
        in[v] = filter_lanes(s[v], &move->filter);
    RK_UNROLL
    for (int v = 0; v < n; v++) {
        uint32_t at = i + 16 * (uint32_t)v;
        if (writer->dense && move->differentiable)
            clear_lanes(writer->dense + span->position + at, here);
        if (filters ||
            __builtin_expect(in[v] & here, 0)) /* without a filter most vectors have one: no branch helps */
            put_aside(aside, rk_lanes_irrelevant(span->targets, at, in[v] & here), s[v], span->position + at);
    }
}

RK_INLINE uint32_t move_as(const struct rk_span *span, enum rk_dtype dtype, bool filters,
                           const struct rk_compare_move *move, struct rk_gradient_writer *writer)
{
    struct compare_aside aside;
    uint32_t i = 0;
    aside.items = 0;
    for (; i + 16 * STEP <= span->items; i += 16 * STEP)
        move_step(span, dtype, filters, i, STEP, 0xffff, move, writer, &aside);
    for (; i < span->items; i += 16)
        move_step(span, dtype, filters, i, 1, rk_lanes(span->items - i), move, writer, &aside);
    move_aside(&aside, move, writer);
    return aside.items;
}

RK_INLINE uint32_t move_any(const struct rk_span *span, bool filters, const struct rk_compare_move *by,
                            struct rk_gradient_writer *writer)
{
    if (span->dtype == RK_FP16)
        return move_as(span, RK_FP16, filters, by, writer);
    if (span->dtype == RK_BF16)
        return move_as(span, RK_BF16, filters, by, writer);
    return move_as(span, RK_FP32, filters, by, writer);
}

static uint32_t compare_avx512_move(const struct rk_span *span, const struct rk_compare_move *by,
                                    struct rk_gradient_writer *writer)
{
    return by->filters ? move_any(span, true, by, writer) : move_any(span, false, by, writer);
}

static const struct rk_compare_code code = {compare_avx512_count, compare_avx512_move};

static enum rankd_status count_pass(struct rk_pass *pass)
{
    return rk_compare_count(pass, &code);
}

static enum rankd_status move_pass(struct rk_pass *pass)
{
    return rk_compare_move(pass, &code);
}

const struct rk_strategy rk_compare_avx512 = {.name = "compare",
                                              .most = RK_COMPARE_MAX_THRESHOLDS,
                                              .scratch = rk_compare_scratch,
                                              .count = count_pass,
                                              .move = move_pass};
