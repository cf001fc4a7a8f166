/* SPDX-License-Identifier: Apache-2.0 */
/* Similarities: inner products of queries with the items of the ranked axis, by a BLAS (OpenBLAS, one
 * thread).
 *
 * A BLAS gives a pair's value in another last bit when the pair stands elsewhere in a product, or in a
 * product of another shape (seen: the Haswell kernels, in 4 % of a 256 x 1024 product). So every pair has one
 * home: one element of one product of one shape, and code that needs its value reads that element or computes
 * the same product again. Within the batch the home of {i, j} lies in the row of min(i, j): both directions
 * have one value. */
#ifndef RK_RETRIEVAL_PRODUCT_H
#define RK_RETRIEVAL_PRODUCT_H

#include "retrieval/items.h"

/* Rows and columns of a product within the batch. */
#define RK_BATCH_TILE ((size_t)128)

/* Items of one product with anything else: a multiple of every kernel's step; tile and widened rows stay in
 * L2. */
#define RK_ITEM_TILE ((size_t)512)

/* Makes OpenBLAS compute on the calling thread; any number of times, from any thread. */
void rk_product_begin(void);

/* Bytes of the work memory of the two functions below. */
size_t rk_product_work(size_t dim);

/* Similarities of queries first..first+count-1 with the whole batch, themselves included, to
 * out[i * stride + j], j = 0..batch-1. */
void rk_product_batch(const struct rk_items *items, size_t first, size_t count, float *out, size_t stride,
                      void *work);

/* Similarities of queries first..first+count-1 with `n` <= RK_ITEM_TILE items of a run from its place `from`
 * on, to out[i * stride + j], j = 0..n-1. */
void rk_product_row_block(const struct rk_items *items, size_t first, size_t count,
                          const struct rk_row_block *run, size_t from, size_t n, float *out, size_t stride,
                          void *work);

/* C[m, n] = A[m, dim] · B[n, dim]ᵀ, rows of C `stride` apart. */
void rk_product(size_t m, size_t n, size_t dim, const float *a, const float *b, float *c, size_t stride);

#endif
