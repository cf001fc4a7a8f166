#include "partition.cuh"

namespace rk {

namespace {

constexpr int THREADS = 512, EACH = PART_TILE / THREADS; // items of a thread in the split
constexpr uint32_t TREE = 1u << PART_TREE;
static_assert(EACH == 2 * HELD, "the split loads its items in two goes");

struct Split {
    float tree[1 << PART_LEVELS];
    uint32_t count[PART_BUCKETS + 2], start[PART_BUCKETS + 2], warp[32];
    float score[PART_TILE];
    uint16_t place[PART_TILE];
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

template <class S, bool ALIGNED>
__global__ void __launch_bounds__(THREADS, 2) split_tiles(const Partition part, const Matrix list, Totals *totals)
{
    extern __shared__ __align__(16) unsigned char memory[];
    Split &sh = *reinterpret_cast<Split *>(memory);
    const Items<S> items = {static_cast<const S *>(list.scores), list.targets};
    const uint32_t begin = blockIdx.x * PART_TILE, end = min(list.items - begin, PART_TILE) + begin;
    plant_tree(sh.tree, PART_LEVELS, part.cut, part.buckets, part.width);
    for (uint32_t b = threadIdx.x; b < PART_BUCKETS + 2; b += THREADS)
        sh.count[b] = 0;
    float s[2][HELD];
    int nan = 0;
    for (int half = 0; half < 2; half++)
        nan += load_items<S, ALIGNED, true>(items, begin + half * (PART_TILE / 2) + 4 * threadIdx.x, THREADS, end, s[half]);
    if (nan)
        totals->nan = 1;
    __syncthreads();
    uint32_t where[EACH]; // bucket, and place within it
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        const uint32_t b = min(search_tree(sh.tree, PART_LEVELS, s[i / HELD][i % HELD]), part.buckets);
        where[i] = b ? b << 16 | atomicAdd(&sh.count[b], 1) : 0;
    }
    __syncthreads();
    start_buckets(sh);
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        if (!where[i])
            continue;
        const uint32_t to = sh.start[where[i] >> 16] + (where[i] & 0xffff), j = i % HELD;
        sh.score[to] = s[i / HELD][j];
        sh.place[to] = static_cast<uint16_t>((i / HELD) * (PART_TILE / 2) + 4 * threadIdx.x + 4 * THREADS * (j / 4) + j % 4);
    }
    __syncthreads();
    const size_t tile = blockIdx.x;
    for (uint32_t b = threadIdx.x; b < PART_BUCKETS + 2; b += THREADS) {
        part.start[tile * (PART_BUCKETS + 2) + b] = static_cast<uint16_t>(sh.start[b]);
        if (b <= PART_BUCKETS && sh.count[b])
            atomicAdd(&part.total[b], sh.count[b]);
    }
    const uint32_t kept = sh.start[PART_BUCKETS + 1];
    float4 *score = reinterpret_cast<float4 *>(part.score + tile * PART_TILE);
    for (uint32_t i = threadIdx.x; 4 * i < kept; i += THREADS)
        score[i] = reinterpret_cast<float4 *>(sh.score)[i];
    uint4 *place = reinterpret_cast<uint4 *>(part.place + tile * PART_TILE);
    for (uint32_t i = threadIdx.x; 8 * i < kept; i += THREADS)
        place[i] = reinterpret_cast<uint4 *>(sh.place)[i];
}

// Work in units of about PART_UNIT items, whatever the buckets' sizes.
__global__ void number_units(const Partition part)
{
    __shared__ uint32_t units[PART_BUCKETS + 1];
    const uint32_t b = threadIdx.x;
    if (b <= PART_BUCKETS)
        units[b] = b ? ceil_div(part.total[b], PART_UNIT) : 0;
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

// Calls visit(place in the split form) for the items of a unit, warps side by side, each piece of a tile by one.
template <class Visit> __device__ void each_item(const Partition &part, const Unit &unit, Visit visit)
{
    const uint32_t warps = blockDim.x / 32, lane = threadIdx.x % 32;
    for (uint32_t base = unit.first + threadIdx.x / 32 * 32; base < unit.end; base += warps * 32) {
        uint32_t begin = 0, end = 0; // of the piece in tile base + lane
        if (base + lane < unit.end) {
            const uint16_t *start = part.start + static_cast<size_t>(base + lane) * (PART_BUCKETS + 2) + unit.bucket;
            begin = start[0];
            end = start[1];
        }
        const uint32_t tiles = min(unit.end - base, 32u);
        for (uint32_t t = 0; t < tiles; t++) {
            const size_t tile = static_cast<size_t>(base + t) * PART_TILE;
            const uint32_t from = __shfl_sync(EVERYONE, begin, t), to = __shfl_sync(EVERYONE, end, t);
            for (uint32_t i = from + lane; i < to; i += 32)
                visit(tile + i);
        }
    }
}

// Thresholds of a bucket in shared memory: all of them, or every stride-th with the rest left in memory.
struct Search {
    float tree[TREE];
    uint32_t hist[TREE];
};
struct Range {
    const float *cut; // [count] ascending
    uint32_t count, stride, sampled;
    int levels;
};

__device__ Range range_of(const float *cut, uint32_t count)
{
    const uint32_t stride = max(1u, ceil_div(count, TREE - 1)), sampled = ceil_div(count, stride);
    return {cut, count, stride, sampled, tree_levels(sampled)};
}

// Thresholds of the range at or below s.
__device__ uint32_t search_range(const Search &sh, const Range &range, float s)
{
    const uint32_t t = min(search_tree(sh.tree, range.levels, s), range.sampled);
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

__device__ void begin_range(Search &sh, const Range &range)
{
    if (range.sampled)
        plant_tree(sh.tree, range.levels, range.cut, range.sampled, range.stride);
    for (uint32_t i = threadIdx.x; i < TREE; i += blockDim.x)
        sh.hist[i] = 0;
    __syncthreads();
}

// `below`: thresholds below the range; hist counts by p - (thresholds at or below).
__device__ void note(Search &sh, const Range &range, uint32_t found, uint32_t *hist, uint32_t p, uint32_t below)
{
    if (range.stride == 1)
        atomicAdd(&sh.hist[found], 1);
    else
        atomicAdd(&hist[p - below - found], 1);
}
__device__ void end_range(const Search &sh, const Range &range, uint32_t *hist, uint32_t p, uint32_t below)
{
    __syncthreads();
    for (uint32_t c = threadIdx.x; range.stride == 1 && c <= range.count; c += blockDim.x)
        if (sh.hist[c])
            atomicAdd(&hist[p - below - c], sh.hist[c]);
}

__device__ Range range_of_bucket(const Partition &part, uint32_t bucket, uint32_t &below)
{
    below = (bucket - 1) * part.width;
    return range_of(part.cut + below, min(part.width, part.p - below));
}

template <class Found> __global__ void __launch_bounds__(THREADS) count_buckets(const Partition part)
{
    __shared__ Search sh;
    const Unit unit = unit_of(part);
    if (unit.bucket == 0)
        return;
    uint32_t below;
    const Range range = range_of_bucket(part, unit.bucket, below);
    begin_range(sh, range);
    Found *found_at = static_cast<Found *>(part.found);
    each_item(part, unit, [&](size_t at) {
        const uint32_t found = search_range(sh, range, part.score[at]);
        found_at[at] = static_cast<Found>(found);
        note(sh, range, found, part.hist, part.p, below);
    });
    end_range(sh, range, part.hist, part.p, below);
}

// Moved thresholds at or below a value, or below it.
__device__ uint32_t rank_of(const float *cut, uint32_t p, float value, bool equal_too)
{
    uint32_t low = 0, high = p;
    while (low < high) {
        const uint32_t middle = (low + high) / 2;
        if (cut[middle] < value || (equal_too && cut[middle] == value))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

__global__ void bound_buckets(const Partition part)
{
    const uint32_t b = threadIdx.x + 1;
    if (b > part.buckets)
        return;
    part.low[b] = rank_of(part.after, part.p, part.cut[static_cast<size_t>(b - 1) * part.width], true);
    part.high[b] = b == part.buckets
                       ? part.p
                       : rank_of(part.after, part.p, part.cut[static_cast<size_t>(b) * part.width], false);
    part.high[b] = max(part.high[b], part.low[b]);
}

template <class Found>
__global__ void __launch_bounds__(THREADS)
    move_buckets(const Partition part, const Box box, uint32_t n, const Totals *totals, const uint32_t *changed,
                 float *gradient, unsigned long long *passed)
{
    __shared__ Search sh;
    __shared__ uint32_t warp[32];
    const Unit unit = unit_of(part);
    if (unit.bucket == 0 || !*changed)
        return;
    const double w = weight_of(box, *totals, part.p), lambda = lambda_of(box, w, n);
    const uint32_t before = (unit.bucket - 1) * part.width, below = part.low[unit.bucket];
    const Range range = range_of(part.after + below, part.high[unit.bucket] - below);
    begin_range(sh, range);
    const Found *found_at = static_cast<const Found *>(part.found);
    uint32_t mine = 0;
    each_item(part, unit, [&](size_t at) {
        const uint32_t found = range.sampled ? search_range(sh, range, part.score[at]) : 0;
        if (below + found)
            note(sh, range, found, part.hist_after, part.p, below);
        const int32_t delta = static_cast<int32_t>(below + found) - static_cast<int32_t>(before + found_at[at]);
        if (delta == 0)
            return;
        gradient[at / PART_TILE * PART_TILE + part.place[at]] = sink_value(w, lambda, delta);
        mine++;
    });
    end_range(sh, range, part.hist_after, part.p, below);
    mine = sum_block(mine, warp);
    if (threadIdx.x == 0 && mine)
        atomicAdd(passed, static_cast<unsigned long long>(mine));
}

template <class S> void launch_split(cudaStream_t stream, const Partition &part, const Matrix &list, Totals *totals)
{
    const bool aligned = reinterpret_cast<uintptr_t>(list.scores) % 16 == 0 && reinterpret_cast<uintptr_t>(list.targets) % 4 == 0;
    (aligned ? split_tiles<S, true> : split_tiles<S, false>)<<<part.tiles, THREADS, sizeof(Split), stream>>>(part, list, totals);
    launched("splitting a list");
}

template <class S> void allow()
{
    check(cudaFuncSetAttribute(split_tiles<S, true>, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Split)), "shared memory for splitting");
    check(cudaFuncSetAttribute(split_tiles<S, false>, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Split)), "shared memory for splitting");
}

unsigned most_units(const Partition &part)
{
    return static_cast<unsigned>(part.tiles * static_cast<uint64_t>(PART_TILE) / PART_UNIT + PART_BUCKETS + 1);
}

} // namespace

void prepare_partition()
{
    allow<float>(), allow<Fp16>(), allow<Bf16>();
}

void launch_part_count(cudaStream_t stream, const Partition &part, const Matrix &list, Totals *totals)
{
    switch (list.type) {
    case Score::FP16: launch_split<Fp16>(stream, part, list, totals); break;
    case Score::BF16: launch_split<Bf16>(stream, part, list, totals); break;
    default: launch_split<float>(stream, part, list, totals); break;
    }
    number_units<<<1, 288, 0, stream>>>(part);
    launched("numbering units");
    (part_wide(part.p) ? count_buckets<uint32_t> : count_buckets<uint16_t>)<<<most_units(part), THREADS, 0, stream>>>(part);
    launched("counting buckets");
}

void launch_part_move(cudaStream_t stream, const Partition &part, const Box &box, uint32_t n, const Totals *totals,
                      const uint32_t *changed, float *gradient, unsigned long long *passed)
{
    bound_buckets<<<1, 256, 0, stream>>>(part);
    launched("bounding buckets");
    (part_wide(part.p) ? move_buckets<uint32_t> : move_buckets<uint16_t>)<<<most_units(part), THREADS, 0, stream>>>(
        part, box, n, totals, changed, gradient, passed);
    launched("moving buckets");
}

} // namespace rk
