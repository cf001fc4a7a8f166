/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of a list's computation that both ways to compute it share. */
#include <string.h>

#include "base/ranges.h"
#include "blackbox/blackbox_internal.h"
#include "kernels/score.h"
#include "kernels/span.h"

enum { TARGETS_MIN = 1 << 20 /* targets per thread, so that a thread is worth waking; twice that */ };

/* Shared by the threads that look for relevant items. */
struct relevant_search {
    const struct rk_kernels *kernels;
    const struct rk_list *list;
    enum rk_target_rule rule;
    uint32_t *position;
    float *raw;
    double *grade; /* NULL: not wanted */
    unsigned ranges;
    uint32_t count[RK_RANGES_MAX]; /* of each range: relevant items that it has room for, */
    uint32_t found[RK_RANGES_MAX]; /* and those that it found */
};

/* Checks no deadline. */
static struct rk_walk walk_of(const struct relevant_search *finding, struct rk_range range)
{
    const struct rk_pass pass = {.list = finding->list};
    return rk_walk_start(&pass, range.from, range.to, RK_LIST_MAX);
}

static void count_some(void *arg, struct rk_range range)
{
    struct relevant_search *finding = arg;
    struct rk_walk walk = walk_of(finding, range);
    struct rk_span span;
    uint32_t count = 0;
    while (rk_walk_next(&walk, &span)) {
        if (span.targets)
            count += (uint32_t)finding->kernels->scan(span.targets, span.items, INT8_MAX, true).relevant;
    }
    finding->count[range.number] = count;
}

/* No range may write into another range's part, even if targets change meanwhile. */
static void divide_room(struct relevant_search *finding, uint32_t room)
{
    for (unsigned i = 0; i < finding->ranges; i++) {
        finding->count[i] = finding->count[i] < room ? finding->count[i] : room;
        room -= finding->count[i];
    }
}

static void find_some(void *arg, struct rk_range range)
{
    struct relevant_search *finding = arg;
    struct rk_walk walk = walk_of(finding, range);
    struct rk_span span;
    uint32_t at = 0, end;
    for (unsigned i = 0; i < range.number; i++)
        at += finding->count[i];
    const uint32_t first = at, room = at + finding->count[range.number];
    while (rk_walk_next(&walk, &span)) {
        if (!span.targets)
            continue;
        end = at + (uint32_t)finding->kernels->positions(span.targets, span.items, span.position,
                                                         finding->position + at, room - at);
        for (uint32_t i = at; finding->grade && i < end; i++)
            finding->grade[i] = rk_grade_at(&span.segment->grades, finding->rule,
                                            span.within + finding->position[i] - span.position);
        for (; at < end; at++)
            finding->raw[at] = rk_score_at(span.scores, span.dtype, finding->position[at] - span.position);
    }
    finding->found[range.number] = at - first;
}

void rk_list_relevant(const struct rk_kernels *kernels, struct rk_pool *pool, enum rk_target_rule rule,
                      struct rk_list *list, uint32_t *position, float *raw, double *grade)
{
    struct relevant_search
        finding; /* no initializer: it would clear the counts of the largest number of threads */
    finding.kernels = kernels;
    finding.list = list;
    finding.position = position;
    finding.raw = raw;
    finding.rule = rule;
    finding.grade = grade;
    finding.ranges = rk_ranges_of(pool, list->items, TARGETS_MIN);
    for (unsigned i = 0; i < finding.ranges; i++)
        finding.count[i] = finding.found[i] = 0;
    finding.count[0] = list->p;
    if (finding.ranges > 1) { /* the position of a range's output depends on the ranges before it */
        rk_ranges_run(pool, list->items, TARGETS_MIN, count_some, &finding);
        divide_room(&finding, list->p);
    }
    rk_ranges_run(pool, list->items, TARGETS_MIN, find_some, &finding);
    list->p = 0;
    for (unsigned i = 0; i < finding.ranges; i++)
        list->p += finding.found[i];
    list->position = position;
    list->raw = raw;
}

/* Without a branch per item, because there is hardly ever a NaN. */
static bool block_has_nan(const float *score, const int8_t *targets, uint32_t items)
{
    unsigned found = 0;
    for (uint32_t i = 0; i < items; i++)
        found |= (unsigned)(score[i] != score[i]) & (unsigned)(!targets || targets[i] != -1);
    return found;
}

bool rk_list_has_nan(const struct rk_list *list)
{
    enum { BLOCK = 1024 };
    float score[BLOCK];
    for (size_t s = 0; s < list->segments; s++) {
        const struct rk_list_segment *segment = &list->segment[s];
        const char *scores = segment->scores;
        for (uint32_t i = 0, here; i < segment->items; i += here) {
            here = segment->items - i < BLOCK ? segment->items - i : BLOCK;
            rk_scores_widen(scores + i * rk_dtype_size(segment->dtype), segment->dtype, here, score);
            if (block_has_nan(score, segment->targets ? segment->targets + i : NULL, here))
                return true;
        }
    }
    return false;
}

uint32_t rk_list_first_nan(const struct rk_list *list)
{
    uint32_t base = 0;
    for (size_t s = 0; s < list->segments; s++) {
        const struct rk_list_segment *segment = &list->segment[s];
        for (uint32_t i = 0; i < segment->items; i++) {
            float score = rk_score_at(segment->scores, segment->dtype, i);
            if (score != score && (!segment->targets || segment->targets[i] != -1))
                return base + i;
        }
        base += segment->items;
    }
    return 0;
}

static void sift(struct rk_delta *d, size_t at, size_t n)
{
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && d[child + 1].position > d[child].position)
            child++;
        if (d[at].position >= d[child].position)
            return;
        struct rk_delta swap = d[at];
        d[at] = d[child];
        d[child] = swap;
    }
}

/* In place, because there is no spare memory here. Nothing to do for strategies that read items in
 * order. */
static void sort_deltas(struct rk_delta *d, size_t n)
{
    size_t sorted = 1;
    while (sorted < n && d[sorted - 1].position < d[sorted].position)
        sorted++;
    if (sorted >= n)
        return;
    for (size_t i = n / 2; i-- > 0;)
        sift(d, i, n);
    for (size_t end = n; end-- > 1;) {
        struct rk_delta swap = d[0];
        d[0] = d[end];
        d[end] = swap;
        sift(d, 0, end);
    }
}

/* Merges the relevant items' differences from the end, into the room behind the other entries. */
static void merge_sparse(const struct rk_list *list, const int32_t *delta, struct rk_delta *sparse,
                         size_t others, size_t total)
{
    sort_deltas(sparse, others);
    size_t at = total, left = others;
    for (uint32_t i = list->p; i-- > 0;) {
        if (delta[i] == 0 || list->position[i] >= list->differentiable)
            continue;
        while (left > 0 && sparse[left - 1].position > list->position[i])
            sparse[--at] = sparse[--left];
        sparse[--at] = (struct rk_delta){list->position[i], delta[i]};
    }
}

/* Shared by the threads; each has its own counts. */
struct adding {
    const struct rk_list *list;
    const int32_t *delta;
    const struct rk_gradient_writer *writer;
    struct count {
        uint64_t changed, abs_differentiable, abs_bank;
    } count[RK_RANGES_MAX];
};

static void add_some(void *arg, struct rk_range range)
{
    struct adding *adding = arg;
    const struct rk_list *list = adding->list;
    const struct rk_gradient_writer *writer = adding->writer;
    struct count count = {0};
    for (uint32_t i = range.from; i < range.to; i++) {
        int32_t delta = adding->delta[i];
        uint64_t size = (uint64_t)(delta < 0 ? -(int64_t)delta : (int64_t)delta);
        if (list->position[i] >= list->differentiable) {
            count.abs_bank += size;
            continue;
        }
        count.abs_differentiable += size;
        count.changed += delta != 0;
        if (writer->dense)
            writer->dense[list->position[i]] = rk_gradient_value(writer->w, writer->divisor, delta);
    }
    adding->count[range.number] = count;
}

void rk_list_add_relevant(const struct rk_list *list, const int32_t *delta, struct rk_pool *pool,
                          struct rk_gradient_writer *writer, struct rk_list_out *out)
{
    struct adding adding; /* no initializer: it would clear the counts of the largest number of threads */
    adding.list = list;
    adding.delta = delta;
    adding.writer = writer;
    rk_ranges_run(pool, list->p, RK_RANGE_MIN_FAR, add_some, &adding);
    const unsigned ranges = rk_ranges_of(pool, list->p, RK_RANGE_MIN_FAR);
    uint64_t changed = 0;
    for (unsigned i = 0; i < ranges; i++) {
        changed += adding.count[i].changed;
        writer->abs_differentiable += adding.count[i].abs_differentiable;
        writer->abs_bank += adding.count[i].abs_bank;
    }
    out->abs_differentiable = writer->abs_differentiable;
    out->abs_bank = writer->abs_bank;
    out->deltas = (size_t)(writer->changed + changed);
    if (!writer->dense && out->deltas <= writer->room)
        merge_sparse(list, delta, writer->sparse, (size_t)writer->changed, out->deltas);
    out->nonzero = out->deltas;
}
