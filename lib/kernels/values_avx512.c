/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernels_internal.h"
#include "kernels/load_avx512.h"

uint32_t rk_values_avx512(double w, double divisor, uint32_t items, const uint32_t *before,
                          const uint32_t *after, float *value, uint64_t *size)
{
    uint32_t changed = 0;
    __m512i sum = _mm512_setzero_si512();
    for (uint32_t i = 0; i < items; i += 16) {
        __mmask16 here = rk_lanes(items - i);
        __m512i delta = _mm512_sub_epi32(_mm512_maskz_loadu_epi32(here, before + i),
                                         _mm512_maskz_loadu_epi32(here, after + i));
        __m512i abs = _mm512_abs_epi32(delta);
        changed += (unsigned)__builtin_popcount(_mm512_test_epi32_mask(delta, delta));
        sum = _mm512_add_epi64(sum, _mm512_cvtepu32_epi64(_mm512_castsi512_si256(abs)));
        sum = _mm512_add_epi64(sum, _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(abs, 1)));
        _mm512_mask_storeu_ps(value + i, here, rk_gradient_values_avx512(delta, w, divisor));
    }
    *size += (uint64_t)_mm512_reduce_add_epi64(sum);
    return changed;
}
