#include "state.h"

#include <cstdio>
#include <cstdlib>

namespace card
{

namespace
{

constexpr size_t DEFAULT_MEMORY = size_t(4) << 30;
constexpr unsigned PROCESSORS = 6;

} // namespace

Card::Card() : memory(DEFAULT_MEMORY), meddles(getenv("EMULATED_CARD_MEDDLES") != nullptr)
{
    const char *bytes = getenv("EMULATED_CARD_MEMORY"), *seed = getenv("EMULATED_CARD_SEED");
    if (bytes)
        memory = strtoull(bytes, nullptr, 10);
    any.seed(seed ? strtoull(seed, nullptr, 10) : 1);
}

Card &the_card()
{
    static Card &one = *new Card; // outlives whoever frees his memory at exit
    return one;
}

cudaError_t told(cudaError_t code)
{
    if (code != cudaSuccess)
        the_card().last = code;
    return code;
}

cudaError_t now()
{
    return told(the_card().sticky);
}

uint64_t draw()
{
    return the_card().any();
}

bool fails(const char *what)
{
    const unsigned call = ++the_card().calls[what];
    const char *plan = getenv("EMULATED_CARD");
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

} // namespace card

using namespace card;

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
    const Hold hold(the_card().lock);
    const cudaError_t last = the_card().last;
    the_card().last = the_card().sticky;
    return last;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int ordinal)
{
    const Hold hold(the_card().lock);
    return ordinal == 0 ? now() : told(cudaErrorInvalidValue);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int)
{
    (void)snprintf(properties->name, sizeof properties->name, "an emulated card");
    properties->multiProcessorCount = PROCESSORS;
    return cudaSuccess;
}
