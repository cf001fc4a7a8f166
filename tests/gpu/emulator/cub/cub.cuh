/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of CUB that lib/kernel/cuda uses, by plain sorting and summing, on the stream as CUB's
 * are. */
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include <cuda_runtime.h>

#include "device.h"

namespace cub
{

constexpr size_t TEMPORARY = 64; /* of every call; not used, but asked for */

/* Calls with no temporary memory ask how much they want. */
inline bool asks(const void *temporary, size_t &bytes)
{
    if (!temporary)
        bytes = TEMPORARY;
    return !temporary;
}

struct DeviceRadixSort {
    template <class Key, class Value>
    static cudaError_t SortPairs(void *temporary, size_t &bytes, const Key *key, Key *sorted,
                                 const Value *value, Value *moved, size_t count, int from_bit = 0,
                                 int to_bit = 8 * sizeof(Key), cudaStream_t stream = nullptr)
    {
        if (asks(temporary, bytes))
            return cudaSuccess;
        if (from_bit != 0 || to_bit <= 0 || to_bit > int(8 * sizeof(Key)) || bytes < TEMPORARY)
            return cudaErrorInvalidValue;
        const Key mask = static_cast<Key>(~Key(0)) >> (8 * sizeof(Key) - to_bit); /* of the bits sorted by */
        return device::enqueue(stream, [=] {
            std::vector<size_t> order(count);
            std::iota(order.begin(), order.end(), size_t(0));
            std::stable_sort(order.begin(), order.end(),
                             [&](size_t a, size_t b) { return (key[a] & mask) < (key[b] & mask); });
            for (size_t i = 0; i < count; i++) {
                sorted[i] = key[order[i]];
                moved[i] = value[order[i]];
            }
        });
    }
};

struct DeviceScan {
    template <class T>
    static cudaError_t InclusiveSum(void *temporary, size_t &bytes, const T *from, T *to, size_t count,
                                    cudaStream_t stream = nullptr)
    {
        return asks(temporary, bytes) ? cudaSuccess : sums(from, to, count, true, stream);
    }
    template <class T>
    static cudaError_t ExclusiveSum(void *temporary, size_t &bytes, const T *from, T *to, size_t count,
                                    cudaStream_t stream = nullptr)
    {
        return asks(temporary, bytes) ? cudaSuccess : sums(from, to, count, false, stream);
    }

  private:
    /* `from` may be `to`. */
    template <class T>
    static cudaError_t sums(const T *from, T *to, size_t count, bool with_own, cudaStream_t stream)
    {
        return device::enqueue(stream, [=] {
            T sum = 0;
            for (size_t i = 0; i < count; i++) {
                const T before = sum;
                sum += from[i];
                to[i] = with_own ? sum : before;
            }
        });
    }
};

template <class T, int THREADS> class BlockScan
{
  public:
    struct TempStorage {
        T value[THREADS], sum;
    };
    explicit BlockScan(TempStorage &memory) : memory_(memory)
    {
    }
    void ExclusiveSum(T value, T &before)
    {
        T all;
        ExclusiveSum(value, before, all);
    }
    /* As CUB's: the memory may be used again after a barrier only. */
    void ExclusiveSum(T value, T &before, T &all)
    {
        memory_.value[threadIdx.x] = value;
        __syncthreads();
        if (threadIdx.x == 0) {
            T sum = 0;
            for (T &at : memory_.value) {
                const T own = at;
                at = sum;
                sum += own;
            }
            memory_.sum = sum;
        }
        __syncthreads();
        before = memory_.value[threadIdx.x];
        all = memory_.sum;
    }

  private:
    TempStorage &memory_;
};

} // namespace cub
