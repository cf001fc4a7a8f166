/* SPDX-License-Identifier: Apache-2.0 */
#include "retrieval/drift.h"

#include <math.h>
#include <string.h>

#include "bank/labels.h"
#include "kernels/score.h"
#include "request/appended.h"
#include "request/bank_view.h"

enum { QUARTERS = 4, BLOCK = 256 /* elements widened at a time */ };

struct drift {
    double sum[QUARTERS];
    size_t count[QUARTERS];
};

/* The bank's newest item of an id. */
struct counterpart {
    const void *row;
    size_t position; /* in the bank, oldest first */
};

static bool find(const struct rk_bank_snapshot *bank, int64_t id, struct counterpart *found)
{
    const struct rk_bank_embeddings *embeddings = &bank->embeddings;
    const size_t row = embeddings->dim * rk_dtype_size(embeddings->dtype);
    size_t start = bank->items;
    for (size_t c = embeddings->chunks; c-- > 0;) {
        const struct rk_bank_chunk *chunk = &embeddings->chunk[c];
        start -= chunk->items;
        if (!chunk->by_id)
            continue;
        uint32_t at = rk_labels_within(chunk->by_id, id, chunk->first, chunk->first + chunk->items);
        if (at == RK_POSITION_END)
            continue;
        *found = (struct counterpart){.row = (const char *)chunk->embeddings + at * row,
                                      .position = start + (at - chunk->first)};
        return true;
    }
    return false;
}

/* 1 - cos; NaN where one has no direction. */
static double distance(const float *own, const void *held, enum rk_dtype dtype, size_t dim)
{
    float wide[BLOCK];
    double dot = 0, own_square = 0, held_square = 0;
    for (size_t first = 0; first < dim; first += BLOCK) {
        const size_t here = dim - first < BLOCK ? dim - first : BLOCK;
        rk_scores_widen((const char *)held + first * rk_dtype_size(dtype), dtype, here, wide);
        for (size_t k = 0; k < here; k++) {
            const double a = (double)own[first + k], b = (double)wide[k];
            dot += a * b;
            own_square += a * a;
            held_square += b * b;
        }
    }
    return 1 - dot / (sqrt(own_square) * sqrt(held_square));
}

static void add(struct drift *drift, const struct rk_bank_snapshot *bank, int64_t id, const float *own)
{
    struct counterpart found;
    if (id == RK_LABEL_NONE || !find(bank, id, &found))
        return;
    const double apart = distance(own, found.row, bank->embeddings.dtype, bank->embeddings.dim);
    const size_t quarter = found.position * QUARTERS / bank->items;
    if (isnan(apart))
        return;
    drift->sum[quarter] += apart;
    drift->count[quarter]++;
}

static void tell(const struct drift *drift, struct rk_info *info)
{
    size_t items = 0;
    for (unsigned q = 0; q < QUARTERS; q++) {
        const size_t count = drift->count[q];
        rk_info_number(info, (enum rankd_reply_number)(RANKD_REPLY_BANK_DRIFT_1 + q),
                       count ? drift->sum[q] / (double)count : (double)NAN);
        items += count;
    }
    rk_info_number(info, RANKD_REPLY_BANK_DRIFT_ITEMS, (double)items);
}

void rk_drift_measure(const struct rk_request *request, const struct rk_items *items, struct rk_info *info)
{
    const struct rk_bank_snapshot *bank = request->bank_whole ? request->bank_whole : request->bank_snapshot;
    const struct rk_appended from = rk_request_appended(request);
    const uint8_t *mask = request->in[RK_IN_ENQUEUE_MASK].data;
    const size_t first = from.rows == RK_IN_EMBEDDINGS ? 0 : items->n_queries;
    struct drift drift = {{0}, {0}};
    if (!bank || !request->params.enqueue || !request->in[from.ids].data)
        return;
    for (size_t i = 0; i < request->in[from.rows].shape[0]; i++) {
        if (!mask || mask[i])
            add(&drift, bank, items->ids[first + i], items->rows + (first + i) * items->dim);
    }
    tell(&drift, info);
}
