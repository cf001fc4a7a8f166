/* SPDX-License-Identifier: Apache-2.0 */
// Calls of the CUDA runtime, checked: what fails is thrown as Trouble and caught where the plugin
// is entered.
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

template <class T> struct Same {
    using type = T;
};

// A bad configuration shows at once, a fault of the kernel at the next wait.
template <class... P>
void launch_kernel(cudaStream_t stream, const char *what, void (*kernel)(P...), dim3 grid, dim3 block,
                   size_t shared_bytes, typename Same<P>::type... argument)
{
    void *arguments[] = {&argument...};
    check(cudaLaunchKernel(kernel, grid, block, arguments, shared_bytes, stream), what);
}

// The block's shared memory, of as many bytes as its launch says.
__device__ inline unsigned char *block_memory()
{
#ifdef __CUDACC__
    extern __shared__ __align__(16) unsigned char memory[];
    return memory;
#else
    return emulated_block_memory(); // tests/gpu/emulator
#endif
}

// Errors after which the process's context on the device is of no use any more.
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

// Where a thread of a grid begins, and how far its next element is.
__device__ inline size_t grid_first()
{
    return blockIdx.x * static_cast<size_t>(blockDim.x) + threadIdx.x;
}
__device__ inline size_t grid_step()
{
    return static_cast<size_t>(gridDim.x) * blockDim.x;
}

template <class T> __host__ __device__ constexpr T ceil_div(T a, T b)
{
    return (a + b - 1) / b;
}

// On an emulated device AddressSanitizer is told where a piece of memory ends; on a real one
// nothing of this is.
#ifdef __SANITIZE_ADDRESS__
constexpr bool WATCHED = true;
inline void guard(void *piece, size_t bytes, size_t room)
{
    emulated_guard(piece, bytes, room);
}
#else
constexpr bool WATCHED = false;
inline void guard(void *, size_t, size_t)
{
}
#endif
constexpr size_t GAP = WATCHED ? 256 : 0;

// Cuts memory into pieces that are each aligned to 256 bytes. Without a base only the bytes are
// counted.
struct Slices {
    unsigned char *base;
    size_t used = 0;
    template <class T> T *take(size_t count)
    {
        const size_t bytes = count * sizeof(T), room = (bytes + 255) / 256 * 256 + GAP;
        T *at = base ? reinterpret_cast<T *>(base + used) : nullptr;
        if (base)
            guard(at, bytes, room);
        used += room;
        return at;
    }
};

} // namespace rk
