/* SPDX-License-Identifier: Apache-2.0 */
// The plugin's table: opens a device, and turns what is thrown into an outcome and a reason.
#include <cstdio>
#include <cstring>
#include <new>

#include <cuda.h>

#include "cuda/device.cuh"
#include "cuda/kernels.cuh"
#include "cuda/knows.cuh"
#include "cuda/retrieval.cuh"

namespace
{

using namespace rk;

void say(char *why, const Trouble &trouble)
{
    (void)snprintf(why, RK_DEVICE_WHY, "%s: %s", trouble.what, cudaGetErrorString(trouble.code));
}

// What becomes of `body`.
template <class Body> rk_device_outcome outcome_of(char *why, Body body)
{
    why[0] = 0;
    try {
        body();
        return RK_DEVICE_DONE;
    } catch (const Declined &) {
        return RK_DEVICE_DECLINED;
    } catch (const Trouble &trouble) {
        say(why, trouble);
        (void)cudaGetLastError();
        return is_lost(trouble.code) ? RK_DEVICE_LOST : RK_DEVICE_FAILED;
    } catch (const std::bad_alloc &) {
        (void)snprintf(why, RK_DEVICE_WHY, "no host memory");
        return RK_DEVICE_FAILED;
    } catch (...) {
        (void)snprintf(why, RK_DEVICE_WHY, "an unexpected fault");
        return RK_DEVICE_FAILED;
    }
}

// The same for a request: where memory is short, what banks keep on the device makes way for the
// next one.
template <class Body> rk_device_outcome guarded(rk_plugin_device *device, char *why, Body body)
{
    bool no_room = false;
    const rk_device_outcome outcome = outcome_of(why, [&] {
        try {
            body();
        } catch (const NoRoom &) {
            no_room = true;
            throw Declined{};
        }
    });
    if (no_room || outcome == RK_DEVICE_FAILED)
        device->rows.drop_idle();
    return outcome;
}

// For what a client's memory is to blame for, which says nothing of the device.
template <class Body> rk_device_outcome on_client_memory(rk_plugin_device *device, char *why, Body body)
{
    const rk_device_outcome outcome = outcome_of(why, [&] {
        check(cudaSetDevice(device->number), "choosing the device");
        body();
    });
    return outcome == RK_DEVICE_LOST ? RK_DEVICE_FAILED : outcome;
}

size_t limit_of(size_t asked)
{
    size_t free = 0, all = 0;
    check(cudaMemGetInfo(&free, &all), "asking for free memory");
    return asked && asked < free ? asked : free / 2;
}

rk_plugin_device *open(int ordinal, size_t limit, char *name, char *why)
{
    why[0] = 0;
    try {
        int count = 0;
        check(cudaGetDeviceCount(&count), "looking for devices");
        if (ordinal < 0 || ordinal >= count) {
            (void)snprintf(why, RK_DEVICE_WHY, "there is no device %d; there are %d, counted from 0", ordinal,
                           count);
            return nullptr;
        }
        cudaDeviceProp properties;
        check(cudaSetDevice(ordinal), "choosing the device");
        check(cudaGetDeviceProperties(&properties, ordinal), "asking for properties");
        (void)snprintf(name, RK_DEVICE_NAME, "%.*s", RK_DEVICE_NAME - 1, properties.name);
        prepare_short();
        prepare_long();
        prepare_rows();
        return new rk_plugin_device(ordinal, limit_of(limit), properties.multiProcessorCount);
    } catch (const Trouble &trouble) {
        say(why, trouble);
    } catch (...) {
        (void)snprintf(why, RK_DEVICE_WHY, "no memory");
    }
    return nullptr;
}

void close(rk_plugin_device *device)
{
    delete device;
}

rk_device_outcome scores(rk_plugin_device *device, rk_device_scores_job *job, char *why)
{
    return guarded(device, why, [&] { run_scores(*device, *job); });
}

rk_device_outcome rank(rk_plugin_device *device, rk_device_rank_job *job, char *why)
{
    return guarded(device, why, [&] { run_rank(*device, *job); });
}

rk_device_outcome retrieval(rk_plugin_device *device, rk_device_retrieval_job *job, char *why)
{
    return guarded(device, why, [&] { run_retrieval(*device, *job); });
}

rk_device_outcome fetch(rk_plugin_device *device, void *host, const void *on_device, size_t bytes, char *why)
{
    return guarded(device, why, [&] {
        Borrowed lane(*device);
        lane->staging.to_host(lane->stream, host, on_device, bytes);
    });
}

rk_device_outcome store(rk_plugin_device *device, void *on_device, const void *host, size_t bytes, char *why)
{
    return guarded(device, why, [&] {
        Borrowed lane(*device);
        lane->staging.to_device(lane->stream, on_device, host, bytes);
        check(cudaStreamSynchronize(lane->stream), "copying to the device");
    });
}

// By the driver, whose library is not linked: a machine without it can load the plugin and be told
// so.
size_t bytes_behind(void *address)
{
    using Range = CUresult (*)(CUdeviceptr *, size_t *, CUdeviceptr);
    void *entry = nullptr;
    cudaDriverEntryPointQueryResult found;
    check(cudaGetDriverEntryPointByVersion("cuMemGetAddressRange", &entry, 12000, cudaEnableDefault, &found),
          "asking the driver");
    CUdeviceptr base = 0;
    size_t bytes = 0;
    if (!entry ||
        reinterpret_cast<Range>(entry)(&base, &bytes, reinterpret_cast<CUdeviceptr>(address)) != CUDA_SUCCESS)
        throw Trouble{cudaErrorInvalidValue, "asking for a region's size"};
    return bytes - (reinterpret_cast<CUdeviceptr>(address) - base);
}

rk_device_outcome map(rk_plugin_device *device, const unsigned char *handle, void **address, size_t *bytes,
                      char *why)
{
    return on_client_memory(device, why, [&] {
        cudaIpcMemHandle_t given;
        static_assert(sizeof given == RK_DEVICE_HANDLE, "the size of a handle is part of the protocol");
        memcpy(&given, handle, sizeof given);
        check(cudaIpcOpenMemHandle(address, given, cudaIpcMemLazyEnablePeerAccess), "opening the handle");
        try {
            *bytes = bytes_behind(*address);
        } catch (...) {
            (void)cudaIpcCloseMemHandle(*address);
            throw;
        }
    });
}

void unmap(rk_plugin_device *device, void *address)
{
    if (cudaSetDevice(device->number) == cudaSuccess)
        (void)cudaIpcCloseMemHandle(address);
}

rk_device_memory memory(rk_plugin_device *device)
{
    return {device->budget.used(), device->budget.limit(), device->pinned.bytes()};
}

rk_device_outcome pin(rk_plugin_device *device, void *memory, size_t bytes, char *why)
{
    return on_client_memory(device, why, [&] { device->pinned.add(memory, bytes); });
}

void unpin(rk_plugin_device *device, void *memory)
{
    if (cudaSetDevice(device->number) == cudaSuccess)
        device->pinned.take_back(memory);
}

const rk_device_plugin table = {RK_PLUGIN_VERSION,
                                RK_PLUGIN_VOCABULARY,
                                {KNOWS_SCORES, KNOWS_RANK, KNOWS_RETRIEVAL},
                                open,
                                close,
                                scores,
                                rank,
                                retrieval,
                                fetch,
                                store,
                                map,
                                unmap,
                                memory,
                                pin,
                                unpin};

} // namespace

extern "C" __attribute__((visibility("default"))) const rk_device_plugin *rk_plugin()
{
    return &table;
}
