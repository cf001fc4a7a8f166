/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "kernels/kernels_internal.h"

void rk_divide_avx2(float *value, size_t items, double w, double divisor)
{
    const __m256d minus_w = _mm256_set1_pd(-w), by = _mm256_set1_pd(divisor);
    size_t i = 0;
    for (; i + 8 <= items; i += 8) {
        const __m256 x = _mm256_loadu_ps(value + i);
        const __m256i bits = _mm256_castps_si256(x);
        if (_mm256_testz_si256(bits, bits))
            continue;
        const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(x));
        const __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
        const __m128 a = _mm256_cvtpd_ps(_mm256_div_pd(_mm256_mul_pd(minus_w, low), by));
        const __m128 b = _mm256_cvtpd_ps(_mm256_div_pd(_mm256_mul_pd(minus_w, high), by));
        _mm256_storeu_ps(value + i, _mm256_add_ps(_mm256_set_m128(b, a), _mm256_setzero_ps()));
    }
    rk_divide_scalar(value + i, items - i, w, divisor);
}
