/* SPDX-License-Identifier: Apache-2.0 */
// Counts what the weights of gradients depend on: the relevant and ignored items of each list.
#include "cuda/kernels.cuh"

namespace rk
{

constexpr int THREADS = 256, WORDS = COUNT_TILE / THREADS / 4; // four targets each, of a thread

// Four words at a time, 16 · THREADS items apart; 0 behind the end.
template <bool ALIGNED>
__device__ static void load_targets(const int8_t *row, uint32_t begin, uint32_t end, uint32_t (&word)[WORDS])
{
#pragma unroll
    for (int r = 0; r < WORDS / 4; r++) {
        const uint32_t i = begin + 16 * (threadIdx.x + r * blockDim.x);
        if (ALIGNED && i + 16 <= end) {
            const uint4 quad = *reinterpret_cast<const uint4 *>(row + i);
            word[4 * r] = quad.x, word[4 * r + 1] = quad.y, word[4 * r + 2] = quad.z,
                     word[4 * r + 3] = quad.w;
            continue;
        }
        for (uint32_t k = 0; k < 4; k++) {
            word[4 * r + k] = 0;
            for (uint32_t b = 0; b < 4 && i + 4 * k + b < end; b++)
                word[4 * r + k] |= static_cast<uint32_t>(static_cast<uint8_t>(row[i + 4 * k + b])) << 8 * b;
        }
    }
}

// The thread's relevant items among the list's, `at` being the place of the first.
__device__ static void note_positions(const uint32_t (&word)[WORDS], uint32_t begin, uint32_t at,
                                      uint32_t room, uint32_t *position)
{
#pragma unroll
    for (int k = 0; k < WORDS; k++) {
        const uint32_t i = begin + 16 * (threadIdx.x + k / 4 * blockDim.x) + 4 * (k % 4);
        for (uint32_t ones = __vcmpeq4(word[k], 0x01010101u) & 0x01010101u; ones; ones &= ones - 1, at++)
            if (at < room)
                position[at] = i + (__ffs(static_cast<int>(ones)) - 1) / 8;
    }
}

// A block counts COUNT_TILE items of one list, and writes the positions of relevant items, in any
// order, up to the room.
template <bool ALIGNED>
static __global__ void __launch_bounds__(THREADS)
    count_tiles(const Matrix matrix, uint32_t tiles, bool is_signed, ListCount *count,
                uint32_t *tile_relevant, uint32_t *positions, uint32_t room, Totals *totals)
{
    __shared__ uint32_t warp[32], first;
    const size_t list = blockIdx.x / tiles;
    const uint32_t tile = blockIdx.x % tiles, begin = tile * COUNT_TILE,
                   end = min(matrix.items - begin, COUNT_TILE) + begin;
    uint32_t word[WORDS], relevant = 0, ignored = 0, bad = 0;
    load_targets<ALIGNED>(matrix.targets + list * matrix.stride, begin, end, word);
#pragma unroll
    for (int k = 0; k < WORDS; k++) {
        const uint32_t one = __vcmpeq4(word[k], 0x01010101u), minus = is_signed ? __vcmpeq4(word[k], ~0u) : 0;
        relevant += __popc(one) / 8;
        ignored += __popc(minus) / 8;
        bad |= ~(one | minus | __vcmpeq4(word[k], 0));
    }
    const uint32_t before = sums_before(relevant, warp), all = warp[31];
    if (__syncthreads_or(ignored)) {
        ignored = sum_block(ignored, warp);
        if (threadIdx.x == 0)
            atomicAdd(&count[list].ignored, ignored);
    }
    if (bad)
        totals->bad = 1;
    if (threadIdx.x == 0) {
        tile_relevant[blockIdx.x] = all;
        first = all ? atomicAdd(&count[list].p, all) : 0;
    }
    __syncthreads();
    if (positions && relevant)
        note_positions(word, begin, first + before, room, positions + list * room);
}

static __global__ void sum_lists(const ListCount *count, size_t lists, Totals *totals)
{
    unsigned long long valid = 0, relevant = 0;
    uint32_t most = 0;
    for (size_t l = grid_first(); l < lists; l += grid_step()) {
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

static __global__ void sum_losses(const double *loss, size_t lists, Totals *totals, Totals *report)
{
    report_loss(loss, lists, totals, report);
}

void launch_count(cudaStream_t stream, const Matrix &matrix, bool is_signed, ListCount *count,
                  uint32_t *tile_relevant, uint32_t *positions, uint32_t room, Totals *totals)
{
    const size_t lists = matrix.lists;
    const uint32_t tiles = ceil_div(matrix.items, COUNT_TILE);
    const unsigned blocks = static_cast<unsigned>(lists * tiles);
    const bool aligned =
        (lists == 1 || matrix.stride % 16 == 0) && reinterpret_cast<uintptr_t>(matrix.targets) % 16 == 0;
    const unsigned threads = matrix.items <= 2048 ? 64 : THREADS; // all of a short list in the first go
    launch_kernel(stream, "counting targets", aligned ? count_tiles<true> : count_tiles<false>, blocks,
                  threads, 0, matrix, tiles, is_signed, count, tile_relevant, positions, room, totals);
    launch_kernel(stream, "summing lists", sum_lists,
                  static_cast<unsigned>(lists < 65536 ? ceil_div<size_t>(lists, 256) : 256), 256, 0, count,
                  lists, totals);
}

void launch_losses(cudaStream_t stream, const double *loss, size_t lists, Totals *totals, Totals *report)
{
    launch_kernel(stream, "summing losses", sum_losses, 1, 512, 0, loss, lists, totals, report);
}

} // namespace rk
