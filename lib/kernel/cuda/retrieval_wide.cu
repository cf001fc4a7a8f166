// Queries of more relevant items than a block has room for: their row of similarities is a list for all of
// the card (long.cu), and the gradient of the row a dense vector, whose product with the items is the
// query's.
#include <algorithm>

#include "retrieval_sums.cuh"

namespace rk
{

namespace
{

constexpr uint32_t SLICES = 128; // of the items, a block each, added up in order

struct Counted {
    Totals totals;
    ListCount list;
};

struct Wide {
    int8_t *targets; // [total]
    float *gradient; // [total]
    double *loss;    // one, weighted
    double *partial; // [SLICES, dim]
    Counted *counted;
    uint32_t *tile_relevant;
    void *memory; // of long.cu
    size_t bytes;
};

Wide carve_wide(void *memory, uint32_t total, uint32_t p, uint32_t dim)
{
    Carve carve = {static_cast<unsigned char *>(memory)};
    Wide wide = {};
    wide.counted = carve.take<Counted>(1);
    wide.targets = carve.take<int8_t>(total);
    wide.gradient = carve.take<float>(total);
    wide.loss = carve.take<double>(1);
    wide.partial = carve.take<double>(static_cast<size_t>(SLICES) * dim);
    wide.tile_relevant = carve.take<uint32_t>(ceil_div(total, COUNT_TILE));
    wide.memory = carve.take<unsigned char>(long_bytes(1, total, {p, chunks_most(1, p)}));
    wide.bytes = carve.used;
    return wide;
}

// The rest is irrelevant: 0.
__global__ void mark_targets(const Query query, const uint32_t *position, int8_t *targets)
{
    for (size_t i = grid_first(); i < query.p; i += grid_step())
        targets[position[query.relevant + i]] = 1;
    for (size_t i = grid_first(); i < query.ignoreds; i += grid_step())
        targets[position[query.ignored + i]] = -1;
}

// What is told of the query, and its pairs within the own items.
__global__ void finish_query(const Block block, uint32_t q, const Wide wide)
{
    Query &query = block.query[q];
    for (size_t i = grid_first(); block.gradient && i < block.own; i += grid_step())
        block.own_value[static_cast<size_t>(q) * block.own + i] = wide.gradient[i];
    if (grid_first() != 0)
        return;
    query.failed = wide.counted->totals.nan;
    query.stalled = wide.counted->totals.stalled;
    query.loss = *wide.loss / query.w;
}

// A block a slice of the items, a warp a piece of it.
__global__ void __launch_bounds__(ROW_THREADS) add_slices(const Block block, const Wide wide)
{
    __shared__ double partial[ROW_WARPS][32 * ACROSS];
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t each = ceil_div(ceil_div(block.total, SLICES), static_cast<uint32_t>(ROW_WARPS));
    const uint64_t from = (static_cast<uint64_t>(blockIdx.x) * ROW_WARPS + warp) * each;
    const uint32_t begin = static_cast<uint32_t>(min(from, static_cast<uint64_t>(block.total))),
                   count = min(each, block.total - begin);
    for (uint32_t first = 0; first < block.dim; first += 32 * ACROSS) {
        double sum[ACROSS] = {};
        add_rows(block, count, first, sum, [&](uint32_t e) {
            return Pair{begin + e, wide.gradient[begin + e]};
        });
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

__global__ void add_wide(const Block block, uint32_t q, const Wide wide)
{
    const Query &query = block.query[q];
    if (query.failed)
        return;
    for (size_t d = grid_first(); d < block.dim; d += grid_step()) {
        double all = 0;
        for (uint32_t s = 0; s < SLICES; s++)
            all += wide.partial[static_cast<size_t>(s) * block.dim + d];
        block.sum[static_cast<size_t>(query.row) * block.dim + d] += all;
    }
}

} // namespace

size_t wide_bytes(uint32_t total, uint32_t p, uint32_t dim)
{
    return carve_wide(nullptr, total, p, dim).bytes;
}

void launch_wide(cudaStream_t stream, const Block &block, uint32_t q, const Query &query, void *memory,
                 cudaStream_t side, cudaEvent_t cleared, int processors)
{
    const Wide wide = carve_wide(memory, block.total, query.p, block.dim);
    const Matrix row = {block.similarity + static_cast<size_t>(q) * block.stride,
                        wide.targets,
                        Score::FP32,
                        1,
                        block.total,
                        block.stride};
    Box box = block.box;
    box.factor = query.w;
    check(cudaMemsetAsync(wide.counted, 0, sizeof *wide.counted, stream), "clearing");
    check(cudaMemsetAsync(wide.targets, 0, block.total, stream), "clearing");
    launch_kernel(stream, "marking targets", mark_targets, std::min(1024u, ceil_div(query.p, 256u)), 256, 0,
                  query, block.position, wide.targets);
    launch_count(stream, wide.targets, 1, block.total, true, &wide.counted->list, wide.tile_relevant, nullptr,
                 0, &wide.counted->totals);
    launch_long(stream,
                {row,
                 box,
                 0,
                 {query.p, chunks_most(1, query.p)},
                 &wide.counted->list,
                 wide.tile_relevant,
                 &wide.counted->totals,
                 block.gradient ? wide.gradient : nullptr,
                 wide.loss,
                 nullptr,
                 side,
                 cleared},
                wide.memory, processors);
    launch_kernel(stream, "finishing a query", finish_query, std::min(64u, ceil_div(block.own, 256u)), 256, 0,
                  block, q, wide);
    if (!block.gradient)
        return;
    launch_kernel(stream, "adding a gradient", add_slices, SLICES, ROW_THREADS, 0, block, wide);
    launch_kernel(stream, "adding a gradient", add_wide, ceil_div(block.dim, 128u), 128, 0, block, q, wide);
}

} // namespace rk
