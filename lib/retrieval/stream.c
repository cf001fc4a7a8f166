/* Lists whose rows do not fit: similarities come in tiles that stay in cache, are counted and forgotten.
 *
 * A block of queries goes through these steps:
 *   relevant   similarities of the relevant items, found through the index, from a product of their rows
 * alone; sample     every so manieth tile is counted, which gives windows (retrieval/list.h); stream every
 * tile is counted, and what lies in the windows is kept; finish     loss, differences of ranks, gradient. One
 * product of everything, and a thirtieth of one. A list whose windows did not hold is computed from its
 * complete row. */
#include <stdlib.h>
#include <string.h>

#include "base/schedule.h"
#include "retrieval/gradient.h"
#include "retrieval/list.h"
#include "retrieval/product.h"
#include "retrieval/retrieval_internal.h"

enum {
    BLOCK = 256, /* queries of a block at most: the product is fastest with many */
    SAMPLE = 64, /* one tile of so many is looked at first */
    GROUP = 12,  /* queries whose relevant items are brought together: the step of the BLAS's kernels */
    MOST_RELEVANT = 16384 /* a list with more is computed from its row */
};
#define STORE_BYTES ((size_t)24 << 20) /* kept items */
#define LISTS_BYTES ((size_t)12 << 20) /* what the lists of a block keep */
#define STRIP_BYTES ((size_t)8 << 20)  /* similarities within the batch */

struct list_stream {
    struct rk_retrieval *run;
    const struct rk_tile_kernels *tile;
    struct rk_stream_list *list; /* [lists] of the block, those with relevant items */
    size_t first, count, lists;  /* queries of the block */
    float *strip;                /* [count, batch] */
    float *similarity;           /* [count, RK_ITEM_TILE] */
    void *work;                  /* of the product */
    struct rk_list_work list_work;
    struct rk_store store;
};

static bool streams(const struct rk_query *query)
{
    return query->match_counts.relevant > 0 && query->match_counts.relevant <= MOST_RELEVANT &&
           query->match_counts.ignored <= MOST_RELEVANT;
}

/* Queries from `first` on whose lists fit a block. */
static size_t block_size(const struct rk_retrieval *run, size_t first)
{
    size_t bytes = 0, count = 0;
    while (first + count < run->items.n_queries && count < BLOCK) {
        const struct rk_match_counts *match_counts = &run->query[first + count].match_counts;
        if (streams(&run->query[first + count]))
            bytes +=
                rk_stream_list_bytes(match_counts->relevant, match_counts->relevant + match_counts->ignored);
        if (count > 0 &&
            (bytes > LISTS_BYTES || (count + 1) * run->items.n_queries * sizeof(float) > STRIP_BYTES))
            break;
        count++;
    }
    return count;
}

/* Memory of a block; released by the caller. */
static bool take_block(struct list_stream *s)
{
    struct rk_scratch *scratch = s->run->exec->scratch;
    const struct rk_items *items = &s->run->items;
    uint32_t most = 1;
    s->lists = 0;
    s->list = rk_scratch_take(scratch, s->count * sizeof *s->list);
    s->strip = rk_scratch_take(scratch, s->count * items->n_queries * sizeof(float));
    s->similarity = rk_scratch_take(scratch, s->count * RK_ITEM_TILE * sizeof(float));
    s->work = rk_scratch_take(scratch, rk_product_work(items->dim));
    if (!s->list || !s->strip || !s->similarity || !s->work)
        return false;
    for (size_t q = s->first; q < s->first + s->count; q++) {
        const struct rk_match_counts *match_counts = &s->run->query[q].match_counts;
        if (!streams(&s->run->query[q]))
            continue;
        struct rk_stream_list *list = &s->list[s->lists++];
        *list = (struct rk_stream_list){
            .q = q, .p = match_counts->relevant, .skips = match_counts->relevant + match_counts->ignored};
        void *memory = rk_scratch_take(scratch, rk_stream_list_bytes(list->p, list->skips));
        if (!memory)
            return false;
        rk_stream_list_place(list, memory);
        most = list->p > most ? list->p : most;
    }
    void *memory = rk_scratch_take(scratch, rk_list_work_bytes(s->run->kernels, most));
    if (!memory)
        return false;
    rk_list_work_place(&s->list_work, s->run->kernels, most, memory);
    s->store.links = STORE_BYTES / sizeof(struct rk_link);
    s->store.link =
        s->run->gradient ? rk_scratch_take(scratch, s->store.links * sizeof(struct rk_link)) : NULL;
    return s->store.link || !s->run->gradient;
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

static bool find_items(struct list_stream *s)
{
    struct rk_scratch *scratch = s->run->exec->scratch;
    size_t mark = rk_scratch_mark(scratch);
    uint32_t *ignored = rk_scratch_take(scratch, s->run->most_ignored * sizeof *ignored);
    for (size_t l = 0; ignored && l < s->lists; l++) {
        rk_items_find(&s->run->items, s->list[l].q, s->list[l].relevant, ignored);
        merge_skips(&s->list[l], ignored);
    }
    rk_scratch_release(scratch, mark);
    return ignored != NULL;
}

static int compare_positions(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Positions outside the batch that are relevant to any of the lists, ascending, each once. */
static size_t collect_positions(const struct list_stream *s, size_t first, size_t end, uint32_t *position)
{
    size_t found = 0, unique = 0;
    for (size_t l = first; l < end; l++) {
        for (uint32_t i = 0; i < s->list[l].p; i++) {
            if (s->list[l].relevant[i] >= s->run->items.n_queries)
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

/* Similarities of the lists first..end-1 with the items at these positions, of which each list takes its own.
 */
static void product_of_positions(struct list_stream *s, size_t first, size_t end, const uint32_t *position,
                                 size_t n, uint32_t *next, float *queries)
{
    const struct rk_items *items = &s->run->items;
    float *rows = s->work;
    for (size_t i = 0; i < n; i++)
        copy_row(items, position[i], rows + i * items->dim);
    for (size_t l = first; l < end; l++)
        memcpy(queries + (l - first) * items->dim, items->rows + s->list[l].q * items->dim,
               items->dim * sizeof *queries);
    rk_product(end - first, n, items->dim, queries, rows, s->similarity, RK_ITEM_TILE);
    for (size_t l = first; l < end; l++) {
        struct rk_stream_list *list = &s->list[l];
        uint32_t *at = &next[l - first];
        for (size_t i = 0; i < n && *at < list->p; i++) {
            if (list->relevant[*at] == position[i])
                list->y[(*at)++] = s->similarity[(l - first) * RK_ITEM_TILE + i];
        }
    }
}

static bool find_similarities(struct list_stream *s)
{
    struct rk_scratch *scratch = s->run->exec->scratch;
    size_t mark = rk_scratch_mark(scratch), dim = s->run->items.dim;
    uint32_t *position = rk_scratch_take(scratch, GROUP * (size_t)s->list_work.p * sizeof *position);
    float *queries = rk_scratch_take(scratch, GROUP * dim * sizeof *queries);
    for (size_t first = 0; position && queries && first < s->lists; first += GROUP) {
        size_t end = first + GROUP < s->lists ? first + GROUP : s->lists;
        uint32_t next[GROUP] = {0};
        for (size_t l = first; l < end; l++) {
            struct rk_stream_list *list = &s->list[l];
            const float *row = s->strip + (list->q - s->first) * s->run->items.n_queries;
            for (; next[l - first] < list->p && list->relevant[next[l - first]] < s->run->items.n_queries;
                 next[l - first]++)
                list->y[next[l - first]] = row[list->relevant[next[l - first]]];
        }
        size_t n = collect_positions(s, first, end, position);
        for (size_t i = 0; i < n; i += RK_ITEM_TILE)
            product_of_positions(s, first, end, position + i, n - i < RK_ITEM_TILE ? n - i : RK_ITEM_TILE,
                                 next, queries);
    }
    rk_scratch_release(scratch, mark);
    return position && queries;
}

/* Lists first..end-1 against one tile: similarities of the queries from that of `first` to that of end-1. */
static void count_tile(struct list_stream *s, size_t first, size_t end, const struct rk_row_block *run,
                       size_t from, size_t n, struct rk_store *store)
{
    size_t q = s->list[first].q, queries = s->list[end - 1].q - q + 1;
    rk_product_row_block(&s->run->items, q, queries, run, from, n, s->similarity, RK_ITEM_TILE, s->work);
    for (size_t l = first; l < end; l++)
        rk_stream_list_count(s->tile, &s->list[l], s->similarity + (s->list[l].q - q) * RK_ITEM_TILE, n,
                             (uint32_t)(run->start + from), s->run->check_nan, store);
}

/* Counts tiles of everything but the batch: all of them, or each SAMPLE-th. Returns how many items these had.
 */
static size_t count_tiles(struct list_stream *s, size_t first, size_t end, size_t step,
                          struct rk_store *store, struct rk_err *err)
{
    size_t seen = 0, tile = step / 2;
    for (size_t r = 1; r < s->run->items.row_blocks; r++) {
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
    size_t n_queries = s->run->items.n_queries;
    for (size_t l = first; l < end; l++) {
        float *row = s->strip + (s->list[l].q - s->first) * n_queries;
        for (size_t from = 0; from < n_queries; from += RK_LINK)
            rk_stream_list_count(s->tile, &s->list[l], row + from,
                                 n_queries - from < RK_LINK ? n_queries - from : RK_LINK, (uint32_t)from,
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

/* Adds what a list gives to the gradient, relevant and kept items by turns as they stand on the ranked axis.
 */
static void add_gradient(struct list_stream *s, struct rk_stream_list *list, struct rk_gradient *gradient)
{
    uint32_t r = 0;
    rk_gradient_begin(gradient, list->q, s->run->query[list->q].w, list->lambda);
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
    struct rk_gradient *gradient = NULL;
    size_t mark = rk_scratch_mark(run->exec->scratch);
    if (run->gradient) {
        void *memory = rk_scratch_take(run->exec->scratch, rk_gradient_bytes(run->items.dim));
        if (!memory)
            return rk_fail_scratch(err, rk_gradient_bytes(run->items.dim));
        gradient = rk_gradient_at(memory, &run->items, s->tile, run->sum);
    }
    for (size_t l = first; l < end; l++) {
        bool stalled;
        if (s->list[l].nan)
            return refuse_nan(s->list[l].q, err);
        rk_stream_list_finish(run, s->tile, &s->list[l], &s->list_work, &stalled);
        if (s->list[l].failed || !run->gradient)
            continue;
        run->stalled += stalled;
        add_gradient(s, &s->list[l], gradient);
    }
    rk_scratch_release(run->exec->scratch, mark);
    return RANKD_OK;
}

static enum rankd_status run_block(struct list_stream *s, struct rk_err *err)
{
    struct rk_retrieval *run = s->run;
    if (!take_block(s) || !find_items(s))
        return rk_fail_scratch(err, LISTS_BYTES + STORE_BYTES + STRIP_BYTES);
    rk_product_batch(&run->items, s->first, s->count, s->strip, run->items.n_queries, s->work);
    if (!find_similarities(s))
        return rk_fail_scratch(err, GROUP * (size_t)s->list_work.p * sizeof(uint32_t));
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

size_t rk_retrieval_stream_cost(size_t n_queries, size_t total, size_t dim)
{
    size_t rows = rk_retrieval_rows_cost(n_queries, total, dim);
    if (!rk_retrieval_streams(n_queries, total))
        return rows;
    /* A list of the most relevant items may go over LISTS_BYTES by itself. */
    size_t list = rk_stream_list_bytes(MOST_RELEVANT, 2 * MOST_RELEVANT) + MOST_RELEVANT * (size_t)64;
    size_t stream = STORE_BYTES + LISTS_BYTES + STRIP_BYTES + n_queries * sizeof(float) + list +
                    rk_product_work(dim) + BLOCK * RK_ITEM_TILE * sizeof(float) +
                    GROUP * (MOST_RELEVANT * sizeof(uint32_t) + dim * 4) + rk_gradient_bytes(dim) +
                    ((size_t)1 << 20);
    return stream > rows ? stream : rows;
}
