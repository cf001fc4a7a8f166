/* SPDX-License-Identifier: Apache-2.0 */
/* Scores of all types as FP32, and their sort keys. Device code includes it too. */
#ifndef RK_KERNELS_SCORE_H
#define RK_KERNELS_SCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/half.h"
#include "base/tensor.h"

/* A monotone key: rk_key(a) < rk_key(b) if a < b, and equal if a == b (-0.0 counts as +0.0). Keys
 * of NaN are outside of the range of the keys of numbers. */
RK_DEVICE static inline uint32_t rk_key(float x)
{
    uint32_t bits = rk_float_bits(x);
    if (bits == 0x80000000u)
        bits = 0;
    return bits ^ ((bits >> 31) ? 0xffffffffu : 0x80000000u);
}

RK_DEVICE static inline float rk_float_of_key(uint32_t key)
{
    return rk_float_of_bits(key ^ ((key >> 31) ? 0x80000000u : 0xffffffffu));
}

/* Element i of a buffer of FP32, FP16, BF16 or FP64 (rounded) at any alignment. */
static inline float rk_score_at(const void *scores, enum rk_dtype dtype, size_t i)
{
    const char *at = (const char *)scores; /* a cast, because device code includes this as C++ */
    uint16_t half;
    double wide;
    float x;
    switch (dtype) {
    case RK_FP16:
        memcpy(&half, at + i * sizeof half, sizeof half);
        return rk_float_of_fp16(half);
    case RK_BF16:
        memcpy(&half, at + i * sizeof half, sizeof half);
        return rk_float_of_bf16(half);
    case RK_FP64:
        memcpy(&wide, at + i * sizeof wide, sizeof wide);
        return (float)wide;
    default:
        memcpy(&x, at + i * sizeof x, sizeof x);
        return x;
    }
}

/* The same for elements 0..n-1, into out [n]. */
void rk_scores_widen(const void *scores, enum rk_dtype dtype, size_t n, float *out);

#endif
