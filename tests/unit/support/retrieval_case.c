/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/support/retrieval_case.h"
#include "bank/labels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The items that retrieval/stream.c counts first: one tile of 512 items of every SAMPLE tiles, from
 * the middle one on. */
enum { SAMPLED_TILE = 512, SAMPLED_STEP = 64 };

uint64_t case_next(uint64_t *seed)
{
    uint64_t x = *seed += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

size_t case_below(uint64_t *seed, size_t n)
{
    return (size_t)(case_next(seed) % n);
}

static bool chance(uint64_t *seed, double share)
{
    return (double)(case_next(seed) >> 11) * 0x1p-53 < share;
}

static void *keep(struct retrieval_case *c, size_t bytes)
{
    if (c->memories == sizeof c->memory / sizeof *c->memory)
        abort();
    return c->memory[c->memories++] = calloc(1, bytes ? bytes : 1);
}

void case_free(struct retrieval_case *c)
{
    for (size_t i = 0; i < c->memories; i++)
        free(c->memory[i]);
    c->memories = 0;
}

/* 1, 4 or 16 entries ±1 (as many as fit), the rest 0: the norm is a power of two. */
static void draw_unit(size_t dim, bool stored, double *x, uint64_t *seed)
{
    size_t entries = (size_t)1 << 2 * case_below(seed, 3);
    while (entries > dim)
        entries /= 4;
    double norm = sqrt((double)entries), scale = stored ? 1 / norm : (double)(1 << case_below(seed, 3));
    memset(x, 0, dim * sizeof *x);
    for (size_t left = entries; left > 0;) {
        size_t k = case_below(seed, dim);
        if (x[k] != 0)
            continue;
        x[k] = chance(seed, 0.5) ? scale : -scale;
        left--;
    }
}

/* Misleading queries have no negative entry, so that the greatest item is above all others for each
 * of them. */
static void draw_integers(const struct retrieval_shape *shape, bool stored, double *x, uint64_t *seed)
{
    size_t range = shape->range ? shape->range : 3;
    for (size_t k = 0; k < shape->dim; k++) {
        x[k] = (double)case_below(seed, 2 * range + 1) - (double)range;
        if (shape->misleading && !stored)
            x[k] = fabs(x[k]);
    }
}

static void draw_item(const struct retrieval_shape *shape, bool stored, double *x, struct oracle_item *item,
                      uint64_t *seed)
{
    if (shape->normalize)
        draw_unit(shape->dim, stored, x, seed);
    else
        draw_integers(shape, stored, x, seed);
    *item = (struct oracle_item){.x = x, .label = -1, .id = -1, .stored = stored};
    if (shape->labels > 0 && !chance(seed, shape->distractors))
        item->label = (int64_t)case_below(seed, (size_t)shape->labels);
    if (shape->ids > 0 && chance(seed, shape->with_id))
        item->id = (int64_t)case_below(seed, (size_t)shape->ids);
}

/* All values here are exact in every type. */
static void store(enum rk_dtype dtype, double value, void *to)
{
    float single = (float)value;
    uint32_t bits;
    memcpy(&bits, &single, sizeof bits);
    uint16_t half = (uint16_t)(bits >> 16);
    if (dtype == RK_FP16) {
        uint32_t exponent = (bits >> 23) & 0xff;
        half = (uint16_t)((bits >> 16) & 0x8000u);
        if (exponent)
            half |= (uint16_t)((exponent - 112u) << 10 | ((bits >> 13) & 0x3ffu));
    }
    if (dtype == RK_FP64)
        memcpy(to, &value, sizeof value);
    else if (dtype == RK_FP32)
        memcpy(to, &single, sizeof single);
    else
        memcpy(to, &half, sizeof half);
}

static void *store_rows(struct retrieval_case *c, enum rk_dtype dtype, size_t first, size_t count,
                        size_t room, size_t at)
{
    size_t size = rk_dtype_size(dtype), dim = c->oracle.dim;
    char *rows = keep(c, room * dim * size);
    for (size_t i = 0; i < count * dim; i++)
        store(dtype, c->x[first * dim + i], rows + (at * dim + i) * size);
    return rows;
}

static struct rk_tensor matrix(struct retrieval_case *c, enum rk_dtype dtype, size_t first, size_t count)
{
    size_t dim = c->oracle.dim;
    return (struct rk_tensor){.dtype = dtype,
                              .rank = 2,
                              .shape = {count, dim},
                              .data = store_rows(c, dtype, first, count, count, 0),
                              .bytes = count * dim * rk_dtype_size(dtype)};
}

static struct rk_tensor vector(struct retrieval_case *c, size_t first, size_t count, bool ids, bool narrow)
{
    size_t size = narrow ? sizeof(int32_t) : sizeof(int64_t);
    char *to = keep(c, count * size);
    for (size_t i = 0; i < count; i++) {
        int64_t wide = ids ? c->item[first + i].id : c->item[first + i].label;
        int32_t small = (int32_t)wide;
        memcpy(to + i * size, narrow ? (const void *)&small : (const void *)&wide, size);
    }
    return (struct rk_tensor){.dtype = narrow ? RK_INT32 : RK_INT64,
                              .rank = 1,
                              .shape = {count},
                              .data = to,
                              .bytes = count * size};
}

/* A chunk of `room` items of which count, from place `at`, are the view's; the others have labels
 * that would matter if they were looked at. */
static struct rk_bank_chunk chunk_of(struct retrieval_case *c, const struct retrieval_shape *shape,
                                     size_t first, size_t count, size_t room, size_t at)
{
    int64_t *labels = keep(c, room * sizeof *labels), *ids = keep(c, room * sizeof *ids);
    for (size_t i = 0; i < room; i++) {
        bool own = i >= at && i < at + count;
        labels[i] = own ? c->item[first + i - at].label : 0;
        ids[i] = own ? c->item[first + i - at].id : 0;
    }
    struct rk_labels *by_label = keep(c, rk_labels_bytes(room)), *by_id = keep(c, rk_labels_bytes(room));
    rk_labels_add(rk_labels_at(by_label, labels, room, 1), room);
    rk_labels_add(rk_labels_at(by_id, ids, room, 2), room);
    return (struct rk_bank_chunk){.first = at,
                                  .items = count,
                                  .embeddings = store_rows(c, shape->bank, first, count, room, at),
                                  .labels = labels,
                                  .ids = shape->ids > 0 ? ids : NULL,
                                  .by_label = by_label,
                                  .by_id = shape->ids > 0 ? by_id : NULL};
}

static void make_bank(struct retrieval_case *c, const struct retrieval_shape *shape)
{
    size_t first = shape->batch + shape->refs, left = shape->memory, gone = shape->chunk / 3, chunks = 0;
    struct rk_bank_chunk *chunk = keep(c, (shape->memory / shape->chunk + 2) * sizeof *chunk);
    while (left > 0) {
        size_t room = shape->chunk - gone, count = left < room ? left : room;
        chunk[chunks++] = chunk_of(c, shape, first, count, shape->chunk, gone);
        first += count;
        left -= count;
        gone = 0;
    }
    c->view = (struct rk_bank_snapshot){
        .holds = RK_BANK_HOLDS_EMBEDDINGS, .items = shape->memory, .version = 7, .generation = 3};
    c->view.embeddings = (struct rk_bank_embeddings){.dtype = shape->bank,
                                                     .dim = shape->dim,
                                                     .normalize = shape->normalize,
                                                     .chunks = chunks,
                                                     .chunk = chunk};
    c->request.bank_snapshot = &c->view;
}

static bool is_unsigned(enum rk_dtype dtype)
{
    return dtype == RK_BOOL || dtype == RK_UINT8;
}

static void store_target(enum rk_dtype dtype, double value, char *to)
{
    float real = (float)value;
    int64_t whole = (int64_t)value; /* little-endian, so that its first bytes are the shorter types */
    memcpy(to, dtype == RK_FP32 ? (const void *)&real : (const void *)&whole, rk_dtype_size(dtype));
}

/* Targets of all pairs for the oracle; the request has those of the items that are ranked. A tenth
 * is ignored, and so is a query's own column, which has another value in the request. */
static void make_relevance(struct retrieval_case *c, const struct retrieval_shape *shape, uint64_t *seed)
{
    const size_t items = shape->batch + shape->refs, from = shape->references ? shape->batch : 0;
    const size_t columns = items - from, size = rk_dtype_size(shape->target);
    const bool linear = shape->ndcg && shape->target == RK_FP32;
    int8_t *all = keep(c, shape->batch * items);
    double *gain = keep(c, shape->batch * items * sizeof *gain);
    char *sent = keep(c, shape->batch * columns * size);
    for (size_t q = 0; q < shape->batch; q++) {
        for (size_t j = from; j < items; j++) {
            int8_t target = chance(seed, shape->relevance);
            target = chance(seed, 0.1) && !is_unsigned(shape->target) ? -1 : target;
            double grade = shape->ndcg && shape->target != RK_BOOL ? 1 + (double)case_below(seed, 4) : 1;
            double value = target > 0 ? (linear ? grade / 2 : grade) : target;
            value = q == j ? (shape->target == RK_BOOL ? 1 : 77) : value;
            store_target(shape->target, value, sent + (q * columns + j - from) * size);
            all[q * items + j] = target;
            gain[q * items + j] = linear ? grade / 2 : exp2(grade) - 1;
        }
    }
    c->oracle.ndcg = shape->ndcg;
    c->oracle.gain = shape->ndcg ? gain : NULL;
    c->request.params.gain = linear ? RK_GAIN_LINEAR : RK_GAIN_EXP2;
    c->oracle.relevance = all;
    struct rk_tensor *in = c->request.in;
    in[RK_IN_LABELS] = in[RK_IN_REF_LABELS] = (struct rk_tensor){0};
    in[RK_IN_RELEVANCE] = (struct rk_tensor){.dtype = shape->target,
                                             .rank = 2,
                                             .shape = {shape->batch, columns},
                                             .data = sent,
                                             .bytes = shape->batch * columns * size};
}

void case_random(struct retrieval_case *c, const struct retrieval_shape *shape, uint64_t *seed)
{
    *c = (struct retrieval_case){0};
    size_t own = shape->batch + shape->refs, items = own + shape->memory;
    c->item = keep(c, items * sizeof *c->item);
    c->x = keep(c, items * shape->dim * sizeof *c->x);
    for (size_t i = 0; i < items; i++)
        draw_item(shape, i >= own, c->x + i * shape->dim, &c->item[i], seed);
    for (size_t i = own; shape->misleading && i < items; i++) {
        bool sampled = (i - own) / SAMPLED_TILE % SAMPLED_STEP == SAMPLED_STEP / 2;
        for (size_t k = 0; sampled && k < shape->dim; k++)
            c->x[i * shape->dim + k] = shape->misleading * (double)(shape->range ? shape->range : 3);
    }
    c->oracle = (struct oracle_request){.batch = shape->batch,
                                        .items = items,
                                        .dim = shape->dim,
                                        .item = c->item,
                                        .normalize = shape->normalize};
    struct rk_tensor *in = c->request.in;
    c->request.params = rk_params_default();
    c->request.params.normalize = shape->normalize;
    in[RK_IN_EMBEDDINGS] = matrix(c, shape->dtype, 0, shape->batch);
    in[RK_IN_LABELS] = vector(c, 0, shape->batch, false, shape->int32_labels);
    if (shape->ids > 0)
        in[RK_IN_IDS] = vector(c, 0, shape->batch, true, false);
    if (shape->refs > 0) {
        in[RK_IN_REF_EMBEDDINGS] = matrix(c, shape->dtype, shape->batch, shape->refs);
        in[RK_IN_REF_LABELS] = vector(c, shape->batch, shape->refs, false, shape->int32_labels);
        if (shape->ids > 0)
            in[RK_IN_REF_IDS] = vector(c, shape->batch, shape->refs, true, false);
    }
    c->oracle.references = shape->references;
    c->request.params.gallery = shape->references ? RK_GALLERY_REFERENCES : RK_GALLERY_ALL;
    if (shape->chunk > 0)
        make_bank(c, shape);
    if (shape->relevance > 0)
        make_relevance(c, shape, seed);
    case_params(c, false);
}

void case_params(struct retrieval_case *c, bool recall)
{
    const struct rk_params *params = &c->request.params;
    bool given = params->given & (1u << RK_PARAM_margin);
    c->request.model = rk_model_find(c->oracle.ndcg ? "ndcg" : recall ? "recall" : "ap");
    c->oracle.recall = recall;
    c->oracle.margin = given ? params->margin : c->oracle.normalize ? 0.1 : 0;
    c->oracle.lambda = params->lambda;
    c->oracle.rank_units = params->lambda_units == RK_UNITS_RANK;
    c->oracle.batch_scope = params->lambda_scope == RK_SCOPE_BATCH;
    c->oracle.unit_scale = params->gradient_scale == RK_SCALE_UNIT;
    c->oracle.weight = params->transform;
    c->oracle.average = params->average;
}
