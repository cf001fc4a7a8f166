// Lists that all of the card works on together. Their relevant items are brought together in index order,
// list after list, and sorted by CUB at once; the items are streamed twice, against thresholds in shared
// memory (compare.cu) or, where these are too many, split first (partition.cuh).
//
// A list's relevant items have chunks of their own, so that a block never works for two lists; behind them
// lie places that are sorted along and stand for nothing.
#include <algorithm>

#include <cub/cub.cuh>

#include "partition.cuh"

namespace rk
{

namespace
{

// Items of lists that are worked on together, at most; where tests watch, few enough for several groups.
constexpr size_t GROUP_PLACES = size_t(1) << (WATCHED ? 16 : 25);

size_t each_group(size_t lists, uint32_t tiles)
{
    return std::min(lists, std::max<size_t>(1, GROUP_PLACES / COUNT_TILE / tiles));
}

// Memory for a group of lists. Key: uint32_t for one list, else uint64_t with the list in front.
template <class Key> struct Memory {
    LongList *list;                   // [lists + 1]
    uint32_t *tile_start;             // [lists, tiles]: relevant items in the tiles before
    uint32_t *position, *first;       // index order; first: 0, 1, 2, …
    float *y;                         // index order; then y'
    int32_t *rank;                    // index order
    Key *key, *sorted;                // index order, ranked
    uint32_t *order, *order_after;    // ranked: place in index order
    float *cut, *cut_after;           // ascending
    LongState *state;                 // [lists]; with what follows one piece, which is cleared
    uint32_t *ahead, *passes;         // as compare.cu or the split leaves them
    uint32_t *ahead_sum, *passes_sum; // of those of a split
    double *partial;                  // [chunks]: of the loss
    void *temporary;                  // CUB's
    size_t temporary_bytes, cleared_bytes;
    Partition part;
    size_t bytes;
};

bool splits(const LongSize &size)
{
    return size.most > SHORT_MOST;
}

int end_bit(uint32_t lists)
{
    int bits = 32;
    for (; lists > 1 && lists >> (bits - 32); bits++) { // the number behind the last list fits, too
    }
    return bits;
}

template <class Key> size_t temporary_bytes(uint32_t lists, uint32_t tiles, uint32_t places)
{
    size_t sort = 0, scan = 0, starts = 0;
    const Key *key = nullptr;
    uint32_t *none = nullptr;
    check(cub::DeviceRadixSort::SortPairs(nullptr, sort, key, static_cast<Key *>(nullptr), none, none, places,
                                          0, end_bit(lists)),
          "sizing a sort");
    check(cub::DeviceScan::InclusiveSum(nullptr, scan, none, none, places), "sizing a scan");
    check(cub::DeviceScan::ExclusiveSum(nullptr, starts, none, none, lists * tiles), "sizing a scan");
    return std::max(sort, std::max(scan, starts));
}

template <class Key> Memory<Key> carve_memory(void *base, uint32_t lists, uint32_t tiles, LongSize size)
{
    Carve carve = {static_cast<unsigned char *>(base)};
    Memory<Key> m = {};
    const uint32_t places = size.chunks * CHUNK;
    m.list = carve.take<LongList>(lists + 1);
    m.tile_start = carve.take<uint32_t>(static_cast<size_t>(lists) * tiles);
    m.position = carve.take<uint32_t>(places);
    m.first = carve.take<uint32_t>(places);
    m.y = carve.take<float>(places);
    m.rank = carve.take<int32_t>(places);
    m.key = carve.take<Key>(places);
    m.sorted = carve.take<Key>(places);
    m.order = carve.take<uint32_t>(places);
    m.order_after = carve.take<uint32_t>(places);
    m.cut = carve.take<float>(places);
    m.cut_after = carve.take<float>(places);
    m.cleared_bytes = lists * sizeof *m.state + 2 * static_cast<size_t>(places) * sizeof *m.ahead;
    m.state = reinterpret_cast<LongState *>(carve.take<unsigned char>(m.cleared_bytes));
    m.ahead = reinterpret_cast<uint32_t *>(m.state + lists);
    m.passes = m.ahead + places;
    m.partial = carve.take<double>(size.chunks);
    m.temporary_bytes = temporary_bytes<Key>(lists, tiles, places);
    m.temporary = carve.take<unsigned char>(m.temporary_bytes);
    if (splits(size)) {
        m.ahead_sum = carve.take<uint32_t>(places);
        m.passes_sum = carve.take<uint32_t>(places);
        m.part = carve_partition(carve, lists, tiles, size.most, places);
    }
    m.bytes = carve.used;
    return m;
}

// Which lists there is room for, and where. By one block.
__global__ void describe_lists(const ListCount *count, uint32_t lists, uint32_t items, uint32_t least,
                               LongSize room, LongList *list, Totals *totals)
{
    __shared__ uint32_t warp[32];
    uint32_t chunks = 0, buckets = 0;
    for (uint32_t base = 0; base < lists; base += blockDim.x) {
        const uint32_t l = base + threadIdx.x;
        const ListCount own = l < lists ? count[l] : ListCount{0, 0};
        const bool wanted = l < lists && own.p >= least;
        const uint32_t own_chunks = wanted ? own.p / CHUNK + 1 : 0;
        const uint32_t chunk = chunks + sums_before(own_chunks, warp);
        chunks += warp[31];
        __syncthreads();
        const bool taken = wanted && own.p <= room.most && chunk + own_chunks <= room.chunks;
        const uint32_t p = taken ? own.p : 0, width = part_width(p);
        const uint32_t bucket = buckets + sums_before(ceil_div(p, width), warp);
        buckets += warp[31];
        __syncthreads();
        if (l < lists)
            list[l] = {taken, p, items - own.ignored, chunk, bucket, width};
    }
    if (threadIdx.x != 0)
        return;
    list[lists] = {0, 0, 0, min(chunks, room.chunks), buckets, 0};
    atomicMax(&totals->chunks, chunks);
}

// A thread's place among the relevant items. No list: behind all of them.
struct Place {
    uint32_t number, k; // the list, and the place within it: ranked, or in index order
    LongList list;
    bool there; // k < p
};
__device__ Place place_of(const Long &l)
{
    if (blockIdx.x >= l.list[l.lists].chunk)
        return {l.lists, 0, l.list[l.lists], false};
    const uint32_t number = list_at<&LongList::chunk>(l.list, l.lists, blockIdx.x);
    const LongList list = l.list[number];
    const uint32_t k = (blockIdx.x - list.chunk) * CHUNK + threadIdx.x;
    return {number, k, list, k < list.p};
}

template <class Key> __device__ Key key_of(uint32_t number, uint32_t low)
{
    if constexpr (sizeof(Key) > sizeof(uint32_t))
        return static_cast<Key>(number) << 32 | low;
    else
        return low;
}

// What stands for nothing, behind each list. And something valid everywhere: fewer relevant items may be
// found than were counted, if the targets change meanwhile.
template <class Key> __global__ void clear_relevant(const Long l, const Memory<Key> m)
{
    const Place place = place_of(l);
    const uint32_t i = blockIdx.x * CHUNK + threadIdx.x;
    m.position[i] = 0;
    m.first[i] = i;
    m.y[i] = 0;
    m.rank[i] = 0;
    m.key[i] = key_of<Key>(place.number, ~0u);
}

// Bit k: byte k is 1.
__device__ uint32_t ones_of(uint32_t word)
{
    return (__vcmpeq4(word, 0x01010101u) & 0x08040201u) * 0x01010101u >> 24;
}

// Relevant items in index order: a block takes a tile, sixteen items a thread at a time.
template <class S, class Key> __global__ void gather_relevant(const Long l, const Memory<Key> m)
{
    using Scan = cub::BlockScan<uint32_t, 256>;
    __shared__ typename Scan::TempStorage memory;
    const uint32_t number = blockIdx.x / l.tiles, tile = blockIdx.x % l.tiles;
    const LongList list = l.list[number];
    if (list.p == 0)
        return;
    const Items<S> items = items_of<S>(l.matrix, number);
    const bool aligned = reinterpret_cast<uintptr_t>(items.targets) % 16 == 0;
    const uint32_t begin = tile * COUNT_TILE, end = min(l.matrix.items - begin, COUNT_TILE) + begin;
    uint32_t base = m.tile_start[blockIdx.x] - m.tile_start[blockIdx.x - tile];
    for (uint32_t round = begin; round < end; round += 16 * 256) {
        const uint32_t from = round + 16 * threadIdx.x;
        uint32_t before, all, ones = 0;
        if (aligned && from + 16 <= end) {
            const uint4 quad = *reinterpret_cast<const uint4 *>(items.targets + from);
            ones = ones_of(quad.x) | ones_of(quad.y) << 4 | ones_of(quad.z) << 8 | ones_of(quad.w) << 12;
        } else {
            for (uint32_t k = 0; k < 16 && from + k < end; k++)
                ones |= (items.targets[from + k] == 1 ? 1u : 0u) << k;
        }
        Scan(memory).ExclusiveSum(__popc(ones), before, all);
        __syncthreads();
        for (uint32_t at = base + before; ones && at < list.p; ones &= ones - 1, at++) {
            const uint32_t i = from + __ffs(static_cast<int>(ones)) - 1;
            const float raw = widen(items.scores[i]), y = lowered(raw, l.box.half_margin);
            if (raw != raw)
                l.state[number].nan = 1;
            m.position[list.begin() + at] = i;
            m.y[list.begin() + at] = y;
            m.key[list.begin() + at] = key_of<Key>(number, ~rk_key(y));
        }
        base += all;
    }
}

// Ascending thresholds from the sorted keys. With `old`, notes the lists where one differs from it.
template <class Key> __global__ void make_cuts(const Long l, const Key *sorted, float *cut, const float *old)
{
    const Place place = place_of(l);
    if (!place.there)
        return;
    const uint32_t to = place.list.begin() + place.list.p - 1 - place.k;
    const uint32_t key = static_cast<uint32_t>(sorted[place.list.begin() + place.k]);
    const float value = rk_cut(rk_float_of_key(~key), l.box.half_margin);
    cut[to] = value;
    if (old && old[to] != value)
        l.state[place.number].changed = 1;
}

// Counts that were made where they belong, or that have to be summed up from the list's begin.
struct Counts {
    const uint32_t *value;
    bool summed;

    __device__ uint32_t at(uint32_t begin, uint32_t k) const
    {
        return value[begin + k] - (summed && begin ? value[begin - 1] : 0);
    }
};

template <class Key> __global__ void make_terms(const Long l, const Memory<Key> m, const Counts counts)
{
    __shared__ double warp[32];
    const Place place = place_of(l);
    const LongList &list = place.list;
    double value = 0;
    if (place.there) {
        const double w = weight_of(l, place.number, list.p), lambda = lambda_of(l.box, w, list.n);
        const uint32_t i = m.order[list.begin() + place.k], ahead = counts.at(list.begin(), place.k);
        const rk_term term = term_of(l.box, list.p, place.k, ahead);
        const float y = moved(m.y[i], lambda, term.slope);
        value = term.value;
        m.rank[i] = static_cast<int32_t>(place.k + 1 + ahead);
        m.key[i] = key_of<Key>(place.number, ~rk_key(y));
    }
    value = sum_block(value, warp);
    if (threadIdx.x == 0)
        m.partial[blockIdx.x] = value;
}

// A block a list.
__global__ void make_losses(const Long l, const double *partial)
{
    __shared__ double warp[32];
    const LongList list = l.list[blockIdx.x];
    if (!list.taken)
        return;
    if (threadIdx.x == 0 && l.outcome)
        l.outcome[blockIdx.x] = {l.state[blockIdx.x].nan, 0};
    if (threadIdx.x == 0 && l.state[blockIdx.x].nan)
        l.totals->nan = 1;
    double sum = 0;
    for (uint32_t c = threadIdx.x; c <= list.p / CHUNK; c += blockDim.x)
        sum += partial[list.chunk + c];
    sum = sum_block(sum, warp);
    if (threadIdx.x != 0)
        return;
    const double loss = sum / static_cast<double>(list.p);
    l.loss[blockIdx.x] = list.p ? weight_of(l, blockIdx.x, list.p) * loss : 0;
    if (l.list_loss)
        l.list_loss[blockIdx.x] = list.p ? static_cast<float>(loss) : __int_as_float(0x7fc00000);
}

template <class Key>
__global__ void write_relevant(const Long l, const Memory<Key> m, const Counts counts, const Counts passes)
{
    __shared__ uint32_t warp[32];
    const Place place = place_of(l);
    const LongList &list = place.list;
    uint32_t changed = 0;
    if (place.there) {
        const double w = weight_of(l, place.number, list.p), lambda = lambda_of(l.box, w, list.n);
        const uint32_t i = m.order_after[list.begin() + place.k];
        const uint32_t ahead =
            counts.at(list.begin(), place.k) - passes.at(list.begin(), list.p - 1 - place.k);
        const int32_t delta = m.rank[i] - static_cast<int32_t>(place.k + 1 + ahead);
        l.gradient[static_cast<size_t>(place.number) * l.matrix.stride + m.position[i]] =
            gradient_of(l.box, w, lambda, delta);
        changed = delta != 0;
    }
    changed = sum_block(changed, warp);
    if (threadIdx.x != 0 || !list.taken)
        return;
    const unsigned long long passed = l.state[place.number].passed;
    const bool speaks = blockIdx.x == list.chunk; // for the list
    if (changed || (speaks && passed))
        atomicAdd(&l.totals->nonzero, changed + (speaks ? passed : 0));
    const bool stalled = speaks && l.loss[place.number] > 0 && passed == 0;
    if (stalled)
        atomicAdd(&l.totals->stalled, 1);
    if (stalled && l.outcome)
        l.outcome[place.number].stalled = 1;
}

// The gradients of lists that are taken, among others.
__global__ void clear_gradients(const Long l)
{
    const uint32_t number = blockIdx.x / l.tiles, begin = blockIdx.x % l.tiles * COUNT_TILE;
    float *gradient = l.gradient + static_cast<size_t>(number) * l.matrix.stride;
    if (!l.list[number].taken)
        return;
    const uint32_t end = min(l.matrix.items - begin, COUNT_TILE) + begin;
    for (uint32_t i = begin + threadIdx.x; i < end; i += blockDim.x)
        gradient[i] = 0;
}

// A group of lists: everything on one stream, one step after the other.
template <class Key> struct Runner {
    cudaStream_t stream;
    const LongJob &job; // of the group
    Memory<Key> m;
    Long l;
    int processors;

    Runner(cudaStream_t stream, const LongJob &job, uint32_t tiles, void *memory, int processors)
        : stream(stream), job(job),
          m(carve_memory<Key>(memory, static_cast<uint32_t>(job.matrix.lists), tiles, job.size)),
          processors(processors)
    {
        l = {job.matrix, job.box,         static_cast<uint32_t>(job.matrix.lists),
             tiles,      job.size.chunks, job.weight,
             job.totals, job.outcome,     job.gradient,
             job.loss,   job.list_loss,   m.list,
             m.state,    m.cut,           m.cut_after,
             m.ahead,    m.passes};
    }

    template <class... P, class... A> void each_chunk(const char *what, void (*kernel)(P...), A... arguments)
    {
        launch_kernel(stream, what, kernel, l.chunks, CHUNK, 0, arguments...);
    }

    void sort(uint32_t *order)
    {
        size_t bytes = m.temporary_bytes;
        check(cub::DeviceRadixSort::SortPairs(m.temporary, bytes, m.key, m.sorted, m.first, order,
                                              l.chunks * CHUNK, 0, end_bit(l.lists), stream),
              "sorting relevant items");
    }

    Counts sums(uint32_t *counts, uint32_t *sum)
    {
        if (!splits(job.size))
            return {counts, false};
        size_t bytes = m.temporary_bytes;
        check(cub::DeviceScan::InclusiveSum(m.temporary, bytes, counts, sum, l.chunks * CHUNK, stream),
              "summing counts");
        return {sum, true};
    }

    // Beside the counting, which leaves the memory's bandwidth mostly alone.
    void clear_gradient()
    {
        check(cudaEventRecord(job.cleared, stream), "marking a start");
        check(cudaStreamWaitEvent(job.side, job.cleared), "waiting for a start");
        if (job.least == 0)
            check(cudaMemsetAsync(job.gradient, 0, job.matrix.lists * job.matrix.stride * sizeof(float),
                                  job.side),
                  "clearing");
        else
            launch_kernel(job.side, "clearing gradients", clear_gradients, l.lists * l.tiles, 512, 0, l);
        check(cudaEventRecord(job.cleared, job.side), "marking a cleared gradient");
    }

    template <class S> void gather()
    {
        size_t bytes = m.temporary_bytes;
        check(cub::DeviceScan::ExclusiveSum(m.temporary, bytes, job.tile_relevant, m.tile_start,
                                            l.lists * l.tiles, stream),
              "summing tiles");
        each_chunk("clearing relevant items", clear_relevant<Key>, l, m);
        launch_kernel(stream, "gathering relevant items", gather_relevant<S, Key>, l.lists * l.tiles, 256, 0,
                      l, m);
    }

    Counts count()
    {
        if (splits(job.size))
            launch_part_count(stream, l, m.part, processors);
        else
            launch_compare_count(stream, l, processors);
        return sums(m.ahead, m.ahead_sum);
    }

    Counts move()
    {
        check(cudaStreamWaitEvent(stream, job.cleared), "waiting for a gradient to be cleared");
        if (splits(job.size))
            launch_part_move(stream, l, m.part);
        else
            launch_compare_move(stream, l, processors);
        return sums(m.passes, m.passes_sum);
    }

    void run()
    {
        check(cudaMemsetAsync(m.state, 0, m.cleared_bytes, stream), "clearing");
        launch_kernel(stream, "describing lists", describe_lists, 1, 1024, 0, job.count, l.lists,
                      job.matrix.items, job.least, job.size, m.list, job.totals);
        if (job.gradient)
            clear_gradient();
        switch (job.matrix.type) {
        case Score::FP16:
            gather<Fp16>();
            break;
        case Score::BF16:
            gather<Bf16>();
            break;
        default:
            gather<float>();
            break;
        }
        sort(m.order);
        each_chunk("making thresholds", make_cuts<Key>, l, m.sorted, m.cut, nullptr);
        const Counts ahead = count();
        each_chunk("making terms", make_terms<Key>, l, m, ahead);
        launch_kernel(stream, "making losses", make_losses, l.lists, 512, 0, l, m.partial);
        if (!job.gradient)
            return;
        sort(m.order_after);
        each_chunk("making thresholds", make_cuts<Key>, l, m.sorted, m.cut_after, m.cut);
        const Counts passes = move();
        each_chunk("writing relevant items", write_relevant<Key>, l, m, ahead, passes);
    }
};

// Lists first .. first + lists - 1 of a job.
LongJob part_of(const LongJob &job, size_t first, size_t lists, uint32_t tiles)
{
    LongJob part = job;
    const size_t score = job.matrix.type == Score::FP32 ? 4 : 2, before = first * job.matrix.stride;
    part.matrix.lists = lists;
    part.matrix.scores = static_cast<const unsigned char *>(job.matrix.scores) + before * score;
    part.matrix.targets += before;
    part.count += first;
    part.tile_relevant += first * tiles;
    part.loss += first;
    part.weight = job.weight ? job.weight + first : nullptr;
    part.outcome = job.outcome ? job.outcome + first : nullptr;
    part.gradient = job.gradient ? job.gradient + before : nullptr;
    part.list_loss = job.list_loss ? job.list_loss + first : nullptr;
    return part;
}

} // namespace

size_t long_group(size_t lists, uint32_t items)
{
    return each_group(lists, ceil_div(items, COUNT_TILE));
}

size_t long_bytes(size_t lists, uint32_t items, LongSize size)
{
    const uint32_t tiles = ceil_div(items, COUNT_TILE),
                   each = static_cast<uint32_t>(each_group(lists, tiles));
    return each == 1 ? carve_memory<uint32_t>(nullptr, each, tiles, size).bytes
                     : carve_memory<uint64_t>(nullptr, each, tiles, size).bytes;
}

void prepare_long()
{
    prepare_compare();
    prepare_partition();
}

void launch_long(cudaStream_t stream, const LongJob &job, void *memory, int processors)
{
    const uint32_t tiles = ceil_div(job.matrix.items, COUNT_TILE);
    const size_t each = each_group(job.matrix.lists, tiles);
    for (size_t first = 0; first < job.matrix.lists; first += each) {
        const LongJob part = part_of(job, first, std::min(each, job.matrix.lists - first), tiles);
        if (each == 1)
            Runner<uint32_t>(stream, part, tiles, memory, processors).run();
        else
            Runner<uint64_t>(stream, part, tiles, memory, processors).run();
    }
}

} // namespace rk
