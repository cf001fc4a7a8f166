/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/sizes.cuh"

#include <algorithm>
#include <cmath>

namespace rk
{

namespace
{

// Counts differ from batch to batch as those of random draws do: by eight standard deviations at
// most.
double with_spare(double relevant)
{
    return relevant + 8 * std::sqrt(relevant) + 64;
}

// Up to the border where another kernel takes over; beyond the last, with something to spare.
uint32_t most_expected(uint32_t most, uint32_t items)
{
    if (most <= SHORT_SOME)
        return SHORT_SOME;
    if (most <= SHORT_MOST)
        return SHORT_MOST;
    return static_cast<uint32_t>(std::min<double>(with_spare(most), items));
}

uint32_t chunks_expected(uint32_t chunks, size_t lists, uint32_t items)
{
    if (chunks == 0) // no list was worked on by all of the device
        return 0;
    const double spare = with_spare(static_cast<double>(chunks) * CHUNK) / CHUNK + 1;
    return static_cast<uint32_t>(
        std::min<double>(spare, chunks_most(lists, static_cast<unsigned long long>(lists) * items)));
}

} // namespace

Sizes::Shape &Sizes::shape_of(size_t lists, uint32_t items)
{
    const auto found = std::find_if(shapes_.begin(), shapes_.end(), [&](const Shape &shape) {
        return shape.lists == lists && shape.items == items;
    });
    Shape shape = {lists, items, {}};
    if (found != shapes_.end()) {
        shape = std::move(*found);
        shapes_.erase(found);
    }
    shapes_.push_front(std::move(shape));
    if (shapes_.size() > SHAPES)
        shapes_.pop_back();
    return shapes_.front();
}

LongSize Sizes::expected(size_t lists, uint32_t items)
{
    const std::lock_guard<std::mutex> hold(lock_);
    const std::deque<LongSize> &last = shape_of(lists, items).seen;
    LongSize size = {0, 0};
    for (const LongSize &seen : last) {
        size.most = std::max(size.most, seen.most);
        size.chunks = std::max(size.chunks, seen.chunks);
    }
    if (last.empty())
        return size;
    return {most_expected(size.most, items), chunks_expected(size.chunks, lists, items)};
}

void Sizes::note(size_t lists, uint32_t items, const LongSize &seen)
{
    const std::lock_guard<std::mutex> hold(lock_);
    std::deque<LongSize> &last = shape_of(lists, items).seen;
    last.push_front(seen);
    if (last.size() > LAST)
        last.pop_back();
}

} // namespace rk
