/* Strategy "tree": an item's place among up to 127 thresholds by a search through registers. The thresholds
 * are laid out as an implicit binary tree, level by level, so that a step down is one permutation, one
 * compare and one addition for many items at a time, whatever the scores are; nothing is looked up in memory.
 *
 * tree.c does what is the same everywhere; the block functions are written once per instruction set. */
#ifndef RK_KERNELS_TREE_H
#define RK_KERNELS_TREE_H

#include "kernels/span.h"

enum {
    RK_TREE_LEVELS = 7, /* at most, and TREE_LEAST at least */
    RK_TREE_LEAST = 4,
    RK_TREE_THRESHOLDS = (1 << RK_TREE_LEVELS) - 1,
    RK_TREE_BLOCK = 1024
};

/* A row of thresholds. Beyond the p-th they are -inf, which is above nothing. */
struct rk_tree {
    _Alignas(64) float node[RK_TREE_THRESHOLDS +
                            1]; /* root at 1, below node h nodes 2h (lower thresholds: 2h + 1) */
    _Alignas(64) float sorted[RK_TREE_THRESHOLDS + 1];
    int levels;
};

struct rk_tree_code {
    /* For each item of a span of at most RK_TREE_BLOCK that counts, in order: #{k: threshold[k] > s}. Items
     * whose target is 1 or -1 do not count; where span->targets is NULL all do. Returns how many, and sets
     * *nan if one of them is NaN. `out` has room for 16 more. */
    uint32_t (*place)(const struct rk_span *span, const struct rk_tree *tree, uint32_t *out, bool *nan);
    /* Those that count and that a threshold crossed, in order: their scores, their numbers before (as above)
     * and their positions in the list. Thresholds only rise: an item is crossed if and only if the highest
     * threshold that was at or below it, number before[i], lies above it now. Rooms as above. */
    uint32_t (*crossed)(const struct rk_span *span, const struct rk_tree *was, const struct rk_tree *is,
                        float *score, uint32_t *before, uint32_t *position);
    /* As place(), of scores. */
    void (*above)(const struct rk_tree *tree, const float *score, uint32_t items, uint32_t *out);
    /* value[i] = rk_gradient_value() of before[i] - after[i]. Returns how many are not 0, and adds up their
     * sizes. */
    uint32_t (*values)(double w, double lambda, uint32_t items, const uint32_t *before, const uint32_t *after,
                       float *value, uint64_t *size);
};

size_t rk_tree_scratch(uint32_t items, uint32_t p, unsigned threads);
enum rankd_status rk_tree_count(struct rk_pass *pass, const struct rk_tree_code *code);
enum rankd_status rk_tree_move(struct rk_pass *pass, const struct rk_tree_code *code);

#endif
