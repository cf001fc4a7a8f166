/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/device.cuh"

#include <algorithm>
#include <cstring>

namespace rk
{

bool Budget::take(size_t bytes)
{
    const std::lock_guard<std::mutex> hold(lock_);
    if (bytes > limit_ - used_)
        return false;
    used_ += bytes;
    return true;
}

void Budget::give(size_t bytes)
{
    const std::lock_guard<std::mutex> hold(lock_);
    used_ -= bytes;
}

size_t Budget::used()
{
    const std::lock_guard<std::mutex> hold(lock_);
    return used_;
}

// --- Arena ---

constexpr size_t ALIGN = 256, BLOCK_LEAST = 1 << 20;

Arena::~Arena()
{
    for (MemoryBlock &block : blocks_)
        release(block);
}

void Arena::release(MemoryBlock &block)
{
    (void)cudaFree(block.base);
    budget_.give(block.bytes);
}

void *Arena::add(size_t bytes)
{
    const size_t size = WATCHED ? bytes : std::max(bytes, BLOCK_LEAST);
    if (!budget_.take(size))
        throw NoRoom{};
    void *base = nullptr;
    const cudaError_t code = cudaMalloc(&base, size);
    if (code != cudaSuccess) {
        budget_.give(size);
        (void)cudaGetLastError(); // it is reported once
        throw Trouble{code, "memory for a request"};
    }
    blocks_.push_back({base, size, bytes});
    return base;
}

void *Arena::bytes(size_t bytes)
{
    if (WATCHED) // each an allocation of its own
        return add(std::max<size_t>(bytes, 1));
    bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    for (MemoryBlock &block : blocks_) {
        if (block.bytes - block.used < bytes)
            continue;
        void *at = static_cast<unsigned char *>(block.base) + block.used;
        block.used += bytes;
        return at;
    }
    return add(bytes);
}

void Arena::reset()
{
    size_t all = 0;
    for (MemoryBlock &block : blocks_) {
        all += block.bytes;
        block.used = 0;
    }
    if (WATCHED)
        return trim(0);
    if (blocks_.size() < 2)
        return;
    trim(0);
    try {
        (void)add(all);
        blocks_[0].used = 0;
    } catch (...) { // no memory now: the next request asks for itself
    }
}

void Arena::trim(size_t keep)
{
    size_t all = 0;
    for (const MemoryBlock &block : blocks_)
        all += block.bytes;
    if (all <= keep)
        return;
    for (MemoryBlock &block : blocks_)
        release(block);
    blocks_.clear();
}

// --- Staging ---

void Staging::open()
{
    for (int i = 0; i < 2; i++) {
        check(cudaMallocHost(&buffer_[i], SIZE), "pinned memory");
        check(cudaEventCreateWithFlags(&event_[i], cudaEventDisableTiming), "an event");
    }
}

Staging::~Staging()
{
    for (int i = 0; i < 2; i++) {
        if (event_[i])
            (void)cudaEventDestroy(event_[i]);
        (void)cudaFreeHost(buffer_[i]);
    }
}

void Staging::to_device(cudaStream_t stream, void *on_device, const void *host, size_t bytes)
{
    if (pinned_.covers(host, bytes))
        return check(cudaMemcpyAsync(on_device, host, bytes, cudaMemcpyHostToDevice, stream),
                     "copying to the device");
    for (size_t done = 0, here, i = 0; done < bytes; done += here, i ^= 1) {
        here = std::min(bytes - done, SIZE);
        check(cudaEventSynchronize(event_[i]), "waiting for a buffer");
        memcpy(buffer_[i], static_cast<const unsigned char *>(host) + done, here);
        check(cudaMemcpyAsync(static_cast<unsigned char *>(on_device) + done, buffer_[i], here,
                              cudaMemcpyHostToDevice, stream),
              "copying to the device");
        check(cudaEventRecord(event_[i], stream), "marking a copy");
    }
}

void Staging::to_host(cudaStream_t stream, void *host, const void *on_device, size_t bytes)
{
    if (pinned_.covers(host, bytes)) {
        check(cudaMemcpyAsync(host, on_device, bytes, cudaMemcpyDeviceToHost, stream),
              "copying from the device");
        return check(cudaStreamSynchronize(stream), "waiting for a copy");
    }
    const size_t pieces = ceil_div(bytes, SIZE);
    const auto length = [&](size_t piece) { return std::min(bytes - piece * SIZE, SIZE); };
    for (size_t piece = 0; piece <= pieces; piece++) {
        if (piece < pieces) {
            check(cudaEventSynchronize(event_[piece % 2]), "waiting for a buffer");
            check(cudaMemcpyAsync(buffer_[piece % 2],
                                  static_cast<const unsigned char *>(on_device) + piece * SIZE, length(piece),
                                  cudaMemcpyDeviceToHost, stream),
                  "copying from the device");
            check(cudaEventRecord(event_[piece % 2], stream), "marking a copy");
        }
        if (piece == 0)
            continue;
        check(cudaEventSynchronize(event_[(piece - 1) % 2]), "waiting for a copy");
        memcpy(static_cast<unsigned char *>(host) + (piece - 1) * SIZE, buffer_[(piece - 1) % 2],
               length(piece - 1));
    }
}

// --- Lane ---

void Lane::open()
{
    staging.open();
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
    check(cudaStreamCreateWithFlags(&side, cudaStreamNonBlocking), "a stream");
    check(cudaEventCreateWithFlags(&cleared, cudaEventDisableTiming), "an event");
    check(cudaMallocHost(&report, REPORT_BYTES), "pinned memory");
}

Lane::~Lane()
{
    if (blas)
        (void)cublasDestroy(blas);
    for (cudaStream_t s : {stream, side})
        if (s)
            (void)cudaStreamDestroy(s);
    if (cleared)
        (void)cudaEventDestroy(cleared);
    (void)cudaFreeHost(report);
}

Borrowed::Borrowed(rk_plugin_device &device) : device_(device)
{
    check(cudaSetDevice(device.number), "choosing the device");
    std::unique_lock<std::mutex> hold(device.lock);
    device.freed.wait(hold,
                      [&] { return !device.idle.empty() || device.lanes < rk_plugin_device::MOST_LANES; });
    if (device.idle.empty()) {
        lane_ = std::make_unique<Lane>(device.budget, device.pinned);
        lane_->open();
        device.lanes++;
        return;
    }
    lane_ = std::move(device.idle.back());
    device.idle.pop_back();
}

// After any error, no work of the request may run when its memory is used again.
Borrowed::~Borrowed()
{
    (void)cudaStreamSynchronize(lane_->stream);
    (void)cudaStreamSynchronize(lane_->side);
    lane_->arena.reset();
    lane_->arena.trim(device_.budget.limit() / 4); // the rest is for banks
    {
        const std::lock_guard<std::mutex> hold(device_.lock);
        device_.idle.push_back(std::move(lane_));
    }
    device_.freed.notify_one();
}

// --- Rows ---

Rows::~Rows()
{
    drop_idle();
}

void Rows::drop_idle()
{
    const std::lock_guard<std::mutex> hold(lock_);
    (void)make_room(budget_.limit());
}

// With the lock held: drops the least recently used memory until that many bytes are free.
bool Rows::make_room(size_t bytes)
{
    for (auto at = order_.begin(); at != order_.end() && bytes > budget_.limit() - budget_.used();) {
        const auto found = kept_.find(*at);
        if (found->second.held) {
            ++at;
            continue;
        }
        (void)cudaFree(found->second.base);
        budget_.give(found->second.bytes);
        kept_.erase(found);
        at = order_.erase(at);
    }
    return bytes <= budget_.limit() - budget_.used();
}

const void *Rows::hold(Lane &lane, const rk_device_row_block &run, size_t row_bytes)
{
    if (!run.identity)
        return nullptr;
    const std::lock_guard<std::mutex> hold(lock_);
    const size_t end = run.first + run.items;
    auto found = kept_.find(run.identity);
    if (found != kept_.end() && found->second.bytes < end * row_bytes && !found->second.held) {
        (void)cudaFree(found->second.base);
        budget_.give(found->second.bytes);
        order_.erase(found->second.used);
        kept_.erase(found);
        found = kept_.end();
    }
    if (found == kept_.end()) {
        // Room for later rows: the memory of a bank is filled piece by piece.
        const size_t bytes = std::max<size_t>(end * row_bytes * 5 / 4, 4 << 20);
        Kept kept;
        if (!make_room(bytes) || !budget_.take(bytes))
            return nullptr;
        if (cudaMalloc(&kept.base, bytes) != cudaSuccess) {
            (void)cudaGetLastError();
            budget_.give(bytes);
            return nullptr;
        }
        kept.bytes = bytes;
        kept.first = kept.end = run.first;
        kept.used = order_.insert(order_.end(), run.identity);
        found = kept_.emplace(run.identity, kept).first;
    }
    Kept &kept = found->second;
    if (kept.bytes < end * row_bytes || run.first < kept.first)
        return nullptr;
    order_.splice(order_.end(), order_, kept.used);
    unsigned char *base = static_cast<unsigned char *>(kept.base);
    if (end > kept.end) {
        if (run.first > kept.end) // what lies between was evicted before it was ever wanted here
            kept.first = run.first;
        const size_t from = std::max(kept.end, run.first);
        lane.staging.to_device(lane.stream, base + from * row_bytes,
                               static_cast<const unsigned char *>(run.rows) + (from - run.first) * row_bytes,
                               (end - from) * row_bytes);
        check(cudaStreamSynchronize(lane.stream), "copying rows"); // other lanes may read them
        kept.end = end;
    }
    kept.held++;
    return base + run.first * row_bytes;
}

void Rows::let_go(uint64_t identity)
{
    const std::lock_guard<std::mutex> hold(lock_);
    const auto found = kept_.find(identity);
    if (found != kept_.end() && found->second.held)
        found->second.held--;
}

} // namespace rk
