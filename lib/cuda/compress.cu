/* SPDX-License-Identifier: Apache-2.0 */
// The sparse pair of a dense gradient: the positions that are not 0, ascending, and their values.
#include <cub/cub.cuh>

#include "cuda/kernels.cuh"

namespace rk
{

namespace
{

constexpr unsigned THREADS = 256, EACH = 16, TILE = THREADS * EACH;

unsigned tiles_of(size_t elements)
{
    return static_cast<unsigned>(ceil_div<size_t>(elements, TILE));
}

// Which of the thread's elements are not 0.
__device__ uint32_t ones_of(const float *gradient, size_t from, size_t elements)
{
    uint32_t ones = 0;
    for (uint32_t k = 0; k < EACH && from + k < elements; k++)
        ones |= (gradient[from + k] != 0 ? 1u : 0u) << k;
    return ones;
}

__global__ void count_tiles(const float *gradient, size_t elements, unsigned long long *count)
{
    __shared__ uint32_t warp[32];
    const size_t from = static_cast<size_t>(blockIdx.x) * TILE + EACH * threadIdx.x;
    const uint32_t all = sum_block(static_cast<uint32_t>(__popc(ones_of(gradient, from, elements))), warp);
    if (threadIdx.x == 0)
        count[blockIdx.x] = all;
}

__global__ void write_tiles(const float *gradient, size_t elements, const unsigned long long *end,
                            int64_t *index, float *value)
{
    using Scan = cub::BlockScan<uint32_t, THREADS>;
    __shared__ typename Scan::TempStorage memory;
    const size_t from = static_cast<size_t>(blockIdx.x) * TILE + EACH * threadIdx.x;
    uint32_t ones = ones_of(gradient, from, elements), before;
    Scan(memory).ExclusiveSum(__popc(ones), before);
    size_t at = (blockIdx.x ? end[blockIdx.x - 1] : 0) + before;
    for (; ones; ones &= ones - 1, at++) {
        const size_t i = from + __ffs(static_cast<int>(ones)) - 1;
        if (index)
            index[at] = static_cast<int64_t>(i);
        if (value)
            value[at] = gradient[i];
    }
}

struct CompressMemory {
    unsigned long long *count; // [tiles], then their sums
    void *temporary;
    size_t temporary_bytes, bytes;
};

CompressMemory memory_of(void *base, size_t elements)
{
    CompressMemory m = {};
    const unsigned tiles = tiles_of(elements);
    check(cub::DeviceScan::InclusiveSum(nullptr, m.temporary_bytes, m.count, m.count, tiles),
          "sizing a scan");
    const size_t counts = (tiles * sizeof *m.count + 255) / 256 * 256;
    m.count = static_cast<unsigned long long *>(base);
    m.temporary = static_cast<unsigned char *>(base) + counts;
    m.bytes = counts + m.temporary_bytes;
    return m;
}

} // namespace

size_t compress_bytes(size_t elements)
{
    return memory_of(nullptr, elements).bytes;
}

void launch_compress_count(cudaStream_t stream, const float *gradient, size_t elements, void *memory,
                           unsigned long long *total)
{
    CompressMemory m = memory_of(memory, elements);
    const unsigned tiles = tiles_of(elements);
    launch_kernel(stream, "counting a gradient", count_tiles, tiles, THREADS, 0, gradient, elements, m.count);
    check(cub::DeviceScan::InclusiveSum(m.temporary, m.temporary_bytes, m.count, m.count, tiles, stream),
          "summing counts");
    check(cudaMemcpyAsync(total, m.count + tiles - 1, sizeof *total, cudaMemcpyDeviceToDevice, stream),
          "copying a count");
}

void launch_compress(cudaStream_t stream, const float *gradient, size_t elements, const void *memory,
                     int64_t *index, float *value)
{
    launch_kernel(stream, "writing the sparse pair", write_tiles, tiles_of(elements), THREADS, 0, gradient,
                  elements, static_cast<const unsigned long long *>(memory), index, value);
}

} // namespace rk
