// What the kernels of a request on scores share.
#pragma once

#include "block.cuh"

namespace rk {

struct ListCount {
    uint32_t p, ignored;
};

// One in a request, on the card; the host reads it once at the end.
struct Totals {
    unsigned long long valid, relevant; // V, ΣP
    unsigned long long nonzero;
    uint32_t stalled, bad, nan, most; // `most`: relevant items of any list
    double loss;
};

struct Box {
    bool recall, normalized, batch;
    int weight, average;
    double half_margin, lambda;
};

__device__ inline double weight_of(const Box &box, const Totals &totals, uint32_t p)
{
    return box.average == RK_AVERAGE_MACRO   ? 1.0 / static_cast<double>(totals.valid)
           : box.average == RK_AVERAGE_MICRO ? static_cast<double>(p) / static_cast<double>(totals.relevant)
                                             : 1.0;
}

__device__ inline double lambda_of(const Box &box, double w, uint32_t n)
{
    const double lambda = box.normalized ? box.lambda * static_cast<double>(n) : box.lambda;
    return box.batch ? lambda * w : lambda;
}

__device__ inline rk_term term_of(const Box &box, uint32_t p, uint32_t k, uint32_t ahead)
{
    return box.recall ? rk_term_recall(p, ahead, box.weight) : rk_term_ap(p, k, ahead);
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
