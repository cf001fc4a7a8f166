/* Pieces of a list's computation that both ways to do it share. */
#include <string.h>

#include "blackbox_internal.h"
#include "kernel/score.h"
#include "ranges.h"

void rk_list_relevant(const struct rk_kernels *kernels, struct rk_list *list, uint32_t *position, float *raw)
{
    uint32_t base = 0, found = 0;
    for (size_t s = 0; s < list->segments; s++) {
        const struct rk_segment *segment = &list->segment[s];
        uint32_t end = found;
        if (segment->targets)
            end += (uint32_t)kernels->positions(segment->targets, segment->items, base, position + found,
                                                list->p - found);
        for (; found < end; found++)
            raw[found] = rk_score_at(segment->scores, segment->dtype, position[found] - base);
        base += segment->items;
    }
    list->p = found;
    list->position = position;
    list->raw = raw;
}

/* Without a branch per item, as nearly always there is none. */
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
        const struct rk_segment *segment = &list->segment[s];
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
        const struct rk_segment *segment = &list->segment[s];
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

/* In place, because there is no memory to spare here; nothing to do for strategies that go through in order.
 */
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

/* Merges the relevant items' differences in from the end, into the room behind the others. */
static void merge_sparse(const struct rk_list *list, const int32_t *delta, struct rk_delta *sparse,
                         size_t others, size_t total)
{
    sort_deltas(sparse, others);
    size_t at = total, left = others;
    for (uint32_t i = list->p; i-- > 0;) {
        if (delta[i] == 0 || list->position[i] >= list->graded)
            continue;
        while (left > 0 && sparse[left - 1].position > list->position[i])
            sparse[--at] = sparse[--left];
        sparse[--at] = (struct rk_delta){list->position[i], delta[i]};
    }
}

/* What the threads share; each has counts of its own. */
struct adding {
    const struct rk_list *list;
    const int32_t *delta;
    const struct rk_sink *sink;
    struct count {
        uint64_t changed, abs_graded, abs_memory;
    } count[RK_RANGES_MAX];
};

static void add_some(void *arg, struct rk_range range)
{
    struct adding *adding = arg;
    const struct rk_list *list = adding->list;
    const struct rk_sink *sink = adding->sink;
    struct count count = {0};
    for (uint32_t i = range.from; i < range.to; i++) {
        int32_t delta = adding->delta[i];
        uint64_t size = (uint64_t)(delta < 0 ? -(int64_t)delta : (int64_t)delta);
        if (list->position[i] >= list->graded) {
            count.abs_memory += size;
            continue;
        }
        count.abs_graded += size;
        count.changed += delta != 0;
        if (sink->dense)
            sink->dense[list->position[i]] = rk_sink_value(sink->w, sink->lambda, delta);
    }
    adding->count[range.number] = count;
}

void rk_list_add_relevant(const struct rk_list *list, const int32_t *delta, struct rk_pool *pool,
                          struct rk_sink *sink, struct rk_list_out *out)
{
    struct adding adding; /* no initializer: it would clear the counts of all threads that there could be */
    adding.list = list;
    adding.delta = delta;
    adding.sink = sink;
    rk_ranges_run(pool, list->p, add_some, &adding);
    uint64_t changed = 0;
    for (unsigned i = 0; i < rk_ranges_of(pool, list->p); i++) {
        changed += adding.count[i].changed;
        sink->abs_graded += adding.count[i].abs_graded;
        sink->abs_memory += adding.count[i].abs_memory;
    }
    out->abs_graded = sink->abs_graded;
    out->abs_memory = sink->abs_memory;
    out->deltas = (size_t)(sink->changed + changed);
    if (!sink->dense && out->deltas <= sink->room)
        merge_sparse(list, delta, sink->sparse, (size_t)sink->changed, out->deltas);
    out->nonzero = out->deltas;
}
