/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/load_avx512.h"
#include "kernels/product.h"

enum { ROWS = 12, VECTORS = 2, LANES = 16, COLUMNS = VECTORS * LANES };

RK_INLINE __m512 pairs_low(__m512 a, __m512 b)
{
    return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}

RK_INLINE __m512 pairs_high(__m512 a, __m512 b)
{
    return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}

/* In place: 16 rows become 16 columns. */
RK_INLINE void transpose_avx512(__m512 r[LANES])
{
    __m512 t[LANES];
    RK_UNROLL
    for (size_t i = 0; i < LANES; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    RK_UNROLL
    for (size_t i = 0; i < LANES; i += 4) {
        r[i] = pairs_low(t[i], t[i + 2]);
        r[i + 1] = pairs_high(t[i], t[i + 2]);
        r[i + 2] = pairs_low(t[i + 1], t[i + 3]);
        r[i + 3] = pairs_high(t[i + 1], t[i + 3]);
    }
    RK_UNROLL
    for (size_t i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
    }
    RK_UNROLL
    for (size_t i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

static void pack_avx512(const float *from, size_t dim, size_t count, size_t depth, size_t width, float *to)
{
    for (size_t i = 0; i < width; i += LANES) {
        const __mmask16 lanes = rk_lanes((uint32_t)(width - i));
        for (size_t k = 0; k < depth; k += LANES) {
            const size_t left = depth - k < LANES ? depth - k : LANES;
            const __mmask16 there = rk_lanes((uint32_t)left);
            __m512 row[LANES];
            for (size_t r = 0; r < LANES; r++)
                row[r] = i + r < count ? _mm512_maskz_loadu_ps(there, from + (i + r) * dim + k)
                                       : _mm512_setzero_ps();
            transpose_avx512(row);
            for (size_t r = 0; r < left; r++)
                _mm512_mask_storeu_ps(to + (k + r) * width + i, lanes, row[r]);
        }
    }
}

static void tile_avx512(size_t depth, const float *a, const float *b, float *c, size_t stride)
{
    __m512 sum[ROWS][VECTORS];
    RK_UNROLL
    for (size_t i = 0; i < ROWS; i++) {
        sum[i][0] = _mm512_loadu_ps(c + i * stride);
        sum[i][1] = _mm512_loadu_ps(c + i * stride + LANES);
    }
    for (size_t k = 0; k < depth; k++) {
        const __m512 b0 = _mm512_loadu_ps(b + k * COLUMNS), b1 = _mm512_loadu_ps(b + k * COLUMNS + LANES);
        RK_UNROLL
        for (size_t i = 0; i < ROWS; i++) {
            const __m512 x = _mm512_set1_ps(a[k * ROWS + i]);
            sum[i][0] = _mm512_fmadd_ps(x, b0, sum[i][0]);
            sum[i][1] = _mm512_fmadd_ps(x, b1, sum[i][1]);
        }
    }
    RK_UNROLL
    for (size_t i = 0; i < ROWS; i++) {
        _mm512_storeu_ps(c + i * stride, sum[i][0]);
        _mm512_storeu_ps(c + i * stride + LANES, sum[i][1]);
    }
}

const struct rk_product_kernels rk_product_avx512 = {
    .rows = ROWS, .columns = COLUMNS, .pack = pack_avx512, .tile = tile_avx512};
