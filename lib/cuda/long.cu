/* SPDX-License-Identifier: Apache-2.0 */
// Lists that all of the device works on together. Their relevant items are brought together in
// index order, list after list, and sorted by CUB at once; the items are streamed twice, against
// thresholds in shared memory (compare.cu) or, where these are too many, split first
// (partition.cuh).
#include <algorithm>

#include "cuda/long_relevant.cuh"

namespace rk
{

namespace
{

// The most items of lists that are processed together; in tests few enough for several groups.
constexpr size_t GROUP_PLACES = size_t(1) << (WATCHED ? 16 : 25);

// A group of lists: everything on one stream, one step after the other.
template <class Key> struct Runner {
    cudaStream_t stream;
    const LongJob &job; // of the group
    Memory<Key> m;
    Long l = {};
    int processors;

    Runner(cudaStream_t stream, const LongJob &job, uint32_t tiles, void *memory, int processors)
        : stream(stream), job(job),
          m(carve_memory<Key>(memory, static_cast<uint32_t>(job.matrix.lists), tiles, job.size)),
          processors(processors)
    {
        l.matrix = job.matrix;
        l.box = job.box;
        l.lists = static_cast<uint32_t>(job.matrix.lists);
        l.tiles = tiles;
        l.chunks = job.size.chunks;
        l.list_weight = job.list_weight;
        l.totals = job.totals;
        l.outcome = job.outcome;
        l.gradient = job.gradient;
        l.loss = job.loss;
        l.list_loss = job.list_loss;
        l.list = m.list;
        l.state = m.state;
        l.threshold = m.threshold;
        l.perturbed_threshold = m.perturbed_threshold;
        l.irrelevant_above = m.irrelevant_above;
        l.passes = m.passes;
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
        return sums(m.irrelevant_above, m.ahead_sum);
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
        with_type(job.matrix.type, [&](auto score) { gather<decltype(score)>(); });
        sort(m.order);
        each_chunk("making thresholds", make_thresholds<Key>, l, m.sorted, m.threshold, nullptr);
        const Counts irrelevant_above = count();
        each_chunk("making terms", make_terms<Key>, l, m, irrelevant_above);
        launch_kernel(stream, "making losses", make_losses, l.lists, 512, 0, l, m.partial);
        if (!job.gradient)
            return;
        sort(m.order_after);
        each_chunk("making thresholds", make_thresholds<Key>, l, m.sorted, m.perturbed_threshold,
                   m.threshold);
        const Counts passes = move();
        each_chunk("writing relevant items", write_relevant<Key>, l, m, irrelevant_above, passes);
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
    part.list_weight = job.list_weight ? job.list_weight + first : nullptr;
    part.outcome = job.outcome ? job.outcome + first : nullptr;
    part.gradient = job.gradient ? job.gradient + before : nullptr;
    part.list_loss = job.list_loss ? job.list_loss + first : nullptr;
    return part;
}

} // namespace

size_t long_group(size_t lists, uint32_t items)
{
    return std::min(lists, std::max<size_t>(1, GROUP_PLACES / COUNT_TILE / ceil_div(items, COUNT_TILE)));
}

size_t long_bytes(size_t lists, uint32_t items, LongSize size)
{
    const uint32_t tiles = ceil_div(items, COUNT_TILE),
                   each = static_cast<uint32_t>(long_group(lists, items));
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
    const size_t each = long_group(job.matrix.lists, job.matrix.items);
    for (size_t first = 0; first < job.matrix.lists; first += each) {
        const LongJob part = part_of(job, first, std::min(each, job.matrix.lists - first), tiles);
        if (each == 1)
            Runner<uint32_t>(stream, part, tiles, memory, processors).run();
        else
            Runner<uint64_t>(stream, part, tiles, memory, processors).run();
    }
}

} // namespace rk
