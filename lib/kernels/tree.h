/* SPDX-License-Identifier: Apache-2.0 */
/* Strategy "tree": the position of an item among up to 127 thresholds by a search in registers. The
 * thresholds form an implicit binary tree, level by level, so that a step down is one permutation,
 * one compare and one addition for many items at a time, independent of the scores and without
 * memory access.
 *
 * tree.c has the common part; the block functions exist once per instruction set. */
#ifndef RK_KERNELS_TREE_H
#define RK_KERNELS_TREE_H

#include "kernels/span.h"

enum {
    RK_TREE_LEVELS = 7, /* at most; RK_TREE_LEAST at least */
    RK_TREE_LEAST = 4,
    RK_TREE_THRESHOLDS = (1 << RK_TREE_LEVELS) - 1,
    RK_TREE_BLOCK = 1024
};

/* A row of thresholds. Those after the p-th are -inf, which is above no score. */
struct rk_tree {
    _Alignas(64) float node[RK_TREE_THRESHOLDS +
                            1]; /* root at 1, below node h nodes 2h (lower thresholds: 2h + 1) */
    _Alignas(64) float sorted[RK_TREE_THRESHOLDS + 1];
    int levels;
};

struct rk_tree_code {
    /* Writes #{k: threshold[k] > s} in order for each counted item of a span of at most
     * RK_TREE_BLOCK items. Items with target 1 or -1 do not count; if span->targets is NULL all
     * items count. Returns their number, and sets *nan if one of them is NaN. `out` has room for 16
     * more. */
    uint32_t (*place)(const struct rk_span *span, const struct rk_tree *tree, uint32_t *out, bool *nan);
    /* The counted items that a threshold crossed, in order: scores, numbers before (as above) and
     * positions in the list. Thresholds only rise: an item is crossed if and only if the highest
     * threshold that was at or below it, number before[i], is above it now. Each output has room
     * for 16 more. */
    uint32_t (*crossed)(const struct rk_span *span, const struct rk_tree *was, const struct rk_tree *is,
                        float *score, uint32_t *before, uint32_t *position);
    /* As place(), for scores. */
    void (*above)(const struct rk_tree *tree, const float *score, uint32_t items, uint32_t *out);
    /* value[i] = rk_gradient_value() of before[i] - after[i]. Returns the number of differences
     * other than 0, and adds their absolute values to *size. */
    uint32_t (*values)(double w, double divisor, uint32_t items, const uint32_t *before,
                       const uint32_t *after, float *value, uint64_t *size);
};

size_t rk_tree_scratch(uint32_t items, uint32_t p, unsigned threads);
enum rankd_status rk_tree_count(struct rk_pass *pass, const struct rk_tree_code *code);
enum rankd_status rk_tree_move(struct rk_pass *pass, const struct rk_tree_code *code);

#endif
