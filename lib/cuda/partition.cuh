// Lists with so many relevant items that their thresholds do not fit a block's shared memory: the items are
// split by some of the thresholds first, each tile by itself, and then a block takes the items between two of
// these from all tiles of a list, with the thresholds in between in its shared memory. Two reads of each
// item, one of them of the split form, and little at random beyond shared memory but what concerns items that
// were passed.
//
// Items below the lowest threshold are dropped by the split: no threshold is at or below them, now or after
// the move.
#pragma once

#include "cuda/long_lists.cuh"

namespace rk
{

constexpr uint32_t PART_TILE = COUNT_TILE, PART_BUCKETS = 255; // buckets of a list, at most

struct Partition {
    uint32_t most;       // relevant items of a list, at most
    uint32_t slots;      // room for buckets, of all lists together
    uint32_t unit_items; // that a block works on, about
    float *score;        // [lists, tiles, PART_TILE], split
    uint16_t *place;     // [lists, tiles, PART_TILE]: of the item in its tile
    void *found;     // [lists, tiles, PART_TILE]: thresholds of its bucket at or below it; 2 or 4 bytes each
    uint16_t *start; // [lists, tiles, PART_BUCKETS + 2]: where a bucket begins in a tile; from 1
    uint32_t *total; // [slots], cleared: items of each bucket
    uint32_t *unit;  // [slots + 1]: number of the first unit of work of each bucket
};

// Thresholds of a bucket of a list of p. The more, the longer is the run of its items in a tile; as many as
// these are in shared memory in any case.
constexpr uint32_t PART_WIDTH_LEAST = 512;
__host__ __device__ inline uint32_t part_width(uint32_t p)
{
    const uint32_t width = ceil_div(p, PART_BUCKETS);
    return width < PART_WIDTH_LEAST ? PART_WIDTH_LEAST : width;
}

// Takes the memory for it. `relevant`: places of relevant items of all lists together, at most.
Partition carve_partition(Slices &arena, uint32_t lists, uint32_t tiles, uint32_t most, size_t relevant);
void prepare_partition();
// The split and the counts of all items: adds to l.ahead what is, summed up, the items ahead.
void launch_part_count(cudaStream_t stream, const Long &l, const Partition &part, int processors);
// Given l.perturbed_threshold: adds to l.passes what is, summed up, the items passed; writes the gradient of
// the irrelevant items that were (the rest must be 0 already) and adds their number to the list's state.
void launch_part_move(cudaStream_t stream, const Long &l, const Partition &part);

} // namespace rk
