// Lists with so many relevant items that their thresholds do not fit a block's shared memory: the items are
// split by some of the thresholds first, each tile by itself, and then a block takes the items between two of
// these from all tiles, with the thresholds in between in its shared memory. Two reads of each item, one of
// them of the split form, and little at random beyond shared memory but what concerns items that were passed.
//
// Items below the lowest threshold are dropped by the split: no threshold is at or below them, now or after
// the move.
#pragma once

#include "kernels.cuh"

namespace rk
{

constexpr uint32_t PART_TILE = 16384, PART_BUCKETS = 255;

struct Partition {
    uint32_t p, tiles;
    uint32_t width;           // thresholds of a bucket; the last may have fewer
    uint32_t buckets;         // numbered from 1
    uint32_t unit_items;      // that a block works on, about
    unsigned splitters;       // blocks that split
    const float *cut, *after; // [p] ascending, before and after the move
    float *score;             // [tiles · PART_TILE], split
    uint16_t *place;          // [tiles · PART_TILE]: of the item in its tile
    void *found;      // [tiles · PART_TILE]: thresholds of its bucket at or below it; 2 or 4 bytes each
    uint16_t *start;  // [tiles, PART_BUCKETS + 2]: where a bucket begins in a tile
    uint32_t *total;  // [PART_BUCKETS + 1]: items of each bucket; cleared by the caller
    uint32_t *unit;   // [PART_BUCKETS + 2]: number of the first unit of work of each bucket
    uint32_t *hist;   // [p + 1]: items by p - (thresholds at or below); cleared by the caller
    uint32_t *change; // [p + 1]: as pass.cuh has it, not summed; cleared by the caller
};

inline uint32_t part_width(uint32_t p)
{
    return ceil_div(p, PART_BUCKETS);
}
inline bool part_wide(uint32_t p)
{
    return part_width(p) > 0xffff;
}

void prepare_partition();
// The split and the counts of all items: fills hist.
void launch_part_count(cudaStream_t stream, const Partition &part, const Matrix &list, Totals *totals);
// Given `after`: fills change, writes the gradient of the irrelevant items that were passed (the rest must be
// 0 already) and adds their number to *passed. Does nothing unless *changed.
void launch_part_move(cudaStream_t stream, const Partition &part, const Box &box, uint32_t n,
                      const Totals *totals, const uint32_t *changed, float *gradient,
                      unsigned long long *passed);

} // namespace rk
