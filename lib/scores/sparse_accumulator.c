#include "scores/sparse_accumulator.h"

#include <string.h>

#include "base/saturate.h"
#include "base/schedule.h"
#include "request/out.h"

enum { FEW = 4096, GUESS = 16 /* one item in so many changes its rank, in a first guess */ };

static size_t guess(size_t items)
{
    size_t room = items / GUESS + FEW;
    return room < items ? room : items;
}

enum rankd_status rk_gather_start(struct rk_gather *gather, struct rk_scratch *scratch, size_t elements,
                                  size_t longest_list, bool sum, struct rk_err *err)
{
    memset(gather, 0, sizeof *gather);
    gather->needed = true;
    gather->elements = elements;
    gather->list_room = guess(longest_list);
    if (sum) {
        gather->sum = rk_scratch_take(scratch, elements * sizeof *gather->sum);
        return gather->sum ? RANKD_OK : rk_fail_scratch(err, elements * sizeof *gather->sum);
    }
    gather->room = guess(elements);
    gather->entry = rk_scratch_take(scratch, gather->room * sizeof *gather->entry);
    return gather->entry ? RANKD_OK : rk_fail_scratch(err, gather->room * sizeof *gather->entry);
}

void rk_gather_reset(struct rk_gather *gather)
{
    atomic_store_explicit(&gather->used, 0, memory_order_relaxed);
    atomic_store_explicit(&gather->list_wants, 0, memory_order_relaxed);
    if (gather->sum)
        memset(gather->sum, 0, gather->elements * sizeof *gather->sum);
}

static void raise_wants(struct rk_gather *gather, size_t wants)
{
    size_t seen = atomic_load_explicit(&gather->list_wants, memory_order_relaxed);
    while (seen < wants && !atomic_compare_exchange_weak(&gather->list_wants, &seen, wants))
        ;
}

void rk_gather_add(struct rk_gather *gather, const struct rk_lists *lists, size_t list, double w,
                   const struct rk_list_out *out)
{
    size_t at = atomic_fetch_add_explicit(&gather->used, out->deltas, memory_order_relaxed);
    raise_wants(gather, out->deltas);
    if (out->deltas > out->room || (gather->entry && (at > gather->room || out->deltas > gather->room - at)))
        return;
    for (size_t i = 0; i < out->deltas; i++) {
        size_t index = rk_lists_index(lists, list, out->sparse[i].position);
        double part = (-w * (double)out->sparse[i].delta) / out->lambda;
        if (gather->sum)
            gather->sum[index] += part;
        else if (gather->entry)
            gather->entry[at + i] = (struct rk_gather_entry){index, part};
    }
}

bool rk_gather_fits(struct rk_gather *gather, struct rk_scratch *scratch, struct rk_err *err)
{
    size_t used = atomic_load_explicit(&gather->used, memory_order_relaxed);
    size_t wants = atomic_load_explicit(&gather->list_wants, memory_order_relaxed);
    bool fits = wants <= gather->list_room;
    if (!fits)
        gather->list_room = wants;
    if (gather->sum || used <= gather->room)
        return fits;
    gather->room = used;
    gather->entry = rk_scratch_take(scratch, used * sizeof *gather->entry);
    if (!gather->entry)
        (void)rk_fail_scratch(err, used * sizeof *gather->entry);
    return false;
}

size_t rk_gather_dense(const struct rk_gather *gather, float *gradient)
{
    size_t nonzero = 0;
    for (size_t i = 0; i < gather->elements; i++) {
        float value = (float)gather->sum[i] + 0.0f;
        gradient[i] = value;
        nonzero += value != 0;
    }
    return nonzero;
}

/* End of the run of rising indexes that begins at `at`. */
static size_t run_end(const struct rk_gather_entry *entry, size_t at, size_t n)
{
    if (at < n)
        at++;
    while (at < n && entry[at - 1].index <= entry[at].index)
        at++;
    return at;
}

static void merge(const struct rk_gather_entry *from, size_t low, size_t middle, size_t high,
                  struct rk_gather_entry *to)
{
    size_t left = low, right = middle;
    for (size_t k = low; k < high; k++) {
        bool from_left = right == high || (left < middle && from[left].index <= from[right].index);
        to[k] = from_left ? from[left++] : from[right++];
    }
}

/* Merges neighbouring runs until one is left. Lists by row leave rising runs, so there is little to do. */
static struct rk_gather_entry *sort(struct rk_gather_entry *entry, size_t n, struct rk_gather_entry *spare)
{
    while (run_end(entry, 0, n) < n) {
        for (size_t low = 0; low < n;) {
            size_t middle = run_end(entry, low, n), high = run_end(entry, middle, n);
            merge(entry, low, middle, high, spare);
            low = high;
        }
        struct rk_gather_entry *swap = entry;
        entry = spare;
        spare = swap;
    }
    return entry;
}

static size_t settle(struct rk_gather *gather, struct rk_scratch *scratch, struct rk_err *err)
{
    size_t n = atomic_load_explicit(&gather->used, memory_order_relaxed);
    if (run_end(gather->entry, 0, n) < n) {
        struct rk_gather_entry *spare = rk_scratch_take(scratch, n * sizeof *spare);
        if (!spare) {
            (void)rk_fail_scratch(err, n * sizeof *spare);
            return 0;
        }
        gather->entry = sort(gather->entry, n, spare);
    }
    size_t kept = 0;
    for (size_t i = 0; i < n; kept++) {
        struct rk_gather_entry entry = gather->entry[i++];
        while (i < n && gather->entry[i].index == entry.index)
            entry.part += gather->entry[i++].part;
        gather->entry[kept] = entry;
        kept -= (float)entry.part == 0;
    }
    return kept;
}

enum rankd_status rk_gather_write(struct rk_gather *gather, struct rk_scratch *scratch, unsigned outputs,
                                  struct rk_reply *reply, struct rk_err *err)
{
    bool indices = outputs & RK_OUT_BIT(RK_OUT_GRADIENT_INDICES);
    bool values = outputs & RK_OUT_BIT(RK_OUT_GRADIENT_VALUES);
    size_t n = settle(gather, scratch, err);
    enum rankd_status status = err->status;
    if (status == RANKD_OK && indices)
        status = rk_out_vector(reply, RK_OUT_GRADIENT_INDICES, RK_INT64, n, err);
    if (status == RANKD_OK && values)
        status = rk_out_vector(reply, RK_OUT_GRADIENT_VALUES, RK_FP32, n, err);
    if (status != RANKD_OK)
        return status;
    int64_t *index = reply->out[RK_OUT_GRADIENT_INDICES].data;
    float *value = reply->out[RK_OUT_GRADIENT_VALUES].data;
    for (size_t i = 0; i < n; i++) {
        if (indices)
            index[i] = (int64_t)gather->entry[i].index;
        if (values)
            value[i] = (float)gather->entry[i].part;
    }
    reply->info.gradient_nonzero = n;
    return RANKD_OK;
}

size_t rk_gather_cost(size_t elements, size_t longest_list, bool sum, bool two_parts)
{
    size_t list = rk_cost_times(longest_list, sizeof(struct rk_delta));
    if (sum)
        return rk_cost_add(list, rk_cost_times(elements, sizeof(double)));
    /* The first guess, the second try, and the other side of the merge. */
    size_t entries = rk_cost_times(two_parts ? rk_cost_times(elements, 2) : elements, 2);
    entries = rk_cost_add(entries, guess(elements));
    return rk_cost_add(list, rk_cost_times(entries, sizeof(struct rk_gather_entry)));
}
