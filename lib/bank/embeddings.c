/* SPDX-License-Identifier: Apache-2.0 */
/* Banks of embeddings: labels [items] int64, ids [items] int64 (-1 = none), rows [items, dim] in
 * the bank's type. */
#include <stdlib.h>
#include <string.h>

#include "bank/kind.h"
#include "base/number.h"
#include "kernels/normalize.h"
#include "kernels/score.h"
#include "request/appended.h"

enum { LABELS, IDS, ROWS, COLUMNS };

static size_t embedding_columns(const struct rk_bank_shape *shape,
                                struct rk_bank_column column[RK_BANK_COLUMNS])
{
    column[LABELS] = column[IDS] =
        (struct rk_bank_column){.bytes = sizeof(int64_t), .lists = 1, .indexed = true};
    column[ROWS] = (struct rk_bank_column){.bytes = shape->dim * rk_dtype_size(shape->dtype), .lists = 1};
    return COLUMNS;
}

/* --- from a request --- */

/* Both round to the nearest, ties to even. */
static uint16_t bf16_of_float(float value)
{
    uint32_t bits = rk_float_bits(value);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static uint16_t fp16_of_float(float value)
{
    uint32_t bits = rk_float_bits(value), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
    if (size >= 0x47800000u) /* 65536 and more: infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (size < 0x38800000u) /* under 2^-14: a multiple of 2^-24; adding 2^-1 lets the FPU do the rounding */
        return (uint16_t)(sign | (rk_float_bits(rk_float_of_bits(size) + 0.5f) - 0x3f000000u));
    uint32_t rounded = size + 0xfffu + (size >> 13 & 1u);
    return (uint16_t)(sign | (rounded - 0x38000000u) >> 13);
}

static bool is_kept(const struct rk_tensor *mask, size_t i)
{
    return !mask->data || ((const uint8_t *)mask->data)[i] != 0;
}

static int64_t key_at(const struct rk_tensor *keys, size_t i)
{
    int64_t wide = -1;
    int32_t narrow;
    if (!keys->data)
        return wide;
    if (keys->dtype == RK_INT64) {
        memcpy(&wide, (const char *)keys->data + i * sizeof wide, sizeof wide);
        return wide;
    }
    memcpy(&narrow, (const char *)keys->data + i * sizeof narrow, sizeof narrow);
    return narrow;
}

static enum rankd_status store_row(const struct rk_bank_shape *shape, const char *input, const float *row,
                                   size_t item, void *rows, size_t place, struct rk_err *err)
{
    if (shape->dtype == RK_FP32) {
        memcpy((float *)rows + place * shape->dim, row, shape->dim * sizeof *row);
        return RANKD_OK;
    }
    uint16_t *out = (uint16_t *)rows + place * shape->dim;
    uint16_t infinity = shape->dtype == RK_FP16 ? 0x7c00u : 0x7f80u;
    for (size_t d = 0; d < shape->dim; d++) {
        char number[RK_NUMBER_TEXT];
        out[d] = shape->dtype == RK_FP16 ? fp16_of_float(row[d]) : bf16_of_float(row[d]);
        if ((out[d] & 0x7fffu) >= infinity)
            return rk_fail(err, RANKD_INVALID,
                           "%s has %s at item %zu, dimension %zu, which the bank's type %s cannot hold",
                           input, rk_float_text(row[d], number), item, d, rk_dtype_name(shape->dtype));
    }
    return RANKD_OK;
}

static enum rankd_status store_embeddings(const struct rk_bank_shape *shape, const struct rk_request *request,
                                          const uint8_t *keep, const float *rows, struct rk_batch *batch,
                                          struct rk_err *err)
{
    const struct rk_appended from = rk_request_appended(request);
    const char *name = rk_input_rows[from.rows].name;
    size_t place = 0, items = request->in[from.rows].shape[0];
    int64_t *labels = batch->column[LABELS], *ids = batch->column[IDS];
    for (size_t i = 0; i < items; i++) {
        if (!keep[i])
            continue;
        labels[place] = key_at(&request->in[from.labels], i);
        ids[place] = key_at(&request->in[from.ids], i);
        if (store_row(shape, name, rows + i * shape->dim, i, batch->column[ROWS], place, err) != RANKD_OK)
            return err->status;
        place++;
    }
    return RANKD_OK;
}

static enum rankd_status read_embeddings(const struct rk_bank_shape *shape, const struct rk_request *request,
                                         struct rk_batch *batch, struct rk_err *err)
{
    const enum rk_input from = rk_request_appended(request).rows;
    const struct rk_tensor *in = &request->in[from];
    size_t items = in->shape[0], kept = 0;
    float *rows = malloc((items * shape->dim + 1) * sizeof *rows); /* malloc(0) may be NULL */
    uint8_t *keep = malloc(items + 1); /* read once: the mask may change under us */
    if (!rows || !keep) {
        (void)rk_fail(err, RANKD_OVERLOADED,
                      "no memory for a batch of %zu embeddings now; try again after a while", items);
        goto out;
    }
    for (size_t i = 0; i < items; i++) {
        keep[i] = is_kept(&request->in[RK_IN_ENQUEUE_MASK], i);
        kept += keep[i];
    }
    if (rk_embeddings_read(rk_input_rows[from].name, in, shape->normalize, rows, NULL, err) != RANKD_OK ||
        rk_batch_take(shape, kept, batch, err) != RANKD_OK)
        goto out;
    (void)store_embeddings(shape, request, keep, rows, batch, err);
out:
    free(rows);
    free(keep);
    return err->status;
}

/* --- to requests --- */

static void show_embeddings_chunk(const struct rk_chunk *chunk, size_t first, size_t items, void *views,
                                  size_t at)
{
    ((struct rk_bank_chunk *)views)[at] = (struct rk_bank_chunk){.first = first,
                                                                 .items = items,
                                                                 .embeddings = chunk->column[ROWS],
                                                                 .identity = chunk->identity,
                                                                 .labels = chunk->column[LABELS],
                                                                 .ids = chunk->column[IDS],
                                                                 .by_label = chunk->index[LABELS],
                                                                 .by_id = chunk->index[IDS]};
}

static void show_embeddings(const struct rk_bank_shape *shape, const void *views, size_t chunks,
                            struct rk_bank_snapshot *view)
{
    view->embeddings = (struct rk_bank_embeddings){.dtype = shape->dtype,
                                                   .dim = shape->dim,
                                                   .normalize = shape->normalize,
                                                   .chunks = chunks,
                                                   .chunk = views};
}

const struct rk_bank_kind rk_bank_kind_embeddings = {
    .name = "embeddings",
    .number = 1,
    .holds = RK_BANK_HOLDS_EMBEDDINGS,
    .field = {{"dim", RK_BANK_FIELD_COUNT, offsetof(struct rk_bank_shape, dim), .min = 1, .max = 65536},
              {"normalize", RK_BANK_FIELD_FLAG, offsetof(struct rk_bank_shape, normalize), .preset = true}},
    .dtypes = RK_BANK_DTYPE(RK_FP32) | RK_BANK_DTYPE(RK_FP16) | RK_BANK_DTYPE(RK_BF16),
    .dtypes_text = "FP32, FP16 or BF16",
    .columns = embedding_columns,
    .read = read_embeddings,
    .view_bytes = sizeof(struct rk_bank_chunk),
    .show_chunk = show_embeddings_chunk,
    .show = show_embeddings,
};
