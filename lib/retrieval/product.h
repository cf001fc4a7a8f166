/* SPDX-License-Identifier: Apache-2.0 */
/* Similarities: inner products of queries with the items of the ranked axis. A pair's value has the
 * same bits in every product that has the pair, in both directions and on every CPU
 * (kernels/product.h). */
#ifndef RK_RETRIEVAL_PRODUCT_H
#define RK_RETRIEVAL_PRODUCT_H

#include "retrieval/items.h"

/* Items of one product: tile and widened rows stay in L2. */
#define RK_ITEM_TILE ((size_t)512)

/* Bytes of the work memory of the functions below, which is 64-byte aligned. Its first RK_ITEM_TILE
 * * dim floats are for widened rows: the caller of rk_product() may have its rows there. */
size_t rk_product_work(size_t dim);

/* Similarities of queries first..first+count-1 with the whole batch, themselves included, to
 * out[i * stride + j], j = 0..batch-1. */
void rk_product_batch(const struct rk_items *items, size_t first, size_t count, float *out, size_t stride,
                      void *work);

/* Similarities of queries first..first+count-1 with `n` <= RK_ITEM_TILE items of a run from its
 * place `from` on, to out[i * stride + j], j = 0..n-1. */
void rk_product_row_block(const struct rk_items *items, size_t first, size_t count,
                          const struct rk_row_block *run, size_t from, size_t n, float *out, size_t stride,
                          void *work);

/* C[m, n] = A[m, dim] · B[n, dim]ᵀ, rows of C `stride` apart. */
void rk_product(size_t m, size_t n, size_t dim, const float *a, const float *b, float *c, size_t stride,
                void *work);

#endif
