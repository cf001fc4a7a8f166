// Calls of the CUDA runtime, checked: what fails is thrown as Trouble and caught where the plugin is entered.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace rk
{

struct Trouble {
    cudaError_t code;
    const char *what;
};

inline void check(cudaError_t code, const char *what)
{
    if (code != cudaSuccess)
        throw Trouble{code, what};
}

// After a launch: a bad configuration shows at once, a fault of the kernel at the next wait.
inline void launched(const char *what)
{
    check(cudaGetLastError(), what);
}

// Errors after which the process's context on the card is of no use any more.
inline bool is_lost(cudaError_t code)
{
    switch (code) {
    case cudaErrorMemoryAllocation:
    case cudaErrorNotReady:
    case cudaErrorInvalidValue:
    case cudaErrorLaunchOutOfResources:
    case cudaErrorInvalidConfiguration:
        return false;
    default:
        return true;
    }
}

template <class T> __host__ __device__ constexpr T ceil_div(T a, T b)
{
    return (a + b - 1) / b;
}

} // namespace rk
