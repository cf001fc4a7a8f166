#include "partition.cuh"

#include "pass.cuh"

namespace rk
{

namespace
{

constexpr int THREADS = 512, SPLITTERS = 1024, EACH = PART_TILE / SPLITTERS; // items of a thread in the split
static_assert(EACH == HELD, "the split loads its items in one go");

struct Split {
    Finder<2048> finder;
    float cut[PART_BUCKETS]; // the least threshold of each bucket
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

// One tile: by bucket to shared memory, and from there side by side to its place in the split form.
template <class S, bool ALIGNED>
__device__ void split_tile(const Partition &part, const Items<S> &items, Split &sh, uint32_t tile,
                           uint32_t end, Totals *totals)
{
    float s[HELD];
    uint32_t where[EACH]; // bucket, and place within it
    if (load_items<S, ALIGNED, true>(items, tile * PART_TILE + 4 * threadIdx.x, SPLITTERS, end, s))
        totals->nan = 1;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        const uint32_t b = find(sh.finder, sh.cut, s[i]);
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
        part.start[static_cast<size_t>(tile) * (PART_BUCKETS + 2) + b] = static_cast<uint16_t>(sh.start[b]);
        if (b && b <= PART_BUCKETS && sh.count[b])
            atomicAdd(&part.total[b], sh.count[b]);
        sh.count[b] = 0; // for the next tile
    }
    const uint32_t kept = sh.start[PART_BUCKETS + 1];
    float4 *score = reinterpret_cast<float4 *>(part.score + static_cast<size_t>(tile) * PART_TILE);
    for (uint32_t i = threadIdx.x; 4 * i < kept; i += SPLITTERS)
        score[i] = reinterpret_cast<float4 *>(sh.score)[i];
    uint4 *place = reinterpret_cast<uint4 *>(part.place + static_cast<size_t>(tile) * PART_TILE);
    for (uint32_t i = threadIdx.x; 8 * i < kept; i += SPLITTERS)
        place[i] = reinterpret_cast<uint4 *>(sh.place)[i];
    __syncthreads();
}

template <class S, bool ALIGNED>
__global__ void __launch_bounds__(SPLITTERS, 1)
    split_tiles(const Partition part, const Matrix list, Totals *totals)
{
    unsigned char *memory = block_memory();
    Split &sh = *reinterpret_cast<Split *>(memory);
    const Items<S> items = {static_cast<const S *>(list.scores), list.targets};
    for (uint32_t b = threadIdx.x; b < part.buckets; b += SPLITTERS)
        sh.cut[b] = part.cut[static_cast<size_t>(b) * part.width];
    for (uint32_t b = threadIdx.x; b < PART_BUCKETS + 2; b += SPLITTERS)
        sh.count[b] = 0;
    __syncthreads();
    build_finder(sh.finder, sh.cut, part.buckets);
    for (uint32_t tile = blockIdx.x; tile < part.tiles; tile += gridDim.x) {
        const uint32_t begin = tile * PART_TILE;
        split_tile<S, ALIGNED>(part, items, sh, tile, min(list.items - begin, PART_TILE) + begin, totals);
    }
}

// Work in units of about so many items, whatever the buckets' sizes.
__global__ void number_units(const Partition part)
{
    __shared__ uint32_t units[PART_BUCKETS + 1];
    const uint32_t b = threadIdx.x;
    if (b <= PART_BUCKETS)
        units[b] = b ? ceil_div(part.total[b], part.unit_items) : 0;
    __syncthreads();
    if (b > PART_BUCKETS + 1)
        return;
    uint32_t sum = 0;
    for (uint32_t c = 0; c < b; c++)
        sum += units[c];
    part.unit[b] = sum;
}

// Which bucket and tiles a block works on; bucket 0: none.
struct Unit {
    uint32_t bucket, first, end;
};
__device__ Unit unit_of(const Partition &part)
{
    uint32_t low = 0, high = PART_BUCKETS + 1;
    while (high - low > 1) { // unit[low] <= block < unit[high]
        const uint32_t middle = (low + high) / 2;
        if (part.unit[middle] <= blockIdx.x)
            low = middle;
        else
            high = middle;
    }
    if (blockIdx.x >= part.unit[PART_BUCKETS + 1])
        return {0, 0, 0};
    const uint64_t number = blockIdx.x - part.unit[low], count = part.unit[low + 1] - part.unit[low];
    return {low, static_cast<uint32_t>(part.tiles * number / count),
            static_cast<uint32_t>(part.tiles * (number + 1) / count)};
}

// Calls visit(tile's first place in the split form, first and end of the unit's items in the tile) for all
// pieces of a unit, warps side by side, all lanes of one together.
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
            const size_t tile = static_cast<size_t>(base + t) * PART_TILE;
            const uint32_t from = __shfl_sync(EVERYONE, begin, t), to = __shfl_sync(EVERYONE, end, t);
            visit(tile, from, to);
        }
    }
}

constexpr uint32_t AT_ONCE = 3; // items of a lane that are on their way together

// Thresholds of a bucket in shared memory: all of them, or every stride-th with the rest left in memory.
constexpr uint32_t ROOM = 4096;
struct Search {
    Finder<2048> finder;
    float cut[ROOM];
    uint32_t hist[ROOM + 1];
};
struct Range {
    const float *cut;                       // [count] ascending
    uint32_t below, count, stride, sampled; // below: thresholds of lower buckets
};

__device__ Range range_of(const Partition &part, uint32_t bucket)
{
    const uint32_t below = (bucket - 1) * part.width, count = min(part.width, part.p - below);
    const uint32_t stride = ceil_div(count, ROOM - 1);
    return {part.cut + below, below, count, stride, ceil_div(count, stride)};
}

// Thresholds of the range at or below s.
__device__ uint32_t search(const Search &sh, const Range &range, float s)
{
    const uint32_t t = find(sh.finder, sh.cut, s);
    if (range.stride == 1 || t == 0)
        return t;
    uint32_t low = (t - 1) * range.stride + 1, high = min(t * range.stride, range.count);
    while (low < high) { // the answer is in low..high
        const uint32_t middle = (low + high) / 2;
        if (range.cut[middle] <= s)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

template <class Found> __global__ void __launch_bounds__(THREADS, 4) count_buckets(const Partition part)
{
    __shared__ Search sh;
    const Unit unit = unit_of(part);
    if (unit.bucket == 0)
        return;
    const Range range = range_of(part, unit.bucket);
    for (uint32_t i = threadIdx.x; i < range.sampled; i += blockDim.x)
        sh.cut[i] = range.cut[static_cast<size_t>(i) * range.stride];
    for (uint32_t i = threadIdx.x; i <= ROOM; i += blockDim.x)
        sh.hist[i] = 0;
    __syncthreads();
    build_finder(sh.finder, sh.cut, range.sampled);
    Found *found_at = static_cast<Found *>(part.found);
    const uint32_t top = part.p - range.below;
    const auto count = [&](size_t at, float s) {
        const uint32_t found = search(sh, range, s);
        found_at[at] = static_cast<Found>(found);
        if (range.stride == 1)
            atomicAdd(&sh.hist[found], 1);
        else
            atomicAdd(&part.hist[top - found], 1);
    };
    each_piece(part, unit, [&](size_t tile, uint32_t from, uint32_t to) {
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
            atomicAdd(&part.hist[top - c], sh.hist[c]);
}

// The moved thresholds of the same places as a bucket's: the last that was at or below an item tells whether
// it passed.
struct Moved {
    float after[ROOM];
    uint32_t change[ROOM + 1];
    uint32_t warp[32];
};

// Items of a warp that were passed, put aside until there is one for each lane: in nearly every row of items
// a few were, and the search of how far would hold up all.
struct Aside {
    uint32_t at[64], found[64];
    float score[64];
};

// An item that was passed. With few thresholds in the bucket, they and the counts of places in it are in
// shared memory.
template <bool SHARED>
__device__ uint32_t note_one(const Partition &part, const Range &range, Moved &sh, uint32_t found, float s)
{
    const uint32_t then = range.below + found;
    uint32_t now;
    if (SHARED && sh.after[0] <= s) {
        const uint32_t still = find_back(sh.after, found, s);
        atomicAdd(&sh.change[still], 1u);
        now = range.below + still;
    } else {
        now = find_back(part.after, then, s);
        const uint32_t active = __activemask(), leader = __ffs(static_cast<int>(active)) - 1;
        if (!__all_sync(active, now == __shfl_sync(active, now, leader)))
            atomicAdd(&part.change[now], 1u);
        else if (threadIdx.x % 32 == leader) // many equal scores: one speaks for all
            atomicAdd(&part.change[now], static_cast<uint32_t>(__popc(active)));
    }
    atomicAdd(SHARED ? &sh.change[found] : &part.change[then], ~0u);
    return then - now;
}

template <class Found, bool SHARED>
__global__ void __launch_bounds__(THREADS, 4)
    move_buckets(const Partition part, const Box box, uint32_t n, const Totals *totals,
                 const uint32_t *changed, float *gradient, unsigned long long *passed)
{
    __shared__ Moved sh;
    __shared__ Aside asides[THREADS / 32];
    const Unit unit = unit_of(part);
    if (unit.bucket == 0 || !*changed)
        return;
    const double w = weight_of(box, *totals, part.p), lambda = lambda_of(box, w, n);
    const Range range = range_of(part, unit.bucket);
    for (uint32_t i = threadIdx.x; SHARED && i < range.count; i += blockDim.x)
        sh.after[i] = part.after[range.below + i];
    for (uint32_t i = threadIdx.x; SHARED && i <= range.count; i += blockDim.x)
        sh.change[i] = 0;
    __syncthreads();
    const Found *found_at = static_cast<const Found *>(part.found);
    Aside &aside = asides[threadIdx.x / 32];
    const uint32_t lane = threadIdx.x % 32;
    uint32_t mine = 0, kept = 0; // kept: the same in all lanes
    const auto settle = [&](uint32_t e) {
        const uint32_t at = aside.at[e],
                       by = note_one<SHARED>(part, range, sh, aside.found[e], aside.score[e]);
        gradient[at / PART_TILE * PART_TILE + part.place[at]] =
            gradient_of(box, w, lambda, -static_cast<int32_t>(by));
        mine++;
    };
    const auto look = [&](bool there, uint32_t at, float s, uint32_t found) {
        // found is not 0: no item is below its bucket.
        const bool passed = there && (SHARED ? sh.after[found - 1] : part.after[range.below + found - 1]) > s;
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
            atomicAdd(&part.change[range.below + i], sh.change[i]);
    mine = sum_block(mine, sh.warp);
    if (threadIdx.x == 0 && mine)
        atomicAdd(passed, static_cast<unsigned long long>(mine));
}

template <class S>
void launch_split(cudaStream_t stream, const Partition &part, const Matrix &list, Totals *totals)
{
    const bool aligned = reinterpret_cast<uintptr_t>(list.scores) % 16 == 0 &&
                         reinterpret_cast<uintptr_t>(list.targets) % 4 == 0;
    launch_kernel(stream, "splitting a list", aligned ? split_tiles<S, true> : split_tiles<S, false>,
                  part.splitters, SPLITTERS, sizeof(Split), part, list, totals);
}

template <class S> void allow()
{
    check(cudaFuncSetAttribute(split_tiles<S, true>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               sizeof(Split)),
          "shared memory for splitting");
    check(cudaFuncSetAttribute(split_tiles<S, false>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               sizeof(Split)),
          "shared memory for splitting");
}

unsigned most_units(const Partition &part)
{
    return static_cast<unsigned>(part.tiles * static_cast<uint64_t>(PART_TILE) / part.unit_items +
                                 PART_BUCKETS + 1);
}

} // namespace

void prepare_partition()
{
    allow<float>(), allow<Fp16>(), allow<Bf16>();
}

void launch_part_count(cudaStream_t stream, const Partition &part, const Matrix &list, Totals *totals)
{
    switch (list.type) {
    case Score::FP16:
        launch_split<Fp16>(stream, part, list, totals);
        break;
    case Score::BF16:
        launch_split<Bf16>(stream, part, list, totals);
        break;
    default:
        launch_split<float>(stream, part, list, totals);
        break;
    }
    launch_kernel(stream, "numbering units", number_units, 1, 288, 0, part);
    launch_kernel(stream, "counting buckets",
                  part_wide(part.p) ? count_buckets<uint32_t> : count_buckets<uint16_t>, most_units(part),
                  THREADS, 0, part);
}

void launch_part_move(cudaStream_t stream, const Partition &part, const Box &box, uint32_t n,
                      const Totals *totals, const uint32_t *changed, float *gradient,
                      unsigned long long *passed)
{
    const auto move = part.width <= ROOM  ? move_buckets<uint16_t, true>
                      : part_wide(part.p) ? move_buckets<uint32_t, false>
                                          : move_buckets<uint16_t, false>;
    launch_kernel(stream, "moving buckets", move, most_units(part), THREADS, 0, part, box, n, totals, changed,
                  gradient, passed);
}

} // namespace rk
