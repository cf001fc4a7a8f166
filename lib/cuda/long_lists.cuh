/* SPDX-License-Identifier: Apache-2.0 */
// Lists that the whole device works on together, as kernels see them. The host does not know their
// numbers of relevant items: it allocates by the last requests. Lists without room are skipped and
// reported.
#pragma once

#include "cuda/kernels.cuh"

namespace rk
{

struct LongList {
    uint32_t taken;         // else it is skipped, and p is 0
    uint32_t p, n;          // relevant items; items that are not ignored
    uint32_t chunk;         // first of its chunks, which have room for at least p + 1
    uint32_t bucket, width; // first of its buckets (partition.cuh); thresholds per bucket

    __device__ uint32_t begin() const // index of its first relevant item
    {
        return chunk * CHUNK;
    }
};

// Cleared before use.
struct LongState {
    unsigned long long passed; // items
    uint32_t changed;          // some threshold moved
    uint32_t nan;              // some score is NaN
};

struct Long {
    Matrix matrix; // of these lists only, like all members below
    Box box;
    uint32_t lists, tiles;     // tiles of COUNT_TILE items of each
    uint32_t chunks;           // allocated
    const double *list_weight; // [lists] or NULL
    Totals *totals;
    LongOutcome *outcome;                         // [lists] or NULL
    float *gradient;                              // [lists, matrix.stride] or NULL
    double *loss;                                 // [lists]
    float *list_loss;                             // [lists] or NULL
    const LongList *list;                         // [lists + 1]; the last marks the end
    LongState *state;                             // [lists]
    const float *threshold, *perturbed_threshold; // [chunks · CHUNK]: a list's thresholds, ascending
    uint32_t *irrelevant_above; // [chunks · CHUNK], cleared: irrelevant items above, ranked
    uint32_t *passes;           // [chunks · CHUNK], cleared: those that each threshold passed, ascending
};

// The list that contains number `at` of the numbering that START begins.
template <uint32_t LongList::*START>
__device__ inline uint32_t list_at(const LongList *list, uint32_t lists, uint32_t at)
{
    uint32_t low = 0, high = lists; // list[low].*START <= at < list[high].*START
    while (high - low > 1) {
        const uint32_t middle = (low + high) / 2;
        if (list[middle].*START <= at)
            low = middle;
        else
            high = middle;
    }
    return low;
}

// Calls visit(list, first tile, end of tiles) for the block's share of all tiles of taken lists, so
// that one preparation for a list serves as many of its tiles as possible.
template <class Visit>
__device__ inline void each_run(const LongList *list, uint32_t lists, uint32_t tiles, Visit visit)
{
    const uint64_t all = static_cast<uint64_t>(lists) * tiles;
    const uint32_t end = static_cast<uint32_t>(all * (blockIdx.x + 1) / gridDim.x);
    for (uint32_t at = static_cast<uint32_t>(all * blockIdx.x / gridDim.x); at < end;) {
        const uint32_t l = at / tiles, first = at - l * tiles, last = min(tiles, first + (end - at));
        if (list[l].taken)
            visit(l, first, last);
        at += last - first;
    }
}

__device__ inline double list_weight_of(const Long &l, uint32_t number, uint32_t p)
{
    return l.list_weight ? l.list_weight[number] : list_weight_of(l.box, *l.totals, p);
}

template <class S> __device__ inline Items<S> items_of(const Matrix &m, uint32_t list)
{
    const size_t first = static_cast<size_t>(list) * m.stride;
    return {static_cast<const S *>(m.scores) + first, m.targets + first};
}

// Lists of at most SHORT_MOST relevant items, with thresholds in shared memory; partition.cuh
// handles those with more. Counts go to l.irrelevant_above, changes to l.passes.
void prepare_compare();
void launch_compare_count(cudaStream_t stream, const Long &l, int processors);
void launch_compare_move(cudaStream_t stream, const Long &l, int processors);

// True if vectors can be loaded and stored in all lists of each_run().
inline bool is_aligned(const Long &l)
{
    const Matrix &m = l.matrix;
    return (l.lists == 1 || m.stride % 4 == 0) && reinterpret_cast<uintptr_t>(m.scores) % 16 == 0 &&
           reinterpret_cast<uintptr_t>(m.targets) % 4 == 0 &&
           reinterpret_cast<uintptr_t>(l.gradient) % 16 == 0;
}

} // namespace rk
