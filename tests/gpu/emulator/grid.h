/* SPDX-License-Identifier: Apache-2.0 */
/* What device code calls, for threads that are fibers: one block at a time, all of its threads on
 * one thread of the host. A thread runs until it meets others, at a barrier or in an operation of
 * its warp. */
#pragma once

struct Place {
    unsigned x, y, z;
};
extern Place threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

namespace device
{
enum class Meeting { SYNC, SHUFFLE, BALLOT, ALL, ADD, MAX };
/* The values of the lanes of `mask`, all of which come here; others' are 0. Good until the next
 * meeting. */
const uint64_t *meet(unsigned mask, Meeting what, uint64_t value);
unsigned barrier(unsigned value);               // the values of all threads, or-ed
unsigned converged(const char *file, int line); // some lanes that are at the same line, this one among them
[[noreturn]] void fault(const char *what);
unsigned lane();

template <class T> uint64_t bits_of(T value)
{
    static_assert(sizeof value <= sizeof(uint64_t));
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    return bits;
}
template <class T> T of_bits(uint64_t bits)
{
    T value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
template <class T> T shuffle(unsigned mask, T value, unsigned from)
{
    const uint64_t *values = meet(mask, Meeting::SHUFFLE, bits_of(value));
    if (!(mask >> from & 1))
        fault("a shuffle from a lane that is not in its mask");
    return of_bits<T>(values[from]);
}
} // namespace device

unsigned char *emulated_block_memory();

inline void __syncthreads()
{
    (void)device::barrier(0);
}
inline int __syncthreads_or(int value)
{
    return device::barrier(value != 0) != 0;
}
inline void __syncwarp(unsigned mask = ~0u)
{
    (void)device::meet(mask, device::Meeting::SYNC, 0);
}
/* A block's threads take turns, and blocks come one after the other. */
inline void __threadfence()
{
}
inline void __threadfence_system()
{
}
#define __activemask() device::converged(__FILE__, __LINE__)

template <class T> T __shfl_sync(unsigned mask, T value, int from)
{
    return device::shuffle(mask, value, static_cast<unsigned>(from) % 32);
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned by)
{
    const unsigned own = device::lane();
    return device::shuffle(mask, value, own >= by ? own - by : own);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned by)
{
    const unsigned own = device::lane();
    return device::shuffle(mask, value, own + by < 32 ? own + by : own);
}
inline unsigned __ballot_sync(unsigned mask, int value)
{
    const uint64_t *values = device::meet(mask, device::Meeting::BALLOT, value != 0);
    unsigned ones = 0;
    for (unsigned l = 0; l < 32; l++)
        ones |= static_cast<unsigned>(values[l]) << l;
    return ones;
}
inline int __all_sync(unsigned mask, int value)
{
    const uint64_t *values = device::meet(mask, device::Meeting::ALL, value != 0);
    for (unsigned l = 0; l < 32; l++)
        if (mask >> l & 1 && !values[l])
            return 0;
    return 1;
}
inline unsigned __reduce_add_sync(unsigned mask, unsigned value)
{
    const uint64_t *values = device::meet(mask, device::Meeting::ADD, value);
    unsigned sum = 0;
    for (unsigned l = 0; l < 32; l++)
        sum += static_cast<unsigned>(values[l]);
    return sum;
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned value)
{
    const uint64_t *values = device::meet(mask, device::Meeting::MAX, value);
    unsigned most = 0;
    for (unsigned l = 0; l < 32; l++)
        most = std::max(most, static_cast<unsigned>(values[l]));
    return most;
}

template <class T, class U> T atomicAdd(T *at, U value)
{
    const T before = *at;
    *at = static_cast<T>(before + static_cast<T>(value));
    return before;
}
template <class T> T atomicMax(T *at, T value)
{
    const T before = *at;
    *at = std::max(before, value);
    return before;
}
template <class T> T __ldcg(const T *at)
{
    return *at;
}

inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
inline int __clz(unsigned x)
{
    return x ? __builtin_clz(x) : 32;
}
inline int __ffs(int x)
{
    return __builtin_ffs(x);
}
inline float __int_as_float(int x)
{
    return device::of_bits<float>(static_cast<unsigned>(x));
}
/* Each of the four bytes by itself: 0xff where they are equal. */
inline unsigned __vcmpeq4(unsigned a, unsigned b)
{
    unsigned same = 0;
    for (unsigned shift = 0; shift < 32; shift += 8)
        same |= (a >> shift & 0xff) == (b >> shift & 0xff) ? 0xffu << shift : 0;
    return same;
}
/* Where device code says neither std:: nor a type. */
template <class T> T min(T a, T b)
{
    return b < a ? b : a;
}
template <class T> T max(T a, T b)
{
    return a < b ? b : a;
}

struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w)
{
    return {x, y, z, w};
}
