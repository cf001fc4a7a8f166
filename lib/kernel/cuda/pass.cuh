// A list has less than 2^31 items: a position of a thread beyond its end does not overflow.
//
// The two streaming reads of a list's items by a block: counting them against thresholds, and telling how many
// thresholds passed each. Few thresholds stand in registers; more in a search tree in shared memory.
#pragma once

#include "job.cuh"

namespace rk {

constexpr uint32_t FEW = 16; // thresholds that are compared one by one

// Shared memory of a block for up to ROOM - 1 thresholds.
template <int ROOM> struct Thresholds {
    float before[ROOM], after[ROOM]; // ascending, p of each; NaN behind them up to FEW
    float tree[ROOM], tree_after[ROOM];
    uint32_t count[ROOM]; // [j + 1]: irrelevant items at or above threshold j
    float value[ROOM];    // [d]: gradient of an item that d thresholds passed
    uint32_t warp[32];
};

// Adds the thread's counts of threshold j to count[j + 1].
template <int N> __device__ inline void add_counts(const uint32_t (&mine)[N], uint32_t *count, uint32_t p)
{
#pragma unroll
    for (int j = 0; j < N; j++) {
        const uint32_t sum = __reduce_add_sync(EVERYONE, mine[j]);
        if (threadIdx.x % 32 == 0 && static_cast<uint32_t>(j) < p && sum)
            atomicAdd(&count[j + 1], sum);
    }
}

// Items begin..end-1 against p <= N thresholds. Returns the thread's number of NaN. `cut` has N floats.
template <class S, bool ALIGNED, bool TARGETS, int N>
__device__ int count_few(const Items<S> &items, uint32_t begin, uint32_t end, const float *cut, uint32_t p,
                         uint32_t *count)
{
    uint32_t mine[N] = {};
    int nan = 0;
    for (uint32_t i = begin; i < end; i += HELD * blockDim.x) {
        float s[HELD];
        nan += load_items<S, ALIGNED, TARGETS>(items, i + 4 * threadIdx.x, blockDim.x, end, s);
#pragma unroll
        for (int j = 0; j < N; j++) {
            const float threshold = cut[j];
#pragma unroll
            for (int k = 0; k < HELD; k++)
                mine[j] += s[k] >= threshold;
        }
    }
    add_counts(mine, count, p);
    return nan;
}

template <class S, bool ALIGNED, bool TARGETS>
__device__ int count_many(const Items<S> &items, uint32_t begin, uint32_t end, const float *tree, int levels,
                          uint32_t p, uint32_t *hist)
{
    int nan = 0;
    for (uint32_t i = begin; i < end; i += HELD * blockDim.x) {
        float s[HELD];
        nan += load_items<S, ALIGNED, TARGETS>(items, i + 4 * threadIdx.x, blockDim.x, end, s);
#pragma unroll
        for (int k = 0; k < HELD; k++) {
            const uint32_t found = min(search_tree(tree, levels, s[k]), p);
            if (found)
                atomicAdd(&hist[found], 1);
        }
    }
    return nan;
}

// Where `move` leaves what it finds of an item: the dense gradient …
template <bool ALIGNED> struct DenseSink {
    float *gradient;
    const float *value;
    uint32_t end, changed;

    __device__ void put(uint32_t first, uint32_t step, const uint32_t (&passed)[HELD])
    {
#pragma unroll
        for (int q = 0; q < QUADS; q++) {
            const uint32_t i = first + 4 * q * step;
            float out[4];
#pragma unroll
            for (int k = 0; k < 4; k++) {
                out[k] = value[passed[4 * q + k]];
                changed += passed[4 * q + k] != 0;
            }
            if (ALIGNED && i < end && i + 4 <= end) {
                *reinterpret_cast<float4 *>(gradient + i) = make_float4(out[0], out[1], out[2], out[3]);
                continue;
            }
            for (uint32_t k = 0; k < 4; k++) {
                if (i < end && k < end - i)
                    gradient[i + k] = out[k];
            }
        }
    }
};

// The second read. Thresholds only ever rise, so an item is passed by those that are at or below it before and not
// after. Counts against the thresholds after the move go to count[j + 1].
template <class S, bool ALIGNED, bool TARGETS, int N, class Sink>
__device__ void move_few(const Items<S> &items, uint32_t begin, uint32_t end, const float *before, const float *after,
                         uint32_t p, uint32_t *count, Sink &sink)
{
    uint32_t mine[N] = {};
    for (uint32_t i = begin; i < end; i += HELD * blockDim.x) {
        float s[HELD];
        uint32_t passed[HELD] = {};
        const uint32_t first = i + 4 * threadIdx.x;
        (void)load_items<S, ALIGNED, TARGETS>(items, first, blockDim.x, end, s);
#pragma unroll
        for (int j = 0; j < N; j++) {
            const float threshold = before[j], moved_to = after[j];
#pragma unroll
            for (int k = 0; k < HELD; k++) {
                const bool now = s[k] >= moved_to;
                mine[j] += now;
                passed[k] += (s[k] >= threshold) - now;
            }
        }
        sink.put(first, blockDim.x, passed);
    }
    add_counts(mine, count, p);
}

template <class S, bool ALIGNED, bool TARGETS, class Sink>
__device__ void move_many(const Items<S> &items, uint32_t begin, uint32_t end, const float *tree,
                          const float *tree_after, int levels, uint32_t p, uint32_t *hist, Sink &sink)
{
    for (uint32_t i = begin; i < end; i += HELD * blockDim.x) {
        float s[HELD];
        uint32_t passed[HELD];
        const uint32_t first = i + 4 * threadIdx.x;
        (void)load_items<S, ALIGNED, TARGETS>(items, first, blockDim.x, end, s);
#pragma unroll
        for (int k = 0; k < HELD; k++) {
            const uint32_t now = min(search_tree(tree_after, levels, s[k]), p);
            passed[k] = min(search_tree(tree, levels, s[k]), p) - now;
            if (now)
                atomicAdd(&hist[now], 1);
        }
        sink.put(first, blockDim.x, passed);
    }
}

// Whole-block forms that pick among the above. `count` is cleared by the caller; after count_items() of all items and
// finish_counts() count[j + 1] holds what its name says.
template <class S, bool ALIGNED, bool TARGETS, int ROOM>
__device__ int count_items(const Items<S> &items, uint32_t begin, uint32_t end, Thresholds<ROOM> &t, uint32_t p)
{
    if (p <= 8)
        return count_few<S, ALIGNED, TARGETS, 8>(items, begin, end, t.before, p, t.count);
    if (p <= FEW)
        return count_few<S, ALIGNED, TARGETS, FEW>(items, begin, end, t.before, p, t.count);
    return count_many<S, ALIGNED, TARGETS>(items, begin, end, t.tree, tree_levels(p), p, t.count);
}

template <class S, bool ALIGNED, bool TARGETS, int ROOM, class Sink>
__device__ void move_items(const Items<S> &items, uint32_t begin, uint32_t end, Thresholds<ROOM> &t, uint32_t p,
                           Sink &sink)
{
    if (p <= 8)
        move_few<S, ALIGNED, TARGETS, 8>(items, begin, end, t.before, t.after, p, t.count, sink);
    else if (p <= FEW)
        move_few<S, ALIGNED, TARGETS, FEW>(items, begin, end, t.before, t.after, p, t.count, sink);
    else
        move_many<S, ALIGNED, TARGETS>(items, begin, end, t.tree, t.tree_after, tree_levels(p), p, t.count, sink);
}

// Registers count each threshold by itself, the tree counts what lies between two.
template <int ROOM> __device__ void finish_counts(Thresholds<ROOM> &t, uint32_t p)
{
    __syncthreads();
    if (p > FEW)
        suffix_sums(t.count + 1, p, t.warp);
}

template <int ROOM> __device__ void clear_counts(Thresholds<ROOM> &t, uint32_t p)
{
    for (uint32_t j = threadIdx.x; j <= p; j += blockDim.x)
        t.count[j] = 0;
}

// NaN behind few thresholds, so that registers hold a fixed number of them.
__device__ inline void pad_few(float *cut, uint32_t p)
{
    if (p <= FEW && threadIdx.x >= p && threadIdx.x < FEW)
        cut[threadIdx.x] = __int_as_float(0x7fffffff);
}

} // namespace rk
