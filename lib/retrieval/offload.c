/* SPDX-License-Identifier: Apache-2.0 */
/* Sends a retrieval request's lists to a device. Relevant and ignored items are found here, by the
 * index; the device computes similarities, counts and the sums of the gradient. */
#include <stdlib.h>

#include "device/device.h"
#include "losses/loss.h"
#include "request/param.h"
#include "retrieval/retrieval_internal.h"

/* Similarities times dimensions from which the device is worth a request's fixed cost there.
 * Measured with tests/bench/gpu.py. */
#define LEAST_WORK ((double)(1 << 27))

struct lists {
    struct rk_device_query *query;
    uint32_t *row, *position;
    struct rk_device_row_block *row_block;
};

static bool open_list(const struct rk_query *query)
{
    return query->match_counts.relevant > 0 && !query->done;
}

static bool knows(const struct rk_device *device, const struct rk_request *request,
                  const struct rk_items *items)
{
    const uint32_t dtypes = device->plugin->knows[RK_DEVICE_RETRIEVAL].row_dtypes;
    bool known = rk_device_knows(device, request, RK_DEVICE_RETRIEVAL);
    for (size_t r = 0; r < items->row_blocks; r++)
        known = known && dtypes >> items->row_block[r].dtype & 1;
    return known;
}

static bool chosen(const struct rk_device *device, const struct rk_request *request,
                   const struct rk_retrieval *run)
{
    const struct rk_items *items = &run->items;
    const double work = (double)items->n_queries * (double)items->total * (double)items->dim;
    return !atomic_load_explicit(&device->lost, memory_order_relaxed) &&
           (device->always || work >= LEAST_WORK) && knows(device, request, items);
}

static void release(struct lists *lists)
{
    free(lists->query);
    free(lists->row);
    free(lists->position);
    free(lists->row_block);
}

/* Room for a query's positions: rk_items_find() first writes ignored items among the relevant
 * ones. */
static size_t room_of(const struct rk_query *query)
{
    return (size_t)query->match_counts.relevant + 2 * (size_t)query->match_counts.ignored;
}

static bool take_job(const struct rk_retrieval *run, struct lists *lists)
{
    size_t queries = 0, positions = 0;
    for (size_t q = 0; q < run->items.n_queries; q++) {
        if (!open_list(&run->query[q]))
            continue;
        queries++;
        positions += room_of(&run->query[q]);
    }
    lists->query = calloc(queries + 1, sizeof *lists->query);
    lists->row = calloc(queries + 1, sizeof *lists->row);
    lists->position = calloc(positions + 1, sizeof *lists->position);
    lists->row_block = calloc(run->items.row_blocks + 1, sizeof *lists->row_block);
    return lists->query && lists->row && lists->position && lists->row_block;
}

static size_t fill_queries(const struct rk_retrieval *run, struct lists *lists)
{
    size_t count = 0;
    uint32_t *at = lists->position;
    for (size_t q = 0; q < run->items.n_queries; q++) {
        const struct rk_query *query = &run->query[q];
        if (!open_list(query))
            continue;
        uint32_t *ignored = at + query->match_counts.relevant + query->match_counts.ignored;
        rk_items_find(&run->items, q, at, ignored);
        lists->row[count] = (uint32_t)q;
        lists->query[count++] = (struct rk_device_query){.relevant = at,
                                                         .ignored = ignored,
                                                         .relevants = query->match_counts.relevant,
                                                         .ignoreds = query->match_counts.ignored,
                                                         .w = query->w};
        at += room_of(query);
    }
    return count;
}

/* The bank's runs; the batch and the references go together. */
static size_t fill_row_blocks(const struct rk_items *items, struct lists *lists)
{
    size_t count = 0;
    for (size_t r = rk_items_after_batch(items) + (size_t)(items->refs > 0); r < items->row_blocks; r++) {
        const struct rk_row_block *run = &items->row_block[r];
        lists->row_block[count++] = (struct rk_device_row_block){.rows = run->rows,
                                                                 .dtype = (int)run->dtype,
                                                                 .items = run->items,
                                                                 .identity = run->identity,
                                                                 .first = run->first};
    }
    return count;
}

static void collect(struct rk_retrieval *run, const struct lists *lists, size_t queries)
{
    for (size_t i = 0; i < queries; i++) {
        const struct rk_device_query *from = &lists->query[i];
        struct rk_query *to = &run->query[lists->row[i]];
        if (!from->done)
            continue;
        to->loss = from->loss;
        to->done = true;
        to->stalled = run->gradient && from->stalled;
        run->stalled += to->stalled;
        run->jumped += run->gradient ? from->jumped : 0;
        run->on_device++;
    }
}

static void run_on_device(struct rk_device *device, struct rk_retrieval *run, struct lists *lists)
{
    const struct rk_items *items = &run->items;
    char why[RK_DEVICE_WHY];
    struct rk_device_retrieval_job job = {
        .own = items->rows,
        .n_queries = items->n_queries,
        .own_items = items->n_queries + items->refs,
        .total = items->total,
        .dim = items->dim,
        .row_block = lists->row_block,
        .row_blocks = fill_row_blocks(items, lists),
        .query = lists->query,
        .row = lists->row,
        .queries = fill_queries(run, lists),
        .box = rk_device_blackbox_of(&run->box),
        .check_nan = run->check_nan,
        .gradient = run->gradient,
        .sum = run->sum,
    };
    if (rk_device_note(device, device->plugin->retrieval(device->handle, &job, why)) == RK_DEVICE_DONE)
        collect(run, lists, job.queries);
}

void rk_device_retrieval(struct rk_device *device, const struct rk_request *request, struct rk_retrieval *run)
{
    struct lists lists = {0};
    if (!chosen(device, request, run))
        return;
    if (take_job(run, &lists))
        run_on_device(device, run, &lists);
    release(&lists);
}
