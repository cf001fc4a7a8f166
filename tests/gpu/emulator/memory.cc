/* SPDX-License-Identifier: Apache-2.0 */
#include "state.h"

#include <cstdlib>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cuda.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

namespace device
{

namespace
{

constexpr size_t ALIGN = 256;

const std::pair<const unsigned char *const, Range> *range_of(const void *at, size_t size)
{
    const auto *address = static_cast<const unsigned char *>(at);
    auto found = the_device().ranges.upper_bound(address);
    if (found == the_device().ranges.begin())
        return nullptr;
    --found;
    return address + size <= found->first + found->second.bytes ? &*found : nullptr;
}

// A copy of pageable memory would wait for the stream, which the plugin promises not to.
void check_copy(const void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (!is_within(to, bytes, to_device) || !is_within(from, bytes, from_device))
        fault("a copy beyond an allocation, or of memory that is not pinned");
}

cudaError_t give(void **base, size_t bytes, Kind kind)
{
    void *memory = aligned_alloc(ALIGN, (bytes + ALIGN - 1) / ALIGN * ALIGN);
    if (!memory)
        return told(cudaErrorMemoryAllocation);
    memset(memory, static_cast<int>(draw() & 0xff), bytes);
    the_device().ranges[static_cast<unsigned char *>(memory)] = {bytes, kind};
    *base = memory;
    return cudaSuccess;
}

// Only the first `bytes` of the piece may be used.
void bound(void *piece, size_t bytes, size_t room)
{
    ASAN_UNPOISON_MEMORY_REGION(piece, bytes);
    ASAN_POISON_MEMORY_REGION(static_cast<unsigned char *>(piece) + bytes, room - bytes);
}

// Nothing may run on with what is given back.
cudaError_t take_back(void *base, Kind kind)
{
    if (!base)
        return cudaSuccess;
    while (step()) {
    }
    const auto found = the_device().ranges.find(static_cast<unsigned char *>(base));
    if (found == the_device().ranges.end() || found->second.kind != kind)
        fault("memory that was not allocated is given back");
    the_device().used -= kind == Kind::MEMORY ? found->second.bytes : 0;
    bound(base, found->second.bytes, found->second.bytes);
    the_device().ranges.erase(found);
    free(base);
    return cudaSuccess;
}

} // namespace

bool is_within(const void *at, size_t size, bool wants_device)
{
    const auto *range = range_of(at, size);
    const bool of_host =
        range && (range->second.kind == Kind::PINNED || range->second.kind == Kind::REGISTERED);
    return range && of_host != wants_device;
}

// Sometimes a little anywhere, sometimes a stretch of one value: many relevant items, none, NaN.
void meddle()
{
    for (const auto &[base, range] : the_device().ranges) {
        if (!the_device().meddles || (range.kind != Kind::MAPPED && range.kind != Kind::REGISTERED))
            continue;
        unsigned char *memory = const_cast<unsigned char *>(base);
        const size_t at = draw() % range.bytes;
        const bool stretch = draw() % 8 == 0;
        const auto value = static_cast<int>(draw() % 4 ? draw() % 2 : draw() & 0xff);
        memset(memory + at, value, stretch ? draw() % (range.bytes - at) + 1 : 1);
    }
}

cudaError_t allocate(void **base, size_t bytes)
{
    const Hold hold(the_device().lock);
    if (now() != cudaSuccess)
        return the_device().sticky;
    if (fails("malloc") || bytes > the_device().memory - the_device().used)
        return told(cudaErrorMemoryAllocation);
    const cudaError_t code = give(base, bytes, Kind::MEMORY);
    the_device().used += code == cudaSuccess ? bytes : 0;
    return code;
}

cudaError_t allocate_pinned(void **base, size_t bytes)
{
    const Hold hold(the_device().lock);
    if (fails("pinned"))
        return told(cudaErrorMemoryAllocation);
    return give(base, bytes, Kind::PINNED);
}

} // namespace device

using namespace device;

cudaError_t cudaFree(void *base)
{
    const Hold hold(the_device().lock);
    return take_back(base, Kind::MEMORY);
}

cudaError_t cudaFreeHost(void *base)
{
    const Hold hold(the_device().lock);
    return take_back(base, Kind::PINNED);
}

/* For tests: what was copied from and to such memory. */
extern "C" __attribute__((visibility("default"))) size_t emulated_direct_bytes()
{
    const Hold hold(the_device().lock);
    return the_device().direct_bytes;
}

cudaError_t cudaHostRegister(void *base, size_t bytes, unsigned)
{
    const Hold hold(the_device().lock);
    if (fails("register"))
        return told(cudaErrorMemoryAllocation);
    for (const auto &[other, range] : the_device().ranges)
        if (other < static_cast<unsigned char *>(base) + bytes && base < other + range.bytes)
            fault("memory is pinned that is known already");
    the_device().ranges[static_cast<unsigned char *>(base)] = {bytes, Kind::REGISTERED};
    return now();
}

cudaError_t cudaHostUnregister(void *base)
{
    const Hold hold(the_device().lock);
    const auto found = the_device().ranges.find(static_cast<unsigned char *>(base));
    if (found == the_device().ranges.end() || found->second.kind != Kind::REGISTERED)
        fault("memory that was not pinned is taken back");
    while (step()) {
    }
    the_device().ranges.erase(found);
    return now();
}

cudaError_t cudaMemGetInfo(size_t *free, size_t *all)
{
    const Hold hold(the_device().lock);
    *all = the_device().memory;
    *free = *all - the_device().used;
    return now();
}

cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes, cudaStream_t stream)
{
    const Hold hold(the_device().lock);
    if (!is_within(to, bytes, true))
        fault("memory beyond an allocation is cleared");
    return put(stream, {[=] { memset(to, byte, bytes); }, nullptr, 0});
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    const Hold hold(the_device().lock);
    check_copy(to, from, bytes, kind);
    for (const void *end : {static_cast<const void *>(to), from}) {
        const auto *range = range_of(end, bytes);
        the_device().direct_bytes += range && range->second.kind == Kind::REGISTERED ? bytes : 0;
    }
    return put(stream, {[=] { memcpy(to, from, bytes); }, nullptr, 0});
}

// What was put on streams before still has the memory in its old pieces.
void emulated_guard(void *piece, size_t bytes, size_t room)
{
    const Hold hold(the_device().lock);
    while (step()) {
    }
    bound(piece, bytes, room);
}

// A handle is the name of a shared memory object here.
cudaError_t cudaIpcOpenMemHandle(void **address, cudaIpcMemHandle_t handle, unsigned)
{
    const Hold hold(the_device().lock);
    const std::string name(handle.reserved, strnlen(handle.reserved, sizeof handle.reserved));
    struct stat file;
    const int fd = shm_open(name.c_str(), O_RDWR | O_CLOEXEC, 0);
    if (fd < 0 || fstat(fd, &file) != 0 || file.st_size == 0) {
        (void)(fd < 0 || close(fd));
        return told(cudaErrorInvalidValue);
    }
    const auto bytes = static_cast<size_t>(file.st_size);
    *address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (*address == MAP_FAILED)
        return told(cudaErrorMemoryAllocation);
    the_device().ranges[static_cast<unsigned char *>(*address)] = {bytes, Kind::MAPPED};
    return cudaSuccess;
}

cudaError_t cudaIpcCloseMemHandle(void *address)
{
    const Hold hold(the_device().lock);
    const auto found = the_device().ranges.find(static_cast<unsigned char *>(address));
    if (found == the_device().ranges.end() || found->second.kind != Kind::MAPPED)
        return told(cudaErrorInvalidValue);
    while (step()) {
    }
    (void)munmap(address, found->second.bytes);
    the_device().ranges.erase(found);
    return cudaSuccess;
}

// Of the driver's.
static CUresult address_range(CUdeviceptr *base, size_t *bytes, CUdeviceptr at)
{
    const Hold hold(the_device().lock);
    const auto *range = range_of(reinterpret_cast<const void *>(at), 1);
    if (!range)
        return CUDA_ERROR_INVALID_VALUE;
    *base = reinterpret_cast<CUdeviceptr>(range->first);
    *bytes = range->second.bytes;
    return CUDA_SUCCESS;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **entry, unsigned, int,
                                             cudaDriverEntryPointQueryResult *found)
{
    *found = cudaDriverEntryPointSuccess;
    *entry = strcmp(name, "cuMemGetAddressRange") == 0 ? reinterpret_cast<void *>(address_range) : nullptr;
    return cudaSuccess;
}
