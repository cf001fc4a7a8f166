/* SPDX-License-Identifier: Apache-2.0 */
#include "state.h"

namespace device
{

namespace
{

constexpr size_t SHARED_UNASKED = 48 << 10, SHARED_MOST = 227 << 10; // of a block

bool runnable(const Stream &stream)
{
    if (stream.work.empty())
        return false;
    const Work &first = stream.work.front();
    return !first.after || first.after->reached >= first.mark;
}

template <class Done> cudaError_t drain(Done done)
{
    while (!done())
        if (!step())
            fault("a stream waits for what was never marked");
    return now();
}

} // namespace

// One piece of work of any stream that may go on: for a while always of the same one, so that
// others are late wherever nobody waits for them.
bool step()
{
    Stream *stream = nullptr;
    for (Stream *other : the_device().streams) {
        if (draw() % 32 == 0)
            other->rank = draw();
        if (runnable(*other) && (!stream || other->rank > stream->rank))
            stream = other;
    }
    if (!stream)
        return false;
    const Work work = std::move(stream->work.front());
    stream->work.pop_front();
    if (work.run && (work.always || the_device().sticky == cudaSuccess))
        work.run();
    return true;
}

cudaError_t put(Stream *stream, Work work)
{
    if (!the_device().streams.count(stream))
        fault("a stream that is none");
    stream->work.push_back(std::move(work));
    while (draw() % 4 == 0 && step()) { // some is done at once
    }
    return now();
}

cudaError_t enqueue(Stream *stream, std::function<void()> work)
{
    const Hold hold(the_device().lock);
    return put(stream, {std::move(work), nullptr, 0});
}

cudaError_t allow_shared(const void *code, size_t bytes)
{
    const Hold hold(the_device().lock);
    the_device().allowed[code] = bytes;
    return bytes <= SHARED_MOST ? cudaSuccess : told(cudaErrorInvalidValue);
}

cudaError_t launch(Kernel kernel, const void *code, cudaStream_t stream)
{
    const Hold hold(the_device().lock);
    const size_t allowed = the_device().allowed.count(code) ? the_device().allowed[code] : SHARED_UNASKED;
    const unsigned threads = kernel.block.x * kernel.block.y * kernel.block.z;
    if (threads == 0 || threads > 1024 || kernel.grid.x == 0 || kernel.grid.y * kernel.grid.z != 1 ||
        kernel.grid.x > 0x7fffffff)
        return told(cudaErrorInvalidConfiguration);
    if (kernel.shared_bytes > allowed)
        return told(cudaErrorInvalidValue);
    if (fails("kernel"))
        return put(stream, {[] { the_device().sticky = cudaErrorIllegalAddress; }, nullptr, 0});
    return put(stream, {[kernel = std::move(kernel)] { run(kernel); }, nullptr, 0});
}

} // namespace device

using namespace device;

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
    const Hold hold(the_device().lock);
    *stream = new Stream;
    (*stream)->rank = draw();
    the_device().streams.insert(*stream);
    return now();
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    const Hold hold(the_device().lock);
    const cudaError_t code = drain([&] { return stream->work.empty(); });
    the_device().streams.erase(stream);
    delete stream;
    return code;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    const Hold hold(the_device().lock);
    the_device().waits += !stream->work.empty();
    return drain([&] { return stream->work.empty(); });
}

/* For tests: how often somebody waited for a stream that had something to do. */
extern "C" __attribute__((visibility("default"))) unsigned long emulated_waits()
{
    const Hold hold(the_device().lock);
    return the_device().waits;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    const Hold hold(the_device().lock);
    return put(stream, {nullptr, event, event->marked});
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
    *event = new Event;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    const Hold hold(the_device().lock);
    while (step()) {
    }
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    const Hold hold(the_device().lock);
    const uint64_t mark = ++event->marked;
    return put(stream, {[=] { event->reached = mark; }, nullptr, 0, true}); // nobody waits for ever
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    const Hold hold(the_device().lock);
    return drain([&] { return event->reached >= event->marked; });
}
