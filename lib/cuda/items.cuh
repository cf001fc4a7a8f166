/* SPDX-License-Identifier: Apache-2.0 */
// The items of a list as kernels read them: sixteen per thread at a time, four contiguous. Items
// other than irrelevant ones become NaN, which no comparison counts.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

extern "C" {
#include "kernels/gradient_value.h"
#include "kernels/score.h"
#include "kernels/threshold.h"
}

namespace rk
{

using Fp16 = __half;
using Bf16 = __nv_bfloat16;

__device__ inline float widen(float x)
{
    return x;
}
__device__ inline float widen(Fp16 x)
{
    return __half2float(x);
}
__device__ inline float widen(Bf16 x)
{
    return __bfloat162float(x);
}

constexpr int QUADS = 4;           // per thread, loaded before the first is used
constexpr int HELD = 4 * QUADS;    // items of a thread at a time
constexpr unsigned EVERYONE = ~0u; // lanes of a warp

// A list, or the part of a list for one block. ALIGNED: scores + i is aligned to 16 bytes and
// targets + i to 4 if i is a multiple of 4. Without targets every item counts as irrelevant; others
// were made NaN before.
template <class S> struct Items {
    const S *scores;
    const int8_t *targets;
};

template <class S> __device__ inline void load_quad(const S *scores, float out[4]);
template <> __device__ inline void load_quad(const float *scores, float out[4])
{
    const float4 quad = *reinterpret_cast<const float4 *>(scores);
    out[0] = quad.x, out[1] = quad.y, out[2] = quad.z, out[3] = quad.w;
}
template <class H> __device__ inline void load_halves(const H *scores, float out[4])
{
    const uint2 raw = *reinterpret_cast<const uint2 *>(scores);
    H half[4];
    memcpy(half, &raw, sizeof raw);
    for (int i = 0; i < 4; i++)
        out[i] = widen(half[i]);
}
template <> __device__ inline void load_quad(const Fp16 *scores, float out[4])
{
    load_halves(scores, out);
}
template <> __device__ inline void load_quad(const Bf16 *scores, float out[4])
{
    load_halves(scores, out);
}

// Loads the items first + 4·q·step .. +3 of the thread, q < QUADS, before `end`. Returns the number
// of irrelevant NaN among them.
template <class S, bool ALIGNED, bool TARGETS>
__device__ inline int load_items(const Items<S> &items, uint32_t first, uint32_t step, uint32_t end,
                                 float (&s)[HELD])
{
    uint32_t target[QUADS];
#pragma unroll
    for (int q = 0; q < QUADS; q++) {
        const uint32_t i = first + 4 * q * step;
        target[q] = 0x7f7f7f7fu; // none
        if (ALIGNED && i + 4 <= end && i < end) {
            load_quad(items.scores + i, s + 4 * q);
            target[q] = TARGETS ? *reinterpret_cast<const uint32_t *>(items.targets + i) : 0;
            continue;
        }
        for (uint32_t k = 0; k < 4; k++) {
            const bool there = i < end && k < end - i;
            s[4 * q + k] = there ? widen(items.scores[i + k]) : 0;
            const uint32_t byte = there ? (TARGETS ? static_cast<uint8_t>(items.targets[i + k]) : 0) : 0x7f;
            target[q] = (target[q] & ~(0xffu << 8 * k)) | byte << 8 * k;
        }
    }
    // Usually all items are irrelevant numbers.
    bool plain = !(target[0] | target[1] | target[2] | target[3]);
#pragma unroll
    for (int i = 0; i < HELD; i++)
        plain = plain && s[i] == s[i];
    if (plain)
        return 0;
    int nan = 0;
#pragma unroll
    for (int i = 0; i < HELD; i++) {
        const bool irrelevant = (target[i / 4] >> 8 * (i % 4) & 0xff) == 0;
        nan += irrelevant && s[i] != s[i];
        s[i] = irrelevant ? s[i] : __int_as_float(0x7fffffff);
    }
    return nan;
}

} // namespace rk
