/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernels_internal.h"
#include "kernels/load_avx512.h"
#include "kernels/tree.h"

/* A tree in registers: levels 0 to 3 in the first, level 4 in the second, level 5 in two, level 6
 * in four. */
struct nodes {
    __m512 row[(RK_TREE_THRESHOLDS + 1) / 16];
};

/* The threshold of that number, or the node of that place within its level, from 2^levels/16
 * registers. */
RK_INLINE __m512 pick(const __m512 *row, int rows, __m512i at)
{
    if (rows == 1)
        return _mm512_permutexvar_ps(at, row[0]);
    __m512 low = _mm512_permutex2var_ps(row[0], at, row[1]);
    if (rows == 2)
        return low;
    __m512 mid = _mm512_permutex2var_ps(row[2], at, row[3]);
    low = _mm512_mask_blend_ps(_mm512_test_epi32_mask(at, _mm512_set1_epi32(32)), low, mid);
    if (rows == 4)
        return low;
    __m512 high = _mm512_permutex2var_ps(row[4], at, row[5]),
           top = _mm512_permutex2var_ps(row[6], at, row[7]);
    high = _mm512_mask_blend_ps(_mm512_test_epi32_mask(at, _mm512_set1_epi32(32)), high, top);
    return _mm512_mask_blend_ps(_mm512_test_epi32_mask(at, _mm512_set1_epi32(64)), low, high);
}

RK_INLINE struct nodes load_rows(const float *from, int levels)
{
    struct nodes nodes;
    nodes.row[0] = _mm512_load_ps(from);
    RK_UNROLL
    for (int i = 1; i < 1 << (levels - 4); i++)
        nodes.row[i] = _mm512_load_ps(from + 16 * i);
    return nodes;
}

/* #{k: threshold[k] > s}. */
RK_INLINE __m512i descend(const struct nodes *nodes, int levels, __m512 s)
{
    const __m512i one = _mm512_set1_epi32(1);
    __m512i at = one;
    RK_UNROLL
    for (int l = 0; l < levels; l++) {
        const __m512 *row = l < 4 ? nodes->row : nodes->row + (1 << (l - 4));
        __m512 threshold = pick(row, l < 5 ? 1 : 1 << (l - 4), at);
        __mmask16 lower = _mm512_cmp_ps_mask(threshold, s, _CMP_GT_OQ);
        at = _mm512_add_epi32(at, at);
        at = _mm512_mask_add_epi32(at, lower, at, one);
    }
    return _mm512_sub_epi32(at, _mm512_set1_epi32(1 << levels));
}

RK_INLINE uint32_t place_as(const struct rk_span *span, enum rk_dtype dtype, const struct rk_tree *tree,
                            int levels, uint32_t *out, bool *nan)
{
    const struct nodes nodes = load_rows(tree->node, levels);
    unsigned found_nan = 0;
    uint32_t kept = 0, i = 0;
    for (; !span->targets && i + 16 <= span->items; i += 16) {
        __m512 s = rk_load_scores(span->scores, dtype, i, 0xffff);
        found_nan |= _mm512_cmp_ps_mask(s, s, _CMP_UNORD_Q);
        _mm512_storeu_si512(out + i, descend(&nodes, levels, s));
    }
    for (kept = i; i < span->items; i += 16) {
        __mmask16 lanes = rk_lanes_irrelevant(span->targets, i, rk_lanes(span->items - i));
        __m512 s = rk_load_scores(span->scores, dtype, i, lanes);
        found_nan |= _mm512_mask_cmp_ps_mask(lanes, s, s, _CMP_UNORD_Q);
        _mm512_storeu_si512(out + kept, _mm512_maskz_compress_epi32(lanes, descend(&nodes, levels, s)));
        kept += (unsigned)__builtin_popcount(lanes);
    }
    *nan |= found_nan;
    return kept;
}

RK_INLINE uint32_t crossed_as(const struct rk_span *span, enum rk_dtype dtype, const struct rk_tree *was,
                              const struct rk_tree *is, int levels, float *score, uint32_t *before,
                              uint32_t *position)
{
    const struct nodes nodes = load_rows(was->node, levels), after = load_rows(is->sorted, levels);
    const __m512i first = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < span->items; i += 16) {
        __mmask16 here = rk_lanes(span->items - i);
        __m512 s = rk_load_scores(span->scores, dtype, i, here);
        __m512i number = descend(&nodes, levels, s);
        __m512 next = pick(after.row, 1 << (levels - 4), number);
        __mmask16 lanes = _mm512_mask_cmp_ps_mask(here, next, s, _CMP_GT_OQ);
        if (!lanes)
            continue;
        lanes = rk_lanes_irrelevant(span->targets, i, lanes);
        __m512i at = _mm512_add_epi32(first, _mm512_set1_epi32((int)(span->position + i)));
        _mm512_storeu_ps(score + kept, _mm512_maskz_compress_ps(lanes, s));
        _mm512_storeu_si512(before + kept, _mm512_maskz_compress_epi32(lanes, number));
        _mm512_storeu_si512(position + kept, _mm512_maskz_compress_epi32(lanes, at));
        kept += (unsigned)__builtin_popcount(lanes);
    }
    return kept;
}

RK_INLINE uint32_t place_levels(const struct rk_span *span, enum rk_dtype dtype, const struct rk_tree *tree,
                                uint32_t *out, bool *nan)
{
    switch (tree->levels) {
    case 4:
        return place_as(span, dtype, tree, 4, out, nan);
    case 5:
        return place_as(span, dtype, tree, 5, out, nan);
    case 6:
        return place_as(span, dtype, tree, 6, out, nan);
    default:
        return place_as(span, dtype, tree, 7, out, nan);
    }
}

RK_INLINE uint32_t crossed_levels(const struct rk_span *span, enum rk_dtype dtype, const struct rk_tree *was,
                                  const struct rk_tree *is, float *score, uint32_t *before,
                                  uint32_t *position)
{
    switch (was->levels) {
    case 4:
        return crossed_as(span, dtype, was, is, 4, score, before, position);
    case 5:
        return crossed_as(span, dtype, was, is, 5, score, before, position);
    case 6:
        return crossed_as(span, dtype, was, is, 6, score, before, position);
    default:
        return crossed_as(span, dtype, was, is, 7, score, before, position);
    }
}

static uint32_t tree_place(const struct rk_span *span, const struct rk_tree *tree, uint32_t *out, bool *nan)
{
    if (span->dtype == RK_FP16)
        return place_levels(span, RK_FP16, tree, out, nan);
    if (span->dtype == RK_BF16)
        return place_levels(span, RK_BF16, tree, out, nan);
    return place_levels(span, RK_FP32, tree, out, nan);
}

static uint32_t tree_crossed(const struct rk_span *span, const struct rk_tree *was, const struct rk_tree *is,
                             float *score, uint32_t *before, uint32_t *position)
{
    if (span->dtype == RK_FP16)
        return crossed_levels(span, RK_FP16, was, is, score, before, position);
    if (span->dtype == RK_BF16)
        return crossed_levels(span, RK_BF16, was, is, score, before, position);
    return crossed_levels(span, RK_FP32, was, is, score, before, position);
}

static void tree_above(const struct rk_tree *tree, const float *score, uint32_t items, uint32_t *out)
{
    bool nan = false;
    struct rk_span span = {.scores = score, .items = items, .dtype = RK_FP32};
    (void)place_levels(&span, RK_FP32, tree, out, &nan);
}

static const struct rk_tree_code code = {tree_place, tree_crossed, tree_above, rk_values_avx512};

static enum rankd_status count_pass(struct rk_pass *pass)
{
    return rk_tree_count(pass, &code);
}

static enum rankd_status move_pass(struct rk_pass *pass)
{
    return rk_tree_move(pass, &code);
}

const struct rk_strategy rk_tree_avx512 = {.name = "tree",
                                           .most = RK_TREE_THRESHOLDS,
                                           .scratch = rk_tree_scratch,
                                           .count = count_pass,
                                           .move = move_pass};
