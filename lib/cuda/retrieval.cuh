// Retrieval on the device: similarities of a block of queries with everything by cuBLAS, a row a query,
// counted against the query's own thresholds and forgotten. What the second pass finds of a row is kept in
// the row's own memory, packed, by each warp in what it has read already; so a block of queries takes no more
// than its similarities. Wide queries, of more relevant items than a block has room for, are ranked by all of
// the device, some at a time.
//
// Sums are FP64, in an order that depends on nothing but the request: the same request gives the same bits.
#pragma once

#include "cuda/kernels.cuh"

namespace rk
{

constexpr int ROW_THREADS = 512, ROW_WARPS = ROW_THREADS / 32; // of the block that a row has
constexpr uint32_t ROW_GROUP = 128;                            // items that a warp reads side by side
constexpr uint32_t ROW_KEPT = ROW_GROUP / 2;                   // pairs that fit in their place

// An item that was passed, with its gradient.
struct Pair {
    uint32_t position;
    float value;
};

struct Query {
    double w, loss;
    uint32_t row, relevant, p, ignored, ignoreds; // first of its positions in the block's array; how many
    uint32_t failed, stalled;
    // So many items were passed that their pairs did not fit: to be ranked again, as a wide one.
    uint32_t full;
    uint32_t kept[ROW_WARPS]; // pairs of each warp
};

// A run of rows on the device.
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
    float *relevant_value;    // by the same places: gradient of the relevant items
    float *own_value;         // [queries, own]: gradient of the pairs within the request's own items
    const Run *run;
    uint32_t runs;
    double *sum; // [own, dim]
    Box box;
    bool check_nan, gradient;
};

// Place of pair `e` of a warp in its row: in the e / ROW_KEPT-th group of items that the warp read.
__device__ inline uint32_t place_of(uint32_t e, uint32_t warp)
{
    const uint32_t group = e / ROW_KEPT, round = group / QUADS, quad = group % QUADS;
    return (round * HELD + 4 * quad) * ROW_THREADS + warp * ROW_GROUP + 2 * (e % ROW_KEPT);
}

// Ranks the rows: losses, and what the gradients' sums are made of.
void prepare_rows(); // once a device
void launch_rows(cudaStream_t stream, const Block &block);

// The same for a block of wide queries, whose ends of the gradient are added to the sums at once. In memory
// of wide_bytes(); no block has more than `size` says.
struct WideSize {
    uint32_t queries, total, stride, dim;
    LongSize relevant;
};
size_t wide_bytes(const WideSize &size);
void launch_wide(cudaStream_t stream, const Block &block, const WideSize &size, void *memory,
                 cudaStream_t side, cudaEvent_t cleared, int processors);

// The sums of gradients: the queries' ends, from what launch_rows() left, and the other ends within the
// request's own items.
void launch_query_sums(cudaStream_t stream, const Block &block);
void launch_own_sums(cudaStream_t stream, const Block &block, const float *own);

} // namespace rk
