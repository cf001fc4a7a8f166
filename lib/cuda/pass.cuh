/* SPDX-License-Identifier: Apache-2.0 */
// The two streaming reads of the items of a list by a block: counting them against thresholds, and
// finding the number of thresholds that passed each. A list has less than 2^31 items, so positions
// of threads beyond its end do not overflow.
//
// Thresholds only ever rise. With both sorted, item s is passed by those of place k with before[k]
// <= s < after[k]: of the c at or below it before the move, all but the c' that still are. So one
// look at after[c - 1] tells whether any passed, and of the items at or above threshold k after the
// move only those are missing that were passed by it: no item has to be counted again.
#pragma once

#include "cuda/block.cuh"
#include "cuda/finder.cuh"
#include "cuda/job.cuh"

namespace rk
{

constexpr uint32_t FEW = 8; // up to this number all thresholds are compared

// Shared memory of a block for up to ROOM - 1 thresholds.
template <int ROOM> struct Thresholds {
    float before[ROOM], after[ROOM]; // ascending, p of each; NaN behind them up to FEW
    Finder<ROOM> finder;             // of `before`, if they are not few
    uint32_t count[ROOM + 1];        // [j + 1]: irrelevant items at or above threshold j
    uint32_t change[ROOM + 1];       // [j + 1]: change of that by the move
    float value[ROOM];               // [d]: gradient of an item that d thresholds passed
    uint32_t warp[32];
};

// NaN behind few thresholds, so that registers hold a fixed number of them.
__device__ inline void pad_few(float *threshold, uint32_t p)
{
    if (p <= FEW && threadIdx.x >= p && threadIdx.x < FEW)
        threshold[threadIdx.x] = __int_as_float(0x7fffffff);
}

template <int ROOM> __device__ void clear(uint32_t (&counts)[ROOM], uint32_t p)
{
    for (uint32_t j = threadIdx.x; j <= p; j += blockDim.x)
        counts[j] = 0;
}

// Before the first read, with `before` there: ends with a barrier.
template <int ROOM> __device__ void begin_count(Thresholds<ROOM> &t, uint32_t p)
{
    clear(t.count, p);
    if (p > FEW)
        build_finder(t.finder, t.before, p);
    else
        __syncthreads();
}

// Before the second read, with `after` there: ends with a barrier. w, lambda: of the list.
template <int ROOM>
__device__ void begin_move(Thresholds<ROOM> &t, uint32_t p, const Box &box, double w, double lambda)
{
    clear(t.change, p);
    for (uint32_t d = threadIdx.x; d <= p; d += blockDim.x)
        t.value[d] = gradient_of(box, w, lambda, -static_cast<int32_t>(d));
    __syncthreads();
}

// Adds the thread's counts of threshold j to count[j + 1].
__device__ inline void add_counts(const uint32_t (&mine)[FEW], uint32_t *count, uint32_t p)
{
#pragma unroll
    for (int j = 0; j < static_cast<int>(FEW); j++) {
        const uint32_t sum = __reduce_add_sync(EVERYONE, mine[j]);
        if (threadIdx.x % 32 == 0 && static_cast<uint32_t>(j) < p && sum)
            atomicAdd(&count[j + 1], sum);
    }
}

template <class S, bool ALIGNED, bool TARGETS>
__device__ int count_few(const Items<S> &items, uint32_t begin, uint32_t end, const float *threshold,
                         uint32_t p, uint32_t *count)
{
    uint32_t mine[FEW] = {};
    int nan = 0;
    for (uint32_t i = begin; i < end; i += HELD * blockDim.x) {
        float s[HELD];
        nan += load_items<S, ALIGNED, TARGETS>(items, i + 4 * threadIdx.x, blockDim.x, end, s);
#pragma unroll
        for (int j = 0; j < static_cast<int>(FEW); j++) {
            const float limit = threshold[j];
#pragma unroll
            for (int k = 0; k < HELD; k++)
                mine[j] += s[k] >= limit;
        }
    }
    add_counts(mine, count, p);
    return nan;
}

template <class S, bool ALIGNED, bool TARGETS, int ROOM>
__device__ int count_many(const Items<S> &items, uint32_t begin, uint32_t end, Thresholds<ROOM> &t)
{
    int nan = 0;
    for (uint32_t i = begin; i < end; i += HELD * blockDim.x) {
        float s[HELD];
        nan += load_items<S, ALIGNED, TARGETS>(items, i + 4 * threadIdx.x, blockDim.x, end, s);
#pragma unroll
        for (int k = 0; k < HELD; k++) {
            const uint32_t found = find(t.finder, t.before, s[k]);
            if (found)
                atomicAdd(&t.count[found], 1);
        }
    }
    return nan;
}

// Items begin..end-1 against the thresholds. Returns the thread's number of irrelevant NaN.
template <class S, bool ALIGNED, bool TARGETS, int ROOM>
__device__ int count_items(const Items<S> &items, uint32_t begin, uint32_t end, Thresholds<ROOM> &t,
                           uint32_t p)
{
    if (p <= FEW)
        return count_few<S, ALIGNED, TARGETS>(items, begin, end, t.before, p, t.count);
    return count_many<S, ALIGNED, TARGETS>(items, begin, end, t);
}

// Afterwards count[j + 1] holds what its name says: registers count each threshold by itself, the
// finder what lies between two.
template <int ROOM> __device__ void end_count(Thresholds<ROOM> &t, uint32_t p)
{
    __syncthreads();
    if (p > FEW)
        suffix_sums(t.count + 1, p, t.warp);
}

// Records a passed item: `now` of the `then` thresholds at or below it still are. Each index in
// between misses one more.
__device__ inline uint32_t note_passed(uint32_t *change, uint32_t then, uint32_t now)
{
    atomicAdd(&change[now], 1u);
    atomicAdd(&change[then], ~0u);
    return then - now;
}

// Thresholds at or below s among after[0..then-1], of which the last is above: mostly near the end.
__device__ inline uint32_t find_back(const float *after, uint32_t then, float s)
{
    uint32_t high = then - 1, step = 1; // after[high] > s
    while (high >= step && after[high - step] > s) {
        high -= step;
        step *= 2;
    }
    uint32_t low = high >= step ? high - step + 1 : 0; // what lies below `low` is at or below s
    while (low < high) {
        const uint32_t middle = (low + high) / 2;
        if (after[middle] <= s)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// The output of the second read: the dense gradient. put(): the numbers of thresholds that passed
// the items first + 4·q·step .. +3 of the thread.
template <bool ALIGNED> struct DenseWriter {
    float *gradient;
    const float *value;
    uint32_t end, changed;

    __device__ void put(uint32_t first, uint32_t step, const uint32_t (&passed)[HELD])
    {
#pragma unroll
        for (int q = 0; q < QUADS; q++) {
            const uint32_t i = first + 4 * q * step;
            float out[4] = {};
            if (passed[4 * q] | passed[4 * q + 1] | passed[4 * q + 2] | passed[4 * q + 3]) {
                for (int k = 0; k < 4; k++) {
                    out[k] = value[passed[4 * q + k]];
                    changed += passed[4 * q + k] != 0;
                }
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

// Each range [before, after) separately: a threshold passed the items in its range.
template <class S, bool ALIGNED, bool TARGETS, int ROOM, class Writer>
__device__ void move_few(const Items<S> &items, uint32_t begin, uint32_t end, Thresholds<ROOM> &t, uint32_t p,
                         Writer &writer)
{
    uint32_t mine[FEW] = {};
    for (uint32_t i = begin; i < end; i += HELD * blockDim.x) {
        float s[HELD];
        uint32_t passed[HELD] = {};
        const uint32_t first = i + 4 * threadIdx.x;
        (void)load_items<S, ALIGNED, TARGETS>(items, first, blockDim.x, end, s);
#pragma unroll
        for (int j = 0; j < static_cast<int>(FEW); j++) {
            const float before = t.before[j], after = t.after[j];
#pragma unroll
            for (int k = 0; k < HELD; k++) {
                const bool inside = s[k] >= before && s[k] < after;
                passed[k] += inside;
                mine[j] += inside;
            }
        }
        writer.put(first, blockDim.x, passed);
    }
#pragma unroll
    for (int j = 0; j < static_cast<int>(FEW); j++)
        mine[j] = 0 - mine[j];
    add_counts(mine, t.change, p);
}

template <class S, bool ALIGNED, bool TARGETS, int ROOM, class Writer>
__device__ void move_many(const Items<S> &items, uint32_t begin, uint32_t end, Thresholds<ROOM> &t,
                          Writer &writer)
{
    for (uint32_t i = begin; i < end; i += HELD * blockDim.x) {
        float s[HELD];
        uint32_t passed[HELD];
        const uint32_t first = i + 4 * threadIdx.x;
        (void)load_items<S, ALIGNED, TARGETS>(items, first, blockDim.x, end, s);
#pragma unroll
        for (int k = 0; k < HELD; k++) {
            const uint32_t then = find(t.finder, t.before, s[k]);
            const bool any = then && t.after[then - 1] > s[k];
            passed[k] = any ? note_passed(t.change, then, find_back(t.after, then, s[k])) : 0;
        }
        writer.put(first, blockDim.x, passed);
    }
}

// The second read: writes every item.
template <class S, bool ALIGNED, bool TARGETS, int ROOM, class Writer>
__device__ void move_items(const Items<S> &items, uint32_t begin, uint32_t end, Thresholds<ROOM> &t,
                           uint32_t p, Writer &writer)
{
    if (p <= FEW)
        move_few<S, ALIGNED, TARGETS>(items, begin, end, t, p, writer);
    else
        move_many<S, ALIGNED, TARGETS>(items, begin, end, t, writer);
}

// Afterwards change[j + 1] holds what its name says. With many, the places' sum is 0, so what lies
// from j + 1 on is the negative of what lies below.
template <int ROOM> __device__ void end_move(Thresholds<ROOM> &t, uint32_t p)
{
    __syncthreads();
    if (p > FEW)
        suffix_sums(t.change + 1, p, t.warp);
}

} // namespace rk
