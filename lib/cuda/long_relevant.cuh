/* SPDX-License-Identifier: Apache-2.0 */
// The relevant items of long lists: collection, thresholds, ranks, losses, gradients. Included by
// long.cu only.
#pragma once

#include "cuda/long_memory.cuh"

namespace rk
{

namespace
{

// Decides which lists have room, and where. Run by one block.
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

// The relevant item of a thread. Without a list: beyond all of them.
struct Place {
    uint32_t number, k; // the list, and the index within it: ranked, or in index order
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

// Fills the meaningless places after each list, and all others with valid values: if the targets
// change meanwhile, fewer relevant items may be found than were counted.
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

// Relevant items in index order: one block per tile, sixteen items per thread at a time.
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

// Ascending thresholds from the sorted keys. With `old`, records the lists in which one differs
// from it.
template <class Key>
__global__ void make_thresholds(const Long l, const Key *sorted, float *threshold, const float *old)
{
    const Place place = place_of(l);
    if (!place.there)
        return;
    const uint32_t to = place.list.begin() + place.list.p - 1 - place.k;
    const uint32_t key = static_cast<uint32_t>(sorted[place.list.begin() + place.k]);
    const float value = rk_raw_threshold(rk_float_of_key(~key), l.box.half_margin);
    threshold[to] = value;
    if (old && old[to] != value)
        l.state[place.number].changed = 1;
}

// Counts in final form, or counts that have to be summed up from the beginning of the list.
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
        const double w = list_weight_of(l, place.number, list.p), lambda = lambda_of(l.box, w, list.n);
        const uint32_t i = m.order[list.begin() + place.k],
                       irrelevant_above = counts.at(list.begin(), place.k);
        const rk_item_loss term = term_of(l.box, list.p, place.k, irrelevant_above);
        const float y = moved(m.y[i], lambda, term.slope);
        value = term.value;
        m.rank[i] = static_cast<int32_t>(place.k + 1 + irrelevant_above);
        m.key[i] = key_of<Key>(place.number, ~rk_key(y));
    }
    value = sum_block(value, warp);
    if (threadIdx.x == 0)
        m.partial[blockIdx.x] = value;
}

// One block per list.
__global__ void make_losses(const Long l, const double *partial)
{
    __shared__ double warp[32];
    const LongList list = l.list[blockIdx.x];
    if (!list.taken)
        return;
    if (threadIdx.x == 0 && l.outcome)
        l.outcome[blockIdx.x] = {l.state[blockIdx.x].nan, 0, 0};
    if (threadIdx.x == 0 && l.state[blockIdx.x].nan)
        l.totals->nan = 1;
    double sum = 0;
    for (uint32_t c = threadIdx.x; c <= list.p / CHUNK; c += blockDim.x)
        sum += partial[list.chunk + c];
    sum = sum_block(sum, warp);
    if (threadIdx.x != 0)
        return;
    const double loss = sum / static_cast<double>(list.p);
    l.loss[blockIdx.x] = list.p ? list_weight_of(l, blockIdx.x, list.p) * loss : 0;
    if (l.list_loss)
        l.list_loss[blockIdx.x] = list.p ? static_cast<float>(loss) : __int_as_float(0x7fc00000);
}

template <class Key>
__global__ void write_relevant(const Long l, const Memory<Key> m, const Counts counts, const Counts passes)
{
    __shared__ uint32_t warp[32];
    __shared__ unsigned long long wide_warp[32];
    const Place place = place_of(l);
    const LongList &list = place.list;
    uint32_t changed = 0;
    unsigned long long jumped = 0;
    if (place.there) {
        const double w = list_weight_of(l, place.number, list.p), lambda = lambda_of(l.box, w, list.n);
        const uint32_t i = m.order_after[list.begin() + place.k];
        const uint32_t passed_by = passes.at(list.begin(), list.p - 1 - place.k);
        const uint32_t irrelevant_above = counts.at(list.begin(), place.k) - passed_by;
        const int32_t delta = m.rank[i] - static_cast<int32_t>(place.k + 1 + irrelevant_above);
        l.gradient[static_cast<size_t>(place.number) * l.matrix.stride + m.position[i]] =
            gradient_of(l.box, w, lambda, delta);
        changed = delta != 0;
        jumped = passed_by;
    }
    changed = sum_block(changed, warp);
    jumped = sum_block(jumped, wide_warp);
    if (threadIdx.x != 0 || !list.taken)
        return;
    const unsigned long long passed = l.state[place.number].passed;
    const bool speaks = blockIdx.x == list.chunk; // for its list
    if (changed || (speaks && passed))
        atomicAdd(&l.totals->nonzero, changed + (speaks ? passed : 0));
    if (jumped)
        atomicAdd(&l.totals->jumped, jumped);
    if (jumped && l.outcome)
        atomicAdd(&l.outcome[place.number].jumped, jumped);
    const bool stalled = speaks && l.loss[place.number] > 0 && passed == 0;
    if (stalled)
        atomicAdd(&l.totals->stalled, 1);
    if (stalled && l.list_loss && l.box.params.mark_stalled)
        l.list_loss[place.number] = -l.list_loss[place.number];
    if (stalled && l.outcome)
        l.outcome[place.number].stalled = 1;
}

// The gradients of taken lists; others keep theirs.
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

} // namespace

} // namespace rk
