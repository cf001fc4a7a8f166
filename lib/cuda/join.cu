/* SPDX-License-Identifier: Apache-2.0 */
// Interclass: the gradients of both parts become one.
#include "cuda/kernels.cuh"

namespace rk
{

namespace
{

constexpr int THREADS = 256;

// The gradient that a change of rank stands for, before its rounding.
__device__ double part_of(const Box &box, const Totals &totals, const ListCount &count, uint32_t items,
                          int32_t delta)
{
    if (delta == 0)
        return 0; // also where a list was skipped, and there is no weight
    const double w = list_weight_of(box, totals, count.p), lambda = lambda_of(box, w, items - count.ignored);
    return -w * static_cast<double>(delta) / lambda;
}

__global__ void join(const JoinJob job)
{
    __shared__ uint32_t warp[32];
    const size_t all = job.rows * job.columns;
    uint32_t changed = 0;
    for (size_t i = grid_first(); i < all; i += grid_step()) {
        const size_t list = job.by_column ? i % job.columns : i / job.columns;
        const double value =
            part_of(job.lists_box, *job.lists_totals, job.lists_count[list],
                    static_cast<uint32_t>(job.by_column ? job.rows : job.columns), job.lists[i]) +
            part_of(job.flat_box, *job.flat_totals, *job.flat_count, static_cast<uint32_t>(all), job.flat[i]);
        const float out = static_cast<float>(value) + 0.0f;
        job.gradient[i] = out;
        changed += out != 0;
    }
    changed = sum_block(changed, warp);
    if (threadIdx.x == 0 && changed)
        atomicAdd(job.nonzero, static_cast<unsigned long long>(changed));
}

} // namespace

void launch_join(cudaStream_t stream, const JoinJob &job)
{
    const size_t blocks = ceil_div<size_t>(job.rows * job.columns, 4 * THREADS);
    check(cudaMemsetAsync(job.nonzero, 0, sizeof *job.nonzero, stream), "clearing");
    launch_kernel(stream, "joining gradients", join, static_cast<unsigned>(blocks < 4096 ? blocks : 4096),
                  THREADS, 0, job);
}

} // namespace rk
