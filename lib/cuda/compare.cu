/* SPDX-License-Identifier: Apache-2.0 */
// Long lists with few enough thresholds for the shared memory of a block: every item against all of
// them.
#include <algorithm>

#include "cuda/long_lists.cuh"
#include "cuda/pass.cuh"

namespace rk
{

namespace
{

constexpr int THREADS = 512, ROOM = SHORT_MOST + 1;

__device__ void load_thresholds(float *own, const float *threshold, uint32_t p)
{
    for (uint32_t j = threadIdx.x; j < p; j += blockDim.x)
        own[j] = threshold[j];
    pad_few(own, p);
    __syncthreads();
}

// The end of `tiles` tiles from item `begin` on.
__device__ uint32_t end_of(const Matrix &m, uint32_t begin, uint32_t tiles)
{
    return min(m.items - begin, tiles * COUNT_TILE) + begin;
}

template <class S, bool ALIGNED> __global__ void __launch_bounds__(THREADS, 2) count_lists(const Long l)
{
    unsigned char *memory = block_memory();
    Thresholds<ROOM> &t = *reinterpret_cast<Thresholds<ROOM> *>(memory);
    each_run(l.list, l.lists, l.tiles, [&](uint32_t number, uint32_t first, uint32_t last) {
        const LongList list = l.list[number];
        load_thresholds(t.before, l.threshold + list.begin(), list.p);
        begin_count(t, list.p);
        const uint32_t begin = first * COUNT_TILE, end = end_of(l.matrix, begin, last - first);
        const int nan = count_items<S, ALIGNED, true>(items_of<S>(l.matrix, number), begin, end, t, list.p);
        if (nan)
            l.state[number].nan = 1;
        end_count(t, list.p);
        for (uint32_t j = threadIdx.x; j < list.p; j += blockDim.x)
            if (t.count[j + 1])
                atomicAdd(&l.irrelevant_above[list.begin() + list.p - 1 - j], t.count[j + 1]);
        __syncthreads();
    });
}

template <class S, bool ALIGNED> __global__ void __launch_bounds__(THREADS, 2) move_lists(const Long l)
{
    unsigned char *memory = block_memory();
    Thresholds<ROOM> &t = *reinterpret_cast<Thresholds<ROOM> *>(memory);
    each_run(l.list, l.lists, l.tiles, [&](uint32_t number, uint32_t first, uint32_t last) {
        const LongList list = l.list[number];
        LongState &state = l.state[number];
        if (!state.changed)
            return; // the gradient is 0 already
        const double w = list_weight_of(l, number, list.p), lambda = lambda_of(l.box, w, list.n);
        load_thresholds(t.before, l.threshold + list.begin(), list.p);
        load_thresholds(t.after, l.perturbed_threshold + list.begin(), list.p);
        if (list.p > FEW)
            build_finder(t.finder, t.before, list.p);
        begin_move(t, list.p, l.box, w, lambda);
        const uint32_t begin = first * COUNT_TILE, end = end_of(l.matrix, begin, last - first);
        DenseWriter<ALIGNED> writer = {l.gradient + static_cast<size_t>(number) * l.matrix.stride, t.value,
                                       end, 0};
        move_items<S, ALIGNED, true>(items_of<S>(l.matrix, number), begin, end, t, list.p, writer);
        end_move(t, list.p);
        for (uint32_t j = threadIdx.x; j < list.p; j += blockDim.x)
            if (t.change[j + 1])
                atomicAdd(&l.passes[list.begin() + j], 0 - t.change[j + 1]);
        const uint32_t passed = sum_block(writer.changed, t.warp);
        if (threadIdx.x == 0 && passed)
            atomicAdd(&state.passed, static_cast<unsigned long long>(passed));
        __syncthreads();
    });
}

using Kernel = void (*)(Long);
struct Kernels {
    Kernel count, move;
};

Kernels kernels_for(Score type, bool aligned)
{
    return with_type(type, [&](auto score) {
        using S = decltype(score);
        return aligned ? Kernels{count_lists<S, true>, move_lists<S, true>}
                       : Kernels{count_lists<S, false>, move_lists<S, false>};
    });
}

void launch(cudaStream_t stream, const char *what, Kernel kernel, const Long &l, int processors)
{
    const unsigned tiles = l.lists * l.tiles, most = 2 * static_cast<unsigned>(processors);
    launch_kernel(stream, what, kernel, std::min(tiles, most), THREADS, sizeof(Thresholds<ROOM>), l);
}

} // namespace

void prepare_compare()
{
    for (const Score type : {Score::FP32, Score::FP16, Score::BF16})
        for (const bool aligned : {false, true}) {
            const Kernels kernels = kernels_for(type, aligned);
            for (const Kernel kernel : {kernels.count, kernels.move})
                check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                           sizeof(Thresholds<ROOM>)),
                      "shared memory for a list");
        }
}

void launch_compare_count(cudaStream_t stream, const Long &l, int processors)
{
    launch(stream, "counting lists", kernels_for(l.matrix.type, is_aligned(l)).count, l, processors);
}

void launch_compare_move(cudaStream_t stream, const Long &l, int processors)
{
    launch(stream, "moving lists", kernels_for(l.matrix.type, is_aligned(l)).move, l, processors);
}

} // namespace rk
