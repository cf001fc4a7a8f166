/* SPDX-License-Identifier: Apache-2.0 */
#include "retrieval/product.h"

#include <cblas.h>
#include <pthread.h>
#include <string.h>

#include "kernels/score.h"

static void one_thread(void)
{
    openblas_set_num_threads(1);
}

void rk_product_begin(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, one_thread);
}

void rk_product(size_t m, size_t n, size_t dim, const float *a, const float *b, float *c, size_t stride)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)n, (int)dim, 1.0f, a, (int)dim, b,
                (int)dim, 0.0f, c, (int)stride);
}

size_t rk_product_work(size_t dim)
{
    size_t tile = RK_BATCH_TILE * RK_BATCH_TILE, wide = RK_ITEM_TILE * dim;
    return (tile > wide ? tile : wide) * sizeof(float);
}

struct range {
    size_t begin, end;
};

static struct range tile_range(size_t tile, size_t n_queries)
{
    size_t begin = tile * RK_BATCH_TILE;
    return (struct range){begin, begin + RK_BATCH_TILE < n_queries ? begin + RK_BATCH_TILE : n_queries};
}

/* Rows [first, end) of the tile rows × columns, from its home. */
static void batch_tile(const struct rk_items *items, struct range rows, struct range columns,
                       struct range wanted, float *out, size_t stride, float *tile)
{
    bool mirrored = rows.begin > columns.begin;
    struct range a = mirrored ? columns : rows, b = mirrored ? rows : columns;
    size_t width = b.end - b.begin;
    rk_product(a.end - a.begin, width, items->dim, items->rows + a.begin * items->dim,
               items->rows + b.begin * items->dim, tile, width);
    for (size_t i = wanted.begin; i < wanted.end; i++) {
        float *to = out + (i - wanted.begin) * stride + columns.begin;
        if (!mirrored) {
            size_t below = rows.begin == columns.begin ? i - rows.begin : 0;
            for (size_t j = 0; j < below; j++)
                to[j] = tile[j * width + (i - rows.begin)];
            memcpy(to + below, tile + (i - rows.begin) * width + below, (width - below) * sizeof *to);
            continue;
        }
        for (size_t j = 0; j < columns.end - columns.begin; j++)
            to[j] = tile[j * width + (i - rows.begin)];
    }
}

void rk_product_batch(const struct rk_items *items, size_t first, size_t count, float *out, size_t stride,
                      void *work)
{
    size_t tiles = (items->n_queries + RK_BATCH_TILE - 1) / RK_BATCH_TILE, end = first + count;
    for (size_t r = first / RK_BATCH_TILE; r * RK_BATCH_TILE < end; r++) {
        struct range rows = tile_range(r, items->n_queries), wanted = rows;
        wanted.begin = wanted.begin < first ? first : wanted.begin;
        wanted.end = wanted.end > end ? end : wanted.end;
        for (size_t c = 0; c < tiles; c++)
            batch_tile(items, rows, tile_range(c, items->n_queries), wanted,
                       out + (wanted.begin - first) * stride, stride, work);
    }
}

void rk_product_row_block(const struct rk_items *items, size_t first, size_t count,
                          const struct rk_row_block *run, size_t from, size_t n, float *out, size_t stride,
                          void *work)
{
    size_t dim = items->dim;
    const float *rows = (const float *)run->rows + from * dim;
    if (run->dtype != RK_FP32) {
        rk_scores_widen((const char *)run->rows + from * dim * rk_dtype_size(run->dtype), run->dtype, n * dim,
                        work);
        rows = work;
    }
    rk_product(count, n, dim, items->rows + first * dim, rows, out, stride);
}
