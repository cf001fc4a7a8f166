#include "kernels/compare.h"

#include <math.h>
#include <string.h>

#include "kernels/bits.h"

enum { FEW = 4 /* one item in so many passes the sieve at most, or the next ones do not go through it */ };

struct shared {
    const struct rk_compare_code *code;
    bool masked; /* some items are ignored, so that targets have to be read while counting */
    uint32_t padded;
    uint32_t *count; /* [parts][padded] */
    bool nan[RK_RANGES_MAX];
    float *before, *after, *low, *high;
    uint32_t intervals;
};

/* Bytes of a row of cuts or counts. */
static size_t row_of(uint32_t p)
{
    return (rk_compare_padded(p) * sizeof(float) + 63) / 64 * 64;
}

size_t rk_compare_scratch(uint32_t items, uint32_t p, unsigned threads)
{
    return (4 + rk_ranges(items, RK_RANGE_MIN, threads)) * row_of(p);
}

static void lay_out(uint32_t p, void *scratch, struct shared *shared)
{
    const size_t row = row_of(p) / sizeof(float);
    shared->padded = rk_compare_padded(p);
    shared->before = scratch;
    shared->after = shared->before + row;
    shared->low = shared->after + row;
    shared->high = shared->low + row;
    shared->count = (uint32_t *)scratch + 4 * row;
}

static void pad(float *to, const float *cut, uint32_t p)
{
    memcpy(to, cut, p * sizeof *to);
    for (uint32_t k = p; k < rk_compare_padded(p); k++)
        to[k] = NAN;
}

static uint32_t *counts_of(const struct rk_part *part)
{
    const struct shared *shared = part->shared;
    uint32_t *count = (uint32_t *)(void *)((char *)shared->count +
                                           part->number * ((shared->padded * sizeof *count + 63) / 64 * 64));
    memset(count, 0, shared->padded * sizeof *count);
    return count;
}

static void count_part(struct rk_part *part)
{
    struct shared *shared = part->shared;
    uint32_t *count = counts_of(part);
    struct rk_walk walk = rk_walk_start(part->pass, part->from, part->to, RK_COMPARE_BLOCK);
    struct rk_span span;
    bool nan = false;
    while (rk_walk_next(&walk, &span)) {
        if (!shared->masked)
            span.targets = NULL;
        nan |= shared->code->count(&span, shared->before, shared->padded, count);
    }
    shared->nan[part->number] = nan;
    part->late = walk.late;
}

/* Where targets were not read, the relevant items were counted too. */
static void take_relevant_off(const struct rk_list *list, const struct shared *shared, uint32_t *ahead)
{
    struct rk_span own = {.scores = list->raw, .items = list->p, .dtype = RK_FP32};
    uint32_t *count = shared->count;
    memset(count, 0, shared->padded * sizeof *count);
    (void)shared->code->count(&own, shared->before, shared->padded, count);
    for (uint32_t k = 0; k < list->p; k++)
        ahead[k] -= count[k];
}

enum rankd_status rk_compare_count(struct rk_pass *pass, const struct rk_compare_code *code)
{
    const struct rk_list *list = pass->list;
    unsigned parts = rk_parts_of(pass, false);
    struct shared shared = {.code = code, .masked = list->n != list->items};
    lay_out(list->p, pass->scratch, &shared);
    pad(shared.before, pass->cut, list->p);
    enum rankd_status status = rk_parts_run(pass, parts, count_part, &shared);
    size_t stride = (shared.padded * sizeof(uint32_t) + 63) / 64 * 64 / sizeof(uint32_t);
    memset(pass->ahead, 0, list->p * sizeof *pass->ahead);
    pass->nan = false;
    for (unsigned i = 0; i < parts; i++) {
        pass->nan |= shared.nan[i];
        for (uint32_t k = 0; k < list->p; k++)
            pass->ahead[k] += shared.count[i * stride + k];
    }
    if (!shared.masked)
        take_relevant_off(list, &shared, pass->ahead);
    return status;
}

/* As both rows descend, so do the lower and the upper ends of what lies between them. */
static uint32_t merge(const struct rk_pass *pass, float *low, float *high)
{
    uint32_t found = 0;
    for (uint32_t k = 0; k < pass->list->p; k++) {
        float from = fminf(pass->cut[k], pass->cut_after[k]), to = fmaxf(pass->cut[k], pass->cut_after[k]);
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

static uint32_t cell_of(const struct rk_sieve *sieve, float s)
{
    return (uint32_t)((sieve->high - s) * sieve->scale);
}

/* Rounding is monotone, so what lies in an interval lies in the cells from that of its upper to that of its
 * lower end. Everything passes where the intervals' range is no number to divide by. */
static void make_sieve(const float *low, const float *high, uint32_t intervals, struct rk_sieve *sieve)
{
    float range = intervals > 0 ? high[0] - low[intervals - 1] : 0;
    float scale = (RK_SIEVE_CELLS - 1) / range;
    if (!(range > 0) || isinf(range) || isinf(scale)) {
        *sieve = (struct rk_sieve){0};
        memset(sieve->live, 0xff, sizeof sieve->live);
        return;
    }
    *sieve = (struct rk_sieve){.high = high[0], .scale = scale};
    for (uint32_t m = 0; m < intervals; m++)
        rk_set_bits(sieve->live, cell_of(sieve, high[m]), cell_of(sieve, low[m]));
}

/* What it puts aside are stores more, which in a long list wait behind those of the gradient. */
static bool sieve_pays(uint32_t items, uint32_t intervals)
{
    enum { SHORT = 1 << 14, INTERVALS_SHORT = 6, INTERVALS_LONG = 10 };
    return intervals > (items <= SHORT ? INTERVALS_SHORT : INTERVALS_LONG);
}

static void move_part(struct rk_part *part)
{
    const struct shared *shared = part->shared;
    struct rk_compare_move move = {.before = shared->before,
                                   .after = shared->after,
                                   .padded = shared->padded,
                                   .low = shared->low,
                                   .high = shared->high,
                                   .intervals = shared->intervals,
                                   .moved = (int32_t *)counts_of(part),
                                   .sifts = sieve_pays(part->pass->list->items, shared->intervals)};
    if (move.sifts)
        make_sieve(move.low, move.high, move.intervals, &move.sieve);
    struct rk_walk walk = rk_walk_start(part->pass, part->from, part->to, RK_COMPARE_BLOCK);
    struct rk_span span;
    while (rk_walk_next(&walk, &span)) {
        move.graded = span.position < part->pass->list->graded;
        uint32_t looked_at = shared->code->move(&span, &move, &part->sink);
        move.sifts = move.sifts && looked_at <= span.items / FEW;
    }
    part->late = walk.late;
}

enum rankd_status rk_compare_move(struct rk_pass *pass, const struct rk_compare_code *code)
{
    const struct rk_list *list = pass->list;
    unsigned parts = rk_parts_of(pass, true);
    struct shared shared = {.code = code};
    lay_out(list->p, pass->scratch, &shared);
    pad(shared.before, pass->cut, list->p);
    pad(shared.after, pass->cut_after, list->p);
    shared.intervals = merge(pass, shared.low, shared.high);
    enum rankd_status status = rk_parts_run(pass, parts, move_part, &shared);
    size_t stride = (shared.padded * sizeof(uint32_t) + 63) / 64 * 64 / sizeof(uint32_t);
    memcpy(pass->ahead_after, pass->ahead, list->p * sizeof *pass->ahead);
    for (unsigned i = 0; i < parts; i++) {
        for (uint32_t k = 0; k < list->p; k++)
            pass->ahead_after[k] += shared.count[i * stride + k];
    }
    return status;
}
