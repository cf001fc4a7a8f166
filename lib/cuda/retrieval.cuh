/* SPDX-License-Identifier: Apache-2.0 */
// Retrieval on the device. cuBLAS computes the similarities of a block of queries with all items,
// one row per query. They are counted against the thresholds of the query and discarded. The
// results of the second pass are packed into the memory of the row, by each warp into the part that
// it has read already, so a block of queries needs only the memory of its similarities. Wide
// queries, with more relevant items than a block has room for, are ranked by the whole device, some
// at a time.
//
// Sums are FP64, in an order that depends on nothing but the request: the same request gives the
// same bits.
#pragma once

#include "cuda/kernels.cuh"

namespace rk
{

constexpr int ROW_THREADS = 512, ROW_WARPS = ROW_THREADS / 32; // of the block of a row
constexpr uint32_t ROW_GROUP = 128;                            // contiguous items that a warp reads
constexpr uint32_t ROW_KEPT = ROW_GROUP / 2;                   // pairs that fit in their place

// An item that was passed, with its gradient.
struct Pair {
    uint32_t position;
    float value;
};

struct Query {
    double w, loss;
    uint32_t row, relevant, p, ignored, ignoreds; // first of its positions in the block's array; how many
    unsigned long long jumped;
    uint32_t failed, stalled;
    // The pairs of passed items did not fit: the query is ranked again as a wide one.
    uint32_t full;
    uint32_t kept[ROW_WARPS]; // pairs of each warp
};

// A row block on the device.
struct Run {
    const void *rows;
    uint32_t start, items;
    int dtype;
};

struct Block {
    float *similarity; // [queries, stride]
    uint32_t total, stride, own, dim, queries;
    Query *query;
    const uint32_t *position; // of all queries: relevant, ignored
    float *relevant_value;    // by the same indices: gradient of the relevant items
    float *own_value;         // [queries, own]: gradient of the pairs within the request's own items
    const Run *run;
    uint32_t runs;
    double *sum; // [own, dim]
    Box box;
    bool check_nan, gradient;
};

// Index of pair `e` of a warp in its row: in group e / ROW_KEPT of the items that the warp read.
__device__ inline uint32_t place_of(uint32_t e, uint32_t warp)
{
    const uint32_t group = e / ROW_KEPT, round = group / QUADS, quad = group % QUADS;
    return (round * HELD + 4 * quad) * ROW_THREADS + warp * ROW_GROUP + 2 * (e % ROW_KEPT);
}

// Ranks the rows: losses, and the terms of the sums of the gradients.
void prepare_rows(); // once a device
void launch_rows(cudaStream_t stream, const Block &block);

// The same for a block of wide queries, whose ends of the gradient are added to the sums at once.
// In memory of wide_bytes(); no block has more than `size` says.
struct WideSize {
    uint32_t queries, total, stride, dim;
    LongSize relevant;
};
size_t wide_bytes(const WideSize &size);
void launch_wide(cudaStream_t stream, const Block &block, const WideSize &size, void *memory,
                 cudaStream_t side, cudaEvent_t cleared, int processors);

// The sums of gradients: the queries' ends, from what launch_rows() left, and the other ends within
// the request's own items.
void launch_query_sums(cudaStream_t stream, const Block &block);
void launch_own_sums(cudaStream_t stream, const Block &block, const float *own);

} // namespace rk
