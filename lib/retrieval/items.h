/* SPDX-License-Identifier: Apache-2.0 */
/* The ranked axis of a retrieval request: the batch (unless the gallery is the references), then
 * the references, then the bank's items, oldest first, as blocks of consecutive rows; and which of
 * them a query finds relevant or must ignore. */
#ifndef RK_RETRIEVAL_ITEMS_H
#define RK_RETRIEVAL_ITEMS_H

#include "base/err.h"
#include "base/exec.h"
#include "request/bank_view.h"
#include "request/target.h"

/* A block of items that are consecutive in memory. Positions on the ranked axis are
 * start..start+items-1. */
struct rk_row_block {
    size_t start, items;
    const void *rows; /* [items, dim] */
    enum rk_dtype dtype;
    const int64_t *labels;            /* [items]; NULL where there is a relevance */
    const int64_t *ids;               /* [items], or NULL: none has one */
    const struct rk_labels *by_label; /* its positions begin at `first`: index position = first + place in the
                                         run; NULL where `labels` is */
    const struct rk_labels *by_id;    /* NULL where ids is, or where there is a relevance */
    size_t first;
    uint64_t identity; /* as struct rk_bank_chunk has it; 0: none */
};

struct rk_items {
    size_t n_queries, refs, total, dim;
    size_t in_batch; /* items of the batch on the axis: n_queries, or 0 */
    size_t row_blocks;
    struct rk_row_block
        *row_block;           /* the batch, if it is on the axis; the references, if any; the bank's chunks */
    float *rows;              /* [batch + refs, dim]: embeddings as ranked */
    double *norms;            /* [batch + refs] */
    int64_t *labels;          /* [batch + refs]; NULL where there is a relevance */
    int64_t *ids;             /* [batch + refs]; NULL: neither has ids */
    const int64_t *query_ids; /* [batch]; NULL: no query has one */
    int8_t *relevance;        /* [batch, total]: 1, 0, or -1 for what a query ignores; NULL: labels say it */
    struct rk_grades grades;  /* of the relevance, row after row; none where relevance is binary */
};

/* Items of the axis that belong to the request: positions below it are not the bank's. */
static inline size_t rk_items_own(const struct rk_items *items)
{
    return items->in_batch + items->refs;
}

/* The row, in rows, norms and the sums of the gradient, of an own item's position. */
static inline size_t rk_items_own_row(const struct rk_items *items, size_t position)
{
    return position + items->n_queries - items->in_batch;
}

/* The first row block that is not the batch. */
static inline size_t rk_items_after_batch(const struct rk_items *items)
{
    return items->in_batch > 0;
}

struct rk_request;

/* Reads and checks what a request says about its items. `normalize`: the setting for this request.
 * Memory is the scratch's. RANKD_INVALID (names field and position), RANKD_OVERLOADED. Measures:
 * only the sizes in *items are set. */
enum rankd_status rk_items_read(const struct rk_exec *exec, const struct rk_request *request, bool normalize,
                                struct rk_items *items, struct rk_err *err)
    __attribute__((warn_unused_result));

struct rk_match_counts {
    uint32_t relevant; /* have the query's label, or the target 1; and are not ignored */
    uint32_t ignored;  /* the query itself, items with its id, and those with the target -1 */
};

/* How many items query q (an item of the batch) finds relevant and ignores. */
struct rk_match_counts rk_items_count(const struct rk_items *items, size_t q);

/* Their positions, each ascending: `ignored` has room for match_counts.ignored of rk_items_count(),
 * `relevant` for match_counts.relevant + match_counts.ignored of them. */
void rk_items_find(const struct rk_items *items, size_t q, uint32_t *relevant, uint32_t *ignored);

/* Item `place` of a run as FP32, to `out` [dim]. */
void rk_row_block_read(const struct rk_row_block *run, size_t dim, size_t place, float *out);

/* The block of a position. */
const struct rk_row_block *rk_items_row_block(const struct rk_items *items, size_t position);

#endif
