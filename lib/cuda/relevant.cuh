/* SPDX-License-Identifier: Apache-2.0 */
// The relevant items of a list of one block, all in shared memory.
#pragma once

#include "cuda/pass.cuh"

namespace rk
{

template <int ROOM> struct Relevant {
    unsigned long long order[ROOM]; // ranked: key of the score in the upper half, index in the lower
    uint32_t position[ROOM];        // in index order
    float y[ROOM];                  // in index order: after the margin, then y'
    int32_t rank[ROOM];             // in index order
    Thresholds<ROOM> t;
    double partial[32];
    uint32_t warp[32];
    uint32_t found;
};

__device__ inline uint32_t power_of_two(uint32_t p)
{
    return p <= 1 ? 1 : 1u << (32 - __clz(p - 1));
}

// Sorts by y, best first, ties by index, and leaves the thresholds, ascending, in `threshold`. True
// if one of them differs from `old`. Ends with a barrier.
template <int ROOM>
__device__ bool rank_relevant(Relevant<ROOM> &sh, uint32_t p, double half_margin, float *threshold,
                              const float *old)
{
    const uint32_t padded = power_of_two(p);
    for (uint32_t i = threadIdx.x; i < padded; i += blockDim.x)
        sh.order[i] = i < p ? static_cast<unsigned long long>(~rk_key(sh.y[i])) << 32 | i : ~0ull;
    sort_block(sh.order, padded);
    bool differs = false;
    for (uint32_t k = threadIdx.x; k < p; k += blockDim.x) {
        const float value = rk_raw_threshold(sh.y[sh.order[k] & 0xffffffffu], half_margin);
        differs |= value != old[p - 1 - k];
        threshold[p - 1 - k] = value;
    }
    pad_few(threshold, p);
    return __syncthreads_or(differs);
}

// Before the first read: y, order, thresholds from the raw scores, read by raw(position). Returns
// the thread's number of NaN among them.
template <int ROOM, class Raw>
__device__ int begin_list(Relevant<ROOM> &sh, uint32_t p, double half_margin, Raw raw)
{
    int nan = 0;
    for (uint32_t i = threadIdx.x; i < p; i += blockDim.x) {
        const float score = raw(sh.position[i]);
        nan += score != score;
        sh.y[i] = lowered(score, half_margin);
    }
    __syncthreads();
    (void)rank_relevant(sh, p, half_margin, sh.t.before, sh.t.before);
    begin_count(sh.t, p);
    return nan;
}

// Ranks and y' from the counts; returns the loss of the list, valid in thread 0.
template <int ROOM>
__device__ double finish_loss(Relevant<ROOM> &sh, const Box &box, uint32_t p, double lambda)
{
    double sum = 0;
    for (uint32_t k = threadIdx.x; k < p; k += blockDim.x) {
        const uint32_t i = static_cast<uint32_t>(sh.order[k]), irrelevant_above = sh.t.count[p - k];
        const rk_item_loss term = term_of(box, p, k, irrelevant_above);
        sum += term.value;
        sh.rank[i] = static_cast<int32_t>(k + 1 + irrelevant_above);
        sh.y[i] = moved(sh.y[i], lambda, term.slope);
    }
    sum = sum_block(sum, sh.partial) / static_cast<double>(p);
    __syncthreads();
    return sum;
}

// Before the second read: order and thresholds after the move. False: no threshold moved, so no
// item was passed.
template <int ROOM>
__device__ bool begin_move(Relevant<ROOM> &sh, uint32_t p, const Box &box, double w, double lambda)
{
    const bool moves = rank_relevant(sh, p, box.half_margin, sh.t.after, sh.t.before);
    begin_move(sh.t, p, box, w, lambda);
    return moves;
}

// Δ of the relevant items: calls put(index, Δ).
template <int ROOM, class Put> __device__ void each_relevant(Relevant<ROOM> &sh, uint32_t p, Put put)
{
    for (uint32_t k = threadIdx.x; k < p; k += blockDim.x) {
        const uint32_t i = static_cast<uint32_t>(sh.order[k]);
        put(i, sh.rank[i] - static_cast<int32_t>(k + 1 + sh.t.count[p - k] + sh.t.change[p - k]));
    }
}

// After the move: pairs that changed places, which are what each threshold passed. Valid in thread
// 0. Sums in the memory of `order`, which is read no more.
template <int ROOM> __device__ unsigned long long count_jumped(Relevant<ROOM> &sh, uint32_t p)
{
    unsigned long long sum = 0;
    for (uint32_t k = threadIdx.x; k < p; k += blockDim.x)
        sum += 0u - sh.t.change[k + 1];
    return sum_block(sum, sh.order);
}

} // namespace rk
