/* SPDX-License-Identifier: Apache-2.0 */
// The number of ascending thresholds at or below a score. A table over slots of equal width gives
// the two indices to search between, mostly equal ones. Results are correct for any distribution;
// an uneven one costs a few more steps.
#pragma once

#include "cuda/items.cuh"
#include "cuda/runtime.cuh"

namespace rk
{

// For less than 65,536 thresholds. In shared memory.
template <int SLOTS> struct Finder {
    float base, scale;
    uint32_t place[SLOTS]; // thresholds of lower slots; upper half: including this one
};

// Monotone in s, including rounding; NaN is in slot 0.
template <int SLOTS> __device__ inline int slot_of(float base, float scale, float s)
{
    return static_cast<int>(fminf(fmaxf((s - base) * scale, 0.0f), SLOTS - 1.0f));
}

// The slots lie between thresholds near the two ends, so that an outlier does not widen them.
// Called by the whole block after threshold[0..count-1] is written; it ends with a barrier.
template <int SLOTS>
__device__ void build_finder(Finder<SLOTS> &finder, const float *threshold, uint32_t count)
{
    if (threadIdx.x == 0) {
        const uint32_t margin = count / 64;
        const float low = threshold[margin], range = threshold[count - 1 - margin] - low;
        finder.base = low;
        finder.scale = range > 0 && range < __int_as_float(0x7f800000) ? SLOTS / range : 0;
    }
    __syncthreads();
    const float base = finder.base, scale = finder.scale;
    for (uint32_t i = threadIdx.x; i <= count; i += blockDim.x) {
        const int from = i ? slot_of<SLOTS>(base, scale, threshold[i - 1]) : 0;
        const int to = i < count ? slot_of<SLOTS>(base, scale, threshold[i]) : SLOTS - 1;
        // i thresholds are in slots up to `from`: the end of that slot, and both ends of empty ones
        // behind it.
        if (from == to && i > 0 && i < count)
            continue;
        uint16_t *half = reinterpret_cast<uint16_t *>(finder.place);
        if (i == 0)
            half[0] = 0;
        for (int q = from; q < to; q++) {
            half[2 * q + 1] = static_cast<uint16_t>(i);
            half[2 * q + 2] = static_cast<uint16_t>(i);
        }
        if (i == count)
            half[2 * (SLOTS - 1) + 1] = static_cast<uint16_t>(i);
    }
    __syncthreads();
}

// 0 for NaN.
template <int SLOTS>
__device__ inline uint32_t find(const Finder<SLOTS> &finder, const float *threshold, float s)
{
    const uint32_t ends = finder.place[slot_of<SLOTS>(finder.base, finder.scale, s)];
    uint32_t low = ends & 0xffff, high = ends >> 16;
    while (low < high) {
        const uint32_t middle = (low + high) / 2;
        if (threshold[middle] <= s)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

} // namespace rk
