/* SPDX-License-Identifier: Apache-2.0 */
// Operations of a whole block: sorts and sums.
#pragma once

#include "cuda/items.cuh"
#include "cuda/runtime.cuh"

namespace rk
{

// Bitonic sort of a power of two of keys in shared memory, ascending.
template <class T> __device__ void sort_block(T *key, uint32_t count)
{
    for (uint32_t run = 2; run <= count; run *= 2) {
        for (uint32_t gap = run / 2; gap > 0; gap /= 2) {
            __syncthreads();
            for (uint32_t t = threadIdx.x; t < count / 2; t += blockDim.x) {
                const uint32_t i = 2 * t - (t & (gap - 1)), j = i + gap;
                const T a = key[i], b = key[j];
                if ((a > b) == ((i & run) == 0)) {
                    key[i] = b;
                    key[j] = a;
                }
            }
        }
    }
    __syncthreads();
}

// value[k] becomes the sum of value[k..count-1]. `warp`: 32 elements of shared memory.
__device__ inline void suffix_sums(uint32_t *value, uint32_t count, uint32_t *warp)
{
    const uint32_t each = ceil_div(count, blockDim.x), lane = threadIdx.x % 32;
    // Thread 0 has the last elements.
    const uint32_t skip = each * threadIdx.x, end = skip < count ? count - skip : 0;
    const uint32_t begin = end > each ? end - each : 0;
    uint32_t sum = 0;
    for (uint32_t i = end; i > begin; i--)
        sum += value[i - 1];
    uint32_t before = sum;
    for (int d = 1; d < 32; d *= 2) {
        const uint32_t other = __shfl_up_sync(EVERYONE, before, d);
        before += lane >= static_cast<uint32_t>(d) ? other : 0;
    }
    if (lane == 31)
        warp[threadIdx.x / 32] = before;
    before -= sum;
    __syncthreads();
    for (uint32_t w = 0; w < threadIdx.x / 32; w++)
        before += warp[w];
    for (uint32_t i = end; i > begin; i--) {
        before += value[i - 1];
        value[i - 1] = before;
    }
    __syncthreads();
}

// The sum of the values of the threads before this one; warp[31] becomes the sum of all.
__device__ inline uint32_t sums_before(uint32_t value, uint32_t *warp)
{
    const uint32_t lane = threadIdx.x % 32, own = threadIdx.x / 32;
    uint32_t sum = value;
    for (int d = 1; d < 32; d *= 2) {
        const uint32_t other = __shfl_up_sync(EVERYONE, sum, d);
        sum += lane >= static_cast<uint32_t>(d) ? other : 0;
    }
    if (lane == 31)
        warp[own] = sum;
    __syncthreads();
    uint32_t before = 0, all = 0;
    for (uint32_t w = 0; w < blockDim.x / 32; w++) {
        before += w < own ? warp[w] : 0;
        all += warp[w];
    }
    __syncthreads();
    if (threadIdx.x == 0)
        warp[31] = all;
    __syncthreads();
    return before + sum - value;
}

// The sum over the block, in an order that depends on blockDim only; valid in thread 0. `warp`: 32
// elements.
template <class T> __device__ T sum_block(T value, T *warp)
{
    for (int d = 16; d > 0; d /= 2)
        value += __shfl_down_sync(EVERYONE, value, d);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        warp[threadIdx.x / 32] = value;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (uint32_t w = 1; w < blockDim.x / 32; w++)
            value += warp[w];
    }
    return value;
}

} // namespace rk
