/* SPDX-License-Identifier: Apache-2.0 */
/* Lists from complete rows of similarities: a block of queries against all items, then list by list
 * as with scores. */
#include <string.h>

#include "base/schedule.h"
#include "retrieval/gradient.h"
#include "retrieval/product.h"
#include "retrieval/retrieval_internal.h"

/* Ignored items are cut out of a list up to this number; more are marked. */
enum { SPLITS = 64 };

struct similarity_rows {
    struct rk_retrieval *run;
    size_t block;           /* queries of a block */
    float *similarity;      /* [block, total] */
    int8_t *targets;        /* [total], all 0 between lists */
    uint32_t *relevant;     /* [most_relevant + most_ignored] */
    uint32_t *ignored;      /* [most_ignored] */
    struct rk_delta *delta; /* [total] */
    struct rk_gradient *gradient;
    void *work;    /* of the product */
    void *scratch; /* of a list */
    size_t scratch_bytes;
};

static size_t block_rows(size_t n_queries, size_t total)
{
    size_t rows = RK_ROWS_BYTES / sizeof(float) / total;
    rows = rows ? rows : 1;
    return rows < n_queries ? rows : n_queries;
}

static enum rankd_status fill_rows(struct similarity_rows *rows, size_t first, size_t count,
                                   struct rk_err *err)
{
    struct rk_retrieval *run = rows->run;
    const struct rk_items *items = &run->items;
    if (items->in_batch > 0)
        rk_product_batch(items, first, count, rows->similarity, items->total, rows->work);
    for (size_t r = rk_items_after_batch(items); r < items->row_blocks; r++) {
        for (size_t from = 0; from < items->row_block[r].items; from += RK_ITEM_TILE) {
            size_t left = items->row_block[r].items - from, n = left < RK_ITEM_TILE ? left : RK_ITEM_TILE;
            float *out = rows->similarity + items->row_block[r].start + from;
            rk_product_row_block(items, first, count, &items->row_block[r], from, n, out, items->total,
                                 rows->work);
            if ((from / RK_ITEM_TILE) % 16 == 0 && rk_exec_check(run->exec, err) != RANKD_OK)
                return err->status;
        }
    }
    return RANKD_OK;
}

/* The grades of a query's items from position `from` on. */
static struct rk_grades grades_from(const struct rk_items *items, size_t q, uint32_t from)
{
    struct rk_grades grades = items->grades;
    if (grades.first)
        grades.first = (const char *)grades.first + (q * items->total + from) * grades.stride;
    return grades;
}

/* The list of one query: row and targets, without the items it ignores, or with these marked where
 * they are many. */
static struct rk_list list_of(const struct similarity_rows *rows, size_t q, const float *row,
                              struct rk_list_segment *segment)
{
    const struct rk_match_counts match_counts = rows->run->query[q].match_counts;
    uint32_t total = (uint32_t)rows->run->items.total, from = 0;
    struct rk_list list = {.segment = segment, .n = total - match_counts.ignored, .p = match_counts.relevant};
    size_t splits = match_counts.ignored <= SPLITS ? match_counts.ignored : 0;
    for (size_t i = 0; i <= splits; i++) {
        uint32_t end = i < splits ? rows->ignored[i] : total;
        if (end > from)
            segment[list.segments++] =
                (struct rk_list_segment){.scores = row + from,
                                         .targets = rows->targets + from,
                                         .items = end - from,
                                         .dtype = RK_FP32,
                                         .grades = grades_from(&rows->run->items, q, from)};
        from = end + 1;
    }
    list.items = list.differentiable = splits ? list.n : total;
    return list;
}

static void mark(const struct similarity_rows *rows, struct rk_match_counts match_counts, int8_t relevant,
                 int8_t ignored)
{
    for (uint32_t i = 0; i < match_counts.relevant; i++)
        rows->targets[rows->relevant[i]] = relevant;
    for (uint32_t i = 0; match_counts.ignored > SPLITS && i < match_counts.ignored; i++)
        rows->targets[rows->ignored[i]] = ignored;
}

/* From positions of the list to positions of the ranked axis: the cut ones come back. */
static void place(const struct similarity_rows *rows, struct rk_match_counts match_counts, size_t deltas)
{
    uint32_t skipped = 0, splits = match_counts.ignored <= SPLITS ? match_counts.ignored : 0;
    for (size_t i = 0; i < deltas; i++) {
        while (skipped < splits && rows->ignored[skipped] <= rows->delta[i].position + skipped)
            skipped++;
        rows->delta[i].position += skipped;
    }
}

static enum rankd_status run_list(struct similarity_rows *rows, size_t q, const float *row,
                                  struct rk_err *err)
{
    struct rk_retrieval *run = rows->run;
    struct rk_query *query = &run->query[q];
    struct rk_list_segment segment[SPLITS + 1];
    rk_items_find(&run->items, q, rows->relevant, rows->ignored);
    struct rk_list list = list_of(rows, q, row, segment);
    mark(rows, query->match_counts, 1, -1);
    struct rk_list_out out = {
        .gradient = run->gradient, .sparse = rows->delta, .room = run->gradient ? run->items.total : 0};
    struct rk_exec alone = *run->exec; /* a list here is short, or there are many */
    alone.pool = NULL;
    alone.copied = NULL; /* rows of similarities are the engine's own */
    enum rankd_status status =
        rk_list_run(&alone, run->kernels, &run->box, query->w, &list, rows->scratch, &out, err);
    mark(rows, query->match_counts, 0, 0);
    if (status == RANKD_INVALID)
        return rk_fail(
            err, RANKD_INVALID,
            "embeddings[%zu] has an inner product that is not a number; without normalize, lengths must be "
            "such that inner products fit FP32",
            q);
    if (status != RANKD_OK)
        return status;
    query->loss = out.loss;
    if (run->gradient) {
        query->stalled = out.stalled;
        run->stalled += out.stalled;
        run->jumped += out.jumped;
        place(rows, query->match_counts, out.deltas);
        rk_gradient_begin(rows->gradient, q, query->w, out.divisor);
        for (size_t i = 0; i < out.deltas; i++)
            rk_gradient_put(rows->gradient, rows->delta[i].position, rows->delta[i].delta);
        rk_gradient_end(rows->gradient);
    }
    return RANKD_OK;
}

static size_t list_scratch(const struct rk_retrieval *run)
{
    /* The strategy that `plan` chooses may need more for fewer relevant items, so both ends of the
     * range are measured. */
    size_t most = 0;
    uint32_t total = (uint32_t)run->items.total;
    const unsigned wants = (run->gradient ? RK_LIST_GRADIENT : RK_LIST_LOSS) |
                           (run->items.grades.first ? RK_LIST_GRADES : RK_LIST_LOSS);
    if (rk_exec_measures(run->exec))
        return rk_list_scratch_most(total, RK_FP32, 1, wants);
    for (size_t q = 0; q < run->items.n_queries; q++) {
        uint32_t p = run->query[q].match_counts.relevant;
        if (p == 0)
            continue;
        size_t without =
            rk_list_scratch(run->kernels, total - run->query[q].match_counts.ignored, p, RK_FP32, 1, wants);
        size_t whole = rk_list_scratch(run->kernels, total, p, RK_FP32, 1, wants);
        most = without > most ? without : most;
        most = whole > most ? whole : most;
    }
    return most;
}

static bool take_rows(struct similarity_rows *rows)
{
    struct rk_retrieval *run = rows->run;
    struct rk_scratch *scratch = run->exec->scratch;
    size_t total = run->items.total;
    rows->block = block_rows(run->items.n_queries, total);
    rows->similarity = rk_scratch_array(scratch, rows->block * total, sizeof *rows->similarity);
    rows->targets = rk_scratch_take(scratch, total);
    rows->relevant =
        rk_scratch_array(scratch, (size_t)run->most_relevant + run->most_ignored, sizeof *rows->relevant);
    rows->ignored = rk_scratch_array(scratch, run->most_ignored, sizeof *rows->ignored);
    rows->delta = rk_scratch_array(scratch, run->gradient ? total : 0, sizeof *rows->delta);
    void *gradient = rk_scratch_take(scratch, rk_gradient_bytes(run->items.dim));
    if (gradient && !rk_exec_measures(run->exec))
        rows->gradient = rk_gradient_at(gradient, &run->items, run->kernels->tile, run->sum);
    rows->work = rk_scratch_take(scratch, rk_product_work(run->items.dim));
    rows->scratch_bytes = list_scratch(run);
    rows->scratch = rk_scratch_take(scratch, rows->scratch_bytes);
    return rows->similarity && rows->targets && rows->relevant && rows->ignored && rows->delta && gradient &&
           rows->work && rows->scratch;
}

static bool open_list(const struct rk_query *query)
{
    return query->match_counts.relevant > 0 && !query->done;
}

/* The first query from `from` on that is not done; `n_queries` if there is none. */
static size_t next_open(const struct rk_retrieval *run, size_t from)
{
    while (from < run->items.n_queries && !open_list(&run->query[from]))
        from++;
    return from;
}

enum rankd_status rk_retrieval_rows(struct rk_retrieval *run, struct rk_err *err)
{
    struct similarity_rows rows = {.run = run};
    const bool measures = rk_exec_measures(run->exec);
    if (!measures && next_open(run, 0) == run->items.n_queries)
        return RANKD_OK;
    if (!take_rows(&rows))
        return rk_fail_scratch(err, run->exec->scratch);
    if (measures)
        return RANKD_OK;
    memset(rows.targets, 0, run->items.total);
    for (size_t first = next_open(run, 0), count; first < run->items.n_queries;
         first = next_open(run, first + count)) {
        count = rows.block < run->items.n_queries - first ? rows.block : run->items.n_queries - first;
        while (!open_list(&run->query[first + count - 1]))
            count--;
        if (fill_rows(&rows, first, count, err) != RANKD_OK)
            return err->status;
        for (size_t i = 0; i < count; i++) {
            if (!open_list(&run->query[first + i]))
                continue;
            enum rankd_status status =
                run_list(&rows, first + i, rows.similarity + i * run->items.total, err);
            if (status != RANKD_OK)
                return status;
        }
        if (rk_exec_check(run->exec, err) != RANKD_OK)
            return err->status;
    }
    return RANKD_OK;
}
