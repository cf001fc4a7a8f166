/* SPDX-License-Identifier: Apache-2.0 */
// Queries of more relevant items than a block has room for: their rows of similarities are lists
// for all of the device (long.cu), and the gradients of the rows dense vectors, whose products with
// the items are the queries'.
#include <algorithm>

#include "cuda/retrieval_sums.cuh"

namespace rk
{

namespace
{

constexpr uint32_t SLICES = 128; // of the items, a block each, added up in order
constexpr uint32_t MARKERS = 32; // blocks that mark a query's targets

struct Wide {
    int8_t *targets;      // [queries, stride]
    float *gradient;      // [queries, stride]
    double *list_weight;  // [queries]
    double *loss;         // [queries], weighted
    LongOutcome *outcome; // [queries]
    double *partial;      // [queries, SLICES, dim]
    Totals *totals;       // cleared with the next one
    ListCount *count;     // [queries]
    size_t counted_bytes;
    uint32_t *tile_relevant;
    void *memory; // of long.cu
    size_t bytes;
};

Wide carve_wide(void *memory, const WideSize &size)
{
    Slices arena = {static_cast<unsigned char *>(memory)};
    Wide wide = {};
    const size_t queries = size.queries, elements = queries * size.stride;
    const size_t head = ceil_div(sizeof(Totals), size_t(16)) * 16;
    wide.counted_bytes = head + queries * sizeof(ListCount);
    unsigned char *counted = arena.take<unsigned char>(wide.counted_bytes);
    wide.totals = reinterpret_cast<Totals *>(counted);
    wide.count = reinterpret_cast<ListCount *>(counted + head);
    wide.targets = arena.take<int8_t>(elements);
    wide.gradient = arena.take<float>(elements);
    wide.list_weight = arena.take<double>(queries);
    wide.loss = arena.take<double>(queries);
    wide.outcome = arena.take<LongOutcome>(queries);
    wide.partial = arena.take<double>(queries * SLICES * size.dim);
    wide.tile_relevant = arena.take<uint32_t>(queries * ceil_div(size.total, COUNT_TILE));
    wide.memory = arena.take<unsigned char>(long_bytes(queries, size.total, size.relevant));
    wide.bytes = arena.used;
    return wide;
}

// The rest is irrelevant: 0.
__global__ void mark_targets(const Block block, const Wide wide)
{
    const uint32_t q = blockIdx.x / MARKERS, first = blockIdx.x % MARKERS * blockDim.x + threadIdx.x,
                   step = MARKERS * blockDim.x;
    const Query &query = block.query[q];
    int8_t *targets = wide.targets + static_cast<size_t>(q) * block.stride;
    for (uint32_t i = first; i < query.p; i += step)
        targets[block.position[query.relevant + i]] = 1;
    for (uint32_t i = first; i < query.ignoreds; i += step)
        targets[block.position[query.ignored + i]] = -1;
    if (first == 0)
        wide.list_weight[q] = query.w;
}

// What is told of each query, and its pairs within the own items. A block a query.
__global__ void finish_queries(const Block block, const Wide wide)
{
    const uint32_t q = blockIdx.x;
    const float *gradient = wide.gradient + static_cast<size_t>(q) * block.stride;
    float *own_value = block.own_value + static_cast<size_t>(q) * block.own;
    for (uint32_t i = threadIdx.x; block.gradient && i < block.own; i += blockDim.x)
        own_value[i] = gradient[i];
    if (threadIdx.x != 0)
        return;
    Query &query = block.query[q];
    query.failed = wide.outcome[q].nan;
    query.stalled = wide.outcome[q].stalled;
    query.jumped = wide.outcome[q].jumped;
    query.loss = wide.loss[q] / query.w;
}

// A block a slice of the items for a query, a warp a piece of it.
__global__ void __launch_bounds__(ROW_THREADS) add_slices(const Block block, const Wide wide)
{
    __shared__ double partial[ROW_WARPS][32 * ACROSS];
    const uint32_t q = blockIdx.x / SLICES, slice = blockIdx.x % SLICES;
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t each = ceil_div(ceil_div(block.total, SLICES), static_cast<uint32_t>(ROW_WARPS));
    const uint64_t from = (static_cast<uint64_t>(slice) * ROW_WARPS + warp) * each;
    const uint32_t begin = static_cast<uint32_t>(min(from, static_cast<uint64_t>(block.total))),
                   count = min(each, block.total - begin);
    const float *gradient = wide.gradient + static_cast<size_t>(q) * block.stride + begin;
    for (uint32_t first = 0; first < block.dim; first += 32 * ACROSS) {
        double sum[ACROSS] = {};
        add_rows(block, count, first, sum, [&](uint32_t e) { return Pair{begin + e, gradient[e]}; });
        __syncthreads();
        for (int a = 0; a < ACROSS; a++)
            partial[warp][32 * a + lane] = sum[a];
        __syncthreads();
        for (uint32_t d = threadIdx.x; d < 32 * ACROSS && first + d < block.dim; d += blockDim.x) {
            double all = 0;
            for (int w = 0; w < ROW_WARPS; w++)
                all += partial[w][d];
            wide.partial[static_cast<size_t>(blockIdx.x) * block.dim + first + d] = all;
        }
    }
}

// A block a query.
__global__ void add_wide(const Block block, const Wide wide)
{
    const uint32_t q = blockIdx.x;
    const Query &query = block.query[q];
    if (query.failed)
        return;
    for (uint32_t d = threadIdx.x; d < block.dim; d += blockDim.x) {
        double all = 0;
        for (uint32_t s = 0; s < SLICES; s++)
            all += wide.partial[(static_cast<size_t>(q) * SLICES + s) * block.dim + d];
        block.sum[static_cast<size_t>(query.row) * block.dim + d] += all;
    }
}

} // namespace

size_t wide_bytes(const WideSize &size)
{
    return carve_wide(nullptr, size).bytes;
}

void launch_wide(cudaStream_t stream, const Block &block, const WideSize &size, void *memory,
                 cudaStream_t side, cudaEvent_t cleared, int processors)
{
    const Wide wide = carve_wide(memory, size);
    const Matrix rows = {block.similarity, wide.targets, Score::FP32,
                         block.queries,    block.total,  block.stride};
    LongJob job = {};
    job.matrix = rows;
    job.box = block.box;
    job.size = size.relevant;
    job.count = wide.count;
    job.tile_relevant = wide.tile_relevant;
    job.list_weight = wide.list_weight;
    job.totals = wide.totals;
    job.outcome = wide.outcome;
    job.gradient = block.gradient ? wide.gradient : nullptr;
    job.loss = wide.loss;
    job.side = side;
    job.cleared = cleared;
    check(cudaMemsetAsync(wide.totals, 0, wide.counted_bytes, stream), "clearing");
    check(cudaMemsetAsync(wide.targets, 0, static_cast<size_t>(block.queries) * block.stride, stream),
          "clearing");
    launch_kernel(stream, "marking targets", mark_targets, block.queries * MARKERS, 256, 0, block, wide);
    launch_count(stream, rows, true, wide.count, wide.tile_relevant, nullptr, 0, wide.totals);
    launch_long(stream, job, wide.memory, processors);
    launch_kernel(stream, "finishing queries", finish_queries, block.queries, 256, 0, block, wide);
    if (!block.gradient)
        return;
    launch_kernel(stream, "adding a gradient", add_slices, block.queries * SLICES, ROW_THREADS, 0, block,
                  wide);
    launch_kernel(stream, "adding a gradient", add_wide, block.queries, 128, 0, block, wide);
}

} // namespace rk
