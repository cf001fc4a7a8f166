/* SPDX-License-Identifier: Apache-2.0 */
// The memory of long.cu for a group of lists.
//
// The relevant items of a list have their own chunks, so that a block never works for two lists.
// The remaining places of a chunk are sorted along and have no meaning.
#pragma once

#include <algorithm>

#include <cub/cub.cuh>

#include "cuda/partition.cuh"

namespace rk
{

// Memory for a group of lists. Key: uint32_t for one list, else uint64_t with the list in front.
template <class Key> struct Memory {
    LongList *list;                         // [lists + 1]
    uint32_t *tile_start;                   // [lists, tiles]: relevant items in the tiles before
    uint32_t *position, *first;             // index order; first: 0, 1, 2, …
    float *y;                               // index order; later y'
    int32_t *rank;                          // index order
    Key *key, *sorted;                      // index order, ranked
    uint32_t *order, *order_after;          // ranked: place in index order
    float *threshold, *perturbed_threshold; // ascending
    LongState *state;                       // [lists]; contiguous with the following arrays, cleared together
    uint32_t *irrelevant_above, *passes;    // as written by compare.cu or the split
    uint32_t *ahead_sum, *passes_sum;       // of those of a split
    double *partial;                        // [chunks]: of the loss
    void *temporary;                        // of CUB
    size_t temporary_bytes, cleared_bytes;
    Partition part;
    size_t bytes;
};

inline bool splits(const LongSize &size)
{
    return size.most > SHORT_MOST;
}

inline int end_bit(uint32_t lists)
{
    int bits = 32;
    for (; lists > 1 && lists >> (bits - 32); bits++) { // the number after the last list fits, too
    }
    return bits;
}

template <class Key> size_t temporary_bytes(uint32_t lists, uint32_t tiles, uint32_t places)
{
    size_t sort = 0, scan = 0, starts = 0;
    const Key *key = nullptr;
    uint32_t *none = nullptr;
    check(cub::DeviceRadixSort::SortPairs(nullptr, sort, key, static_cast<Key *>(nullptr), none, none, places,
                                          0, end_bit(lists)),
          "sizing a sort");
    check(cub::DeviceScan::InclusiveSum(nullptr, scan, none, none, places), "sizing a scan");
    check(cub::DeviceScan::ExclusiveSum(nullptr, starts, none, none, lists * tiles), "sizing a scan");
    return std::max(sort, std::max(scan, starts));
}

template <class Key> Memory<Key> carve_memory(void *base, uint32_t lists, uint32_t tiles, LongSize size)
{
    Slices arena = {static_cast<unsigned char *>(base)};
    Memory<Key> m = {};
    const uint32_t places = size.chunks * CHUNK;
    m.list = arena.take<LongList>(lists + 1);
    m.tile_start = arena.take<uint32_t>(static_cast<size_t>(lists) * tiles);
    m.position = arena.take<uint32_t>(places);
    m.first = arena.take<uint32_t>(places);
    m.y = arena.take<float>(places);
    m.rank = arena.take<int32_t>(places);
    m.key = arena.take<Key>(places);
    m.sorted = arena.take<Key>(places);
    m.order = arena.take<uint32_t>(places);
    m.order_after = arena.take<uint32_t>(places);
    m.threshold = arena.take<float>(places);
    m.perturbed_threshold = arena.take<float>(places);
    m.cleared_bytes = lists * sizeof *m.state + 2 * static_cast<size_t>(places) * sizeof *m.irrelevant_above;
    m.state = reinterpret_cast<LongState *>(arena.take<unsigned char>(m.cleared_bytes));
    m.irrelevant_above = reinterpret_cast<uint32_t *>(m.state + lists);
    m.passes = m.irrelevant_above + places;
    m.partial = arena.take<double>(size.chunks);
    m.temporary_bytes = temporary_bytes<Key>(lists, tiles, places);
    m.temporary = arena.take<unsigned char>(m.temporary_bytes);
    if (splits(size)) {
        m.ahead_sum = arena.take<uint32_t>(places);
        m.passes_sum = arena.take<uint32_t>(places);
        m.part = carve_partition(arena, lists, tiles, size.most, places);
    }
    m.bytes = arena.used;
    return m;
}

} // namespace rk
