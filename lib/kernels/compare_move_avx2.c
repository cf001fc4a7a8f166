/* SPDX-License-Identifier: Apache-2.0 */
/* The second pass of "compare" for AVX2. Vectors with an item in an interval are put aside, and
 * compared with all thresholds many at a time: then the counts of some thresholds stay in
 * registers, and nothing depends on a branch. */
#include "kernels/compare_avx2.h"
#include "kernels/load_avx2.h"

enum {
    GROUP = RK_COMPARE_GROUP_AVX2,
    ASIDE = 128,  /* vectors: what belongs to them stays in the first-level cache */
    STEP = 2,     /* vectors looked at together */
    TRIAL = 64,   /* items of a span; if most of their vectors are put aside, all that follow are */
    LOOKED_UP = 8 /* differences that a register has a value for */
};

/* Vectors of a span that may have changed; NaN in lanes that do not count. */
struct vectors_aside {
    uint32_t vectors;
    uint32_t item[ASIDE]; /* the first one's place in the span */
    float score[8 * ASIDE];
    int32_t delta[8 * ASIDE];
};

/* Adds the vectors' differences by GROUP thresholds to theirs, and to the thresholds'. */
RK_INLINE void add_group(struct vectors_aside *aside, bool first, const float *before, const float *after,
                         int32_t *moved)
{
    __m256 low[GROUP], high[GROUP];
    __m256i sum[GROUP];
    RK_UNROLL
    for (int j = 0; j < GROUP; j++) {
        low[j] = _mm256_set1_ps(before[j]);
        high[j] = _mm256_set1_ps(after[j]);
        sum[j] = _mm256_setzero_si256();
    }
    for (uint32_t v = 0; v < aside->vectors; v++) {
        __m256 s = _mm256_loadu_ps(aside->score + 8 * v);
        __m256i delta = first ? _mm256_setzero_si256() : _mm256_loadu_si256((void *)(aside->delta + 8 * v));
        RK_UNROLL
        for (int j = 0; j < GROUP; j++) {
            __m256i above = _mm256_sub_epi32(_mm256_castps_si256(_mm256_cmp_ps(s, low[j], _CMP_GE_OQ)),
                                             _mm256_castps_si256(_mm256_cmp_ps(s, high[j], _CMP_GE_OQ)));
            delta = _mm256_add_epi32(delta, above);
            sum[j] = _mm256_add_epi32(sum[j], above);
        }
        _mm256_storeu_si256((void *)(aside->delta + 8 * v), delta);
    }
    rk_add_sums_avx2(sum, moved);
}

/* Eight differences, of which some are not 0, to where gradients go. */
static void put_sparse(uint32_t position, unsigned changed, const int32_t *delta,
                       struct rk_gradient_writer *writer)
{
    for (; changed; changed &= changed - 1, writer->changed++) {
        const unsigned lane = (unsigned)__builtin_ctz(changed);
        if (!writer->dense && writer->changed < writer->room)
            writer->sparse[writer->changed] = (struct rk_delta){position + lane, delta[lane]};
    }
}

/* The values of the differences 0, -1, …: all that there are if there are fewer thresholds. */
static __m256 first_values(const struct rk_gradient_writer *writer)
{
    return rk_gradient_values_avx2(_mm256_setr_epi32(0, -1, -2, -3, -4, -5, -6, -7), writer->w,
                                   writer->divisor);
}

RK_INLINE void put_dense(const struct rk_span *span, uint32_t item, __m256i delta, __m256 values,
                         bool looked_up, const struct rk_gradient_writer *writer)
{
    float *to = writer->dense + span->position + item;
    __m256 value = looked_up
                       ? _mm256_permutevar8x32_ps(values, _mm256_sub_epi32(_mm256_setzero_si256(), delta))
                       : rk_gradient_values_avx2(delta, writer->w, writer->divisor);
    if (item + 8 <= span->items)
        _mm256_storeu_ps(to, value);
    else
        _mm256_maskstore_ps(to, rk_lanes_avx2(span->items - item), value);
}

RK_INLINE void put_aside_vectors(const struct rk_span *span, const struct vectors_aside *aside,
                                 bool differentiable, bool looked_up, struct rk_gradient_writer *writer)
{
    const __m256i zero = _mm256_setzero_si256();
    const __m256 values = looked_up ? first_values(writer) : _mm256_setzero_ps();
    __m256i size = zero;
    uint64_t changed = 0;
    for (uint32_t v = 0; v < aside->vectors; v++) {
        __m256i delta = _mm256_loadu_si256((const void *)(aside->delta + 8 * v));
        unsigned some =
            0xffu & ~(unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(delta, zero)));
        size = _mm256_add_epi32(size, _mm256_abs_epi32(delta));
        if (differentiable && writer->dense) {
            if (some)
                put_dense(span, aside->item[v], delta, values, looked_up, writer);
            changed += (unsigned)__builtin_popcount(some);
        } else if (differentiable) {
            put_sparse(span->position + aside->item[v], some, aside->delta + 8 * v, writer);
        } else {
            changed += (unsigned)__builtin_popcount(some);
        }
    }
    *(differentiable ? &writer->changed : &writer->changed_bank) += changed;
    *(differentiable ? &writer->abs_differentiable : &writer->abs_bank) += rk_sum_avx2(size);
}

/* The differences of what was put aside. A group behind the last threshold is pads. */
static __attribute__((noinline)) void flush(const struct rk_span *span, const struct rk_compare_move *move,
                                            struct vectors_aside *aside, struct rk_gradient_writer *writer)
{
    const float *before = move->before, *after = move->after;
    if (aside->vectors == 0)
        return;
    add_group(aside, true, before, after, move->moved);
    uint32_t k = GROUP;
    for (; k < move->padded && before[k] == before[k]; k += GROUP)
        add_group(aside, false, before + k, after + k, move->moved + k);
    if (k < LOOKED_UP || (k == LOOKED_UP && before[LOOKED_UP - 1] != before[LOOKED_UP - 1]))
        put_aside_vectors(span, aside, move->differentiable, true, writer);
    else
        put_aside_vectors(span, aside, move->differentiable, false, writer);
    aside->vectors = 0;
}

/* Writes it in any case, and counts it where it is wanted: which vectors have an item in an
 * interval, no branch can foresee. There is room for one more than are wanted. */
RK_INLINE void put_aside(struct vectors_aside *aside, const struct rk_span *span, uint32_t i, uint32_t left,
                         __m256 s, bool wanted)
{
    __m256i out = _mm256_xor_si256(rk_irrelevant_avx2(span->targets, i, left), _mm256_set1_epi32(-1));
    _mm256_storeu_ps(aside->score + 8 * aside->vectors, _mm256_or_ps(s, _mm256_castsi256_ps(out)));
    aside->item[aside->vectors] = i;
    aside->vectors += wanted;
}

/* Which lanes of STEP vectors lie in an interval. */
RK_INLINE void in_intervals(const __m256 *s, const struct rk_compare_move *move, __m256 *in)
{
    for (uint32_t m = 0; m < move->intervals; m++) {
        __m256 low = _mm256_set1_ps(move->low[m]), high = _mm256_set1_ps(move->high[m]);
        RK_UNROLL
        for (int v = 0; v < STEP; v++)
            in[v] = _mm256_or_ps(in[v], _mm256_and_ps(_mm256_cmp_ps(s[v], low, _CMP_GE_OQ),
                                                      _mm256_cmp_ps(s[v], high, _CMP_LT_OQ)));
    }
}

/* STEP vectors from item i on. */
RK_INLINE void move_step(const struct rk_span *span, enum rk_dtype dtype, uint32_t i,
                         const struct rk_compare_move *move, const struct rk_gradient_writer *writer,
                         struct vectors_aside *aside)
{
    __m256 s[STEP], in[STEP];
    RK_UNROLL
    for (uint32_t v = 0; v < STEP; v++) {
        s[v] = rk_load_eight(span->scores, dtype, i + 8 * v);
        in[v] = _mm256_setzero_ps();
    }
    in_intervals(s, move, in);
    RK_UNROLL
    for (uint32_t v = 0; v < STEP; v++) {
        if (writer->dense && move->differentiable)
            _mm256_storeu_ps(writer->dense + span->position + i + 8 * v, _mm256_setzero_ps());
        put_aside(aside, span, i + 8 * v, 8, s[v], _mm256_movemask_ps(in[v]) != 0);
    }
}

/* The items from i on, all put aside without a look. */
RK_INLINE void move_rest(const struct rk_span *span, enum rk_dtype dtype, uint32_t i,
                         const struct rk_compare_move *move, struct rk_gradient_writer *writer,
                         struct vectors_aside *aside)
{
    if (writer->dense && move->differentiable)
        memset(writer->dense + span->position + i, 0, (span->items - i) * sizeof *writer->dense);
    for (; i < span->items; i += 8) {
        const uint32_t left = span->items - i;
        if (aside->vectors == ASIDE)
            flush(span, move, aside, writer);
        put_aside(aside, span, i, left,
                  left >= 8 ? rk_load_eight(span->scores, dtype, i)
                            : rk_load_last(span->scores, dtype, i, left),
                  true);
    }
}

RK_INLINE void move_as(const struct rk_span *span, enum rk_dtype dtype, const struct rk_compare_move *move,
                       struct rk_gradient_writer *writer)
{
    struct vectors_aside aside;
    uint32_t i = 0;
    aside.vectors = 0;
    for (; i + 8 * STEP <= span->items; i += 8 * STEP) {
        if (i == TRIAL && aside.vectors > TRIAL / 8 / 2)
            break;
        if (aside.vectors > ASIDE - STEP)
            flush(span, move, &aside, writer);
        move_step(span, dtype, i, move, writer, &aside);
    }
    move_rest(span, dtype, i, move, writer, &aside);
    flush(span, move, &aside, writer);
}

uint32_t rk_compare_move_avx2(const struct rk_span *span, const struct rk_compare_move *move,
                              struct rk_gradient_writer *writer)
{
    if (span->dtype == RK_FP16)
        move_as(span, RK_FP16, move, writer);
    else if (span->dtype == RK_BF16)
        move_as(span, RK_BF16, move, writer);
    else
        move_as(span, RK_FP32, move, writer);
    return 0;
}
