/* SPDX-License-Identifier: Apache-2.0 */
#include "retrieval/product.h"

#include "kernels/kernel.h"
#include "kernels/product.h"
#include "kernels/score.h"

static size_t widened_bytes(size_t dim)
{
    return RK_ITEM_TILE * dim * sizeof(float);
}

size_t rk_product_work(size_t dim)
{
    return widened_bytes(dim) + RK_PRODUCT_WORK;
}

void rk_product(size_t m, size_t n, size_t dim, const float *a, const float *b, float *c, size_t stride,
                void *work)
{
    rk_product_run(rk_kernels()->product, m, n, dim, a, b, c, stride, (char *)work + widened_bytes(dim));
}

void rk_product_batch(const struct rk_items *items, size_t first, size_t count, float *out, size_t stride,
                      void *work)
{
    rk_product(count, items->n_queries, items->dim, items->rows + first * items->dim, items->rows, out,
               stride, work);
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
    rk_product(count, n, dim, items->rows + first * dim, rows, out, stride, work);
}
