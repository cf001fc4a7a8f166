/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/product.h"

#include <string.h>

/* A product's dimensions, or a block's. */
struct product_shape {
    size_t rows, columns, depth;
};

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Panels of `width` rows, one after the other. */
static void pack_panels(const struct rk_product_kernels *kernels, const float *from, size_t dim, size_t rows,
                        size_t depth, size_t width, float *to)
{
    for (size_t r = 0; r < rows; r += width)
        kernels->pack(from + r * dim, dim, least(width, rows - r), depth, width, to + r * depth);
}

/* A tile at the edge is summed in a buffer of full size. */
static void edge_tile(const struct rk_product_kernels *kernels, struct product_shape tile, const float *a,
                      const float *b, float *c, size_t stride)
{
    float whole[RK_PRODUCT_TILE] = {0};
    for (size_t i = 0; i < tile.rows; i++)
        memcpy(whole + i * kernels->columns, c + i * stride, tile.columns * sizeof *c);
    kernels->tile(tile.depth, a, b, whole, kernels->columns);
    for (size_t i = 0; i < tile.rows; i++)
        memcpy(c + i * stride, whole + i * kernels->columns, tile.columns * sizeof *c);
}

static void packed_block(const struct rk_product_kernels *kernels, struct product_shape block, const float *a,
                         const float *b, float *c, size_t stride)
{
    /* The panel of b stays in L1 while the narrower panels of a are read. */
    for (size_t j = 0; j < block.columns; j += kernels->columns) {
        for (size_t i = 0; i < block.rows; i += kernels->rows) {
            struct product_shape tile = {least(kernels->rows, block.rows - i),
                                         least(kernels->columns, block.columns - j), block.depth};
            const float *pa = a + i * block.depth, *pb = b + j * block.depth;
            if (tile.rows == kernels->rows && tile.columns == kernels->columns)
                kernels->tile(block.depth, pa, pb, c + i * stride + j, stride);
            else
                edge_tile(kernels, tile, pa, pb, c + i * stride + j, stride);
        }
    }
}

void rk_product_run(const struct rk_product_kernels *kernels, size_t m, size_t n, size_t dim, const float *a,
                    const float *b, float *c, size_t stride, void *work)
{
    float *packed_a = work, *packed_b = packed_a + (size_t)RK_PRODUCT_DEPTH * RK_PRODUCT_ROWS;
    for (size_t i = 0; i < m; i++)
        memset(c + i * stride, 0, n * sizeof *c);
    for (size_t i = 0; i < m; i += RK_PRODUCT_ROWS) {
        for (size_t k = 0; k < dim; k += RK_PRODUCT_DEPTH) {
            struct product_shape block = {least(RK_PRODUCT_ROWS, m - i), 0, least(RK_PRODUCT_DEPTH, dim - k)};
            pack_panels(kernels, a + i * dim + k, dim, block.rows, block.depth, kernels->rows, packed_a);
            for (size_t j = 0; j < n; j += RK_PRODUCT_COLUMNS) {
                block.columns = least(RK_PRODUCT_COLUMNS, n - j);
                pack_panels(kernels, b + j * dim + k, dim, block.columns, block.depth, kernels->columns,
                            packed_b);
                packed_block(kernels, block, packed_a, packed_b, c + i * stride + j, stride);
            }
        }
    }
}
