/* SPDX-License-Identifier: Apache-2.0 */
/* The CUDA runtime as far as lib/kernel/cuda uses it, for a device that is emulated: device code is
 * compiled as C++ for the host, memory "of the device" is the host's, streams are queues that
 * nothing drains before somebody waits (device.h), and a grid is run a block at a time, each thread
 * a fiber (grid.h).
 *
 * It is there to find what is wrong with the results, not to be fast. What it is stricter with than
 * a device: shared memory and what cudaMalloc() gives are full of garbage, threads run in another
 * order each time, copies of the host's memory want it pinned, and lanes that meet must have been
 * told so by their mask. */
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <utility>

#define __host__
#define __device__
#define __global__
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
/* One block runs at a time. */
#define __shared__ static __attribute__((section("block_shared")))

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorNotReady = 600,
    cudaErrorIllegalAddress = 700,
    cudaErrorLaunchOutOfResources = 701,
    cudaErrorUnknown = 999
};
const char *cudaGetErrorString(cudaError_t code);
cudaError_t cudaGetLastError();

/* --- memory --- */

enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice
};
namespace device
{
struct Stream;
struct Event;
cudaError_t allocate(void **base, size_t bytes);
cudaError_t allocate_pinned(void **base, size_t bytes);
} // namespace device
using cudaStream_t = device::Stream *;
using cudaEvent_t = device::Event *;

template <class T> cudaError_t cudaMalloc(T **base, size_t bytes)
{
    return device::allocate(reinterpret_cast<void **>(base), bytes);
}
template <class T> cudaError_t cudaMallocHost(T **base, size_t bytes)
{
    return device::allocate_pinned(reinterpret_cast<void **>(base), bytes);
}
cudaError_t cudaFree(void *base);
cudaError_t cudaFreeHost(void *base);
enum { cudaHostRegisterDefault };
cudaError_t cudaHostRegister(void *base, size_t bytes, unsigned flags);
cudaError_t cudaHostUnregister(void *base);
cudaError_t cudaMemGetInfo(size_t *free, size_t *all);
cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes, cudaStream_t stream);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);

struct cudaIpcMemHandle_t {
    char reserved[64];
};
enum { cudaIpcMemLazyEnablePeerAccess = 1 };
cudaError_t cudaIpcOpenMemHandle(void **address, cudaIpcMemHandle_t handle, unsigned flags);
cudaError_t cudaIpcCloseMemHandle(void *address);

/* --- the device --- */

struct cudaDeviceProp {
    char name[256];
    int multiProcessorCount;
};
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int ordinal);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int ordinal);
enum cudaDriverEntryPointQueryResult { cudaDriverEntryPointSuccess };
enum { cudaEnableDefault };
cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **entry, unsigned version, int flags,
                                             cudaDriverEntryPointQueryResult *found);

/* Of `room` bytes at `piece` only the first `bytes` may be used: told to AddressSanitizer, where it
 * is there. */
void emulated_guard(void *piece, size_t bytes, size_t room);

/* --- streams --- */

enum { cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2 };
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);

/* --- kernels --- */

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z)
    {
    }
};

namespace device
{
struct Kernel {
    dim3 grid, block;
    size_t shared_bytes;
    std::function<void()> thread; // what each does
};
/* `code` names the kernel for the attributes that were set for it. */
cudaError_t launch(Kernel kernel, const void *code, cudaStream_t stream);
cudaError_t allow_shared(const void *code, size_t bytes);
} // namespace device

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
template <class T> cudaError_t cudaFuncSetAttribute(T *kernel, cudaFuncAttribute, int bytes)
{
    return device::allow_shared(reinterpret_cast<const void *>(kernel), static_cast<size_t>(bytes));
}

namespace device
{
template <class... P, size_t... I> std::tuple<P...> copied(void *const *arguments, std::index_sequence<I...>)
{
    return {*static_cast<P *>(arguments[I])...};
}
} // namespace device

/* Arguments are copied here and now, as a launch does. */
template <class... P>
cudaError_t cudaLaunchKernel(void (*kernel)(P...), dim3 grid, dim3 block, void **arguments,
                             size_t shared_bytes, cudaStream_t stream)
{
    const auto own = device::copied<P...>(arguments, std::index_sequence_for<P...>());
    return device::launch({grid, block, shared_bytes, [kernel, own] { std::apply(kernel, own); }},
                          reinterpret_cast<const void *>(kernel), stream);
}

#include "grid.h"
