/* SPDX-License-Identifier: Apache-2.0 */
/* The one device of the process, behind its lock: for the emulator's own sources. */
#pragma once

#include "device.h"

#include <deque>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string>

namespace device
{

struct Event {
    uint64_t marked = 0, reached = 0; // by the caller, by the stream
};

struct Work {
    std::function<void()> run;
    Event *after;        // or NULL
    uint64_t mark;       // that it waits for
    bool always = false; // when the device has failed, too
};

struct Stream {
    std::deque<Work> work;
    uint64_t rank = 0; // which goes first
};

enum class Kind {
    MEMORY,
    PINNED,
    REGISTERED,
    MAPPED
}; // of the device, of the host twice, of another process
struct Range {
    size_t bytes;
    Kind kind;
};

struct Device {
    std::mutex lock;
    std::set<Stream *> streams;
    std::map<const unsigned char *, Range> ranges; // all memory that was asked for
    std::map<const void *, size_t> allowed;        // bytes of shared memory that a kernel may ask for
    std::map<std::string, unsigned> calls;         // so far, of what can be told to fail
    size_t memory, used = 0;
    cudaError_t sticky = cudaSuccess, last = cudaSuccess;
    bool meddles;
    unsigned long waits = 0;
    size_t direct_bytes = 0;
    std::mt19937_64 any;
    Device();
};
Device &the_device();
using Hold = std::lock_guard<std::mutex>; // of its lock: with it, for all below

cudaError_t told(cudaError_t code); // notes an error for cudaGetLastError()
cudaError_t now();                  // what failed on the device is told by every call from then on

bool step(); // one piece of work of any stream that may go on; false: there is none
cudaError_t put(Stream *stream, Work work);                     // some work may be done at once
bool is_within(const void *at, size_t size, bool wants_device); // one allocation: of the device, else pinned

} // namespace device
