/* SPDX-License-Identifier: Apache-2.0 */
// An opened device: its lanes (a stream, device memory kept between requests, pinned staging
// buffers), and the bank rows that are kept on it.
#pragma once

#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include <cublas_v2.h>

extern "C" {
#include "device/device_plugin.h"
}

#include "cuda/pinned.cuh"
#include "cuda/runtime.cuh"
#include "cuda/sizes.cuh"

namespace rk
{

// Thrown for a request that the CPU should compute: it is not for the device, …
struct Declined {
};
// … or it does not fit the device memory that is free now.
struct NoRoom {
};

// Device memory of all lanes and banks together; never over the limit.
class Budget
{
  public:
    explicit Budget(size_t limit) : limit_(limit)
    {
    }
    bool take(size_t bytes);
    void give(size_t bytes);
    size_t used();
    size_t limit() const
    {
        return limit_;
    }

  private:
    std::mutex lock_;
    size_t limit_, used_ = 0;
};

// Device memory for one request at a time. The memory of a request becomes one block for the next,
// so that a warm arena allocates nothing.
class Arena
{
  public:
    explicit Arena(Budget &budget) : budget_(budget)
    {
    }
    ~Arena();
    Arena(const Arena &) = delete;
    Arena &operator=(const Arena &) = delete;
    template <class T> T *take(size_t count)
    {
        return static_cast<T *>(bytes(count * sizeof(T)));
    }
    void *bytes(size_t bytes); // 256-byte aligned. Throws NoRoom over the limit, Trouble without memory
    void reset();              // frees everything that was taken
    void trim(size_t keep);    // returns memory over `keep`; nothing may be taken

  private:
    struct MemoryBlock {
        void *base;
        size_t bytes, used;
    };
    void release(MemoryBlock &block);
    void *add(size_t bytes);
    Budget &budget_;
    std::vector<MemoryBlock> blocks_;
};

// Copies between host memory and the device: directly if it is pinned, otherwise through two pinned
// buffers, so that one is filled during the transfer of the other.
class Staging
{
  public:
    explicit Staging(Pinned &pinned) : pinned_(pinned)
    {
    }
    ~Staging();
    Staging(const Staging &) = delete;
    Staging &operator=(const Staging &) = delete;
    void open(); // once, before use; frees everything if it throws
    // Pinned `host` memory must stay unchanged until the stream has been waited for.
    void to_device(cudaStream_t stream, void *on_device, const void *host, size_t bytes);
    void to_host(cudaStream_t stream, void *host, const void *on_device,
                 size_t bytes); // complete on return

  private:
    static constexpr size_t SIZE = 4 << 20;
    Pinned &pinned_;
    void *buffer_[2] = {};
    cudaEvent_t event_[2] = {};
};

struct Lane {
    Lane(Budget &budget, Pinned &pinned) : arena(budget), staging(pinned)
    {
    }
    ~Lane();
    Lane(const Lane &) = delete;
    Lane &operator=(const Lane &) = delete;
    void open();                                   // as Staging::open()
    cudaStream_t stream = nullptr, side = nullptr; // side: joined to the other by `cleared`
    cudaEvent_t cleared = nullptr;
    cublasHandle_t blas = nullptr;
    Arena arena;
    Staging staging;
    void *report = nullptr; // pinned, REPORT_BYTES: results that the host reads at the end of a request
    static constexpr size_t REPORT_BYTES = 4096;
};

// Rows of banks that were copied to the device, by the identity of their memory.
class Rows
{
  public:
    explicit Rows(Budget &budget) : budget_(budget)
    {
    }
    ~Rows();
    // The rows of a row block on the device, held until let_go(). NULL: no room; the caller copies
    // them itself.
    const void *hold(Lane &lane, const rk_device_row_block &run, size_t row_bytes);
    void let_go(uint64_t identity);
    void drop_idle(); // frees everything that is not held

  private:
    struct Kept {
        void *base = nullptr;
        size_t bytes = 0, first = 0, end = 0; // rows first..end-1 are on the device
        unsigned held = 0;
        std::list<uint64_t>::iterator used;
    };
    bool make_room(size_t bytes);
    Budget &budget_;
    std::mutex lock_;
    std::unordered_map<uint64_t, Kept> kept_;
    std::list<uint64_t> order_; // least recently used first
};

} // namespace rk

struct rk_plugin_device {
    rk_plugin_device(int ordinal, size_t limit, int processors)
        : number(ordinal), processors(processors), budget(limit), rows(budget)
    {
    }
    int number, processors;
    rk::Budget budget;
    rk::Rows rows;
    rk::Pinned pinned; // outlives the lanes
    rk::Sizes sizes;
    std::mutex lock;
    std::condition_variable freed;
    std::vector<std::unique_ptr<rk::Lane>> idle;
    unsigned lanes = 0;
    static constexpr unsigned MOST_LANES = 2; // one computes while another copies
};

namespace rk
{

// A lane of the device for the length of a request.
class Borrowed
{
  public:
    explicit Borrowed(rk_plugin_device &device);
    ~Borrowed();
    Borrowed(const Borrowed &) = delete;
    Borrowed &operator=(const Borrowed &) = delete;
    Lane *operator->()
    {
        return lane_.get();
    }
    Lane &operator*()
    {
        return *lane_;
    }

  private:
    rk_plugin_device &device_;
    std::unique_ptr<Lane> lane_;
};

void run_scores(rk_plugin_device &device, rk_device_scores_job &job);
void run_rank(rk_plugin_device &device, rk_device_rank_job &job);
void run_retrieval(rk_plugin_device &device, rk_device_retrieval_job &job);

} // namespace rk
