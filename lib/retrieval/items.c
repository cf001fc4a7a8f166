/* SPDX-License-Identifier: Apache-2.0 */
#include "retrieval/items.h"

#include <string.h>

#include "bank/labels.h"
#include "kernels/normalize.h"
#include "kernels/score.h"
#include "request/appended.h"
#include "retrieval/relevance.h"

static enum rankd_status no_room(struct rk_err *err)
{
    return rk_fail(err, RANKD_OVERLOADED,
                   "no scratch memory for the embeddings now; try again after a while, or send "
                   "fewer of them");
}

/* Labels and ids come as INT32 or INT64, at any alignment. */
static void read_keys(const struct rk_exec *exec, const struct rk_tensor *in, int64_t *out)
{
    rk_exec_copied(exec, in->bytes);
    if (in->dtype == RK_INT64) {
        memcpy(out, in->data, in->shape[0] * sizeof *out);
        return;
    }
    for (size_t i = 0; i < in->shape[0]; i++) {
        int32_t key;
        memcpy(&key, (const char *)in->data + i * sizeof key, sizeof key);
        out[i] = key;
    }
}

static const struct rk_labels *index_of(const struct rk_exec *exec, const int64_t *keys, size_t items)
{
    void *memory = rk_scratch_take(exec->scratch, rk_labels_bytes(items));
    if (!memory || rk_exec_measures(exec))
        return memory;
    struct rk_labels *labels = rk_labels_at(memory, keys, items, rk_labels_seed());
    rk_labels_add(labels, items);
    return labels;
}

/* The block of the batch or of the references, appended to the axis: `count` items from place `at`
 * of items->rows, labels, ids on. With a relevance there is no index. */
static bool add_own_block(const struct rk_exec *exec, const struct rk_request *request,
                          struct rk_items *items, size_t at, size_t count, bool has_ids,
                          struct rk_row_block *out)
{
    const bool indexed = !request->in[RK_IN_RELEVANCE].data;
    struct rk_row_block block = {
        .start = items->total, .items = count, .rows = items->rows + at * items->dim, .dtype = RK_FP32};
    items->total += count;
    if (has_ids)
        block.ids = items->ids + at;
    if (indexed) {
        block.labels = items->labels + at;
        block.by_label = index_of(exec, block.labels, count);
        block.by_id = has_ids ? index_of(exec, block.ids, count) : NULL;
    }
    if (!rk_exec_measures(exec))
        *out = block;
    return !indexed || (block.by_label && (block.by_id || !has_ids));
}

static struct rk_row_block chunk_block(const struct rk_bank_embeddings *bank,
                                       const struct rk_bank_chunk *chunk, size_t start)
{
    size_t row = bank->dim * rk_dtype_size(bank->dtype);
    return (struct rk_row_block){.start = start,
                                 .items = chunk->items,
                                 .rows = (const char *)chunk->embeddings + chunk->first * row,
                                 .dtype = bank->dtype,
                                 .labels = chunk->labels + chunk->first,
                                 .ids = chunk->ids ? chunk->ids + chunk->first : NULL,
                                 .by_label = chunk->by_label,
                                 .by_id = chunk->ids ? chunk->by_id : NULL,
                                 .first = chunk->first,
                                 .identity = chunk->identity};
}

static bool take_items(const struct rk_exec *exec, const struct rk_request *request, struct rk_items *items)
{
    size_t own = items->n_queries + items->refs;
    bool has_ids = request->in[RK_IN_IDS].data || request->in[RK_IN_REF_IDS].data;
    bool has_labels = !request->in[RK_IN_RELEVANCE].data;
    items->row_block = rk_scratch_array(exec->scratch, items->row_blocks, sizeof *items->row_block);
    items->rows = rk_scratch_array(exec->scratch, own * items->dim, sizeof *items->rows);
    items->norms = rk_scratch_array(exec->scratch, own, sizeof *items->norms);
    if (has_labels)
        items->labels = rk_scratch_array(exec->scratch, own, sizeof *items->labels);
    if (has_ids)
        items->ids = rk_scratch_array(exec->scratch, own, sizeof *items->ids);
    if (request->in[RK_IN_IDS].data)
        items->query_ids = items->ids;
    return items->row_block && items->rows && items->norms && (items->labels || !has_labels) &&
           (items->ids || !has_ids);
}

/* Embeddings, labels and ids of the batch or of the references: places `at`.. of rows, norms,
 * labels, ids. */
static enum rankd_status read_own(const struct rk_exec *exec, const struct rk_request *request,
                                  const enum rk_input own[3], bool normalize, size_t at,
                                  const struct rk_items *items, struct rk_err *err)
{
    const struct rk_tensor *rows = &request->in[own[0]], *labels = &request->in[own[1]],
                           *ids = &request->in[own[2]];
    rk_exec_copied(exec, rows->bytes);
    if (rk_embeddings_read(rk_input_rows[own[0]].name, rows, normalize, items->rows + at * items->dim,
                           items->norms + at, err) != RANKD_OK)
        return err->status;
    if (items->labels)
        read_keys(exec, labels, items->labels + at);
    if (ids->data)
        read_keys(exec, ids, items->ids + at);
    return RANKD_OK;
}

static const enum rk_input batch_inputs[] = {RK_IN_EMBEDDINGS, RK_IN_LABELS, RK_IN_IDS};
static const enum rk_input ref_inputs[] = {RK_IN_REF_EMBEDDINGS, RK_IN_REF_LABELS, RK_IN_REF_IDS};

static enum rankd_status read_values(const struct rk_exec *exec, const struct rk_request *request,
                                     bool normalize, const struct rk_items *items, struct rk_err *err)
{
    enum rankd_status status = read_own(exec, request, batch_inputs, normalize, 0, items, err);
    if (status == RANKD_OK && items->refs > 0)
        status = read_own(exec, request, ref_inputs, normalize, items->n_queries, items, err);
    return status;
}

/* The blocks of the request's own items. */
static bool add_own_blocks(const struct rk_exec *exec, const struct rk_request *request,
                           struct rk_items *items)
{
    const bool ids = request->in[RK_IN_IDS].data, ref_ids = request->in[RK_IN_REF_IDS].data;
    struct rk_row_block *block = items->row_block;
    bool done = true;
    if (items->in_batch > 0)
        done = add_own_block(exec, request, items, 0, items->in_batch, ids, block++);
    if (done && items->refs > 0)
        done = add_own_block(exec, request, items, items->n_queries, items->refs, ref_ids, block);
    return done;
}

static void add_chunks(const struct rk_bank_embeddings *bank, struct rk_items *items)
{
    struct rk_row_block *block = items->row_block + rk_items_after_batch(items) + (items->refs > 0);
    for (size_t c = 0; c < bank->chunks; c++) {
        *block = chunk_block(bank, &bank->chunk[c], items->total);
        items->total += block++->items;
    }
}

static struct rk_items items_of(const struct rk_request *request)
{
    const struct rk_tensor *in = request->in;
    struct rk_items items = {.n_queries = in[RK_IN_EMBEDDINGS].shape[0],
                             .dim = in[RK_IN_EMBEDDINGS].shape[1]};
    items.in_batch = rk_request_ranks_batch(request) ? items.n_queries : 0;
    items.refs = in[RK_IN_REF_EMBEDDINGS].data ? in[RK_IN_REF_EMBEDDINGS].shape[0] : 0;
    items.row_blocks = rk_items_after_batch(&items) + (size_t)(items.refs > 0) +
                       (request->bank_snapshot ? request->bank_snapshot->embeddings.chunks : 0);
    return items;
}

enum rankd_status rk_items_read(const struct rk_exec *exec, const struct rk_request *request, bool normalize,
                                struct rk_items *items, struct rk_err *err)
{
    const struct rk_bank_snapshot *bank = request->bank_snapshot;
    *items = items_of(request);
    if (!take_items(exec, request, items))
        return no_room(err);
    if (!rk_exec_measures(exec) && read_values(exec, request, normalize, items, err) != RANKD_OK)
        return err->status;
    if (!add_own_blocks(exec, request, items))
        return no_room(err);
    if (request->in[RK_IN_RELEVANCE].data)
        return rk_relevance_read(exec, request, items, err);
    if (bank && rk_exec_measures(exec))
        items->total += bank->items;
    else if (bank)
        add_chunks(&bank->embeddings, items);
    return RANKD_OK;
}

/* The newest of a run's own items with that key: the chunk may hold newer ones, and older ones. */
static uint32_t newest(const struct rk_row_block *run, const struct rk_labels *index, int64_t key)
{
    return rk_labels_within(index, key, run->first, run->first + run->items);
}

static bool within(const struct rk_row_block *run, uint32_t at)
{
    return at != RK_POSITION_END && at >= run->first;
}

static int64_t id_of(const struct rk_items *items, size_t q)
{
    return items->query_ids ? items->query_ids[q] : RK_LABEL_NONE;
}

struct rk_match_counts rk_items_count(const struct rk_items *items, size_t q)
{
    struct rk_match_counts match_counts = {0, 0};
    if (items->relevance)
        return rk_relevance_count(items, q);
    int64_t label = items->labels[q], id = id_of(items, q);
    for (size_t r = 0; r < items->row_blocks; r++) {
        const struct rk_row_block *run = &items->row_block[r];
        uint32_t at = newest(run, run->by_label, label);
        for (; within(run, at); at = rk_labels_before(run->by_label, at))
            match_counts.relevant++;
        if (id == RK_LABEL_NONE || !run->by_id)
            continue;
        for (at = newest(run, run->by_id, id); within(run, at); at = rk_labels_before(run->by_id, at)) {
            match_counts.ignored++;
            match_counts.relevant -= label != RK_LABEL_NONE && run->labels[at - run->first] == label;
        }
    }
    if (id == RK_LABEL_NONE &&
        items->in_batch > 0) { /* the query itself has no id by which it could be found */
        match_counts.ignored = 1;
        match_counts.relevant -= label != RK_LABEL_NONE;
    }
    return match_counts;
}

/* Appends the positions of a run's items with that key to the `found` ones. The index lists the
 * newest first, so they are reversed. */
static size_t find_in_run(const struct rk_row_block *run, const struct rk_labels *index, int64_t key,
                          uint32_t *position, size_t found)
{
    size_t begin = found;
    for (uint32_t at = newest(run, index, key); within(run, at); at = rk_labels_before(index, at))
        position[found++] = (uint32_t)(run->start + (at - run->first));
    for (size_t i = begin, j = found; i + 1 < j; i++) {
        uint32_t swap = position[--j];
        position[j] = position[i];
        position[i] = swap;
    }
    return found;
}

void rk_items_find(const struct rk_items *items, size_t q, uint32_t *relevant, uint32_t *ignored)
{
    size_t equal = 0, own = 0, kept = 0;
    if (items->relevance) {
        rk_relevance_find(items, q, relevant, ignored);
        return;
    }
    int64_t id = id_of(items, q);
    for (size_t r = 0; r < items->row_blocks; r++) {
        const struct rk_row_block *run = &items->row_block[r];
        equal = find_in_run(run, run->by_label, items->labels[q], relevant, equal);
        if (id != RK_LABEL_NONE && run->by_id)
            own = find_in_run(run, run->by_id, id, ignored, own);
    }
    if (id == RK_LABEL_NONE && items->in_batch > 0)
        ignored[own++] = (uint32_t)q;
    for (size_t i = 0, skip = 0; i < equal; i++) {
        while (skip < own && ignored[skip] < relevant[i])
            skip++;
        if (skip == own || ignored[skip] != relevant[i])
            relevant[kept++] = relevant[i];
    }
}

void rk_row_block_read(const struct rk_row_block *run, size_t dim, size_t place, float *out)
{
    const char *row = (const char *)run->rows + place * dim * rk_dtype_size(run->dtype);
    if (run->dtype == RK_FP32)
        memcpy(out, row, dim * sizeof *out);
    else
        rk_scores_widen(row, run->dtype, dim, out);
}

const struct rk_row_block *rk_items_row_block(const struct rk_items *items, size_t position)
{
    size_t low = 0, high = items->row_blocks;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (items->row_block[middle].start <= position)
            low = middle;
        else
            high = middle;
    }
    return &items->row_block[low];
}
