/* SPDX-License-Identifier: Apache-2.0 */
// Σ value · row over pairs of items and values, in FP64.
#pragma once

#include "cuda/retrieval.cuh"

namespace rk
{

__device__ inline const void *find_row(const Block &block, uint32_t position, int &dtype)
{
    uint32_t low = 0, high = block.runs;
    while (high - low > 1) {
        const uint32_t middle = (low + high) / 2;
        if (block.run[middle].start <= position)
            low = middle;
        else
            high = middle;
    }
    const Run &run = block.run[low];
    dtype = run.dtype;
    const size_t size = dtype == RK_FP32 ? 4 : 2;
    return static_cast<const unsigned char *>(run.rows) +
           static_cast<size_t>(position - run.start) * block.dim * size;
}

__device__ inline float row_element(const void *row, int dtype, uint32_t d)
{
    return dtype == RK_FP32   ? static_cast<const float *>(row)[d]
           : dtype == RK_FP16 ? widen(static_cast<const Fp16 *>(row)[d])
                              : widen(static_cast<const Bf16 *>(row)[d]);
}

constexpr int ACROSS = 4; // dimensions of a lane at a time

// Σ value · row over pairs that pair(e) gives, by one warp.
template <class GetPair>
__device__ void add_rows(const Block &block, uint32_t count, uint32_t first, double (&sum)[ACROSS],
                         GetPair pair)
{
    const uint32_t lane = threadIdx.x % 32;
    for (uint32_t base = 0; base < count; base += 32) {
        Pair mine = {0, 0};
        const void *row = nullptr;
        int dtype = RK_FP32;
        if (base + lane < count)
            mine = pair(base + lane);
        if (mine.value != 0)
            row = find_row(block, mine.position, dtype);
        for (uint32_t left = __ballot_sync(EVERYONE, mine.value != 0); left; left &= left - 1) {
            const int e = __ffs(static_cast<int>(left)) - 1;
            const auto at = reinterpret_cast<const void *>(
                __shfl_sync(EVERYONE, reinterpret_cast<unsigned long long>(row), e));
            const int type = __shfl_sync(EVERYONE, dtype, e);
            const double value = __shfl_sync(EVERYONE, mine.value, e);
#pragma unroll
            for (int a = 0; a < ACROSS; a++) {
                const uint32_t d = first + 32 * a + lane;
                if (d < block.dim)
                    sum[a] += value * static_cast<double>(row_element(at, type, d));
            }
        }
    }
}

} // namespace rk
