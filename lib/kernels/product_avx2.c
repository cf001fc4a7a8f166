/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "kernels/product.h"
#include "kernels/unroll.h"

enum { ROWS = 6, VECTORS = 2, LANES = 8, COLUMNS = VECTORS * LANES };

/* In place: 8 rows become 8 columns. */
RK_INLINE void transpose_avx2(__m256 r[LANES])
{
    __m256 t[LANES];
    RK_UNROLL
    for (size_t i = 0; i < LANES; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    RK_UNROLL
    for (size_t i = 0; i < LANES; i += 4) {
        r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    RK_UNROLL
    for (size_t i = 0; i < 4; i++) {
        t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
    RK_UNROLL
    for (size_t i = 0; i < LANES; i++)
        r[i] = t[i];
}

/* All bits in the first min(left, 8) lanes. */
RK_INLINE __m256i lanes_of(size_t left)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(left < LANES ? (int)left : LANES), lane);
}

static void pack_avx2(const float *from, size_t dim, size_t count, size_t depth, size_t width, float *to)
{
    for (size_t i = 0; i < width; i += LANES) {
        const __m256i lanes = lanes_of(width - i);
        for (size_t k = 0; k < depth; k += LANES) {
            const size_t left = depth - k < LANES ? depth - k : LANES;
            const __m256i there = lanes_of(left);
            __m256 row[LANES];
            for (size_t r = 0; r < LANES; r++)
                row[r] =
                    i + r < count ? _mm256_maskload_ps(from + (i + r) * dim + k, there) : _mm256_setzero_ps();
            transpose_avx2(row);
            for (size_t r = 0; r < left; r++)
                _mm256_maskstore_ps(to + (k + r) * width + i, lanes, row[r]);
        }
    }
}

static void tile_avx2(size_t depth, const float *a, const float *b, float *c, size_t stride)
{
    __m256 sum[ROWS][VECTORS];
    RK_UNROLL
    for (size_t i = 0; i < ROWS; i++) {
        sum[i][0] = _mm256_loadu_ps(c + i * stride);
        sum[i][1] = _mm256_loadu_ps(c + i * stride + LANES);
    }
    for (size_t k = 0; k < depth; k++) {
        const __m256 b0 = _mm256_loadu_ps(b + k * COLUMNS), b1 = _mm256_loadu_ps(b + k * COLUMNS + LANES);
        RK_UNROLL
        for (size_t i = 0; i < ROWS; i++) {
            const __m256 x = _mm256_broadcast_ss(a + k * ROWS + i);
            sum[i][0] = _mm256_fmadd_ps(x, b0, sum[i][0]);
            sum[i][1] = _mm256_fmadd_ps(x, b1, sum[i][1]);
        }
    }
    RK_UNROLL
    for (size_t i = 0; i < ROWS; i++) {
        _mm256_storeu_ps(c + i * stride, sum[i][0]);
        _mm256_storeu_ps(c + i * stride + LANES, sum[i][1]);
    }
}

const struct rk_product_kernels rk_product_avx2 = {
    .rows = ROWS, .columns = COLUMNS, .pack = pack_avx2, .tile = tile_avx2};
