// What a block does together: sorts, sums, searches.
#pragma once

#include "items.cuh"
#include "runtime.cuh"

namespace rk {

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

// value[k] becomes the sum of value[k..count-1]. `warp`: room for 32.
__device__ inline void suffix_sums(uint32_t *value, uint32_t count, uint32_t *warp)
{
    const uint32_t each = ceil_div(count, blockDim.x), lane = threadIdx.x % 32;
    // Thread 0 has the last ones.
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

// The sum over the block, in an order that depends on blockDim only; right in thread 0. `warp`: room for 32.
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

// Ascending thresholds as a complete search tree of `levels` levels, in breadth-first order from place 1 on: the first
// five levels are read without a conflict of banks. Holds up to 2^levels - 1; what is missing is +inf.
__device__ inline int tree_levels(uint32_t count)
{
    return 32 - __clz(count);
}

// `stride`: every stride-th of the thresholds.
__device__ inline void plant_tree(float *tree, int levels, const float *ascending, uint32_t count, uint32_t stride)
{
    const uint32_t room = 1u << levels;
    for (uint32_t i = threadIdx.x + 1; i < room; i += blockDim.x) {
        const int depth = 31 - __clz(i);
        const uint32_t place = ((2 * (i - (1u << depth)) + 1) << (levels - depth - 1)) - 1;
        tree[i] = place < count ? ascending[static_cast<size_t>(place) * stride] : __int_as_float(0x7f800000);
    }
}

// How many of the tree's thresholds are <= s; with s = +inf the missing ones too, so the caller takes the lesser of
// that and their number. 0 for NaN.
__device__ inline uint32_t search_tree(const float *tree, int levels, float s)
{
    uint32_t i = 1;
    for (int level = 0; level < levels; level++)
        i = 2 * i + (tree[i] <= s);
    return i - (1u << levels);
}

} // namespace rk
