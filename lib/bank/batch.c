#include "bank/batch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "kernels/normalize.h"
#include "kernels/score.h"
#include "request/target.h"

uint16_t rk_bf16_of_float(float value)
{
    uint32_t bits = rk_float_bits(value);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

uint16_t rk_fp16_of_float(float value)
{
    uint32_t bits = rk_float_bits(value), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
    if (size >= 0x47800000u) /* 65536 and more; infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (size < 0x38800000u) /* under 2^-14: a multiple of 2^-24; adding 2^-1 lets the FPU do the rounding */
        return (uint16_t)(sign | (rk_float_bits(rk_float_of_bits(size) + 0.5f) - 0x3f000000u));
    uint32_t rounded = size + 0xfffu + (size >> 13 & 1u);
    return (uint16_t)(sign | (rounded - 0x38000000u) >> 13);
}

size_t rk_batch_item_bytes(const struct rk_bank_shape *shape)
{
    if (shape->is_embeddings)
        return 2 * sizeof(int64_t) + shape->dim * rk_dtype_size(shape->dtype);
    return shape->lists * (sizeof(float) + sizeof(int8_t));
}

bool rk_batch_at(const struct rk_bank_shape *shape, size_t items, void *block, size_t bytes,
                 struct rk_batch *batch)
{
    size_t want;
    if (__builtin_mul_overflow(items, rk_batch_item_bytes(shape), &want) || want != bytes)
        return false;
    *batch = (struct rk_batch){.items = items, .block = block, .bytes = bytes};
    char *at = block;
    if (shape->is_embeddings) {
        batch->labels = (int64_t *)(void *)at;
        batch->ids = (int64_t *)(void *)(at + items * sizeof(int64_t));
        batch->rows = at + 2 * items * sizeof(int64_t);
    } else {
        batch->scores = (float *)(void *)at;
        batch->targets = (int8_t *)(at + shape->lists * items * sizeof(float));
    }
    return true;
}

static enum rankd_status take_block(const struct rk_bank_shape *shape, size_t items, struct rk_batch *batch,
                                    struct rk_err *err)
{
    if (items > shape->capacity)
        return rk_fail(err, RANKD_INVALID, "the batch has %zu items to append; the bank's capacity is %zu",
                       items, shape->capacity);
    size_t bytes =
        items * rk_batch_item_bytes(shape); /* at most the capacity's, which was checked at creation */
    void *block = malloc(bytes ? bytes : 1);
    if (!block)
        return rk_fail(err, RANKD_OVERLOADED,
                       "no memory for a batch of %zu bytes now; try again after a while", bytes);
    return rk_batch_at(shape, items, block, bytes, batch)
               ? RANKD_OK
               : rk_fail(err, RANKD_INTERNAL, "a batch of %zu items has no layout", items);
}

/* --- embeddings --- */

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

static enum rankd_status store_row(const struct rk_bank_shape *shape, const float *row, size_t item,
                                   void *rows, size_t place, struct rk_err *err)
{
    if (shape->dtype == RK_FP32) {
        memcpy((float *)rows + place * shape->dim, row, shape->dim * sizeof *row);
        return RANKD_OK;
    }
    uint16_t *out = (uint16_t *)rows + place * shape->dim;
    uint16_t infinity = shape->dtype == RK_FP16 ? 0x7c00u : 0x7f80u;
    for (size_t d = 0; d < shape->dim; d++) {
        char number[RK_NUMBER_TEXT];
        out[d] = shape->dtype == RK_FP16 ? rk_fp16_of_float(row[d]) : rk_bf16_of_float(row[d]);
        if ((out[d] & 0x7fffu) >= infinity)
            return rk_fail(
                err, RANKD_INVALID,
                "embeddings has %s at item %zu, dimension %zu, which the bank's type %s cannot hold",
                rk_float_text(row[d], number), item, d, rk_dtype_name(shape->dtype));
    }
    return RANKD_OK;
}

static enum rankd_status store_embeddings(const struct rk_bank_shape *shape, const struct rk_request *request,
                                          const uint8_t *keep, const float *rows, struct rk_batch *batch,
                                          struct rk_err *err)
{
    size_t place = 0, items = request->in[RK_IN_EMBEDDINGS].shape[0];
    for (size_t i = 0; i < items; i++) {
        if (!keep[i])
            continue;
        batch->labels[place] = key_at(&request->in[RK_IN_LABELS], i);
        batch->ids[place] = key_at(&request->in[RK_IN_IDS], i);
        if (store_row(shape, rows + i * shape->dim, i, batch->rows, place, err) != RANKD_OK)
            return err->status;
        place++;
    }
    return RANKD_OK;
}

static enum rankd_status new_embeddings(const struct rk_bank_shape *shape, const struct rk_request *request,
                                        struct rk_batch *batch, struct rk_err *err)
{
    const struct rk_tensor *in = &request->in[RK_IN_EMBEDDINGS];
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
    if (rk_embeddings_read("embeddings", in, shape->normalize, rows, NULL, err) != RANKD_OK ||
        take_block(shape, kept, batch, err) != RANKD_OK)
        goto out;
    (void)store_embeddings(shape, request, keep, rows, batch, err);
out:
    free(rows);
    free(keep);
    return err->status;
}

/* --- scores --- */

static enum rankd_status store_list(const struct rk_request *request, size_t lists, size_t items, size_t list,
                                    struct rk_batch *batch, struct rk_err *err)
{
    const struct rk_tensor *scores = &request->in[RK_IN_SCORES], *targets = &request->in[RK_IN_TARGETS];
    bool columns = request->params.axis == RK_AXIS_COLUMNS;
    size_t width = rk_dtype_size(targets->dtype);
    for (size_t i = 0; i < items; i++) {
        size_t from = columns ? i * lists + list : list * items + i, to = list * items + i;
        batch->scores[to] = rk_score_at(scores->data, scores->dtype, from);
        rk_targets_narrow((const char *)targets->data + from * width, targets->dtype, 1, &batch->targets[to]);
        if (batch->targets[to] == RK_TARGET_BAD)
            return rk_fail(err, RANKD_INVALID,
                           "targets has a value at position %zu that is none of 1, 0 and -1", from);
        if (isnan(batch->scores[to]) && batch->targets[to] != -1)
            return rk_fail(err, RANKD_INVALID, "scores has NaN at position %zu", from);
    }
    return RANKD_OK;
}

static enum rankd_status new_scores(const struct rk_bank_shape *shape, const struct rk_request *request,
                                    struct rk_batch *batch, struct rk_err *err)
{
    const struct rk_tensor *scores = &request->in[RK_IN_SCORES];
    bool columns = request->params.axis == RK_AXIS_COLUMNS;
    size_t lists = scores->shape[columns ? 1 : 0], items = scores->shape[columns ? 0 : 1];
    if (lists != shape->lists)
        return rk_fail(err, RANKD_INVALID, "scores has %zu lists; the bank has %zu", lists, shape->lists);
    if (take_block(shape, items, batch, err) != RANKD_OK)
        return err->status;
    for (size_t l = 0; l < lists; l++) {
        if (store_list(request, lists, items, l, batch, err) != RANKD_OK)
            return err->status;
    }
    return RANKD_OK;
}

enum rankd_status rk_batch_new(const struct rk_bank_shape *shape, const struct rk_request *request,
                               struct rk_batch *batch, struct rk_err *err)
{
    memset(batch, 0, sizeof *batch);
    enum rankd_status status = shape->is_embeddings ? new_embeddings(shape, request, batch, err)
                                                    : new_scores(shape, request, batch, err);
    if (status != RANKD_OK)
        rk_batch_free(batch);
    return status;
}

void rk_batch_free(struct rk_batch *batch)
{
    free(batch->block);
    memset(batch, 0, sizeof *batch);
}
