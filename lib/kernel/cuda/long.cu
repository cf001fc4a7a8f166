// One list at a time, all of the card on it. The relevant items are brought together in index order and
// sorted by CUB; the items are streamed twice, against thresholds in shared memory (pass.cuh) or, where these
// are too many, split first (partition.cuh).
#include <algorithm>

#include <cub/cub.cuh>

#include "partition.cuh"
#include "pass.cuh"

namespace rk
{

namespace
{

constexpr int THREADS = 512, ROOM = SHORT_MOST + 1;

// What is kept of one list; by index order of the relevant items, or ranked.
struct Long {
    uint32_t *tile_start;          // [tiles + 1]
    uint32_t *position, *first;    // index order; first: 0, 1, 2, …
    float *y;                      // index order; then y'
    int32_t *rank;                 // index order
    uint32_t *key, *sorted;        // index order, ranked
    uint32_t *order, *order_after; // ranked: place in index order
    float *cut, *cut_after;        // ascending
    uint32_t *ahead;               // ranked, one more: irrelevant items ahead
    uint32_t *passes;              // by ascending threshold, one more: irrelevant items that it passed
    double *partial;               // [blocks of p]
    unsigned long long *passed;    // then, behind it:
    uint32_t *changed;
    void *temporary; // CUB's
    size_t temporary_bytes;
    Partition part;
    size_t bytes;
};

constexpr unsigned TERM_THREADS = 256;
unsigned blocks_of(uint32_t p)
{
    return ceil_div(p, TERM_THREADS);
}

bool splits(uint32_t p)
{
    return p > SHORT_MOST;
}

size_t temporary_bytes(uint32_t tiles, uint32_t p)
{
    size_t sort = 0, scan = 0, starts = 0;
    uint32_t *none = nullptr;
    check(cub::DeviceRadixSort::SortPairs(nullptr, sort, none, none, none, none, p), "sizing a sort");
    check(cub::DeviceScan::InclusiveSum(nullptr, scan, none, none, p + 1), "sizing a scan");
    check(cub::DeviceScan::ExclusiveSum(nullptr, starts, none, none, tiles), "sizing a scan");
    return std::max(sort, std::max(scan, starts));
}

Partition carve_partition(Carve &carve, uint32_t tiles, uint32_t p)
{
    Partition part = {};
    const size_t places = static_cast<size_t>(tiles) * PART_TILE;
    part.p = p;
    part.tiles = tiles;
    part.width = part_width(p);
    part.buckets = ceil_div(p, part.width);
    // Enough blocks for the card to be busy, and few enough that what each does at its ends does not count.
    part.unit_items = static_cast<uint32_t>(std::min<size_t>(131072, std::max<size_t>(8192, places / 1024)));
    part.score = carve.take<float>(places);
    part.place = carve.take<uint16_t>(places);
    part.found = carve.take<unsigned char>(places * (part_wide(p) ? 4 : 2));
    part.start = carve.take<uint16_t>(static_cast<size_t>(tiles) * (PART_BUCKETS + 2));
    part.total = carve.take<uint32_t>(PART_BUCKETS + 1);
    part.unit = carve.take<uint32_t>(PART_BUCKETS + 2);
    part.hist = carve.take<uint32_t>(p + 1);
    part.change = carve.take<uint32_t>(p + 1);
    return part;
}

Long carve_long(void *memory, uint32_t items, uint32_t p)
{
    Carve carve = {static_cast<unsigned char *>(memory)};
    const uint32_t tiles = ceil_div(items, COUNT_TILE);
    Long l = {};
    l.tile_start = carve.take<uint32_t>(tiles + 1);
    l.position = carve.take<uint32_t>(p);
    l.first = carve.take<uint32_t>(p);
    l.y = carve.take<float>(p);
    l.rank = carve.take<int32_t>(p);
    l.key = carve.take<uint32_t>(p);
    l.sorted = carve.take<uint32_t>(p);
    l.order = carve.take<uint32_t>(p);
    l.order_after = carve.take<uint32_t>(p);
    l.cut = carve.take<float>(std::max(p, FEW));
    l.cut_after = carve.take<float>(std::max(p, FEW));
    l.ahead = carve.take<uint32_t>(p + 1);
    l.passes = carve.take<uint32_t>(p + 1);
    l.partial = carve.take<double>(blocks_of(p));
    l.passed = carve.take<unsigned long long>(2);
    l.changed = memory ? reinterpret_cast<uint32_t *>(l.passed + 1) : nullptr;
    l.temporary_bytes = temporary_bytes(tiles, p);
    l.temporary = carve.take<unsigned char>(l.temporary_bytes);
    if (splits(p))
        l.part = carve_partition(carve, ceil_div(items, PART_TILE), p);
    l.part.cut = l.cut;
    l.part.after = l.cut_after;
    l.bytes = carve.used;
    return l;
}

// Something valid everywhere: fewer relevant items may be found than were counted, if the targets change
// meanwhile.
__global__ void clear_relevant(const Long l, uint32_t p)
{
    const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p)
        return;
    l.position[i] = 0;
    l.first[i] = i;
    l.y[i] = 0;
    l.rank[i] = 0;
    l.key[i] = 0;
}

// Bit k: byte k is 1.
__device__ uint32_t ones_of(uint32_t word)
{
    return (__vcmpeq4(word, 0x01010101u) & 0x08040201u) * 0x01010101u >> 24;
}

// Relevant items in index order: a block takes a tile, sixteen items a thread at a time.
template <class S>
__global__ void gather_relevant(const Matrix m, const Long l, uint32_t p, double half_margin, Totals *totals)
{
    using Scan = cub::BlockScan<uint32_t, 256>;
    __shared__ typename Scan::TempStorage memory;
    const S *scores = static_cast<const S *>(m.scores);
    const bool aligned = reinterpret_cast<uintptr_t>(m.targets) % 16 == 0;
    const uint32_t begin = blockIdx.x * COUNT_TILE, end = min(m.items - begin, COUNT_TILE) + begin;
    uint32_t base = l.tile_start[blockIdx.x];
    for (uint32_t round = begin; round < end; round += 16 * 256) {
        const uint32_t from = round + 16 * threadIdx.x;
        uint32_t before, all, ones = 0;
        if (aligned && from + 16 <= end) {
            const uint4 quad = *reinterpret_cast<const uint4 *>(m.targets + from);
            ones = ones_of(quad.x) | ones_of(quad.y) << 4 | ones_of(quad.z) << 8 | ones_of(quad.w) << 12;
        } else {
            for (uint32_t k = 0; k < 16 && from + k < end; k++)
                ones |= (m.targets[from + k] == 1 ? 1u : 0u) << k;
        }
        Scan(memory).ExclusiveSum(__popc(ones), before, all);
        __syncthreads();
        for (uint32_t at = base + before; ones && at < p; ones &= ones - 1, at++) {
            const uint32_t i = from + __ffs(static_cast<int>(ones)) - 1;
            const float raw = widen(scores[i]), y = lowered(raw, half_margin);
            if (raw != raw)
                totals->nan = 1;
            l.position[at] = i;
            l.y[at] = y;
            l.key[at] = ~rk_key(y);
        }
        base += all;
    }
}

// Ascending thresholds from the sorted keys; *changed if one differs from `old`.
__global__ void make_cuts(const uint32_t *sorted, uint32_t p, double half_margin, float *cut,
                          const float *old, uint32_t *changed)
{
    const uint32_t k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k < FEW && p <= k)
        cut[k] = __int_as_float(0x7fffffff);
    if (k >= p)
        return;
    const float value = rk_cut(rk_float_of_key(~sorted[k]), half_margin);
    cut[p - 1 - k] = value;
    if (old && old[p - 1 - k] != value)
        *changed = 1;
}

__device__ void load_cuts(float *own, const float *cut, uint32_t p)
{
    for (uint32_t j = threadIdx.x; j < max(p, FEW); j += blockDim.x)
        own[j] = cut[j];
    __syncthreads();
}

template <class S, bool ALIGNED>
__global__ void __launch_bounds__(THREADS, 2)
    count_long(const Matrix m, const Long l, uint32_t p, Totals *totals)
{
    unsigned char *memory = block_memory();
    Thresholds<ROOM> &t = *reinterpret_cast<Thresholds<ROOM> *>(memory);
    const Items<S> items = {static_cast<const S *>(m.scores), m.targets};
    load_cuts(t.before, l.cut, p);
    begin_count(t, p);
    int nan = 0;
    for (uint32_t begin = blockIdx.x * COUNT_TILE; begin < m.items; begin += gridDim.x * COUNT_TILE)
        nan += count_items<S, ALIGNED, true>(items, begin, min(m.items - begin, COUNT_TILE) + begin, t, p);
    if (nan)
        totals->nan = 1;
    end_count(t, p);
    for (uint32_t j = threadIdx.x; j < p; j += blockDim.x)
        if (t.count[j + 1])
            atomicAdd(&l.ahead[p - 1 - j], t.count[j + 1]);
}

template <class S, bool ALIGNED>
__global__ void __launch_bounds__(THREADS, 2) move_long(const LongJob job, const Long l)
{
    unsigned char *memory = block_memory();
    Thresholds<ROOM> &t = *reinterpret_cast<Thresholds<ROOM> *>(memory);
    const Matrix &m = job.matrix;
    const Items<S> items = {static_cast<const S *>(m.scores), m.targets};
    if (!*l.changed)
        return; // the gradient is 0 already
    const double w = weight_of(job.box, *job.totals, job.p), lambda = lambda_of(job.box, w, job.n);
    load_cuts(t.before, l.cut, job.p);
    load_cuts(t.after, l.cut_after, job.p);
    if (job.p > FEW)
        build_finder(t.finder, t.before, job.p);
    begin_move(t, job.p, job.box, w, lambda);
    uint32_t passed = 0;
    for (uint32_t begin = blockIdx.x * COUNT_TILE; begin < m.items; begin += gridDim.x * COUNT_TILE) {
        const uint32_t end = min(m.items - begin, COUNT_TILE) + begin;
        DenseSink<ALIGNED> sink = {job.gradient, t.value, end, 0};
        move_items<S, ALIGNED, true>(items, begin, end, t, job.p, sink);
        passed += sink.changed;
    }
    end_move(t, job.p);
    for (uint32_t j = threadIdx.x; j < job.p; j += blockDim.x)
        if (t.change[j + 1])
            atomicAdd(&l.passes[j], 0 - t.change[j + 1]);
    passed = sum_block(passed, t.warp);
    if (threadIdx.x == 0 && passed)
        atomicAdd(l.passed, static_cast<unsigned long long>(passed));
}

__global__ void make_terms(const LongJob job, const Long l)
{
    __shared__ double warp[32];
    const uint32_t k = blockIdx.x * blockDim.x + threadIdx.x;
    const double w = weight_of(job.box, *job.totals, job.p), lambda = lambda_of(job.box, w, job.n);
    double value = 0;
    if (k < job.p) {
        const uint32_t i = l.order[k], ahead = l.ahead[k];
        const rk_term term = term_of(job.box, job.p, k, ahead);
        const float y = moved(l.y[i], lambda, term.slope);
        value = term.value;
        l.rank[i] = static_cast<int32_t>(k + 1 + ahead);
        l.key[i] = ~rk_key(y);
    }
    value = sum_block(value, warp);
    if (threadIdx.x == 0)
        l.partial[blockIdx.x] = value;
}

__global__ void make_loss(const LongJob job, const double *partial, unsigned count)
{
    __shared__ double warp[32];
    double sum = 0;
    for (unsigned i = threadIdx.x; i < count; i += blockDim.x)
        sum += partial[i];
    sum = sum_block(sum, warp);
    if (threadIdx.x != 0)
        return;
    const double loss = sum / static_cast<double>(job.p);
    *job.loss = weight_of(job.box, *job.totals, job.p) * loss;
    if (job.list_loss)
        *job.list_loss = static_cast<float>(loss);
}

__global__ void write_relevant(const LongJob job, const Long l)
{
    __shared__ uint32_t warp[32];
    const uint32_t k = blockIdx.x * blockDim.x + threadIdx.x;
    const double w = weight_of(job.box, *job.totals, job.p), lambda = lambda_of(job.box, w, job.n);
    uint32_t changed = 0;
    if (k < job.p) {
        const uint32_t i = l.order_after[k];
        const int32_t delta = l.rank[i] - static_cast<int32_t>(k + 1 + l.ahead[k] - l.passes[job.p - 1 - k]);
        job.gradient[l.position[i]] = gradient_of(job.box, w, lambda, delta);
        changed = delta != 0;
    }
    changed = sum_block(changed, warp);
    if (threadIdx.x != 0)
        return;
    if (changed)
        atomicAdd(&job.totals->nonzero, static_cast<unsigned long long>(changed));
    if (blockIdx.x == 0) {
        atomicAdd(&job.totals->nonzero, *l.passed);
        if (*job.loss > 0 && *l.passed == 0)
            atomicAdd(&job.totals->stalled, 1);
    }
}

template <class S> __global__ void skip_list(const Matrix m, float *list_loss, Totals *totals)
{
    const Items<S> items = {static_cast<const S *>(m.scores), m.targets};
    int nan = 0;
    for (uint32_t begin = blockIdx.x * COUNT_TILE; begin < m.items; begin += gridDim.x * COUNT_TILE) {
        const uint32_t end = min(m.items - begin, COUNT_TILE) + begin;
        for (uint32_t i = begin; i < end; i += HELD * blockDim.x) {
            float s[HELD];
            nan += load_items<S, false, true>(items, i + 4 * threadIdx.x, blockDim.x, end, s);
        }
    }
    if (nan)
        totals->nan = 1;
    if (list_loss && blockIdx.x == 0 && threadIdx.x == 0)
        *list_loss = __int_as_float(0x7fc00000);
}

// Everything on one stream, one step after the other.
template <class S> struct Runner {
    cudaStream_t stream;
    const LongJob &job;
    const Long &l;
    unsigned blocks, terms;
    bool aligned;

    void sort(uint32_t *order)
    {
        size_t bytes = l.temporary_bytes;
        check(cub::DeviceRadixSort::SortPairs(l.temporary, bytes, l.key, l.sorted, l.first, order, job.p, 0,
                                              32, stream),
              "sorting relevant items");
    }

    void cuts(float *cut, const float *old)
    {
        launch_kernel(stream, "making thresholds", make_cuts, blocks_of(std::max(job.p, FEW)), TERM_THREADS,
                      0, l.sorted, job.p, job.box.half_margin, cut, old, l.changed);
    }

    void sums(const uint32_t *hist, uint32_t *ahead)
    {
        size_t bytes = l.temporary_bytes;
        check(cub::DeviceScan::InclusiveSum(l.temporary, bytes, hist, ahead, job.p + 1, stream),
              "summing counts");
    }

    void clear(void *memory, size_t bytes)
    {
        check(cudaMemsetAsync(memory, 0, bytes, stream), "clearing");
    }

    void gather()
    {
        const uint32_t tiles = ceil_div(job.matrix.items, COUNT_TILE);
        size_t bytes = l.temporary_bytes;
        launch_kernel(stream, "clearing relevant items", clear_relevant, terms, TERM_THREADS, 0, l, job.p);
        check(
            cub::DeviceScan::ExclusiveSum(l.temporary, bytes, job.tile_relevant, l.tile_start, tiles, stream),
            "summing tiles");
        launch_kernel(stream, "gathering relevant items", gather_relevant<S>, tiles, 256, 0, job.matrix, l,
                      job.p, job.box.half_margin, job.totals);
    }

    void count()
    {
        const size_t counts = (static_cast<size_t>(job.p) + 1) * sizeof(uint32_t);
        if (splits(job.p)) {
            clear(l.part.total, (PART_BUCKETS + 1) * sizeof(uint32_t));
            clear(l.part.hist, counts);
            launch_part_count(stream, l.part, job.matrix, job.totals);
            return sums(l.part.hist, l.ahead);
        }
        clear(l.ahead, counts);
        launch_kernel(stream, "counting a list", aligned ? count_long<S, true> : count_long<S, false>, blocks,
                      THREADS, sizeof(Thresholds<ROOM>), job.matrix, l, job.p, job.totals);
    }

    void move()
    {
        const size_t counts = (static_cast<size_t>(job.p) + 1) * sizeof(uint32_t);
        check(cudaStreamWaitEvent(stream, job.cleared), "waiting for a gradient to be cleared");
        if (splits(job.p)) {
            clear(l.part.change, counts);
            launch_part_move(stream, l.part, job.box, job.n, job.totals, l.changed, job.gradient, l.passed);
            return sums(l.part.change, l.passes);
        }
        clear(l.passes, counts);
        launch_kernel(stream, "moving a list", aligned ? move_long<S, true> : move_long<S, false>, blocks,
                      THREADS, sizeof(Thresholds<ROOM>), job, l);
    }

    void run()
    {
        clear(l.passed, 2 * sizeof *l.passed);
        if (job.gradient) { // beside the counting, which leaves the memory's bandwidth mostly alone
            check(cudaEventRecord(job.cleared, stream), "marking a start");
            check(cudaStreamWaitEvent(job.side, job.cleared), "waiting for a start");
            check(cudaMemsetAsync(job.gradient, 0, job.matrix.items * sizeof(float), job.side), "clearing");
            check(cudaEventRecord(job.cleared, job.side), "marking a cleared gradient");
        }
        gather();
        sort(l.order);
        cuts(l.cut, nullptr);
        count();
        launch_kernel(stream, "making terms", make_terms, terms, TERM_THREADS, 0, job, l);
        launch_kernel(stream, "making a loss", make_loss, 1, 512, 0, job, l.partial, terms);
        if (!job.gradient)
            return;
        sort(l.order_after);
        cuts(l.cut_after, l.cut);
        move();
        launch_kernel(stream, "writing relevant items", write_relevant, terms, TERM_THREADS, 0, job, l);
    }
};

template <class S> void run(cudaStream_t stream, const LongJob &job, const Long &l, int processors)
{
    const Matrix &m = job.matrix;
    const bool aligned = reinterpret_cast<uintptr_t>(m.scores) % 16 == 0 &&
                         reinterpret_cast<uintptr_t>(m.targets) % 4 == 0 &&
                         reinterpret_cast<uintptr_t>(job.gradient) % 16 == 0;
    const unsigned tiles = ceil_div(m.items, COUNT_TILE), most = 2 * static_cast<unsigned>(processors);
    Long mine = l;
    mine.part.splitters = std::min(mine.part.tiles, static_cast<unsigned>(processors));
    Runner<S> runner = {stream, job, mine, std::min(tiles, most), blocks_of(job.p), aligned};
    runner.run();
}

template <class S> void allow()
{
    const auto shared = cudaFuncAttributeMaxDynamicSharedMemorySize;
    const int bytes = sizeof(Thresholds<ROOM>);
    check(cudaFuncSetAttribute(count_long<S, true>, shared, bytes), "shared memory for a list");
    check(cudaFuncSetAttribute(count_long<S, false>, shared, bytes), "shared memory for a list");
    check(cudaFuncSetAttribute(move_long<S, true>, shared, bytes), "shared memory for a list");
    check(cudaFuncSetAttribute(move_long<S, false>, shared, bytes), "shared memory for a list");
}

} // namespace

size_t long_bytes(uint32_t items, uint32_t p)
{
    return carve_long(nullptr, items, p).bytes;
}

void prepare_long()
{
    allow<float>(), allow<Fp16>(), allow<Bf16>();
    prepare_partition();
}

void launch_long(cudaStream_t stream, const LongJob &job, void *memory, int processors)
{
    const Long l = carve_long(memory, job.matrix.items, job.p);
    switch (job.matrix.type) {
    case Score::FP16:
        return run<Fp16>(stream, job, l, processors);
    case Score::BF16:
        return run<Bf16>(stream, job, l, processors);
    default:
        return run<float>(stream, job, l, processors);
    }
}

void launch_skip(cudaStream_t stream, const Matrix &list, float *gradient, float *list_loss, Totals *totals)
{
    const unsigned blocks = ceil_div(list.items, COUNT_TILE);
    if (gradient)
        check(cudaMemsetAsync(gradient, 0, list.items * sizeof(float), stream), "clearing");
    switch (list.type) {
    case Score::FP16:
        launch_kernel(stream, "skipping a list", skip_list<Fp16>, blocks, 256, 0, list, list_loss, totals);
        break;
    case Score::BF16:
        launch_kernel(stream, "skipping a list", skip_list<Bf16>, blocks, 256, 0, list, list_loss, totals);
        break;
    default:
        launch_kernel(stream, "skipping a list", skip_list<float>, blocks, 256, 0, list, list_loss, totals);
        break;
    }
}

} // namespace rk
