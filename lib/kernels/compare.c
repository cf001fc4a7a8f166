/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/compare.h"

#include <math.h>
#include <string.h>

#include "kernels/bits.h"
#include "kernels/tuning.h"

enum { FEW = 4 /* at most one item in FEW may pass the filter, or the next items are not filtered */ };

struct compare_pass {
    const struct rk_compare_code *code;
    bool masked; /* some items are ignored, so that targets have to be read while counting */
    uint32_t padded;
    uint32_t *count; /* [parts][padded] */
    bool nan[RK_RANGES_MAX];
    float *before, *after, *low, *high;
    uint32_t intervals;
};

/* Bytes of a row of thresholds or counts. */
static size_t row_of(uint32_t p)
{
    return (rk_compare_padded(p) * sizeof(float) + 63) / 64 * 64;
}

size_t rk_compare_scratch(uint32_t items, uint32_t p, unsigned threads)
{
    return (4 + rk_ranges(items, rk_tuning.grain, threads)) * row_of(p);
}

static void lay_out(uint32_t p, void *scratch, struct compare_pass *shared)
{
    const size_t row = row_of(p) / sizeof(float);
    shared->padded = rk_compare_padded(p);
    shared->before = scratch;
    shared->after = shared->before + row;
    shared->low = shared->after + row;
    shared->high = shared->low + row;
    shared->count = (uint32_t *)scratch + 4 * row;
}

static void pad(float *to, const float *threshold, uint32_t p)
{
    memcpy(to, threshold, p * sizeof *to);
    for (uint32_t k = p; k < rk_compare_padded(p); k++)
        to[k] = NAN;
}

static uint32_t *counts_of(const struct rk_list_range *list_range)
{
    const struct compare_pass *shared = list_range->shared;
    uint32_t *count =
        (uint32_t *)(void *)((char *)shared->count +
                             list_range->number * ((shared->padded * sizeof *count + 63) / 64 * 64));
    memset(count, 0, shared->padded * sizeof *count);
    return count;
}

static void count_range(struct rk_list_range *list_range)
{
    struct compare_pass *shared = list_range->shared;
    uint32_t *count = counts_of(list_range);
    struct rk_walk walk = rk_walk_start(list_range->pass, list_range->from, list_range->to, RK_COMPARE_BLOCK);
    struct rk_span span;
    bool nan = false;
    while (rk_walk_next(&walk, &span)) {
        if (!shared->masked)
            span.targets = NULL;
        nan |= shared->code->count(&span, shared->before, shared->padded, count);
    }
    shared->nan[list_range->number] = nan;
    list_range->late = walk.late;
}

/* Where targets were not read, the relevant items were counted too. */
static void take_relevant_off(const struct rk_list *list, const struct compare_pass *shared,
                              uint32_t *irrelevant_above)
{
    struct rk_span own = {.scores = list->raw, .items = list->p, .dtype = RK_FP32};
    uint32_t *count = shared->count;
    memset(count, 0, shared->padded * sizeof *count);
    (void)shared->code->count(&own, shared->before, shared->padded, count);
    for (uint32_t k = 0; k < list->p; k++)
        irrelevant_above[k] -= count[k];
}

enum rankd_status rk_compare_count(struct rk_pass *pass, const struct rk_compare_code *code)
{
    const struct rk_list *list = pass->list;
    unsigned ranges = rk_list_ranges_of(pass, false);
    struct compare_pass shared = {.code = code, .masked = list->n != list->items};
    lay_out(list->p, pass->scratch, &shared);
    pad(shared.before, pass->threshold, list->p);
    enum rankd_status status = rk_list_ranges_run(pass, ranges, count_range, &shared);
    size_t stride = (shared.padded * sizeof(uint32_t) + 63) / 64 * 64 / sizeof(uint32_t);
    memset(pass->irrelevant_above, 0, list->p * sizeof *pass->irrelevant_above);
    pass->nan = false;
    for (unsigned i = 0; i < ranges; i++) {
        pass->nan |= shared.nan[i];
        for (uint32_t k = 0; k < list->p; k++)
            pass->irrelevant_above[k] += shared.count[i * stride + k];
    }
    if (!shared.masked)
        take_relevant_off(list, &shared, pass->irrelevant_above);
    return status;
}

/* Because both rows descend, so do the lower and the upper ends of the intervals between them. */
static uint32_t merge_intervals(const struct rk_pass *pass, float *low, float *high)
{
    uint32_t found = 0;
    for (uint32_t k = 0; k < pass->list->p; k++) {
        const float from = pass->threshold[k], to = pass->perturbed_threshold[k]; /* which only rise */
        if (from == to)
            continue;
        if (found > 0 && to >= low[found - 1]) {
            low[found - 1] = from;
        } else {
            low[found] = from;
            high[found++] = to;
        }
    }
    return found;
}

static uint32_t cell_of(const struct rk_interval_filter *filter, float s)
{
    return (uint32_t)((filter->high - s) * filter->scale);
}

/* Rounding is monotone, so scores in an interval are in the cells from that of its upper end to
 * that of its lower end. Every score passes if one can't divide by the range of the intervals. */
static void make_filter(const float *low, const float *high, uint32_t intervals,
                        struct rk_interval_filter *filter)
{
    float range = intervals > 0 ? high[0] - low[intervals - 1] : 0;
    float scale = (RK_INTERVAL_FILTER_CELLS - 1) / range;
    if (!(range > 0) || isinf(range) || isinf(scale)) {
        *filter = (struct rk_interval_filter){0};
        memset(filter->crossed_cells, 0xff, sizeof filter->crossed_cells);
        return;
    }
    *filter = (struct rk_interval_filter){.high = high[0], .scale = scale};
    for (uint32_t m = 0; m < intervals; m++)
        rk_set_bits(filter->crossed_cells, cell_of(filter, high[m]), cell_of(filter, low[m]));
}

/* Putting items aside costs stores, which in a long list wait behind those of the gradient. */
static bool filter_pays(uint32_t items, uint32_t intervals)
{
    enum { SHORT = 1 << 14, INTERVALS_SHORT = 6, INTERVALS_LONG = 10 };
    return intervals > (items <= SHORT ? INTERVALS_SHORT : INTERVALS_LONG);
}

static void move_range(struct rk_list_range *list_range)
{
    const struct compare_pass *shared = list_range->shared;
    struct rk_compare_move move = {.before = shared->before,
                                   .after = shared->after,
                                   .padded = shared->padded,
                                   .low = shared->low,
                                   .high = shared->high,
                                   .intervals = shared->intervals,
                                   .moved = (int32_t *)counts_of(list_range),
                                   .filters = filter_pays(list_range->pass->list->items, shared->intervals)};
    if (move.filters)
        make_filter(move.low, move.high, move.intervals, &move.filter);
    struct rk_walk walk = rk_walk_start(list_range->pass, list_range->from, list_range->to, RK_COMPARE_BLOCK);
    struct rk_span span;
    while (rk_walk_next(&walk, &span)) {
        move.differentiable = span.position < list_range->pass->list->differentiable;
        uint32_t looked_at = shared->code->move(&span, &move, &list_range->writer);
        move.filters = move.filters && looked_at <= span.items / FEW;
    }
    list_range->late = walk.late;
}

enum rankd_status rk_compare_move(struct rk_pass *pass, const struct rk_compare_code *code)
{
    const struct rk_list *list = pass->list;
    unsigned ranges = rk_list_ranges_of(pass, true);
    struct compare_pass shared = {.code = code};
    lay_out(list->p, pass->scratch, &shared);
    pad(shared.before, pass->threshold, list->p);
    pad(shared.after, pass->perturbed_threshold, list->p);
    shared.intervals = merge_intervals(pass, shared.low, shared.high);
    enum rankd_status status = rk_list_ranges_run(pass, ranges, move_range, &shared);
    size_t stride = (shared.padded * sizeof(uint32_t) + 63) / 64 * 64 / sizeof(uint32_t);
    memcpy(pass->perturbed_irrelevant_above, pass->irrelevant_above,
           list->p * sizeof *pass->irrelevant_above);
    for (unsigned i = 0; i < ranges; i++) {
        for (uint32_t k = 0; k < list->p; k++)
            pass->perturbed_irrelevant_above[k] += shared.count[i * stride + k];
    }
    return status;
}
