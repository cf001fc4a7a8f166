/* SPDX-License-Identifier: Apache-2.0 */
/* Sorts items by the upper bits of their subbucket without counting them first: a bin is a chain of
 * blocks that are taken as they are needed. Each bin writes to one cache line, all of which stay in
 * the first-level cache; and items are read only once. */
#ifndef RK_KERNELS_TABLE_BINS_H
#define RK_KERNELS_TABLE_BINS_H

#include <stdint.h>
#include <string.h>

enum { RK_BINS = 256, RK_BIN_BLOCK = 256 /* items */, RK_BIN_NONE = -1 };

struct rk_bins {
    uint32_t at[RK_BINS]; /* where the bin's next item goes; at the end of a block: the block is full */
    uint32_t blocks;      /* taken */
    int32_t *before;      /* [rk_bins_blocks()] of each block the one before it in its bin */
    unsigned shift;       /* bin = subbucket >> shift */
};

/* Blocks that suffice for that many items. */
static inline uint32_t rk_bins_blocks(uint32_t items)
{
    return items / RK_BIN_BLOCK + RK_BINS;
}

static inline void rk_bins_start(struct rk_bins *bins, int32_t *before, uint32_t subbuckets)
{
    memset(bins->at, 0, sizeof bins->at);
    bins->blocks = 0;
    bins->before = before;
    bins->shift = 0;
    while (subbuckets >> bins->shift >= RK_BINS)
        bins->shift++;
}

/* The place of an item of that subbucket. */
static inline uint32_t rk_bins_put(struct rk_bins *bins, uint32_t subbucket)
{
    uint32_t *next = &bins->at[subbucket >> bins->shift], at = *next;
    if (at % RK_BIN_BLOCK == 0) {
        bins->before[bins->blocks] = (int32_t)(at / RK_BIN_BLOCK) - 1;
        at = bins->blocks++ * RK_BIN_BLOCK;
    }
    *next = at + 1;
    return at;
}

/* A bin's last block, RK_BIN_NONE if it is empty, and the items in it. Blocks before it are
 * full. */
static inline int32_t rk_bins_last(const struct rk_bins *bins, unsigned bin, uint32_t *items)
{
    int32_t block = (int32_t)((bins->at[bin] + RK_BIN_BLOCK - 1) / RK_BIN_BLOCK) - 1;
    *items = block == RK_BIN_NONE ? 0 : bins->at[bin] - (uint32_t)block * RK_BIN_BLOCK;
    return block;
}

#endif
