// What a block does with the relevant items of its list, all of them in shared memory.
#pragma once

#include "pass.cuh"

namespace rk {

template <int ROOM> struct Relevant {
    unsigned long long order[ROOM]; // ranked: key of the score above its place in index order
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

// Sorts by y, best first, ties by index, and leaves the thresholds, ascending, in `cut`, as a tree too where they are
// not few. True if one of them differs from `old`.
template <int ROOM>
__device__ bool rank_relevant(Relevant<ROOM> &sh, uint32_t p, double half_margin, float *cut, float *tree,
                              const float *old)
{
    const uint32_t padded = power_of_two(p);
    for (uint32_t i = threadIdx.x; i < padded; i += blockDim.x)
        sh.order[i] = i < p ? static_cast<unsigned long long>(~rk_key(sh.y[i])) << 32 | i : ~0ull;
    sort_block(sh.order, padded);
    bool differs = false;
    for (uint32_t k = threadIdx.x; k < p; k += blockDim.x) {
        const float value = rk_cut(sh.y[sh.order[k] & 0xffffffffu], half_margin);
        differs |= value != old[p - 1 - k];
        cut[p - 1 - k] = value;
    }
    pad_few(cut, p);
    differs = __syncthreads_or(differs);
    if (p > FEW)
        plant_tree(tree, tree_levels(p), cut, p, 1);
    return differs;
}

// Before the first pass: y, order, thresholds from the raw scores, read by raw(position). Returns the thread's number
// of NaN among them.
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
    (void)rank_relevant(sh, p, half_margin, sh.t.before, sh.t.tree, sh.t.before);
    clear_counts(sh.t, p);
    __syncthreads();
    return nan;
}

// Ranks and y' from the counts; the list's loss, right in thread 0.
template <int ROOM>
__device__ double finish_loss(Relevant<ROOM> &sh, const Box &box, uint32_t p, double lambda)
{
    double sum = 0;
    for (uint32_t k = threadIdx.x; k < p; k += blockDim.x) {
        const uint32_t i = static_cast<uint32_t>(sh.order[k]), ahead = sh.t.count[p - k];
        const rk_term term = term_of(box, p, k, ahead);
        sum += term.value;
        sh.rank[i] = static_cast<int32_t>(k + 1 + ahead);
        sh.y[i] = moved(sh.y[i], lambda, term.slope);
    }
    sum = sum_block(sum, sh.partial) / static_cast<double>(p);
    __syncthreads();
    return sum;
}

// Before the second pass: order and thresholds after the move, and the gradient for each number of thresholds that may
// pass an item. False: no threshold moved, no irrelevant item was passed, and the counts are what they were.
template <int ROOM>
__device__ bool begin_move(Relevant<ROOM> &sh, uint32_t p, double half_margin, double w, double lambda)
{
    if (!rank_relevant(sh, p, half_margin, sh.t.after, sh.t.tree_after, sh.t.before))
        return false;
    clear_counts(sh.t, p);
    for (uint32_t d = threadIdx.x; d <= p; d += blockDim.x)
        sh.t.value[d] = sink_value(w, lambda, -static_cast<int32_t>(d));
    __syncthreads();
    return true;
}

// Δ of the relevant items: put(place in index order, Δ).
template <int ROOM, class Put> __device__ void each_relevant(Relevant<ROOM> &sh, uint32_t p, Put put)
{
    for (uint32_t k = threadIdx.x; k < p; k += blockDim.x) {
        const uint32_t i = static_cast<uint32_t>(sh.order[k]);
        put(i, sh.rank[i] - static_cast<int32_t>(k + 1 + sh.t.count[p - k]));
    }
}

} // namespace rk
