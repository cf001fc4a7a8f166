/* SPDX-License-Identifier: Apache-2.0 */
/* Lists whose rows do not fit: similarities are computed in tiles that stay in the cache, counted
 * and dropped.
 *
 * A block of queries goes through these steps:
 *
 *   relevant   similarities of the relevant items, which the index finds, from a product of their
 *              rows alone
 *   sample     every 64th tile is counted, which gives windows (retrieval/list.h)
 *   stream     every tile is counted, and the items in the windows are kept
 *   finish     loss, differences of ranks, gradient
 *
 * Together these cost one product of all items, and a thirtieth of one. A list whose windows were
 * too narrow is computed from its complete row. */
#include <stdlib.h>
#include <string.h>

#include "base/schedule.h"
#include "retrieval/gradient.h"
#include "retrieval/list.h"
#include "retrieval/product.h"
#include "retrieval/retrieval_internal.h"

enum {
    BLOCK = 256,          /* queries of a block at most: the product is fastest with many */
    SAMPLE = 64,          /* one tile in 64 is counted first */
    GROUP = 12,           /* queries whose relevant items share a product: the step of the widest kernels */
    MOST_RELEVANT = 16384 /* a list with more is computed from its row */
};
#define STORE_BYTES ((size_t)24 << 20) /* kept items */
#define LISTS_BYTES ((size_t)12 << 20) /* memory of the lists of a block */
#define STRIP_BYTES ((size_t)8 << 20)  /* similarities within the batch */

struct list_stream {
    struct rk_retrieval *run;
    const struct rk_tile_kernels *tile;
    struct rk_stream_list *list; /* [lists] of the block, those with relevant items */
    size_t first, count, lists;  /* queries of the block */
    float *strip;                /* [count, in_batch] */
    float *similarity;           /* [count, RK_ITEM_TILE] */
    void *work;                  /* of the product */
    struct rk_list_work list_work;
    struct rk_store store;
    uint32_t *ignored;            /* [most_ignored] of a list */
    uint32_t *position;           /* [GROUP, most relevant items of a list] */
    float *queries;               /* [GROUP, dim] */
    struct rk_gradient *gradient; /* NULL: not wanted */
};

static bool streams(const struct rk_query *query)
{
    return query->match_counts.relevant > 0 && query->match_counts.relevant <= MOST_RELEVANT &&
           query->match_counts.ignored <= MOST_RELEVANT;
}

/* Memory of a list; 0 where it is computed from its row. */
static size_t list_bytes(const struct rk_query *query)
{
    const struct rk_match_counts *counts = &query->match_counts;
    return streams(query) ? rk_stream_list_bytes(counts->relevant, counts->relevant + counts->ignored) : 0;
}

/* Queries from `first` on whose lists fit a block. */
static size_t block_size(const struct rk_retrieval *run, size_t first)
{
    const bool measures = rk_exec_measures(run->exec); /* then lists are as small as possible: most fit */
    size_t bytes = 0, count = 0;
    while (first + count < run->items.n_queries && count < BLOCK) {
        bytes += measures ? 0 : list_bytes(&run->query[first + count]);
        if (count > 0 &&
            (bytes > LISTS_BYTES || (count + 1) * run->items.in_batch * sizeof(float) > STRIP_BYTES))
            break;
        count++;
    }
    return count;
}

/* Memory of the lists of a block together, and the relevant items of the largest. */
struct lists_size {
    size_t bytes;
    uint32_t most;
};

/* block_size() lets lists of LISTS_BYTES pass, or a single one of any size. */
static struct lists_size worst_lists(const struct list_stream *s)
{
    const size_t total = s->run->items.total;
    const uint32_t most = total < MOST_RELEVANT ? (uint32_t)total : MOST_RELEVANT;
    const size_t one = rk_stream_list_bytes(most, 2 * most), all = s->count * one;
    const size_t many = all < LISTS_BYTES ? all : LISTS_BYTES;
    return (struct lists_size){.bytes = one > many ? one : many, .most = most};
}

static struct lists_size size_lists(const struct list_stream *s)
{
    struct lists_size size = {.most = 1};
    if (rk_exec_measures(s->run->exec))
        return worst_lists(s);
    for (size_t q = s->first; q < s->first + s->count; q++) {
        const struct rk_query *query = &s->run->query[q];
        size.bytes += list_bytes(query);
        if (streams(query) && query->match_counts.relevant > size.most)
            size.most = query->match_counts.relevant;
    }
    return size;
}

/* Makes the lists of the block, in memory of lists_size.bytes. */
static void place_lists(struct list_stream *s, char *memory)
{
    for (size_t q = s->first; q < s->first + s->count; q++) {
        const struct rk_match_counts *match_counts = &s->run->query[q].match_counts;
        if (!streams(&s->run->query[q]))
            continue;
        struct rk_stream_list *list = &s->list[s->lists++];
        *list = (struct rk_stream_list){
            .q = q, .p = match_counts->relevant, .skips = match_counts->relevant + match_counts->ignored};
        rk_stream_list_place(list, memory);
        memory += list_bytes(&s->run->query[q]);
    }
}

/* Memory of a block; released by the caller. Nothing else takes any while the block is computed. */
static bool take_block(struct list_stream *s)
{
    const struct rk_retrieval *run = s->run;
    const struct rk_items *items = &run->items;
    struct rk_scratch *scratch = run->exec->scratch;
    const struct lists_size size = size_lists(s);
    s->lists = 0;
    s->list = rk_scratch_array(scratch, s->count, sizeof *s->list);
    s->strip = rk_scratch_array(scratch, s->count * items->in_batch, sizeof *s->strip);
    s->similarity = rk_scratch_array(scratch, s->count * RK_ITEM_TILE, sizeof *s->similarity);
    s->work = rk_scratch_take(scratch, rk_product_work(items->dim));
    void *lists = rk_scratch_take(scratch, size.bytes);
    void *list_work = rk_scratch_take(scratch, rk_list_work_bytes(run->kernels, size.most));
    s->store.links = STORE_BYTES / sizeof *s->store.link;
    s->store.link = rk_scratch_array(scratch, run->gradient ? s->store.links : 0, sizeof *s->store.link);
    s->ignored = rk_scratch_array(scratch, run->most_ignored, sizeof *s->ignored);
    s->position = rk_scratch_array(scratch, GROUP * (size_t)size.most, sizeof *s->position);
    s->queries = rk_scratch_array(scratch, GROUP * items->dim, sizeof *s->queries);
    void *gradient = rk_scratch_take(scratch, run->gradient ? rk_gradient_bytes(items->dim) : 0);
    if (!s->list || !s->strip || !s->similarity || !s->work || !lists || !list_work || !s->store.link ||
        !s->ignored || !s->position || !s->queries || !gradient)
        return false;
    if (rk_exec_measures(run->exec))
        return true;
    place_lists(s, lists);
    rk_list_work_place(&s->list_work, run->kernels, size.most, list_work);
    s->gradient = run->gradient ? rk_gradient_at(gradient, items, s->tile, run->sum) : NULL;
    return true;
}

/* relevant ∪ ignored, both ascending and without a common element. */
static void merge_skips(struct rk_stream_list *list, const uint32_t *ignored)
{
    uint32_t r = 0, i = 0;
    for (uint32_t k = 0; k < list->skips; k++) {
        bool take_relevant = r < list->p && (i == list->skips - list->p || list->relevant[r] < ignored[i]);
        list->skip[k] = take_relevant ? list->relevant[r++] : ignored[i++];
    }
}

static void find_items(struct list_stream *s)
{
    for (size_t l = 0; l < s->lists; l++) {
        rk_items_find(&s->run->items, s->list[l].q, s->list[l].relevant, s->ignored);
        merge_skips(&s->list[l], s->ignored);
    }
}

static int compare_positions(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Positions outside the batch that are relevant to any of the lists, ascending, each once. */
static size_t collect_positions(const struct list_stream *s, size_t first, size_t end)
{
    uint32_t *position = s->position;
    size_t found = 0, unique = 0;
    for (size_t l = first; l < end; l++) {
        for (uint32_t i = 0; i < s->list[l].p; i++) {
            if (s->list[l].relevant[i] >= s->run->items.in_batch)
                position[found++] = s->list[l].relevant[i];
        }
    }
    qsort(position, found, sizeof *position, compare_positions);
    for (size_t i = 0; i < found; i++) {
        if (unique == 0 || position[unique - 1] != position[i])
            position[unique++] = position[i];
    }
    return unique;
}

static void copy_row(const struct rk_items *items, size_t position, float *out)
{
    const struct rk_row_block *run = rk_items_row_block(items, position);
    rk_row_block_read(run, items->dim, position - run->start, out);
}

/* Similarities of the lists first..end-1 with the items at these positions; each list takes those
 * of its relevant items. */
static void product_of_positions(struct list_stream *s, size_t first, size_t end, const uint32_t *position,
                                 size_t n, uint32_t *next)
{
    const struct rk_items *items = &s->run->items;
    float *rows = s->work, *queries = s->queries;
    for (size_t i = 0; i < n; i++)
        copy_row(items, position[i], rows + i * items->dim);
    for (size_t l = first; l < end; l++)
        memcpy(queries + (l - first) * items->dim, items->rows + s->list[l].q * items->dim,
               items->dim * sizeof *queries);
    rk_product(end - first, n, items->dim, queries, rows, s->similarity, RK_ITEM_TILE, s->work);
    for (size_t l = first; l < end; l++) {
        struct rk_stream_list *list = &s->list[l];
        uint32_t *at = &next[l - first];
        for (size_t i = 0; i < n && *at < list->p; i++) {
            if (list->relevant[*at] == position[i])
                list->y[(*at)++] = s->similarity[(l - first) * RK_ITEM_TILE + i];
        }
    }
}

static void find_similarities(struct list_stream *s)
{
    for (size_t first = 0; first < s->lists; first += GROUP) {
        size_t end = first + GROUP < s->lists ? first + GROUP : s->lists;
        uint32_t next[GROUP] = {0};
        for (size_t l = first; l < end; l++) {
            struct rk_stream_list *list = &s->list[l];
            const float *row = s->strip + (list->q - s->first) * s->run->items.in_batch;
            for (; next[l - first] < list->p && list->relevant[next[l - first]] < s->run->items.in_batch;
                 next[l - first]++)
                list->y[next[l - first]] = row[list->relevant[next[l - first]]];
        }
        size_t n = collect_positions(s, first, end);
        for (size_t i = 0; i < n; i += RK_ITEM_TILE)
            product_of_positions(s, first, end, s->position + i, n - i < RK_ITEM_TILE ? n - i : RK_ITEM_TILE,
                                 next);
    }
}

/* Lists first..end-1 against one tile: similarities of the queries from that of `first` to that of
 * end-1. */
static void count_tile(struct list_stream *s, size_t first, size_t end, const struct rk_row_block *run,
                       size_t from, size_t n, struct rk_store *store)
{
    size_t q = s->list[first].q, queries = s->list[end - 1].q - q + 1;
    rk_product_row_block(&s->run->items, q, queries, run, from, n, s->similarity, RK_ITEM_TILE, s->work);
    for (size_t l = first; l < end; l++)
        rk_stream_list_count(s->tile, &s->list[l], s->similarity + (s->list[l].q - q) * RK_ITEM_TILE, n,
                             (uint32_t)(run->start + from), s->run->check_nan, store);
}

/* Counts tiles of all items but the batch: every tile, or every SAMPLE-th. Returns how many items
 * these had. */
static size_t count_tiles(struct list_stream *s, size_t first, size_t end, size_t step,
                          struct rk_store *store, struct rk_err *err)
{
    size_t seen = 0, tile = step / 2;
    for (size_t r = rk_items_after_batch(&s->run->items); r < s->run->items.row_blocks; r++) {
        const struct rk_row_block *run = &s->run->items.row_block[r];
        for (size_t from = 0; from < run->items; from += RK_ITEM_TILE, tile++) {
            if (tile % step != 0)
                continue;
            size_t left = run->items - from, n = left < RK_ITEM_TILE ? left : RK_ITEM_TILE;
            count_tile(s, first, end, run, from, n, store);
            seen += n;
            if (rk_exec_check(s->run->exec, err) != RANKD_OK)
                return seen;
        }
    }
    return seen;
}

static void count_batch(struct list_stream *s, size_t first, size_t end, struct rk_store *store)
{
    size_t in_batch = s->run->items.in_batch;
    for (size_t l = first; l < end; l++) {
        float *row = s->strip + (s->list[l].q - s->first) * in_batch;
        for (size_t from = 0; from < in_batch; from += RK_LINK)
            rk_stream_list_count(s->tile, &s->list[l], row + from,
                                 in_batch - from < RK_LINK ? in_batch - from : RK_LINK, (uint32_t)from,
                                 s->run->check_nan, store);
    }
}

static enum rankd_status refuse_nan(size_t q, struct rk_err *err)
{
    return rk_fail(
        err, RANKD_INVALID,
        "embeddings[%zu] has an inner product that is not a number; without normalize, lengths must be such "
        "that inner products fit FP32",
        q);
}

/* Thresholds, and windows from a sample. */
static enum rankd_status begin_lists(struct list_stream *s, struct rk_err *err)
{
    struct rk_retrieval *run = s->run;
    for (size_t l = 0; l < s->lists; l++) {
        if (rk_stream_list_begin(run, &s->list[l], &s->list_work) != RANKD_OK)
            return refuse_nan(s->list[l].q, err);
    }
    if (!run->gradient) {
        for (size_t l = 0; l < s->lists; l++)
            rk_stream_list_keep_nothing(&s->list[l]);
        return RANKD_OK;
    }
    size_t seen = count_tiles(s, 0, s->lists, SAMPLE, NULL, err);
    if (err->status != RANKD_OK)
        return err->status;
    for (size_t l = 0; l < s->lists; l++)
        rk_stream_list_window(run, &s->list[l], &s->list_work, seen, run->items.total);
    s->store.used = 0;
    (void)count_tiles(s, 0, s->lists, SAMPLE, &s->store, err);
    for (size_t l = 0; l < s->lists; l++)
        rk_stream_list_expect(&s->list[l], seen, run->items.total);
    return err->status;
}

/* Links that a list is expected to fill. */
static size_t links_of(const struct rk_stream_list *list)
{
    return 1 + list->expected / (RK_LINK - RK_LINK_STEP);
}

/* Adds a list to the gradient, relevant and kept items merged in the order of the ranked axis. */
static void add_gradient(struct list_stream *s, struct rk_stream_list *list)
{
    struct rk_gradient *gradient = s->gradient;
    uint32_t r = 0;
    rk_gradient_begin(gradient, list->q, s->run->query[list->q].w, list->divisor);
    for (const struct rk_link *link = list->first; link; link = link->next) {
        for (uint32_t i = 0; i < link->count; i++) {
            for (; r < list->p && list->relevant[r] < link->position[i]; r++)
                rk_gradient_put(gradient, list->relevant[r], list->delta[r]);
            rk_gradient_put(gradient, link->position[i], link->delta[i]);
        }
    }
    for (; r < list->p; r++)
        rk_gradient_put(gradient, list->relevant[r], list->delta[r]);
    rk_gradient_end(gradient);
}

/* Lists first..end-1, whose kept items fit the store together. */
static enum rankd_status stream_lists(struct list_stream *s, size_t first, size_t end, struct rk_err *err)
{
    struct rk_retrieval *run = s->run;
    struct rk_store *store = run->gradient ? &s->store : NULL;
    s->store.used = 0;
    count_batch(s, first, end, store);
    (void)count_tiles(s, first, end, 1, store, err);
    if (err->status != RANKD_OK)
        return err->status;
    for (size_t l = first; l < end; l++) {
        bool stalled;
        if (s->list[l].nan)
            return refuse_nan(s->list[l].q, err);
        rk_stream_list_finish(run, s->tile, &s->list[l], &s->list_work, &stalled);
        if (s->list[l].failed || !run->gradient)
            continue;
        run->query[s->list[l].q].stalled = stalled;
        run->stalled += stalled;
        run->jumped += s->list[l].jumped;
        add_gradient(s, &s->list[l]);
    }
    return RANKD_OK;
}

static enum rankd_status run_block(struct list_stream *s, struct rk_err *err)
{
    struct rk_retrieval *run = s->run;
    if (!take_block(s))
        return rk_fail_scratch(err, run->exec->scratch);
    if (rk_exec_measures(run->exec))
        return RANKD_OK;
    find_items(s);
    if (run->items.in_batch > 0)
        rk_product_batch(&run->items, s->first, s->count, s->strip, run->items.in_batch, s->work);
    find_similarities(s);
    if (begin_lists(s, err) != RANKD_OK)
        return err->status;
    for (size_t first = 0, end; first < s->lists; first = end) {
        size_t links = links_of(&s->list[first]);
        for (end = first + 1; end < s->lists && links + links_of(&s->list[end]) <= s->store.links; end++)
            links += links_of(&s->list[end]);
        if (stream_lists(s, first, end, err) != RANKD_OK)
            return err->status;
    }
    return RANKD_OK;
}

enum rankd_status rk_retrieval_stream(struct rk_retrieval *run, struct rk_err *err)
{
    struct list_stream s = {.run = run, .tile = run->kernels->tile};
    for (size_t first = 0; first < run->items.n_queries; first += s.count) {
        size_t mark = rk_scratch_mark(run->exec->scratch);
        s.first = first;
        s.count = block_size(run, first);
        enum rankd_status status = run_block(&s, err);
        for (size_t l = 0; l < s.lists; l++)
            run->query[s.list[l].q].done = !s.list[l].failed;
        rk_scratch_release(run->exec->scratch, mark);
        if (status != RANKD_OK)
            return status;
    }
    return rk_retrieval_rows(run, err);
}
