// Host memory of the caller's that the device reads and writes by itself.
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
    ~Pinned(); // what was not taken back before
    Pinned(const Pinned &) = delete;
    Pinned &operator=(const Pinned &) = delete;
    void add(void *memory, size_t bytes);
    void take_back(void *memory); // fine where it was not added
    bool covers(const void *at, size_t bytes);
    size_t bytes();

  private:
    std::mutex lock_;
    std::map<const unsigned char *, size_t> ranges_;
    size_t bytes_ = 0;
};

} // namespace rk
