/* SPDX-License-Identifier: Apache-2.0 */
/* The same sums for targets without a vector version. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/product.h"

enum { ROWS = 4, COLUMNS = 16 };

/* a * b + c with one rounding. */
static float fused(float a, float b, float c)
{
#ifdef FP_FAST_FMAF
    return fmaf(a, b, c);
#else
    /* On x86 without FMA, fmaf() is a call of a hundred instructions. The product is exact in FP64,
     * so that the sum rounded to FP64 and then to FP32 is right, unless the first rounding ends in
     * the middle between two FP32 values (the lower 29 bits of the mantissa), or the result is
     * subnormal and has fewer bits. */
    const double sum = (double)a * (double)b + (double)c;
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    const int middle = (bits & 0x1fffffff) == 0x10000000, small = fabs(sum) < 0x1p-125 && sum != 0;
    return middle || small ? fmaf(a, b, c) : (float)sum;
#endif
}

static void pack_scalar(const float *from, size_t dim, size_t count, size_t depth, size_t width, float *to)
{
    for (size_t k = 0; k < depth; k++) {
        for (size_t i = 0; i < width; i++)
            to[k * width + i] = i < count ? from[i * dim + k] : 0;
    }
}

static void tile_scalar(size_t depth, const float *a, const float *b, float *c, size_t stride)
{
    for (size_t k = 0; k < depth; k++) {
        for (size_t i = 0; i < ROWS; i++) {
            for (size_t j = 0; j < COLUMNS; j++)
                c[i * stride + j] = fused(a[k * ROWS + i], b[k * COLUMNS + j], c[i * stride + j]);
        }
    }
}

const struct rk_product_kernels rk_product_scalar = {
    .rows = ROWS, .columns = COLUMNS, .pack = pack_scalar, .tile = tile_scalar};
