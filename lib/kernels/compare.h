/* SPDX-License-Identifier: Apache-2.0 */
/* Strategy "compare": every item is compared with every threshold, many items at a time. It is the
 * fastest for up to some dozens of thresholds, because nothing in it depends on a score: no table,
 * no branch.
 *
 * compare.c has the common part; the two block functions exist once per instruction set. */
#ifndef RK_KERNELS_COMPARE_H
#define RK_KERNELS_COMPARE_H

#include "kernels/span.h"

enum {
    /* Most items of a span: they stay in the first-level cache during the comparison with all
     * thresholds. */
    RK_COMPARE_BLOCK = 4096,
    RK_COMPARE_PAD = 8,
    RK_COMPARE_MAX_THRESHOLDS = 1024 /* a limit on time only: any number gives correct results */
};

/* Number of thresholds after padding. Pads are NaN, so that no score is at or above one. */
static inline uint32_t rk_compare_padded(uint32_t p)
{
    return (p + RK_COMPARE_PAD - 1) / RK_COMPARE_PAD * RK_COMPARE_PAD;
}

enum { RK_INTERVAL_FILTER_WORDS = 32, RK_INTERVAL_FILTER_CELLS = 32 * RK_INTERVAL_FILTER_WORDS };

/* A fast test whether an item may be in an interval: the range of scores is divided into equal
 * cells, with a bit for each cell that an interval touches. The cell of a score is the integer part
 * of (high - s)·scale, modulo RK_INTERVAL_FILTER_CELLS. Scores outside of all intervals may get any
 * cell. */
struct rk_interval_filter {
    float high, scale;
    uint32_t crossed_cells[RK_INTERVAL_FILTER_WORDS];
};

/* A move: the thresholds before and after, and the merged intervals between the two. Only items in
 * an interval can change their rank. */
struct rk_compare_move {
    const float *before, *after; /* [padded] */
    uint32_t padded;
    const float *low, *high; /* [intervals]: low <= s < high */
    uint32_t intervals;
    int32_t *moved;      /* [padded], added to: items at or above the threshold after, minus those before */
    bool differentiable; /* the span receives a gradient */
    bool filters;        /* test with the filter first, which pays unless most items pass it */
    struct rk_interval_filter filter;
};

struct rk_compare_code {
    /* Adds to count[k] the items of the span at or above threshold[k], k < padded. Items with
     * target 1 or -1 do not count; if span->targets is NULL all items count. True if a counted item
     * is NaN. */
    bool (*count)(const struct rk_span *span, const float *threshold, uint32_t padded, uint32_t *count);
    /* Writes the rank differences of the span. Returns the number of items that passed the filter;
     * code without a filter may return 0. */
    uint32_t (*move)(const struct rk_span *span, const struct rk_compare_move *move,
                     struct rk_gradient_writer *writer);
};

size_t rk_compare_scratch(uint32_t items, uint32_t p, unsigned threads);
enum rankd_status rk_compare_count(struct rk_pass *pass, const struct rk_compare_code *code);
enum rankd_status rk_compare_move(struct rk_pass *pass, const struct rk_compare_code *code);

#endif
