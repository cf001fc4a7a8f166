#include "retrieval/items.h"

#include <string.h>

#include "bank/labels.h"
#include "kernels/normalize.h"
#include "kernels/score.h"
#include "request/request.h"

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
    if (!memory)
        return NULL;
    struct rk_labels *labels = rk_labels_at(memory, keys, items, rk_labels_seed());
    rk_labels_add(labels, items);
    return labels;
}

/* The run of the batch or of the references: places `at`.. of items->rows, labels, ids. */
static bool own_block(const struct rk_exec *exec, const struct rk_items *items, size_t at, size_t count,
                      bool has_ids, struct rk_row_block *run)
{
    *run = (struct rk_row_block){.start = at,
                                 .items = count,
                                 .rows = items->rows + at * items->dim,
                                 .dtype = RK_FP32,
                                 .labels = items->labels + at};
    run->by_label = index_of(exec, run->labels, count);
    if (has_ids) {
        run->ids = items->ids + at;
        run->by_id = index_of(exec, run->ids, count);
    }
    return run->by_label && (run->by_id || !has_ids);
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
    items->row_block = rk_scratch_take(exec->scratch, items->row_blocks * sizeof *items->row_block);
    items->rows = rk_scratch_take(exec->scratch, own * items->dim * sizeof *items->rows);
    items->norms = rk_scratch_take(exec->scratch, own * sizeof *items->norms);
    items->labels = rk_scratch_take(exec->scratch, own * sizeof *items->labels);
    if (has_ids)
        items->ids = rk_scratch_take(exec->scratch, own * sizeof *items->ids);
    return items->row_block && items->rows && items->norms && items->labels && (items->ids || !has_ids);
}

enum rankd_status rk_items_read(const struct rk_exec *exec, const struct rk_request *request, bool normalize,
                                struct rk_items *items, struct rk_err *err)
{
    const struct rk_tensor *in = request->in;
    const struct rk_bank_embeddings *bank =
        request->bank_snapshot ? &request->bank_snapshot->embeddings : NULL;
    bool refs = in[RK_IN_REF_EMBEDDINGS].data != NULL;
    *items =
        (struct rk_items){.n_queries = in[RK_IN_EMBEDDINGS].shape[0], .dim = in[RK_IN_EMBEDDINGS].shape[1]};
    items->refs = refs ? in[RK_IN_REF_EMBEDDINGS].shape[0] : 0;
    items->row_blocks = 1 + (size_t)(items->refs > 0) + (bank ? bank->chunks : 0);
    if (!take_items(exec, request, items))
        return no_room(err);

    size_t n_queries = items->n_queries;
    rk_exec_copied(exec, in[RK_IN_EMBEDDINGS].bytes);
    if (rk_embeddings_read("embeddings", &in[RK_IN_EMBEDDINGS], normalize, items->rows, items->norms, err) !=
        RANKD_OK)
        return err->status;
    read_keys(exec, &in[RK_IN_LABELS], items->labels);
    if (in[RK_IN_IDS].data)
        read_keys(exec, &in[RK_IN_IDS], items->ids);
    struct rk_row_block *run = items->row_block;
    if (!own_block(exec, items, 0, n_queries, in[RK_IN_IDS].data != NULL, run++))
        return no_room(err);
    if (items->refs > 0) {
        rk_exec_copied(exec, in[RK_IN_REF_EMBEDDINGS].bytes);
        if (rk_embeddings_read("ref_embeddings", &in[RK_IN_REF_EMBEDDINGS], normalize,
                               items->rows + n_queries * items->dim, items->norms + n_queries,
                               err) != RANKD_OK)
            return err->status;
        read_keys(exec, &in[RK_IN_REF_LABELS], items->labels + n_queries);
        if (in[RK_IN_REF_IDS].data)
            read_keys(exec, &in[RK_IN_REF_IDS], items->ids + n_queries);
        if (!own_block(exec, items, n_queries, items->refs, in[RK_IN_REF_IDS].data != NULL, run++))
            return no_room(err);
    }
    items->total = n_queries + items->refs;
    for (size_t c = 0; bank && c < bank->chunks; c++) {
        *run = chunk_block(bank, &bank->chunk[c], items->total);
        items->total += run++->items;
    }
    return RANKD_OK;
}

/* The newest of a run's own items with that key: the chunk may hold newer ones, and older ones. */
static uint32_t newest(const struct rk_row_block *run, const struct rk_labels *index, int64_t key)
{
    uint32_t at = rk_labels_last(index, key);
    while (at != RK_POSITION_END && at >= run->first + run->items)
        at = rk_labels_before(index, at);
    return at;
}

static bool within(const struct rk_row_block *run, uint32_t at)
{
    return at != RK_POSITION_END && at >= run->first;
}

static int64_t id_of(const struct rk_items *items, size_t q)
{
    return items->row_block[0].ids ? items->row_block[0].ids[q] : RK_LABEL_NONE;
}

struct rk_match_counts rk_items_count(const struct rk_items *items, size_t q)
{
    struct rk_match_counts match_counts = {0, 0};
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
    if (id == RK_LABEL_NONE) {
        match_counts.ignored = 1;
        match_counts.relevant -= label != RK_LABEL_NONE;
    }
    return match_counts;
}

/* Adds the positions of a run's items with that key behind the `found` ones that are there. The index gives
 * them from the newest, so they are turned round. */
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
    int64_t id = id_of(items, q);
    for (size_t r = 0; r < items->row_blocks; r++) {
        const struct rk_row_block *run = &items->row_block[r];
        equal = find_in_run(run, run->by_label, items->labels[q], relevant, equal);
        if (id != RK_LABEL_NONE && run->by_id)
            own = find_in_run(run, run->by_id, id, ignored, own);
    }
    if (id == RK_LABEL_NONE)
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
