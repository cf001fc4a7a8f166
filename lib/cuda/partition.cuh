/* SPDX-License-Identifier: Apache-2.0 */
// Lists with more thresholds than the shared memory of a block holds. First the items of each tile
// are split by some of the thresholds. Then a block takes the items between two of these from all
// tiles of a list, with the thresholds in between in shared memory. Each item is read twice, once
// in split form. Random accesses outside of shared memory are rare, except for passed items.
//
// The split drops items below the lowest threshold: no threshold is at or below them, before or
// after the move.
#pragma once

#include "cuda/long_lists.cuh"

namespace rk
{

constexpr uint32_t PART_TILE = COUNT_TILE, PART_BUCKETS = 255; // buckets of a list, at most

struct Partition {
    uint32_t most;       // relevant items of a list, at most
    uint32_t slots;      // room for buckets, of all lists together
    uint32_t unit_items; // of one unit of work, approximately
    float *score;        // [lists, tiles, PART_TILE], split
    uint16_t *place;     // [lists, tiles, PART_TILE]: of the item in its tile
    void *found;     // [lists, tiles, PART_TILE]: thresholds of its bucket at or below it; 2 or 4 bytes each
    uint16_t *start; // [lists, tiles, PART_BUCKETS + 2]: begin of each bucket in a tile; from 1
    uint32_t *total; // [slots], cleared: items of each bucket
    uint32_t *unit;  // [slots + 1]: number of the first unit of work of each bucket
};

// Number of thresholds per bucket of a list of p. More thresholds make longer runs of items in a
// tile; this number fits shared memory in any case.
constexpr uint32_t PART_WIDTH_LEAST = 512;
__host__ __device__ inline uint32_t part_width(uint32_t p)
{
    const uint32_t width = ceil_div(p, PART_BUCKETS);
    return width < PART_WIDTH_LEAST ? PART_WIDTH_LEAST : width;
}

// Takes the memory. `relevant`: most relevant items of all lists together.
Partition carve_partition(Slices &arena, uint32_t lists, uint32_t tiles, uint32_t most, size_t relevant);
void prepare_partition();
// The split and the counts of all items: adds to l.irrelevant_above differences whose running sums
// are the items above.
void launch_part_count(cudaStream_t stream, const Long &l, const Partition &part, int processors);
// Given l.perturbed_threshold: adds to l.passes what is, summed up, the items passed; writes the
// gradient of the irrelevant items that were (the rest must be 0 already) and adds their number to
// the list's state.
void launch_part_move(cudaStream_t stream, const Long &l, const Partition &part);

} // namespace rk
