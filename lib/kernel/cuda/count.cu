// What is counted before a gradient can be weighed: the relevant and ignored items of each list.
#include "kernels.cuh"

namespace rk {

// Counts of the four bytes of a word, in its bytes' sum.
__device__ static void count_word(uint32_t word, bool is_signed, uint32_t &relevant, uint32_t &ignored, uint32_t &bad)
{
    const uint32_t one = __vcmpeq4(word, 0x01010101u), minus = is_signed ? __vcmpeq4(word, ~0u) : 0;
    const uint32_t zero = __vcmpeq4(word, 0);
    relevant += __popc(one) / 8;
    ignored += __popc(minus) / 8;
    bad |= ~(one | minus | zero);
}

// A block looks at COUNT_TILE items of one list.
template <bool ALIGNED>
static __global__ void count_tiles(const int8_t *targets, uint32_t items, uint32_t tiles, bool is_signed,
                                   ListCount *count, uint32_t *tile_relevant, Totals *totals)
{
    __shared__ uint32_t warp[32];
    const size_t list = blockIdx.x / tiles;
    const uint32_t tile = blockIdx.x % tiles, begin = tile * COUNT_TILE, end = min(items - begin, COUNT_TILE) + begin;
    const int8_t *row = targets + list * items;
    uint32_t relevant = 0, ignored = 0, bad = 0;
    for (uint32_t i = begin + 16 * threadIdx.x; i < end; i += 16 * blockDim.x) {
        if (ALIGNED && i + 16 <= end) {
            const uint4 quad = *reinterpret_cast<const uint4 *>(row + i);
            count_word(quad.x, is_signed, relevant, ignored, bad);
            count_word(quad.y, is_signed, relevant, ignored, bad);
            count_word(quad.z, is_signed, relevant, ignored, bad);
            count_word(quad.w, is_signed, relevant, ignored, bad);
            continue;
        }
        for (uint32_t k = i; k < end && k < i + 16; k++)
            count_word(static_cast<uint8_t>(row[k]), is_signed, relevant, ignored, bad);
    }
    relevant = sum_block(relevant, warp);
    ignored = sum_block(ignored, warp);
    if (bad)
        totals->bad = 1;
    if (threadIdx.x != 0)
        return;
    tile_relevant[blockIdx.x] = relevant;
    if (relevant)
        atomicAdd(&count[list].p, relevant);
    if (ignored)
        atomicAdd(&count[list].ignored, ignored);
}

static __global__ void sum_lists(const ListCount *count, size_t lists, Totals *totals)
{
    unsigned long long valid = 0, relevant = 0;
    uint32_t most = 0;
    for (size_t l = blockIdx.x * static_cast<size_t>(blockDim.x) + threadIdx.x; l < lists;
         l += static_cast<size_t>(gridDim.x) * blockDim.x) {
        const uint32_t p = count[l].p;
        valid += p > 0;
        relevant += p;
        most = max(most, p);
    }
    __shared__ unsigned long long warp[32];
    valid = sum_block(valid, warp);
    relevant = sum_block(relevant, warp);
    most = __reduce_max_sync(EVERYONE, most);
    if (threadIdx.x % 32 == 0)
        atomicMax(&totals->most, most);
    if (threadIdx.x == 0) {
        atomicAdd(&totals->valid, valid);
        atomicAdd(&totals->relevant, relevant);
    }
}

// The weighted losses in an order of their own, always the same.
static __global__ void sum_losses(const double *loss, size_t lists, Totals *totals)
{
    __shared__ double warp[32];
    double sum = 0;
    for (size_t l = threadIdx.x; l < lists; l += blockDim.x)
        sum += loss[l];
    sum = sum_block(sum, warp);
    if (threadIdx.x == 0)
        totals->loss = sum;
}

void launch_count(cudaStream_t stream, const int8_t *targets, size_t lists, uint32_t items, bool is_signed,
                  ListCount *count, uint32_t *tile_relevant, Totals *totals)
{
    const uint32_t tiles = ceil_div(items, COUNT_TILE);
    const unsigned blocks = static_cast<unsigned>(lists * tiles);
    const bool aligned = items % 16 == 0 && reinterpret_cast<uintptr_t>(targets) % 16 == 0;
    const unsigned threads = items <= 2048 ? 64 : 256;
    (aligned ? count_tiles<true> : count_tiles<false>)<<<blocks, threads, 0, stream>>>(
        targets, items, tiles, is_signed, count, tile_relevant, totals);
    launched("counting targets");
    sum_lists<<<static_cast<unsigned>(lists < 65536 ? ceil_div<size_t>(lists, 256) : 256), 256, 0, stream>>>(count, lists, totals);
    launched("summing lists");
}

void launch_losses(cudaStream_t stream, const double *loss, size_t lists, Totals *totals)
{
    sum_losses<<<1, 512, 0, stream>>>(loss, lists, totals);
    launched("summing losses");
}

} // namespace rk
