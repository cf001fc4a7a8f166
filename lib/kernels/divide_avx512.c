/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernels_internal.h"
#include "kernels/load_avx512.h"

/* Differences in FP32 are whole numbers, so they may become integers again. */
void rk_divide_avx512(float *value, size_t items, double w, double divisor)
{
    size_t i = 0;
    for (; i + 16 <= items; i += 16) {
        const __m512i delta = _mm512_cvttps_epi32(_mm512_loadu_ps(value + i));
        if (_mm512_test_epi32_mask(delta, delta))
            _mm512_storeu_ps(value + i, rk_gradient_values_avx512(delta, w, divisor));
    }
    rk_divide_scalar(value + i, items - i, w, divisor);
}
