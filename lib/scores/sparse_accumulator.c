/* SPDX-License-Identifier: Apache-2.0 */
#include "scores/sparse_accumulator.h"

#include <string.h>

#include "request/out.h"

enum { FEW = 4096, GUESS = 16 /* the first guess: one item in 16 changes its rank */ };

static size_t guess(size_t items)
{
    size_t room = items / GUESS + FEW;
    return room < items ? room : items;
}

/* Replaces those of the previous try. */
static enum rankd_status take_entries(struct rk_sparse_accumulator *accumulator, size_t room,
                                      struct rk_err *err)
{
    rk_scratch_release(accumulator->scratch, accumulator->mark);
    accumulator->room = room;
    accumulator->entry = rk_scratch_array(accumulator->scratch, room, sizeof *accumulator->entry);
    return accumulator->entry ? RANKD_OK : rk_fail_scratch(err, accumulator->scratch);
}

enum rankd_status rk_sparse_accumulator_start(struct rk_sparse_accumulator *accumulator,
                                              struct rk_scratch *scratch, size_t elements,
                                              size_t longest_list, size_t terms, bool sum, struct rk_err *err)
{
    memset(accumulator, 0, sizeof *accumulator);
    accumulator->needed = true;
    accumulator->elements = elements;
    accumulator->longest_list = longest_list;
    accumulator->terms = terms;
    accumulator->scratch = scratch;
    accumulator->mark = rk_scratch_mark(scratch);
    accumulator->list_room = guess(longest_list);
    if (sum) {
        accumulator->sum = rk_scratch_array(scratch, elements, sizeof *accumulator->sum);
        return accumulator->sum ? RANKD_OK : rk_fail_scratch(err, scratch);
    }
    return take_entries(accumulator, guess(elements), err);
}

void rk_sparse_accumulator_reset(struct rk_sparse_accumulator *accumulator)
{
    const bool measures = rk_scratch_measures(accumulator->scratch);
    atomic_store_explicit(&accumulator->used, measures ? accumulator->terms * accumulator->elements : 0,
                          memory_order_relaxed);
    atomic_store_explicit(&accumulator->list_wants, measures ? accumulator->longest_list : 0,
                          memory_order_relaxed);
    if (accumulator->sum && !measures)
        memset(accumulator->sum, 0, accumulator->elements * sizeof *accumulator->sum);
}

static void raise_wants(struct rk_sparse_accumulator *accumulator, size_t wants)
{
    size_t seen = atomic_load_explicit(&accumulator->list_wants, memory_order_relaxed);
    while (seen < wants && !atomic_compare_exchange_weak(&accumulator->list_wants, &seen, wants))
        ;
}

void rk_sparse_accumulator_add(struct rk_sparse_accumulator *accumulator, const struct rk_lists *lists,
                               size_t list, double w, const struct rk_list_out *out)
{
    size_t at = atomic_fetch_add_explicit(&accumulator->used, out->deltas, memory_order_relaxed);
    raise_wants(accumulator, out->deltas);
    if (out->deltas > out->room ||
        (accumulator->entry && (at > accumulator->room || out->deltas > accumulator->room - at)))
        return;
    for (size_t i = 0; i < out->deltas; i++) {
        size_t index = rk_lists_index(lists, list, out->sparse[i].position);
        double part = (-w * (double)out->sparse[i].delta) / out->divisor;
        if (accumulator->sum)
            accumulator->sum[index] += part;
        else if (accumulator->entry)
            accumulator->entry[at + i] = (struct rk_sparse_entry){index, part};
    }
}

bool rk_sparse_accumulator_fits(struct rk_sparse_accumulator *accumulator, struct rk_err *err)
{
    size_t used = atomic_load_explicit(&accumulator->used, memory_order_relaxed);
    size_t wants = atomic_load_explicit(&accumulator->list_wants, memory_order_relaxed);
    bool fits = wants <= accumulator->list_room;
    if (!fits)
        accumulator->list_room = wants;
    if (accumulator->sum || used <= accumulator->room)
        return fits;
    (void)take_entries(accumulator, used, err);
    return false;
}

size_t rk_sparse_accumulator_dense(const struct rk_sparse_accumulator *accumulator, float *gradient)
{
    size_t nonzero = 0;
    for (size_t i = 0; i < accumulator->elements; i++) {
        float value = (float)accumulator->sum[i] + 0.0f;
        gradient[i] = value;
        nonzero += value != 0;
    }
    return nonzero;
}

/* End of the run of rising indexes that begins at `at`. */
static size_t run_end(const struct rk_sparse_entry *entry, size_t at, size_t n)
{
    if (at < n)
        at++;
    while (at < n && entry[at - 1].index <= entry[at].index)
        at++;
    return at;
}

static void merge(const struct rk_sparse_entry *from, size_t low, size_t middle, size_t high,
                  struct rk_sparse_entry *to)
{
    size_t left = low, right = middle;
    for (size_t k = low; k < high; k++) {
        bool from_left = right == high || (left < middle && from[left].index <= from[right].index);
        to[k] = from_left ? from[left++] : from[right++];
    }
}

/* Merges neighbouring runs until one is left. Lists by row leave rising runs, so there is little to
 * do. */
static struct rk_sparse_entry *sort(struct rk_sparse_entry *entry, size_t n, struct rk_sparse_entry *spare)
{
    while (run_end(entry, 0, n) < n) {
        for (size_t low = 0; low < n;) {
            size_t middle = run_end(entry, low, n), high = run_end(entry, middle, n);
            merge(entry, low, middle, high, spare);
            low = high;
        }
        struct rk_sparse_entry *swap = entry;
        entry = spare;
        spare = swap;
    }
    return entry;
}

/* Sorts the entries by index. */
static enum rankd_status order_entries(struct rk_sparse_accumulator *accumulator, size_t n,
                                       struct rk_err *err)
{
    const bool measures = rk_scratch_measures(accumulator->scratch);
    if (!measures && run_end(accumulator->entry, 0, n) == n)
        return RANKD_OK;
    struct rk_sparse_entry *spare = rk_scratch_array(accumulator->scratch, n, sizeof *spare);
    if (!spare)
        return rk_fail_scratch(err, accumulator->scratch);
    if (!measures)
        accumulator->entry = sort(accumulator->entry, n, spare);
    return RANKD_OK;
}

/* Adds entries of equal index, drops those that round to 0, and returns how many are left. */
static size_t merge_equal(const struct rk_sparse_accumulator *accumulator, size_t n)
{
    if (rk_scratch_measures(accumulator->scratch))
        return n < accumulator->elements ? n : accumulator->elements;
    size_t kept = 0;
    for (size_t i = 0; i < n; kept++) {
        struct rk_sparse_entry entry = accumulator->entry[i++];
        while (i < n && accumulator->entry[i].index == entry.index)
            entry.part += accumulator->entry[i++].part;
        accumulator->entry[kept] = entry;
        kept -= (float)entry.part == 0;
    }
    return kept;
}

enum rankd_status rk_sparse_accumulator_write(struct rk_sparse_accumulator *accumulator, unsigned outputs,
                                              struct rk_reply *reply, struct rk_err *err)
{
    bool indices = outputs & RK_OUT_BIT(RK_OUT_GRADIENT_INDICES);
    bool values = outputs & RK_OUT_BIT(RK_OUT_GRADIENT_VALUES);
    size_t n = atomic_load_explicit(&accumulator->used, memory_order_relaxed);
    if (order_entries(accumulator, n, err) != RANKD_OK)
        return err->status;
    n = merge_equal(accumulator, n);
    if (rk_out_sparse(reply, outputs, n, err) != RANKD_OK || rk_scratch_measures(accumulator->scratch))
        return err->status;
    int64_t *index = reply->out[RK_OUT_GRADIENT_INDICES].data;
    float *value = reply->out[RK_OUT_GRADIENT_VALUES].data;
    for (size_t i = 0; i < n; i++) {
        if (indices)
            index[i] = (int64_t)accumulator->entry[i].index;
        if (values)
            value[i] = (float)accumulator->entry[i].part;
    }
    reply->info.gradient_nonzero = n;
    return RANKD_OK;
}
