/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/pinned.cuh"

namespace rk
{

Pinned::~Pinned()
{
    for (const auto &[base, bytes] : ranges_)
        (void)cudaHostUnregister(const_cast<unsigned char *>(base));
}

void Pinned::add(void *memory, size_t bytes)
{
    const auto *base = static_cast<const unsigned char *>(memory);
    const auto set = [&](size_t to) {
        const std::lock_guard<std::mutex> hold(lock_);
        bytes_ += to;
        ranges_[base] = to;
    };
    set(0); // covers nothing yet, but nothing can fail when it is pinned
    const cudaError_t code = cudaHostRegister(memory, bytes, cudaHostRegisterDefault);
    if (code == cudaSuccess)
        return set(bytes);
    const std::lock_guard<std::mutex> hold(lock_);
    ranges_.erase(base);
    throw Trouble{code, "pinning memory"};
}

void Pinned::take_back(void *memory)
{
    {
        const std::lock_guard<std::mutex> hold(lock_);
        const auto found = ranges_.find(static_cast<const unsigned char *>(memory));
        if (found == ranges_.end())
            return;
        bytes_ -= found->second;
        ranges_.erase(found);
    }
    (void)cudaHostUnregister(memory); // takes a while, and other requests look at the ranges
}

bool Pinned::covers(const void *at, size_t bytes)
{
    const std::lock_guard<std::mutex> hold(lock_);
    const auto *begin = static_cast<const unsigned char *>(at);
    auto found = ranges_.upper_bound(begin);
    if (found == ranges_.begin())
        return false;
    --found;
    const size_t before = static_cast<size_t>(begin - found->first);
    return before <= found->second && bytes <= found->second - before;
}

size_t Pinned::bytes()
{
    const std::lock_guard<std::mutex> hold(lock_);
    return bytes_;
}

} // namespace rk
