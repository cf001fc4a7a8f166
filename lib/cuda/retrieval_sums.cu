/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/retrieval_sums.cuh"

namespace rk
{

namespace
{

// The query's end of its pairs: a block a query, a warp what a warp kept.
__global__ void __launch_bounds__(ROW_THREADS) add_queries(const Block block)
{
    __shared__ double partial[ROW_WARPS][32 * ACROSS];
    const Query &query = block.query[blockIdx.x];
    if (query.failed || query.full || query.p == 0)
        return;
    const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const float *row = block.similarity + static_cast<size_t>(blockIdx.x) * block.stride;
    for (uint32_t first = 0; first < block.dim; first += 32 * ACROSS) {
        double sum[ACROSS] = {};
        if (warp == 0)
            add_rows(block, query.p, first, sum, [&](uint32_t e) {
                return Pair{block.position[query.relevant + e], block.relevant_value[query.relevant + e]};
            });
        add_rows(block, query.kept[warp], first, sum,
                 [&](uint32_t e) { return *reinterpret_cast<const Pair *>(row + place_of(e, warp)); });
        __syncthreads();
        for (int a = 0; a < ACROSS; a++)
            partial[warp][32 * a + lane] = sum[a];
        __syncthreads();
        for (uint32_t d = threadIdx.x; d < 32 * ACROSS && first + d < block.dim; d += ROW_THREADS) {
            double all = 0;
            for (int w = 0; w < ROW_WARPS; w++)
                all += partial[w][d];
            block.sum[static_cast<size_t>(query.row) * block.dim + first + d] += all;
        }
    }
}

// The other end of pairs within the own items: a block an item, queries in order.
__global__ void add_own(const Block block, const float *own)
{
    const uint32_t item = blockIdx.x;
    for (uint32_t d = threadIdx.x; d < block.dim; d += blockDim.x) {
        double sum = 0;
        for (uint32_t q = 0; q < block.queries; q++) {
            const float value = block.own_value[static_cast<size_t>(q) * block.own + item];
            if (value != 0 && !block.query[q].failed && !block.query[q].full)
                sum += static_cast<double>(value) *
                       static_cast<double>(own[static_cast<size_t>(block.query[q].row) * block.dim + d]);
        }
        block.sum[static_cast<size_t>(item) * block.dim + d] += sum;
    }
}

} // namespace

void launch_query_sums(cudaStream_t stream, const Block &block)
{
    launch_kernel(stream, "adding a gradient", add_queries, block.queries, ROW_THREADS, 0, block);
}

void launch_own_sums(cudaStream_t stream, const Block &block, const float *own)
{
    launch_kernel(stream, "adding a gradient", add_own, block.own, 128, 0, block, own);
}

} // namespace rk
