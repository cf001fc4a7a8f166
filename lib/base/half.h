/* SPDX-License-Identifier: Apache-2.0 */
/* Floats as bits, and those of 16 bits as FP32. Device code includes it too. */
#ifndef RK_BASE_HALF_H
#define RK_BASE_HALF_H

#include <stdint.h>
#include <string.h>

#include "base/device_code.h"

RK_DEVICE static inline uint32_t rk_float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

RK_DEVICE static inline float rk_float_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Exact: every FP16 and BF16 value is an FP32 value. A NaN stays a NaN. */
RK_DEVICE static inline float rk_float_of_fp16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = (half >> 10) & 0x1fu,
             fraction = half & 0x3ffu;
    if (exponent == 0x1f)
        return rk_float_of_bits(sign | 0x7f800000u | fraction << 13);
    if (exponent == 0) /* zero and subnormal: fraction · 2^-24 */
        return (sign ? -1.0f : 1.0f) * ((float)fraction * 0x1p-24f);
    return rk_float_of_bits(sign | (exponent + 112u) << 23 | fraction << 13);
}

RK_DEVICE static inline float rk_float_of_bf16(uint16_t half)
{
    return rk_float_of_bits((uint32_t)half << 16);
}

#endif
