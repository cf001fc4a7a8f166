/* SPDX-License-Identifier: Apache-2.0 */
/* Banks of scores: scores [lists, items] FP32, as sent, before the margin; targets [lists, items]
 * int8. */
#include <math.h>

#include "bank/kind.h"
#include "kernels/score.h"
#include "request/target.h"

enum { SCORES, TARGETS, COLUMNS };

static size_t score_columns(const struct rk_bank_shape *shape, struct rk_bank_column column[RK_BANK_COLUMNS])
{
    column[SCORES] = (struct rk_bank_column){.bytes = sizeof(float), .lists = shape->lists};
    column[TARGETS] = (struct rk_bank_column){.bytes = sizeof(int8_t), .lists = shape->lists};
    return COLUMNS;
}

static enum rankd_status store_list(const struct rk_request *request, size_t lists, size_t items, size_t list,
                                    struct rk_batch *batch, struct rk_err *err)
{
    const struct rk_tensor *scores = &request->in[RK_IN_SCORES], *targets = &request->in[RK_IN_TARGETS];
    bool columns = request->params.axis == RK_AXIS_COLUMNS;
    size_t width = rk_dtype_size(targets->dtype);
    float *list_scores = (float *)batch->column[SCORES] + list * items;
    int8_t *list_targets = (int8_t *)batch->column[TARGETS] + list * items;
    for (size_t i = 0; i < items; i++) {
        size_t from = columns ? i * lists + list : list * items + i;
        list_scores[i] = rk_score_at(scores->data, scores->dtype, from);
        rk_targets_narrow((const char *)targets->data + from * width, targets->dtype, RK_TARGET_BINARY, 1,
                          &list_targets[i]);
        if (list_targets[i] == RK_TARGET_BAD)
            return rk_fail(err, RANKD_INVALID,
                           "targets has a value at position %zu that is none of 1, 0 and -1", from);
        if (isnan(list_scores[i]) && list_targets[i] != -1)
            return rk_fail(err, RANKD_INVALID, "scores has NaN at position %zu", from);
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
    for (size_t l = 0; l < lists; l++) {
        if (store_list(request, lists, items, l, batch, err) != RANKD_OK)
            return err->status;
    }
    return RANKD_OK;
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
