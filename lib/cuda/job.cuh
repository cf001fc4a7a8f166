/* SPDX-License-Identifier: Apache-2.0 */
// Declarations shared by the kernels of a request on scores.
#pragma once

#include "cuda/block.cuh"

extern "C" {
#define RK_LOSS_TERMS
#include "losses/losses.def"
#undef RK_LOSS_TERMS
}

namespace rk
{

struct ListCount {
    uint32_t p, ignored;
};

// One per request, on the device; the host reads it once at the end.
struct Totals {
    unsigned long long valid, relevant; // V, ΣP
    uint32_t bad, most;                 // `most`: relevant items of any list
    uint32_t chunks;                    // of lists that the whole device works on together: long_lists.cuh
    uint32_t ranked;                    // finished lists: the block of the last one continues
    unsigned long long nonzero;
    uint32_t stalled, nan;
    unsigned long long jumped; // pairs that changed places
    double loss;
};
// From here on: results of ranking, not of counting.
constexpr size_t TOTALS_RANKED = offsetof(Totals, ranked);

// True in all threads of the last block of a grid to arrive, which then sees the writes of the
// others.
static __device__ inline bool is_last(uint32_t *done)
{
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0)
        last = atomicAdd(done, 1) == gridDim.x - 1;
    __syncthreads();
    __threadfence();
    return last;
}

// Sums the weighted losses in an order that depends on the block size only; then writes everything
// to *report, in host memory. Run by one block.
static __device__ inline void report_loss(const double *loss, size_t lists, Totals *totals, Totals *report)
{
    __shared__ double warp[32];
    double sum = 0;
    for (size_t l = threadIdx.x; l < lists; l += blockDim.x)
        sum += __ldcg(&loss[l]);
    sum = sum_block(sum, warp);
    if (threadIdx.x != 0)
        return;
    totals->loss = sum;
    *report = *totals;
    __threadfence_system();
}

struct Box {
    int loss; // enum rk_loss_number
    bool lambda_per_n, lambda_batch_scope;
    int average;
    double half_margin, lambda;
    rk_loss_params params;
    double factor; // of all weights
    bool by_rank;  // gradients are stored as changes of rank, as the bits of an int32_t
};

__device__ inline double list_weight_of(const Box &box, const Totals &totals, uint32_t p)
{
    const double w = box.average == RK_AVERAGE_MACRO ? 1.0 / static_cast<double>(totals.valid)
                     : box.average == RK_AVERAGE_MICRO
                         ? static_cast<double>(p) / static_cast<double>(totals.relevant)
                         : 1.0;
    return box.factor * w;
}

__device__ inline double lambda_of(const Box &box, double w, uint32_t n)
{
    const double lambda = box.lambda_per_n ? box.lambda * static_cast<double>(n) : box.lambda;
    return box.lambda_batch_scope ? lambda * w : lambda;
}

__device__ inline rk_item_loss term_of(const Box &box, uint32_t p, uint32_t k, uint32_t irrelevant_above)
{
    switch (box.loss) {
#define RK_LOSS(number, name, takes, help)
#define RK_LOSS_ON_DEVICE(number, name, takes, help)                                                         \
    case number:                                                                                             \
        return rk_item_loss_##name(&box.params, p, k, irrelevant_above);
#include "losses/losses.def"
    default:
        return {0, 0}; // not reached: box_of() declines it
    }
}

// The gradient of an item whose rank changed by delta.
__device__ inline float gradient_of(const Box &box, double w, double lambda, int32_t delta)
{
    return box.by_rank ? __int_as_float(delta) : rk_gradient_value(w, lambda, delta);
}

__device__ inline float lowered(float raw, double half_margin)
{
    return static_cast<float>(static_cast<double>(raw) - half_margin);
}

__device__ inline float moved(float y, double lambda, double slope)
{
    return static_cast<float>(static_cast<double>(y) + lambda * slope);
}

} // namespace rk
