/* SPDX-License-Identifier: Apache-2.0 */
#include "state.h"

#include <cstdio>
#include <cstdlib>

namespace device
{

namespace
{

constexpr size_t DEFAULT_MEMORY = size_t(4) << 30;
constexpr unsigned PROCESSORS = 6;

} // namespace

Device::Device() : memory(DEFAULT_MEMORY), meddles(getenv("EMULATED_DEVICE_MEDDLES") != nullptr)
{
    const char *bytes = getenv("EMULATED_DEVICE_MEMORY"), *seed = getenv("EMULATED_DEVICE_SEED");
    if (bytes)
        memory = strtoull(bytes, nullptr, 10);
    any.seed(seed ? strtoull(seed, nullptr, 10) : 1);
}

Device &the_device()
{
    static Device &one = *new Device; // outlives code that frees memory at exit
    return one;
}

cudaError_t told(cudaError_t code)
{
    if (code != cudaSuccess)
        the_device().last = code;
    return code;
}

cudaError_t now()
{
    return told(the_device().sticky);
}

uint64_t draw()
{
    return the_device().any();
}

bool fails(const char *what)
{
    const unsigned call = ++the_device().calls[what];
    const char *plan = getenv("EMULATED_DEVICE");
    for (std::string left = plan ? plan : ""; !left.empty();) {
        const size_t comma = left.find(','), colon = left.find(':');
        const std::string entry = left.substr(0, comma);
        left = comma == std::string::npos ? "" : left.substr(comma + 1);
        if (colon == std::string::npos || entry.substr(0, colon) != what)
            continue;
        const unsigned at = static_cast<unsigned>(atoi(entry.c_str() + colon + 1));
        if (call == at || (call > at && entry.back() == '+'))
            return true;
    }
    return false;
}

} // namespace device

using namespace device;

const char *cudaGetErrorString(cudaError_t code)
{
    switch (code) {
    case cudaSuccess:
        return "no error";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorIllegalAddress:
        return "an illegal memory access was encountered";
    case cudaErrorInvalidValue:
        return "invalid argument";
    case cudaErrorInvalidConfiguration:
        return "invalid configuration argument";
    default:
        return "unknown error";
    }
}

cudaError_t cudaGetLastError()
{
    const Hold hold(the_device().lock);
    const cudaError_t last = the_device().last;
    the_device().last = the_device().sticky;
    return last;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int ordinal)
{
    const Hold hold(the_device().lock);
    return ordinal == 0 ? now() : told(cudaErrorInvalidValue);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int)
{
    (void)snprintf(properties->name, sizeof properties->name, "an emulated device");
    properties->multiProcessorCount = PROCESSORS;
    return cudaSuccess;
}
