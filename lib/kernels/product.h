/* SPDX-License-Identifier: Apache-2.0 */
/* Inner products of the rows of two matrices in FP32: C[i][j] = Σ A[i][k] · B[j][k].
 *
 * Each sum is a chain of fused multiply-adds, k = 0, 1, …, from +0, whatever the set of kernels,
 * the shape of the product and the place of the pair in it. So a pair's value depends on its two
 * rows alone: it has the same bits on every CPU, and {i, j} the same as {j, i}. A BLAS promises
 * neither: it splits sums by its vectors, and differently at the edges.
 *
 * The blocking is that of Goto and van de Geijn (ACM TOMS 34, 2008): panels of A and B are packed
 * so that the innermost loop reads both in order. */
#ifndef RK_KERNELS_PRODUCT_H
#define RK_KERNELS_PRODUCT_H

#include <stddef.h>

enum {
    RK_PRODUCT_DEPTH = 256,  /* k of one packed block */
    RK_PRODUCT_ROWS = 264,   /* of A; a multiple of each set's `rows` */
    RK_PRODUCT_COLUMNS = 128 /* rows of B; a multiple of each set's `columns` */
};

/* Bytes of memory for packed blocks. */
#define RK_PRODUCT_WORK (sizeof(float) * RK_PRODUCT_DEPTH * (RK_PRODUCT_ROWS + RK_PRODUCT_COLUMNS))

/* What a set of kernels provides. */
struct rk_product_kernels {
    size_t rows, columns; /* of the tile that is summed in registers; at most RK_PRODUCT_TILE floats */
    /* to[k * width + i] = from[i * dim + k], k < depth <= RK_PRODUCT_DEPTH, i < count <= width; 0
     * for the other i. `width` is `rows` or `columns`. */
    void (*pack)(const float *from, size_t dim, size_t count, size_t depth, size_t width, float *to);
    /* Continues the sums in c[rows][columns], rows `stride` apart, over packed panels of a and
     * b. */
    void (*tile)(size_t depth, const float *a, const float *b, float *c, size_t stride);
};
enum { RK_PRODUCT_TILE = 12 * 32 };

/* One per kernel set (rk_kernels.product). */
extern const struct rk_product_kernels rk_product_scalar, rk_product_avx2, rk_product_avx512;

/* C[m, n] = A[m, dim] · B[n, dim]ᵀ, rows of A and B one after the other, rows of C `stride` >= n
 * apart. `work`: RK_PRODUCT_WORK bytes, 64-byte aligned. */
void rk_product_run(const struct rk_product_kernels *kernels, size_t m, size_t n, size_t dim, const float *a,
                    const float *b, float *c, size_t stride, void *work);

#endif
