/* SPDX-License-Identifier: Apache-2.0 */
// Host memory of the caller that the device accesses directly.
#pragma once

#include <map>
#include <mutex>

#include "cuda/runtime.cuh"

namespace rk
{

class Pinned
{
  public:
    Pinned() = default;
    ~Pinned(); // unpins the rest
    Pinned(const Pinned &) = delete;
    Pinned &operator=(const Pinned &) = delete;
    void add(void *memory, size_t bytes);
    void take_back(void *memory); // does nothing if it was not added
    bool covers(const void *at, size_t bytes);
    size_t bytes();

  private:
    std::mutex lock_;
    std::map<const unsigned char *, size_t> ranges_;
    size_t bytes_ = 0;
};

} // namespace rk
