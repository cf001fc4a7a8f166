// The plugin's table: opens a card, and turns what is thrown into an outcome and a reason.
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
template <class Body> rk_card_outcome outcome_of(char *why, Body body)
{
    why[0] = 0;
    try {
        body();
        return RK_CARD_DONE;
    } catch (const Passed &) {
        return RK_CARD_PASSED;
    } catch (const Trouble &trouble) {
        say(why, trouble);
        (void)cudaGetLastError();
        return is_lost(trouble.code) ? RK_CARD_LOST : RK_CARD_FAILED;
    } catch (const std::bad_alloc &) {
        (void)snprintf(why, RK_DEVICE_WHY, "no host memory");
        return RK_CARD_FAILED;
    } catch (...) {
        (void)snprintf(why, RK_DEVICE_WHY, "an unexpected fault");
        return RK_CARD_FAILED;
    }
}

// The same for a request: where memory is short, what banks keep on the card makes way for the next one.
template <class Body> rk_card_outcome guarded(rk_card *card, char *why, Body body)
{
    bool no_room = false;
    const rk_card_outcome outcome = outcome_of(why, [&] {
        try {
            body();
        } catch (const NoRoom &) {
            no_room = true;
            throw Passed{};
        }
    });
    if (no_room || outcome == RK_CARD_FAILED)
        card->rows.drop_idle();
    return outcome;
}

// For what a client's memory is to blame for, which says nothing of the card.
template <class Body> rk_card_outcome on_client_memory(rk_card *card, char *why, Body body)
{
    const rk_card_outcome outcome = outcome_of(why, [&] {
        check(cudaSetDevice(card->number), "choosing the card");
        body();
    });
    return outcome == RK_CARD_LOST ? RK_CARD_FAILED : outcome;
}

size_t limit_of(size_t asked)
{
    size_t free = 0, all = 0;
    check(cudaMemGetInfo(&free, &all), "asking for free memory");
    return asked && asked < free ? asked : free / 2;
}

rk_card *open(int ordinal, size_t limit, char *name, char *why)
{
    why[0] = 0;
    try {
        int count = 0;
        check(cudaGetDeviceCount(&count), "looking for cards");
        if (ordinal < 0 || ordinal >= count) {
            (void)snprintf(why, RK_DEVICE_WHY, "there is no card %d; there are %d, counted from 0", ordinal,
                           count);
            return nullptr;
        }
        cudaDeviceProp properties;
        check(cudaSetDevice(ordinal), "choosing the card");
        check(cudaGetDeviceProperties(&properties, ordinal), "asking for properties");
        (void)snprintf(name, RK_DEVICE_NAME, "%.*s", RK_DEVICE_NAME - 1, properties.name);
        prepare_short();
        prepare_long();
        prepare_rows();
        return new rk_card(ordinal, limit_of(limit), properties.multiProcessorCount);
    } catch (const Trouble &trouble) {
        say(why, trouble);
    } catch (...) {
        (void)snprintf(why, RK_DEVICE_WHY, "no memory");
    }
    return nullptr;
}

void close(rk_card *card)
{
    delete card;
}

rk_card_outcome scores(rk_card *card, rk_card_scores *job, char *why)
{
    return guarded(card, why, [&] { run_scores(*card, *job); });
}

rk_card_outcome rank(rk_card *card, rk_card_rank *job, char *why)
{
    return guarded(card, why, [&] { run_rank(*card, *job); });
}

rk_card_outcome retrieval(rk_card *card, rk_card_retrieval *job, char *why)
{
    return guarded(card, why, [&] { run_retrieval(*card, *job); });
}

rk_card_outcome fetch(rk_card *card, void *host, const void *on_card, size_t bytes, char *why)
{
    return guarded(card, why, [&] {
        Borrowed lane(*card);
        lane->staging.to_host(lane->stream, host, on_card, bytes);
    });
}

rk_card_outcome store(rk_card *card, void *on_card, const void *host, size_t bytes, char *why)
{
    return guarded(card, why, [&] {
        Borrowed lane(*card);
        lane->staging.to_card(lane->stream, on_card, host, bytes);
        check(cudaStreamSynchronize(lane->stream), "copying to the card");
    });
}

// By the driver, whose library is not linked: a machine without it can load the plugin and be told so.
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

rk_card_outcome map(rk_card *card, const unsigned char *handle, void **address, size_t *bytes, char *why)
{
    return on_client_memory(card, why, [&] {
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

void unmap(rk_card *card, void *address)
{
    if (cudaSetDevice(card->number) == cudaSuccess)
        (void)cudaIpcCloseMemHandle(address);
}

rk_card_memory memory(rk_card *card)
{
    return {card->budget.used(), card->budget.limit(), card->pinned.bytes()};
}

rk_card_outcome pin(rk_card *card, void *memory, size_t bytes, char *why)
{
    return on_client_memory(card, why, [&] { card->pinned.add(memory, bytes); });
}

void unpin(rk_card *card, void *memory)
{
    if (cudaSetDevice(card->number) == cudaSuccess)
        card->pinned.take_back(memory);
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
