/* SPDX-License-Identifier: Apache-2.0 */
#include "retrieval/gradient.h"

#include "kernels/normalize.h"

/* Rows are fetched this many at a time, so that the next ones are loaded while these are added. */
enum { BATCH = 64 };

struct rk_gradient {
    const struct rk_items *items;
    const struct rk_tile_kernels *tile;
    double *sum;
    const struct rk_row_block *run; /* of the last position */
    size_t q;
    double w, divisor;
    size_t terms;
    const float *row[BATCH];
    double factor[BATCH];
    float wide[]; /* [BATCH, dim] */
};

size_t rk_gradient_bytes(size_t dim)
{
    return sizeof(struct rk_gradient) + BATCH * dim * sizeof(float);
}

struct rk_gradient *rk_gradient_at(void *memory, const struct rk_items *items,
                                   const struct rk_tile_kernels *tile, double *sum)
{
    struct rk_gradient *gradient = memory;
    gradient->items = items;
    gradient->tile = tile;
    gradient->sum = sum;
    return gradient;
}

void rk_gradient_begin(struct rk_gradient *gradient, size_t q, double w, double divisor)
{
    gradient->q = q;
    gradient->w = w;
    gradient->divisor = divisor;
    gradient->run = gradient->items->row_block;
    gradient->terms = 0;
}

static void prefetch(const float *row, size_t dim)
{
    for (size_t k = 0; k < dim && k < 256; k += 16)
        __builtin_prefetch(row + k);
}

void rk_gradient_end(struct rk_gradient *gradient)
{
    size_t dim = gradient->items->dim;
    if (gradient->terms > 0)
        gradient->tile->accumulate(dim, gradient->terms, gradient->row, gradient->factor,
                                   gradient->sum + gradient->q * dim);
    gradient->terms = 0;
}

void rk_gradient_put(struct rk_gradient *gradient, uint32_t position, int32_t delta)
{
    const struct rk_items *items = gradient->items;
    size_t dim = items->dim, slot = gradient->terms;
    double value = (double)rk_gradient_value(gradient->w, gradient->divisor, delta);
    if (value == 0)
        return;
    if (position < rk_items_own(items)) {
        const float *query = items->rows + gradient->q * dim;
        gradient->tile->accumulate(dim, 1, &query, &value,
                                   gradient->sum + rk_items_own_row(items, position) * dim);
    }
    if (position >= gradient->run->start + gradient->run->items)
        gradient->run = rk_items_row_block(items, position);
    const struct rk_row_block *run = gradient->run;
    if (run->dtype == RK_FP32) {
        gradient->row[slot] = (const float *)run->rows + (position - run->start) * dim;
        prefetch(gradient->row[slot], dim);
    } else {
        gradient->row[slot] = gradient->wide + slot * dim;
        rk_row_block_read(run, dim, position - run->start, gradient->wide + slot * dim);
    }
    gradient->factor[slot] = value;
    if (++gradient->terms == BATCH)
        rk_gradient_end(gradient);
}

size_t rk_gradient_finish(const struct rk_items *items, bool normalize, size_t first, size_t count,
                          double *sum, float *out)
{
    size_t dim = items->dim, nonzero = 0;
    for (size_t i = first; i < first + count; i++) {
        double *row = sum + i * dim;
        if (normalize)
            rk_normalize_chain(dim, items->rows + i * dim, items->norms[i], row);
        for (size_t k = 0; k < dim; k++) {
            float value = (float)row[k] + 0.0f; /* -0.0f becomes +0.0f */
            out[(i - first) * dim + k] = value;
            nonzero += value != 0;
        }
    }
    return nonzero;
}
