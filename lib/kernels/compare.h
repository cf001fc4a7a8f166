/* Strategy "compare": every item is compared with every threshold, many items at a time. The best there is
 * for up to some dozens of thresholds, because nothing in it depends on a score: no table, no branch.
 *
 * compare.c does what is the same everywhere; the two block functions are written once per instruction set.
 */
#ifndef RK_KERNELS_COMPARE_H
#define RK_KERNELS_COMPARE_H

#include "kernels/span.h"

enum {
    /* A span's items at most: they stay in the first-level cache while groups of thresholds go over them. */
    RK_COMPARE_BLOCK = 4096,
    RK_COMPARE_PAD = 8,
    RK_COMPARE_MAX_THRESHOLDS = 1024 /* thresholds; any number is right, but it takes seconds */
};

/* The number of thresholds once padded; pads are NaN, so that no score is at or above one. */
static inline uint32_t rk_compare_padded(uint32_t p)
{
    return (p + RK_COMPARE_PAD - 1) / RK_COMPARE_PAD * RK_COMPARE_PAD;
}

enum { RK_INTERVAL_FILTER_WORDS = 32, RK_INTERVAL_FILTER_CELLS = 32 * RK_INTERVAL_FILTER_WORDS };

/* A first look whether an item may lie in an interval: the line of scores in equal cells, a bit for each that
 * an interval touches. The cell of a score is the whole part of (high - s)·scale, modulo
 * RK_INTERVAL_FILTER_CELLS: beyond the intervals it need mean nothing. */
struct rk_interval_filter {
    float high, scale;
    uint32_t crossed_cells[RK_INTERVAL_FILTER_WORDS];
};

/* A move: the thresholds before and after, and the intervals between the two, merged. Only items in one of
 * them can have changed their rank. */
struct rk_compare_move {
    const float *before, *after; /* [padded] */
    uint32_t padded;
    const float *low, *high; /* [intervals]: low <= s < high */
    uint32_t intervals;
    int32_t *moved;      /* [padded], added to: items at or above the threshold after, less those before */
    bool differentiable; /* the span receives a gradient */
    bool filters;        /* looks through the filter first, which pays unless most items pass it */
    struct rk_interval_filter filter;
};

struct rk_compare_code {
    /* Adds to count[k] the items of the span at or above threshold[k], k < padded. Items whose target is 1 or
     * -1 do not count; where span->targets is NULL all do. True if one that counts is NaN. */
    bool (*count)(const struct rk_span *span, const float *threshold, uint32_t padded, uint32_t *count);
    /* Puts the span's differences into the writer. Returns how many items had to be looked at closely; those
     * that do not sift may say 0. */
    uint32_t (*move)(const struct rk_span *span, const struct rk_compare_move *move,
                     struct rk_gradient_writer *writer);
};

size_t rk_compare_scratch(uint32_t items, uint32_t p, unsigned threads);
enum rankd_status rk_compare_count(struct rk_pass *pass, const struct rk_compare_code *code);
enum rankd_status rk_compare_move(struct rk_pass *pass, const struct rk_compare_code *code);

#endif
