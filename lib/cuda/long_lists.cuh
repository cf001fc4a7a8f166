// Lists that all of the device works on together, as kernels see them. The host does not know how many
// relevant items each has: it made room for so many as the last requests had, and the lists that have none of
// it are left alone, and told of.
#pragma once

#include "cuda/kernels.cuh"

namespace rk
{

struct LongList {
    uint32_t taken;         // else it is left alone, and p is 0
    uint32_t p, n;          // relevant items; items that are not ignored
    uint32_t chunk;         // the first of its chunks; they have room for p + 1 at least
    uint32_t bucket, width; // the first of its buckets (partition.cuh), and how many thresholds each has

    __device__ uint32_t begin() const // the place of its first relevant item
    {
        return chunk * CHUNK;
    }
};

// Cleared beforehand.
struct LongState {
    unsigned long long passed; // items
    uint32_t changed;          // some threshold moved
    uint32_t nan;              // some score is none
};

struct Long {
    Matrix matrix; // of these lists only, as all that follows
    Box box;
    uint32_t lists, tiles;     // tiles of COUNT_TILE items of each
    uint32_t chunks;           // that there is room for
    const double *list_weight; // [lists] or NULL
    Totals *totals;
    LongOutcome *outcome;                         // [lists] or NULL
    float *gradient;                              // [lists, matrix.stride] or NULL
    double *loss;                                 // [lists]
    float *list_loss;                             // [lists] or NULL
    const LongList *list;                         // [lists + 1]; the last tells where the others end
    LongState *state;                             // [lists]
    const float *threshold, *perturbed_threshold; // [chunks · CHUNK]: a list's thresholds, ascending
    uint32_t *irrelevant_above; // [chunks · CHUNK], cleared: irrelevant items ahead, ranked
    uint32_t *passes;           // [chunks · CHUNK], cleared: those that each threshold passed, ascending
};

// Which list has number `at` of those that START counts from.
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

// Calls visit(list, its first tile, end of its tiles) for the block's share of all tiles of lists that are
// taken: what a block prepares for a list serves as many of its tiles as can be.
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

// Lists of at most SHORT_MOST relevant items, thresholds in shared memory: what partition.cuh does for those
// of more. Counts go to l.irrelevant_above, changes to l.passes.
void prepare_compare();
void launch_compare_count(cudaStream_t stream, const Long &l, int processors);
void launch_compare_move(cudaStream_t stream, const Long &l, int processors);

// Whether each_run() may hand out lists on which vectors can be loaded and stored.
inline bool is_aligned(const Long &l)
{
    const Matrix &m = l.matrix;
    return (l.lists == 1 || m.stride % 4 == 0) && reinterpret_cast<uintptr_t>(m.scores) % 16 == 0 &&
           reinterpret_cast<uintptr_t>(m.targets) % 4 == 0 &&
           reinterpret_cast<uintptr_t>(l.gradient) % 16 == 0;
}

} // namespace rk
