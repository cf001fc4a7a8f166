/* SPDX-License-Identifier: Apache-2.0 */
#include "device.h"

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include <boost/context/fiber.hpp>
#include <boost/context/fixedsize_stack.hpp>

Place threadIdx, blockIdx;
dim3 blockDim, gridDim;

/* Shared memory of all kernels; the linker says where it begins and ends. */
extern "C" {
extern unsigned char __start_block_shared[], __stop_block_shared[];
}

namespace device
{

namespace
{

using boost::context::fiber;
constexpr unsigned LANES = 32, MOST_THREADS = 1024;
constexpr size_t STACK = 128 << 10, MOST_SHARED = 227 << 10;

enum class Waiting { NOT, WARP, CONVERGING, BARRIER, DONE };

struct Thread {
    fiber own;
    Place place;
    Waiting waiting;
    const char *file; /* where it converges */
    int line;
    unsigned together;
};

/* Lanes that have said that they meet, by their mask. */
struct Group {
    unsigned mask = 0, here = 0;
    Meeting what = Meeting::SYNC;
    unsigned turn = 0; /* values of this meeting and of the one before, which some may still be reading */
    uint64_t value[2][LANES];
};

struct Warp {
    std::vector<std::unique_ptr<Group>> groups;
    Group &of(unsigned mask)
    {
        for (auto &group : groups)
            if (group->mask == mask)
                return *group;
        groups.push_back(std::make_unique<Group>());
        groups.back()->mask = mask;
        return *groups.back();
    }
};

/* The block that runs. */
struct Block {
    std::vector<Thread> thread{MOST_THREADS};
    unsigned threads = 0; /* of them that the grid has */
    std::vector<Warp> warp;
    std::vector<unsigned> ready, next; /* threads that may go on: in this round, in the one after */
    unsigned arrived = 0, value = 0, answer = 0, done = 0, current = 0;
    fiber back; /* where the current thread yields to */
    const Kernel *kernel = nullptr;
};
Block &block = *new Block; /* never torn down: its fibers do not end */
alignas(256) unsigned char dynamic_shared[MOST_SHARED];

void wake(unsigned t)
{
    block.thread[t].waiting = Waiting::NOT;
    block.next.push_back(t);
}

void yield(Waiting why)
{
    block.thread[block.current].waiting = why;
    block.back = std::move(block.back).resume();
}

void fill_garbage(unsigned char *from, const unsigned char *to)
{
    const auto byte = static_cast<int>(draw() & 0xff);
    memset(from, byte, static_cast<size_t>(to - from));
}

/* Fibers live as long as the process; each runs one thread of the grid after the other. */
fiber make_fiber()
{
    return fiber(std::allocator_arg, boost::context::fixedsize_stack(STACK), [](fiber &&main) {
        block.back = std::move(main);
        for (;;) {
            block.kernel->thread();
            block.done++;
            yield(Waiting::DONE);
        }
        return std::move(block.back);
    });
}

void resume(unsigned t)
{
    Thread &thread = block.thread[t];
    block.current = t;
    threadIdx = thread.place;
    thread.own = std::move(thread.own).resume();
}

/* Any order will do, so it is another one each time: turned, and backwards every other time. */
void shuffle(std::vector<unsigned> &order)
{
    const uint64_t any = draw();
    std::rotate(order.begin(), order.begin() + static_cast<ptrdiff_t>(any / 2 % order.size()), order.end());
    if (any & 1)
        std::reverse(order.begin(), order.end());
}

/* Nobody can go on but lanes that want to know who is with them: those of one line go together. */
bool converge()
{
    for (unsigned first = 0; first < block.threads; first++) {
        Thread &one = block.thread[first];
        if (one.waiting != Waiting::CONVERGING)
            continue;
        unsigned together = 0;
        const unsigned base = first / LANES * LANES;
        const auto same = [&](unsigned l) {
            const Thread &other = block.thread[base + l];
            return other.waiting == Waiting::CONVERGING && other.file == one.file && other.line == one.line;
        };
        for (unsigned l = 0; l < LANES; l++)
            together |= (same(l) ? 1u : 0u) << l;
        for (unsigned l = 0; l < LANES; l++) {
            if (!(together >> l & 1))
                continue;
            block.thread[base + l].together = together;
            wake(base + l);
        }
        return true;
    }
    return false;
}

void run_block()
{
    fill_garbage(__start_block_shared, __stop_block_shared);
    fill_garbage(dynamic_shared, dynamic_shared + block.kernel->shared_bytes);
    block.arrived = block.value = block.done = 0;
    block.next.clear();
    for (unsigned t = 0; t < block.threads; t++)
        wake(t);
    while (block.done < block.threads) {
        if (block.next.empty() && !converge())
            fault("threads wait for others that are elsewhere or gone");
        block.ready.swap(block.next);
        block.next.clear();
        shuffle(block.ready);
        for (const unsigned t : block.ready)
            resume(t);
    }
}

void prepare(const Kernel &kernel)
{
    block.threads = kernel.block.x * kernel.block.y * kernel.block.z;
    block.kernel = &kernel;
    for (unsigned t = 0; t < block.threads; t++) {
        Thread &thread = block.thread[t];
        thread.place = {t % kernel.block.x, t / kernel.block.x % kernel.block.y,
                        t / kernel.block.x / kernel.block.y};
        if (!thread.own)
            thread.own = make_fiber();
    }
    block.warp.clear();
    block.warp.resize((block.threads + LANES - 1) / LANES);
}

} // namespace

void fault(const char *what)
{
    (void)fprintf(stderr, "emulated device: block %u, thread %u: %s\n", blockIdx.x, threadIdx.x, what);
    abort();
}

unsigned lane()
{
    return block.current % LANES;
}

const uint64_t *meet(unsigned mask, Meeting what, uint64_t value)
{
    const unsigned own = block.current, base = own / LANES * LANES;
    Group &group = block.warp[own / LANES].of(mask);
    if (!(mask >> own % LANES & 1))
        fault("a lane meets others with a mask that it is not in");
    if (group.here == 0) {
        group.what = what;
        memset(group.value[group.turn], 0, sizeof group.value[0]);
    } else if (group.what != what) {
        fault("lanes meet in different operations");
    }
    const uint64_t *values = group.value[group.turn];
    group.value[group.turn][own % LANES] = value;
    group.here |= 1u << own % LANES;
    if (group.here != mask) {
        yield(Waiting::WARP);
        return values;
    }
    group.here = 0;
    group.turn ^= 1;
    for (unsigned l = 0; l < LANES; l++)
        if (mask >> l & 1 && base + l != own)
            wake(base + l);
    return values;
}

unsigned barrier(unsigned value)
{
    block.value |= value;
    if (++block.arrived < block.threads) {
        yield(Waiting::BARRIER);
        return block.answer;
    }
    block.answer = block.value;
    block.arrived = block.value = 0;
    for (unsigned t = 0; t < block.threads; t++)
        if (t != block.current)
            wake(t);
    return block.answer;
}

unsigned converged(const char *file, int line)
{
    Thread &own = block.thread[block.current];
    own.file = file;
    own.line = line;
    yield(Waiting::CONVERGING);
    return block.thread[block.current].together;
}

void run(const Kernel &kernel)
{
    prepare(kernel);
    blockDim = kernel.block;
    gridDim = kernel.grid;
    for (unsigned b = 0; b < kernel.grid.x; b++) {
        blockIdx = {b, 0, 0};
        meddle();
        run_block();
    }
}

} // namespace device

unsigned char *emulated_block_memory()
{
    return device::dynamic_shared;
}
