/* SPDX-License-Identifier: Apache-2.0 */
/* Banks of scores: scores [lists, items] FP32, as sent, before the margin; targets [lists, items]
 * int8. */
#include "bank/kind.h"
#include "base/transpose.h"
#include "kernels/score.h"
#include "request/target.h"

enum { SCORES, TARGETS, COLUMNS };

static size_t score_columns(const struct rk_bank_shape *shape, struct rk_bank_column column[RK_BANK_COLUMNS])
{
    column[SCORES] = (struct rk_bank_column){.bytes = sizeof(float), .lists = shape->lists};
    column[TARGETS] = (struct rk_bank_column){.bytes = sizeof(int8_t), .lists = shape->lists};
    return COLUMNS;
}

/* No item that a list can't have: a target of another value, or a score that is not a number and
 * counts. */
static bool is_sound(const float *scores, const int8_t *targets, size_t n)
{
    unsigned bad = 0;
    for (size_t i = 0; i < n; i++)
        bad |= (targets[i] == RK_TARGET_BAD) | ((scores[i] != scores[i]) & (targets[i] != -1));
    return !bad;
}

static enum rankd_status refuse(const float *scores, const int8_t *targets, size_t first, struct rk_err *err)
{
    size_t i = 0;
    while (is_sound(scores + i, targets + i, 1))
        i++;
    if (targets[i] == RK_TARGET_BAD)
        return rk_fail(err, RANKD_INVALID, "targets has a value at position %zu that is none of 1, 0 and -1",
                       first + i);
    return rk_fail(err, RANKD_INVALID, "scores has NaN at position %zu", first + i);
}

/* Elements first..first+n-1 of a request as a bank stores them. */
static enum rankd_status read_run(const struct rk_request *request, size_t first, size_t n, float *scores,
                                  int8_t *targets, struct rk_err *err)
{
    const struct rk_tensor *from = &request->in[RK_IN_SCORES], *with = &request->in[RK_IN_TARGETS];
    rk_scores_widen((const char *)from->data + first * rk_dtype_size(from->dtype), from->dtype, n, scores);
    rk_targets_narrow((const char *)with->data + first * rk_dtype_size(with->dtype), with->dtype,
                      RK_TARGET_BINARY, n, targets);
    return is_sound(scores, targets, n) ? RANKD_OK : refuse(scores, targets, first, err);
}

/* Some items of some neighbouring lists that are columns of the request: item by item, where they
 * lie one behind the other, or in one run. */
enum { BLOCK = 4096, BLOCK_LISTS = 128 };
struct score_block {
    size_t item, items, list, lists;
    float score[BLOCK];
    int8_t target[BLOCK];
};

static enum rankd_status read_block(const struct rk_request *request, size_t all_lists,
                                    struct score_block *block, struct rk_err *err)
{
    const bool whole = block->lists == all_lists;
    const size_t runs = whole ? 1 : block->items, n = block->items * block->lists / runs;
    for (size_t i = 0; i < runs; i++) {
        const size_t first = (block->item + i) * all_lists + block->list;
        if (read_run(request, first, n, block->score + i * n, block->target + i * n, err) != RANKD_OK)
            return err->status;
    }
    return RANKD_OK;
}

static size_t less(size_t a, size_t b)
{
    return a < b ? a : b;
}

static enum rankd_status read_rows(const struct rk_request *request, size_t n, const struct rk_batch *batch,
                                   struct rk_err *err)
{
    float *scores = batch->column[SCORES];
    int8_t *targets = batch->column[TARGETS];
    for (size_t i = 0, here; i < n; i += here) {
        here = less(n - i, BLOCK);
        if (read_run(request, i, here, scores + i, targets + i, err) != RANKD_OK)
            return err->status;
    }
    return RANKD_OK;
}

static enum rankd_status read_columns(const struct rk_request *request, size_t lists, size_t items,
                                      const struct rk_batch *batch, struct rk_err *err)
{
    float *scores = batch->column[SCORES];
    int8_t *targets = batch->column[TARGETS];
    struct score_block block;
    for (block.item = 0; block.item < items; block.item += block.items) {
        block.items = less(items - block.item, BLOCK / less(lists, BLOCK_LISTS));
        for (block.list = 0; block.list < lists; block.list += block.lists) {
            block.lists = less(lists - block.list, BLOCK_LISTS);
            if (read_block(request, lists, &block, err) != RANKD_OK)
                return err->status;
            const size_t at = block.list * items + block.item;
            rk_transpose(block.score, block.lists * sizeof(float), block.items, block.lists, sizeof(float),
                         scores + at, items * sizeof(float));
            rk_transpose(block.target, block.lists, block.items, block.lists, 1, targets + at, items);
        }
    }
    return RANKD_OK;
}

static enum rankd_status read_scores(const struct rk_bank_shape *shape, const struct rk_request *request,
                                     struct rk_batch *batch, struct rk_err *err)
{
    const struct rk_tensor *scores = &request->in[RK_IN_SCORES];
    bool columns = request->params.axis == RK_AXIS_COLUMNS;
    size_t lists = scores->shape[columns ? 1 : 0], items = scores->shape[columns ? 0 : 1];
    if (lists != shape->lists)
        return rk_fail(err, RANKD_INVALID, "scores has %zu lists; the bank has %zu", lists, shape->lists);
    if (rk_batch_take(shape, items, batch, err) != RANKD_OK)
        return err->status;
    if (columns)
        return read_columns(request, lists, items, batch, err);
    return read_rows(request, lists * items, batch, err);
}

static void show_scores_chunk(const struct rk_chunk *chunk, size_t first, size_t items, void *views,
                              size_t at)
{
    ((struct rk_bank_scores_chunk *)views)[at] =
        (struct rk_bank_scores_chunk){.items = items,
                                      .stride = chunk->room,
                                      .scores = (const float *)chunk->column[SCORES] + first,
                                      .targets = (const int8_t *)chunk->column[TARGETS] + first};
}

static void show_scores(const struct rk_bank_shape *shape, const void *views, size_t chunks,
                        struct rk_bank_snapshot *view)
{
    view->scores = (struct rk_bank_scores){.lists = shape->lists, .chunks = chunks, .chunk = views};
}

const struct rk_bank_kind rk_bank_kind_scores = {
    .name = "scores",
    .number = 0,
    .holds = RK_BANK_HOLDS_SCORES,
    .field = {{"lists", RK_BANK_FIELD_COUNT, offsetof(struct rk_bank_shape, lists), .min = 1,
               .max = 1000000}},
    .dtypes = RK_BANK_DTYPE(RK_FP32),
    .dtypes_text = "FP32, because scores are kept as they came",
    .columns = score_columns,
    .read = read_scores,
    .view_bytes = sizeof(struct rk_bank_scores_chunk),
    .show_chunk = show_scores_chunk,
    .show = show_scores,
};
