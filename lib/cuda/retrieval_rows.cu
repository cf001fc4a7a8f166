/* SPDX-License-Identifier: Apache-2.0 */
// A block a row: relevant items and thresholds in shared memory, the similarities read twice.
#include "cuda/relevant.cuh"
#include "cuda/retrieval.cuh"

namespace rk
{

namespace
{

constexpr int SOME = SHORT_SOME + 1, MOST = SHORT_MOST + 1;

struct RowWriter {
    float *row;
    const float *value;
    float *own_value;
    uint32_t own, items, warp, lane;
    uint32_t kept, rounds, changed;
    bool full;

    __device__ void put(uint32_t first, uint32_t step, const uint32_t (&passed)[HELD])
    {
        const uint32_t room = ++rounds * QUADS * ROW_KEPT;
        __syncwarp(); // all lanes have read what is overwritten now
#pragma unroll
        for (int k = 0; k < HELD; k++) {
            const uint32_t mask = __ballot_sync(EVERYONE, passed[k] != 0);
            if (!mask)
                continue;
            if (passed[k]) {
                const uint32_t i = first + 4 * (k / 4) * step + k % 4,
                               e = kept + __popc(mask & ((1u << lane) - 1));
                const uint32_t at = place_of(e, warp);
                const float out = value[passed[k]];
                if (e < room && at + 2 <= items)
                    *reinterpret_cast<Pair *>(row + at) = {i, out};
                else
                    full = true;
                if (i < own)
                    own_value[i] = out;
                changed++;
            }
            kept += __popc(mask);
        }
    }
};

// A block ranks a row: queries of more than ABOVE relevant items that have room.
template <int ROOM, int ABOVE>
__global__ void __launch_bounds__(ROW_THREADS, ROOM <= 1024 ? 2 : 1) rank_rows(const Block block)
{
    unsigned char *memory = block_memory();
    Relevant<ROOM> &sh = *reinterpret_cast<Relevant<ROOM> *>(memory);
    Query &query = block.query[blockIdx.x];
    const uint32_t p = query.p;
    if (p <= ABOVE || p >= ROOM)
        return;
    float *row = block.similarity + static_cast<size_t>(blockIdx.x) * block.stride;
    const uint32_t *relevant = block.position + query.relevant, *ignored = block.position + query.ignored;
    for (uint32_t i = threadIdx.x; i < p; i += ROW_THREADS)
        sh.position[i] = relevant[i];
    __syncthreads();
    const double w = query.w, lambda = lambda_of(block.box, w, block.total - query.ignoreds);
    int nan = begin_list(sh, p, block.box.half_margin, [&](uint32_t i) { return row[i]; });
    const float mark = __int_as_float(0x7fffffff);
    for (uint32_t i = threadIdx.x; i < p; i += ROW_THREADS)
        row[relevant[i]] = mark;
    for (uint32_t i = threadIdx.x; i < query.ignoreds; i += ROW_THREADS)
        row[ignored[i]] = mark;
    __syncthreads();
    const Items<float> items = {row, nullptr};
    const int marks = count_items<float, true, false>(items, 0, block.total, sh.t, p);
    end_count(sh.t, p);
    const uint32_t seen = sum_block(static_cast<uint32_t>(marks), sh.warp);
    nan = __syncthreads_or(nan);
    const double loss = finish_loss(sh, block.box, p, lambda);
    if (threadIdx.x == 0) {
        query.loss = loss;
        if (nan || (block.check_nan && seen != p + query.ignoreds))
            query.failed = 1;
    }
    if (!block.gradient)
        return;
    float *own_value = block.own_value + static_cast<size_t>(blockIdx.x) * block.own;
    RowWriter writer = {
        row, sh.t.value, own_value, block.own, block.total, threadIdx.x / 32, threadIdx.x % 32,
        0,   0,          0,         false};
    if (begin_move(sh, p, block.box, w, lambda)) {
        move_items<float, true, false>(items, 0, block.total, sh.t, p, writer);
        end_move(sh.t, p);
    }
    if (writer.lane == 0)
        query.kept[writer.warp] = writer.kept;
    if (writer.full)
        query.full = 1;
    each_relevant(sh, p, [&](uint32_t i, int32_t delta) {
        const float value = gradient_of(block.box, w, lambda, delta);
        block.relevant_value[query.relevant + i] = value;
        if (sh.position[i] < block.own)
            own_value[sh.position[i]] = value;
    });
    const uint32_t changed = sum_block(writer.changed, sh.warp);
    const unsigned long long jumped = count_jumped(sh, p);
    if (threadIdx.x == 0) {
        query.stalled = loss > 0 && changed == 0;
        query.jumped = jumped;
    }
}

} // namespace

void prepare_rows()
{
    check(cudaFuncSetAttribute(rank_rows<SOME, 0>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               sizeof(Relevant<SOME>)),
          "shared memory for rows");
    check(cudaFuncSetAttribute(rank_rows<MOST, SHORT_SOME>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               sizeof(Relevant<MOST>)),
          "shared memory for rows");
}

void launch_rows(cudaStream_t stream, const Block &block)
{
    launch_kernel(stream, "ranking rows", rank_rows<SOME, 0>, block.queries, ROW_THREADS,
                  sizeof(Relevant<SOME>), block);
    launch_kernel(stream, "ranking rows with many relevant items", rank_rows<MOST, SHORT_SOME>, block.queries,
                  ROW_THREADS, sizeof(Relevant<MOST>), block);
}

} // namespace rk
