/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/partition.cuh"

#include <algorithm>

#include "cuda/pass.cuh"

namespace rk
{

namespace
{

constexpr int THREADS = 512, SPLITTERS = 1024, EACH = PART_TILE / SPLITTERS; // items of a thread in the split
static_assert(EACH == HELD, "the split loads its items in one go");

struct Split {
    Finder<2048> finder;
    float threshold[PART_BUCKETS]; // the least threshold of each bucket
    uint32_t count[PART_BUCKETS + 2], start[PART_BUCKETS + 2], warp[32];
    alignas(16) float score[PART_TILE];
    alignas(16) uint16_t place[PART_TILE];
};

// start[b] = items of buckets 1..b-1, by the first warps.
__device__ void start_buckets(Split &sh)
{
    const uint32_t b = threadIdx.x, lane = b % 32;
    const uint32_t own = b >= 1 && b <= PART_BUCKETS ? sh.count[b] : 0;
    uint32_t sum = own;
    for (int d = 1; d < 32; d *= 2) {
        const uint32_t other = __shfl_up_sync(EVERYONE, sum, d);
        sum += lane >= static_cast<uint32_t>(d) ? other : 0;
    }
    if (lane == 31)
        sh.warp[b / 32] = sum;
    __syncthreads();
    for (uint32_t w = 0; w < b / 32; w++)
        sum += sh.warp[w];
    if (b < PART_BUCKETS + 2)
        sh.start[b] = sum - own;
    __syncthreads();
}

// The next place of bucket b. Where all lanes want one of the same bucket, one asks for all.
__device__ uint32_t take_place(uint32_t *count, uint32_t b)
{
    const uint32_t lane = threadIdx.x % 32;
    if (!__all_sync(EVERYONE, b == __shfl_sync(EVERYONE, b, 0)))
        return b ? atomicAdd(&count[b], 1) : 0;
    uint32_t first = 0;
    if (lane == 0 && b)
        first = atomicAdd(&count[b], 32);
    return __shfl_sync(EVERYONE, first, 0) + lane;
}

// One tile, number `at` of all lists': by bucket to shared memory, and from there side by side to
// its place in the split form.
template <class S, bool ALIGNED>
__device__ void split_tile(const Partition &part, const Items<S> &items, Split &sh, size_t at, uint32_t begin,
                           uint32_t end, uint32_t *total, LongState *state)
{
    float s[HELD];
    uint32_t where[EACH]; // bucket, and place within it
    if (load_items<S, ALIGNED, true>(items, begin + 4 * threadIdx.x, SPLITTERS, end, s))
        state->nan = 1;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        const uint32_t b = find(sh.finder, sh.threshold, s[i]);
        where[i] = b << 16 | take_place(sh.count, b);
    }
    __syncthreads();
    start_buckets(sh);
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        if (where[i] < 1u << 16)
            continue;
        const uint32_t to = sh.start[where[i] >> 16] + (where[i] & 0xffff);
        sh.score[to] = s[i];
        sh.place[to] = static_cast<uint16_t>(4 * threadIdx.x + 4 * SPLITTERS * (i / 4) + i % 4);
    }
    __syncthreads();
    for (uint32_t b = threadIdx.x; b < PART_BUCKETS + 2; b += SPLITTERS) {
        part.start[at * (PART_BUCKETS + 2) + b] = static_cast<uint16_t>(sh.start[b]);
        if (b && b <= PART_BUCKETS && sh.count[b])
            atomicAdd(&total[b - 1], sh.count[b]);
        sh.count[b] = 0; // for the next tile
    }
    const uint32_t kept = sh.start[PART_BUCKETS + 1];
    float4 *score = reinterpret_cast<float4 *>(part.score + at * PART_TILE);
    for (uint32_t i = threadIdx.x; 4 * i < kept; i += SPLITTERS)
        score[i] = reinterpret_cast<float4 *>(sh.score)[i];
    uint4 *place = reinterpret_cast<uint4 *>(part.place + at * PART_TILE);
    for (uint32_t i = threadIdx.x; 8 * i < kept; i += SPLITTERS)
        place[i] = reinterpret_cast<uint4 *>(sh.place)[i];
    __syncthreads();
}

// Without relevant items there is one threshold, NaN, which no score reaches; scores are read
// nevertheless.
__device__ void load_table(Split &sh, const LongList &list, const float *threshold)
{
    const uint32_t buckets = ceil_div(list.p, list.width);
    for (uint32_t b = threadIdx.x; b < buckets; b += SPLITTERS)
        sh.threshold[b] = threshold[list.begin() + static_cast<size_t>(b) * list.width];
    if (buckets == 0 && threadIdx.x == 0)
        sh.threshold[0] = __int_as_float(0x7fffffff);
    __syncthreads();
    build_finder(sh.finder, sh.threshold, max(buckets, 1u));
}

template <class S, bool ALIGNED>
__global__ void __launch_bounds__(SPLITTERS, 1) split_tiles(const Long l, const Partition part)
{
    unsigned char *memory = block_memory();
    Split &sh = *reinterpret_cast<Split *>(memory);
    for (uint32_t b = threadIdx.x; b < PART_BUCKETS + 2; b += SPLITTERS)
        sh.count[b] = 0;
    each_run(l.list, l.lists, l.tiles, [&](uint32_t number, uint32_t first, uint32_t last) {
        const LongList list = l.list[number];
        const Items<S> items = items_of<S>(l.matrix, number);
        load_table(sh, list, l.threshold);
        for (uint32_t tile = first; tile < last; tile++) {
            const uint32_t begin = tile * PART_TILE, end = min(l.matrix.items - begin, PART_TILE) + begin;
            split_tile<S, ALIGNED>(part, items, sh, static_cast<size_t>(number) * l.tiles + tile, begin, end,
                                   part.total + list.bucket, l.state + number);
        }
    });
}

// Numbers units of work of about equal size, whatever the buckets' sizes. By one block.
__global__ void number_units(const Long l, const Partition part)
{
    __shared__ uint32_t warp[32];
    const uint32_t buckets = l.list[l.lists].bucket;
    uint32_t sum = 0;
    for (uint32_t base = 0; base < buckets; base += blockDim.x) {
        const uint32_t b = base + threadIdx.x;
        const uint32_t before = sums_before(b < buckets ? ceil_div(part.total[b], part.unit_items) : 0, warp);
        if (b < buckets)
            part.unit[b] = sum + before;
        sum += warp[31];
        __syncthreads();
    }
    if (threadIdx.x == 0)
        part.unit[buckets] = sum;
}

// Which bucket of which list a block works on, in which of all lists' tiles; bucket 0: none.
struct Unit {
    uint32_t number, bucket, first, end;
};
__device__ Unit unit_of(const Long &l, const Partition &part)
{
    uint32_t low = 0, high = l.list[l.lists].bucket;
    if (blockIdx.x >= part.unit[high])
        return {0, 0, 0, 0};
    while (high - low > 1) { // unit[low] <= block < unit[high]
        const uint32_t middle = (low + high) / 2;
        if (part.unit[middle] <= blockIdx.x)
            low = middle;
        else
            high = middle;
    }
    const uint32_t list = list_at<&LongList::bucket>(l.list, l.lists, low);
    const uint64_t number = blockIdx.x - part.unit[low], count = part.unit[low + 1] - part.unit[low];
    const uint32_t before = list * l.tiles;
    return {list, low - l.list[list].bucket + 1, before + static_cast<uint32_t>(l.tiles * number / count),
            before + static_cast<uint32_t>(l.tiles * (number + 1) / count)};
}

// Calls visit(tile's first place in the split form, first and end of the unit's items in the tile)
// for all pieces of a unit (a group of lists has no more than 2^32 places), warps side by side, all
// lanes of one together.
template <class Visit> __device__ void each_piece(const Partition &part, const Unit &unit, Visit visit)
{
    const uint32_t warps = blockDim.x / 32, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    // A warp takes neighbouring tiles, whose starts its lanes look up at once.
    const uint32_t tiles = unit.end - unit.first, each = min(32u, max(1u, ceil_div(tiles, warps)));
    for (uint32_t base = unit.first + warp * each; base < unit.end; base += warps * each) {
        const uint32_t here = min(unit.end - base, each);
        uint32_t begin = 0, end = 0; // of the piece in tile base + lane
        if (lane < here) {
            const uint16_t *start =
                part.start + static_cast<size_t>(base + lane) * (PART_BUCKETS + 2) + unit.bucket;
            begin = start[0];
            end = start[1];
        }
        for (uint32_t t = 0; t < here; t++) {
            const uint32_t tile = (base + t) * PART_TILE;
            const uint32_t from = __shfl_sync(EVERYONE, begin, t), to = __shfl_sync(EVERYONE, end, t);
            visit(tile, from, to);
        }
    }
}

constexpr uint32_t AT_ONCE = 3; // items of a lane that are on their way together

// Thresholds of a bucket in shared memory: all of them, or every stride-th with the rest left in
// memory.
constexpr uint32_t ROOM = 4096;
struct Search {
    Finder<2048> finder;
    float threshold[ROOM];
    uint32_t hist[ROOM + 1];
};
struct Range {
    uint32_t begin;                         // of the list's thresholds
    const float *threshold;                 // [count] ascending
    uint32_t below, count, stride, sampled; // below: thresholds of lower buckets
};

__device__ Range range_of(const LongList &list, const float *threshold, uint32_t bucket)
{
    const uint32_t below = (bucket - 1) * list.width, count = min(list.width, list.p - below);
    const uint32_t stride = ceil_div(count, ROOM - 1);
    return {list.begin(), threshold + list.begin() + below, below, count, stride, ceil_div(count, stride)};
}

// Thresholds of the range at or below s.
__device__ uint32_t search(const Search &sh, const Range &range, float s)
{
    const uint32_t t = find(sh.finder, sh.threshold, s);
    if (range.stride == 1 || t == 0)
        return t;
    uint32_t low = (t - 1) * range.stride + 1, high = min(t * range.stride, range.count);
    while (low < high) { // the answer is in low..high
        const uint32_t middle = (low + high) / 2;
        if (range.threshold[middle] <= s)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

template <class Found>
__global__ void __launch_bounds__(THREADS, 4) count_buckets(const Long l, const Partition part)
{
    __shared__ Search sh;
    const Unit unit = unit_of(l, part);
    if (unit.bucket == 0)
        return;
    const LongList list = l.list[unit.number];
    const Range range = range_of(list, l.threshold, unit.bucket);
    for (uint32_t i = threadIdx.x; i < range.sampled; i += blockDim.x)
        sh.threshold[i] = range.threshold[static_cast<size_t>(i) * range.stride];
    for (uint32_t i = threadIdx.x; i <= ROOM; i += blockDim.x)
        sh.hist[i] = 0;
    __syncthreads();
    build_finder(sh.finder, sh.threshold, range.sampled);
    Found *found_at = static_cast<Found *>(part.found);
    uint32_t *irrelevant_above =
        l.irrelevant_above + range.begin + (list.p - range.below); // less what is found
    const auto count = [&](uint32_t at, float s) {
        const uint32_t found = search(sh, range, s);
        found_at[at] = static_cast<Found>(found);
        if (range.stride == 1)
            atomicAdd(&sh.hist[found], 1);
        else
            atomicAdd(irrelevant_above - found, 1);
    };
    each_piece(part, unit, [&](uint32_t tile, uint32_t from, uint32_t to) {
        for (uint32_t i = from + threadIdx.x % 32; i < to; i += 32 * AT_ONCE) {
            float s[AT_ONCE];
#pragma unroll
            for (uint32_t u = 0; u < AT_ONCE; u++)
                s[u] = i + 32 * u < to ? part.score[tile + i + 32 * u] : 0;
#pragma unroll
            for (uint32_t u = 0; u < AT_ONCE; u++)
                if (i + 32 * u < to)
                    count(tile + i + 32 * u, s[u]);
        }
    });
    __syncthreads();
    for (uint32_t c = threadIdx.x; range.stride == 1 && c <= range.count; c += blockDim.x)
        if (sh.hist[c])
            atomicAdd(irrelevant_above - c, sh.hist[c]);
}

// The moved thresholds of the same places as a bucket's: the last that was at or below an item
// tells whether it passed.
struct Moved {
    float after[ROOM];
    uint32_t change[ROOM + 1];
    uint32_t warp[32];
    // What is wanted of passed items only, and would take registers from the rest. Of the list:
    const float *all_after;
    uint32_t *passes;
    float *gradient;
    uint32_t places_before; // in the lists before
    double w, lambda;
};

// Items of a warp that were passed, put aside until there is one for each lane: in nearly every row
// of items a few were, and the search of how far would hold up all.
struct Aside {
    uint32_t at[64], found[64];
    float score[64];
};

// An item that was passed; below: thresholds of lower buckets. With few thresholds in the bucket,
// they and the counts of places in it are in shared memory.
template <bool SHARED> __device__ uint32_t note_one(Moved &sh, uint32_t below, uint32_t found, float s)
{
    const uint32_t then = below + found;
    uint32_t *const passes = sh.passes;
    uint32_t now;
    if (SHARED && sh.after[0] <= s) {
        const uint32_t still = find_back(sh.after, found, s);
        atomicAdd(&sh.change[still], 1u);
        now = below + still;
    } else {
        now = find_back(sh.all_after, then, s);
        const uint32_t active = __activemask(), leader = __ffs(static_cast<int>(active)) - 1;
        if (!__all_sync(active, now == __shfl_sync(active, now, leader)))
            atomicAdd(&passes[now], 1u);
        else if (threadIdx.x % 32 == leader) // many equal scores: one speaks for all
            atomicAdd(&passes[now], static_cast<uint32_t>(__popc(active)));
    }
    atomicAdd(SHARED ? &sh.change[found] : &passes[then], ~0u);
    return then - now;
}

template <class Found, bool SHARED>
__global__ void __launch_bounds__(THREADS, 4) move_buckets(const Long l, const Partition part)
{
    __shared__ Moved sh;
    __shared__ Aside asides[THREADS / 32];
    const Unit unit = unit_of(l, part);
    if (unit.bucket == 0 || !l.state[unit.number].changed)
        return;
    const LongList list = l.list[unit.number];
    const Range range = range_of(list, l.threshold, unit.bucket);
    const float *after = l.perturbed_threshold + range.begin + range.below;
    if (threadIdx.x == 0) {
        sh.all_after = l.perturbed_threshold + range.begin;
        sh.passes = l.passes + range.begin;
        sh.gradient = l.gradient + static_cast<size_t>(unit.number) * l.matrix.stride;
        sh.places_before = unit.number * l.tiles * PART_TILE;
        sh.w = list_weight_of(l, unit.number, list.p);
        sh.lambda = lambda_of(l.box, sh.w, list.n);
    }
    for (uint32_t i = threadIdx.x; SHARED && i < range.count; i += blockDim.x)
        sh.after[i] = after[i];
    for (uint32_t i = threadIdx.x; SHARED && i <= range.count; i += blockDim.x)
        sh.change[i] = 0;
    __syncthreads();
    const Found *found_at = static_cast<const Found *>(part.found);
    Aside &aside = asides[threadIdx.x / 32];
    const uint32_t lane = threadIdx.x % 32;
    uint32_t mine = 0, kept = 0; // kept: the same in all lanes
    const auto settle = [&](uint32_t e) {
        const uint32_t at = aside.at[e],
                       by = note_one<SHARED>(sh, range.below, aside.found[e], aside.score[e]);
        sh.gradient[at / PART_TILE * PART_TILE - sh.places_before + part.place[at]] =
            gradient_of(l.box, sh.w, sh.lambda, -static_cast<int32_t>(by));
        mine++;
    };
    const auto look = [&](bool there, uint32_t at, float s, uint32_t found) {
        // found is not 0: no item is below its bucket.
        const bool passed = there && (SHARED ? sh.after[found - 1] : after[found - 1]) > s;
        const uint32_t mask = __ballot_sync(EVERYONE, passed);
        if (!mask)
            return;
        if (passed) {
            const uint32_t e = kept + __popc(mask & ((1u << lane) - 1));
            aside.at[e] = at;
            aside.found[e] = found;
            aside.score[e] = s;
        }
        kept += __popc(mask);
        __syncwarp();
        if (kept < 32)
            return;
        kept -= 32;
        settle(kept + lane);
        __syncwarp(); // before others take their places
    };
    each_piece(part, unit, [&](uint32_t tile, uint32_t from, uint32_t to) {
        for (uint32_t i = from; i < to; i += 32 * AT_ONCE) { // the same in all lanes
            float s[AT_ONCE];
            uint32_t found[AT_ONCE];
#pragma unroll
            for (uint32_t u = 0; u < AT_ONCE; u++) {
                const uint32_t own = i + lane + 32 * u;
                s[u] = own < to ? part.score[tile + own] : 0;
                found[u] = own < to ? found_at[tile + own] : 0;
            }
#pragma unroll
            for (uint32_t u = 0; u < AT_ONCE; u++)
                if (i + 32 * u < to)
                    look(i + lane + 32 * u < to, tile + i + lane + 32 * u, s[u], found[u]);
        }
    });
    if (lane < kept)
        settle(lane);
    __syncthreads();
    for (uint32_t i = threadIdx.x; SHARED && i <= range.count; i += blockDim.x)
        if (sh.change[i])
            atomicAdd(&sh.passes[range.below + i], sh.change[i]);
    mine = sum_block(mine, sh.warp);
    if (threadIdx.x == 0 && mine)
        atomicAdd(&l.state[unit.number].passed, static_cast<unsigned long long>(mine));
}

using SplitKernel = void (*)(Long, Partition);

SplitKernel splitter_for(Score type, bool aligned)
{
    return with_type(type, [&](auto score) -> SplitKernel {
        using S = decltype(score);
        return aligned ? split_tiles<S, true> : split_tiles<S, false>;
    });
}

size_t places_of(uint32_t lists, uint32_t tiles)
{
    return static_cast<size_t>(lists) * tiles * PART_TILE;
}

unsigned most_units(const Long &l, const Partition &part)
{
    return static_cast<unsigned>(places_of(l.lists, l.tiles) / part.unit_items + part.slots);
}

bool is_wide(const Partition &part) // counts of thresholds of a bucket do not fit 16 bits
{
    return part_width(part.most) > 0xffff;
}

} // namespace

Partition carve_partition(Slices &arena, uint32_t lists, uint32_t tiles, uint32_t most, size_t relevant)
{
    Partition part = {};
    const size_t places = places_of(lists, tiles);
    part.most = most;
    // A bucket has PART_WIDTH_LEAST relevant items, but the last one of a list.
    part.slots = static_cast<uint32_t>(
        std::min<size_t>(static_cast<size_t>(lists) * PART_BUCKETS, relevant / PART_WIDTH_LEAST + lists));
    // Enough blocks for the device to be busy, and few enough that what each does at its ends does
    // not count.
    part.unit_items = static_cast<uint32_t>(std::min<size_t>(131072, std::max<size_t>(8192, places / 1024)));
    part.score = arena.take<float>(places);
    part.place = arena.take<uint16_t>(places);
    part.found = arena.take<unsigned char>(places * (is_wide(part) ? 4 : 2));
    part.start = arena.take<uint16_t>(static_cast<size_t>(lists) * tiles * (PART_BUCKETS + 2));
    part.total = arena.take<uint32_t>(part.slots);
    part.unit = arena.take<uint32_t>(part.slots + 1);
    return part;
}

void prepare_partition()
{
    for (const Score type : {Score::FP32, Score::FP16, Score::BF16})
        for (const bool aligned : {false, true})
            check(cudaFuncSetAttribute(splitter_for(type, aligned),
                                       cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Split)),
                  "shared memory for splitting");
}

void launch_part_count(cudaStream_t stream, const Long &l, const Partition &part, int processors)
{
    const unsigned splitters = std::min(l.lists * l.tiles, static_cast<unsigned>(processors));
    check(cudaMemsetAsync(part.total, 0, part.slots * sizeof *part.total, stream), "clearing");
    launch_kernel(stream, "splitting lists", splitter_for(l.matrix.type, is_aligned(l)), splitters, SPLITTERS,
                  sizeof(Split), l, part);
    launch_kernel(stream, "numbering units", number_units, 1, 1024, 0, l, part);
    launch_kernel(stream, "counting buckets",
                  is_wide(part) ? count_buckets<uint32_t> : count_buckets<uint16_t>, most_units(l, part),
                  THREADS, 0, l, part);
}

void launch_part_move(cudaStream_t stream, const Long &l, const Partition &part)
{
    const auto move = part_width(part.most) <= ROOM ? move_buckets<uint16_t, true>
                      : is_wide(part)               ? move_buckets<uint32_t, false>
                                                    : move_buckets<uint16_t, false>;
    launch_kernel(stream, "moving buckets", move, most_units(l, part), THREADS, 0, l, part);
}

} // namespace rk
