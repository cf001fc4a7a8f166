#include "card.h"

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string>

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

namespace card
{

struct Event {
    uint64_t marked = 0, reached = 0; // by the caller, by the stream
};

struct Work {
    std::function<void()> run;
    Event *after;        // or NULL
    uint64_t mark;       // that it waits for
    bool always = false; // when the card has failed, too
};

struct Stream {
    std::deque<Work> work;
    uint64_t rank = 0; // which goes first
};

namespace
{

constexpr size_t DEFAULT_MEMORY = size_t(4) << 30, ALIGN = 256, SHARED_UNASKED = 48 << 10;
constexpr unsigned PROCESSORS = 6;

enum class Kind { MEMORY, PINNED, MAPPED };
struct Range {
    size_t bytes;
    Kind kind;
};

struct Card {
    std::mutex lock;
    std::set<Stream *> streams;
    std::map<const unsigned char *, Range> ranges;
    std::map<const void *, size_t> allowed; // bytes of shared memory that a kernel may ask for
    std::map<std::string, unsigned> calls;
    size_t memory = DEFAULT_MEMORY, used = 0;
    cudaError_t sticky = cudaSuccess, last = cudaSuccess;
    bool meddles = getenv("EMULATED_CARD_MEDDLES") != nullptr;
    std::mt19937_64 any;

    Card()
    {
        const char *bytes = getenv("EMULATED_CARD_MEMORY"), *seed = getenv("EMULATED_CARD_SEED");
        if (bytes)
            memory = strtoull(bytes, nullptr, 10);
        any.seed(seed ? strtoull(seed, nullptr, 10) : 1);
    }
};

Card &card()
{
    static Card &one = *new Card; // outlives whoever frees his memory at exit
    return one;
}

using Hold = std::lock_guard<std::mutex>;

cudaError_t told(cudaError_t code)
{
    if (code != cudaSuccess)
        card().last = code;
    return code;
}

// What failed on the card is told by every call from then on.
cudaError_t now()
{
    return told(card().sticky);
}

bool runnable(const Stream &stream)
{
    if (stream.work.empty())
        return false;
    const Work &first = stream.work.front();
    return !first.after || first.after->reached >= first.mark;
}

// One piece of work of any stream that may go on: for a while always of the same one, so that others are late
// wherever nobody waits for them.
bool step()
{
    Stream *stream = nullptr;
    for (Stream *other : card().streams) {
        if (draw() % 32 == 0)
            other->rank = draw();
        if (runnable(*other) && (!stream || other->rank > stream->rank))
            stream = other;
    }
    if (!stream)
        return false;
    const Work work = std::move(stream->work.front());
    stream->work.pop_front();
    if (work.run && (work.always || card().sticky == cudaSuccess))
        work.run();
    return true;
}

template <class Done> cudaError_t drain(Done done)
{
    while (!done())
        if (!step())
            fault("a stream waits for what was never marked");
    return now();
}

const std::pair<const unsigned char *const, Range> *range_of(const void *at, size_t size)
{
    const auto *address = static_cast<const unsigned char *>(at);
    auto found = card().ranges.upper_bound(address);
    if (found == card().ranges.begin())
        return nullptr;
    --found;
    return address + size <= found->first + found->second.bytes ? &*found : nullptr;
}

bool is(const void *at, size_t size, bool wants_card)
{
    const auto *range = range_of(at, size);
    return range && (range->second.kind == Kind::PINNED) != wants_card;
}

// A copy of pageable memory would wait for the stream, which the plugin promises not to.
void check_copy(const void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    const bool to_card = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_card = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (!is(to, bytes, to_card) || !is(from, bytes, from_card))
        fault("a copy beyond an allocation, or of memory that is not pinned");
}

cudaError_t put(Stream *stream, Work work)
{
    if (!card().streams.count(stream))
        fault("a stream that is none");
    stream->work.push_back(std::move(work));
    while (draw() % 4 == 0 && step()) { // some is done at once
    }
    return now();
}

cudaError_t give(void **base, size_t bytes, Kind kind)
{
    void *memory = aligned_alloc(ALIGN, (bytes + ALIGN - 1) / ALIGN * ALIGN);
    if (!memory)
        return told(cudaErrorMemoryAllocation);
    memset(memory, static_cast<int>(draw() & 0xff), bytes);
    card().ranges[static_cast<unsigned char *>(memory)] = {bytes, kind};
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
    const auto found = card().ranges.find(static_cast<unsigned char *>(base));
    if (found == card().ranges.end() || found->second.kind != kind)
        fault("memory that was not allocated is given back");
    card().used -= kind == Kind::MEMORY ? found->second.bytes : 0;
    bound(base, found->second.bytes, found->second.bytes);
    card().ranges.erase(found);
    free(base);
    return cudaSuccess;
}

} // namespace

uint64_t draw()
{
    return card().any();
}

bool on_card(const void *at, size_t size)
{
    return is(at, size, true);
}

bool fails(const char *what)
{
    const unsigned call = ++card().calls[what];
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

// Sometimes a little anywhere, sometimes a stretch of one value: many relevant items, none, NaN.
void meddle()
{
    for (const auto &[base, range] : card().ranges) {
        if (!card().meddles || range.kind != Kind::MAPPED)
            continue;
        unsigned char *memory = const_cast<unsigned char *>(base);
        const size_t at = draw() % range.bytes;
        const bool stretch = draw() % 8 == 0;
        const auto value = static_cast<int>(draw() % 4 ? draw() % 2 : draw() & 0xff);
        memset(memory + at, value, stretch ? draw() % (range.bytes - at) + 1 : 1);
    }
}

cudaError_t enqueue(Stream *stream, std::function<void()> work)
{
    const Hold hold(card().lock);
    return put(stream, {std::move(work), nullptr, 0});
}

cudaError_t allocate(void **base, size_t bytes)
{
    const Hold hold(card().lock);
    if (now() != cudaSuccess)
        return card().sticky;
    if (fails("malloc") || bytes > card().memory - card().used)
        return told(cudaErrorMemoryAllocation);
    const cudaError_t code = give(base, bytes, Kind::MEMORY);
    card().used += code == cudaSuccess ? bytes : 0;
    return code;
}

cudaError_t allocate_pinned(void **base, size_t bytes)
{
    const Hold hold(card().lock);
    if (fails("pinned"))
        return told(cudaErrorMemoryAllocation);
    return give(base, bytes, Kind::PINNED);
}

cudaError_t allow_shared(const void *code, size_t bytes)
{
    const Hold hold(card().lock);
    card().allowed[code] = bytes;
    return bytes <= (227 << 10) ? cudaSuccess : told(cudaErrorInvalidValue);
}

cudaError_t launch(Kernel kernel, const void *code, cudaStream_t stream)
{
    const Hold hold(card().lock);
    const size_t allowed = card().allowed.count(code) ? card().allowed[code] : SHARED_UNASKED;
    const unsigned threads = kernel.block.x * kernel.block.y * kernel.block.z;
    if (threads == 0 || threads > 1024 || kernel.grid.x == 0 || kernel.grid.y * kernel.grid.z != 1 ||
        kernel.grid.x > 0x7fffffff)
        return told(cudaErrorInvalidConfiguration);
    if (kernel.shared_bytes > allowed)
        return told(cudaErrorInvalidValue);
    if (fails("kernel"))
        return put(stream, {[] { card().sticky = cudaErrorIllegalAddress; }, nullptr, 0});
    return put(stream, {[kernel = std::move(kernel)] { run(kernel); }, nullptr, 0});
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
    const Hold hold(card::card().lock);
    const cudaError_t last = card::card().last;
    card::card().last = card::card().sticky;
    return last;
}

cudaError_t cudaFree(void *base)
{
    const Hold hold(card::card().lock);
    return take_back(base, Kind::MEMORY);
}

cudaError_t cudaFreeHost(void *base)
{
    const Hold hold(card::card().lock);
    return take_back(base, Kind::PINNED);
}

cudaError_t cudaMemGetInfo(size_t *free, size_t *all)
{
    const Hold hold(card::card().lock);
    *all = card::card().memory;
    *free = *all - card::card().used;
    return now();
}

cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes, cudaStream_t stream)
{
    const Hold hold(card::card().lock);
    if (!is(to, bytes, true))
        fault("memory beyond an allocation is cleared");
    return put(stream, {[=] { memset(to, byte, bytes); }, nullptr, 0});
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    const Hold hold(card::card().lock);
    check_copy(to, from, bytes, kind);
    return put(stream, {[=] { memcpy(to, from, bytes); }, nullptr, 0});
}

// What was put on streams before still has the memory in its old pieces.
void emulated_guard(void *piece, size_t bytes, size_t room)
{
    const Hold hold(card::card().lock);
    while (step()) {
    }
    bound(piece, bytes, room);
}

// A handle is the name of a shared memory object here.
cudaError_t cudaIpcOpenMemHandle(void **address, cudaIpcMemHandle_t handle, unsigned)
{
    const Hold hold(card::card().lock);
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
    card::card().ranges[static_cast<unsigned char *>(*address)] = {bytes, Kind::MAPPED};
    return cudaSuccess;
}

cudaError_t cudaIpcCloseMemHandle(void *address)
{
    const Hold hold(card::card().lock);
    const auto found = card::card().ranges.find(static_cast<unsigned char *>(address));
    if (found == card::card().ranges.end() || found->second.kind != Kind::MAPPED)
        return told(cudaErrorInvalidValue);
    while (step()) {
    }
    (void)munmap(address, found->second.bytes);
    card::card().ranges.erase(found);
    return cudaSuccess;
}

// Of the driver's.
static CUresult address_range(CUdeviceptr *base, size_t *bytes, CUdeviceptr at)
{
    const Hold hold(card::card().lock);
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

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int ordinal)
{
    const Hold hold(card::card().lock);
    return ordinal == 0 ? now() : told(cudaErrorInvalidValue);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int)
{
    (void)snprintf(properties->name, sizeof properties->name, "an emulated card");
    properties->multiProcessorCount = PROCESSORS;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
    const Hold hold(card::card().lock);
    *stream = new Stream;
    (*stream)->rank = draw();
    card::card().streams.insert(*stream);
    return now();
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    const Hold hold(card::card().lock);
    const cudaError_t code = drain([&] { return stream->work.empty(); });
    card::card().streams.erase(stream);
    delete stream;
    return code;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    const Hold hold(card::card().lock);
    return drain([&] { return stream->work.empty(); });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    const Hold hold(card::card().lock);
    return put(stream, {nullptr, event, event->marked});
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
    *event = new Event;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    const Hold hold(card::card().lock);
    while (step()) {
    }
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    const Hold hold(card::card().lock);
    const uint64_t mark = ++event->marked;
    return put(stream, {[=] { event->reached = mark; }, nullptr, 0, true}); // nobody waits for ever
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    const Hold hold(card::card().lock);
    return drain([&] { return event->reached >= event->marked; });
}
