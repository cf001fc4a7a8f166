/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/loss_term.cuh"

#include <algorithm>

namespace rk
{

namespace
{

// Longer lists are worked on by all of the device, unless there is one for each multiprocessor. On
// an H200 a block takes 0.15 ms for a list of 65,536 beside as many others as there is room for,
// all of the device 0.2 ms for one of 10 million.
constexpr uint32_t LONG_ITEMS = 1 << 18;

} // namespace

LossTerm::LossTerm(rk_plugin_device &device, Lane &lane, const Matrix &matrix, bool signed_targets,
                   const Box &box, Totals *report)
    : device_(device), lane_(lane), matrix_(matrix), signed_(signed_targets), box_(box), report_(report),
      tiles_(ceil_div(matrix.items, COUNT_TILE)), room_(std::min(matrix.items, SHORT_SOME)),
      whole_device_(matrix.items > LONG_ITEMS && matrix.lists < static_cast<size_t>(device.processors))
{
    if (matrix.lists * tiles_ > 0x7fffffff)
        throw Declined{};
}

void LossTerm::count()
{
    // Cleared together.
    const size_t head = (sizeof(Totals) + 255) / 256 * 256, lists = matrix_.lists,
                 bytes = head + lists * sizeof(ListCount);
    unsigned char *base = lane_.arena.take<unsigned char>(bytes);
    totals_ = reinterpret_cast<Totals *>(base);
    count_ = reinterpret_cast<ListCount *>(base + head);
    tile_relevant_ = lane_.arena.take<uint32_t>(lists * tiles_);
    positions_ = whole_device_ ? nullptr : lane_.arena.take<uint32_t>(lists * room_);
    loss_ = lane_.arena.take<double>(lists);
    check(cudaMemsetAsync(base, 0, bytes, lane_.stream), "clearing");
    launch_count(lane_.stream, matrix_, signed_, count_, tile_relevant_, positions_, room_, totals_);
}

void LossTerm::compute(float *gradient, float *list_loss)
{
    gradient_ = gradient;
    list_loss_ = list_loss;
    size_ = device_.sizes.expected(matrix_.lists, matrix_.items);
    if (size_.most == 0 && whole_device_) // the first of its shape: it is counted only
        return only_count();
    size_.most = std::max(size_.most, SHORT_SOME);
    launch();
}

void LossTerm::only_count()
{
    launch_losses(lane_.stream, loss_, 0, totals_, report_);
}

const Totals &LossTerm::totals() const
{
    if (report_->bad || report_->nan)
        throw Declined{}; // the CPU engine finds the position and the sentence
    return *report_;
}

bool LossTerm::compute_again()
{
    const LongSize wanted = wanted_size();
    if (wanted.most <= size_.most && wanted.chunks <= size_.chunks)
        return false;
    size_ = wanted;
    check(cudaMemsetAsync(reinterpret_cast<unsigned char *>(totals_) + TOTALS_RANKED, 0,
                          sizeof *totals_ - TOTALS_RANKED, lane_.stream),
          "clearing");
    launch();
    return true;
}

void LossTerm::remember()
{
    device_.sizes.note(matrix_.lists, matrix_.items, wanted_size());
}

// By what was counted. Where no list was described, chunks are not known but for how many there can
// be.
LongSize LossTerm::wanted_size() const
{
    const Totals &seen = *report_;
    if (!whole_device_ && seen.most <= SHORT_MOST)
        return {seen.most, 0};
    return {seen.most, seen.chunks ? seen.chunks : chunks_most(matrix_.lists, seen.relevant)};
}

// Everything that lists of size_ want.
void LossTerm::launch()
{
    if (!whole_device_) {
        const bool all = size_.most <= SHORT_SOME;
        launch_short(lane_.stream, short_job(all ? report_ : nullptr));
        if (all)
            return;
        launch_short_rest(lane_.stream, short_job(nullptr));
    }
    if (whole_device_ || size_.most > SHORT_MOST)
        launch_long(lane_.stream, long_job(), memory_for_long(), device_.processors);
    launch_losses(lane_.stream, loss_, matrix_.lists, totals_, report_);
}

ShortJob LossTerm::short_job(Totals *report) const
{
    return {matrix_, box_, count_, positions_, room_, totals_, gradient_, loss_, list_loss_, report};
}

LongJob LossTerm::long_job() const
{
    LongJob job = {};
    job.matrix = matrix_;
    job.box = box_;
    job.least = whole_device_ ? 0 : SHORT_MOST + 1;
    job.size = size_;
    job.count = count_;
    job.tile_relevant = tile_relevant_;
    job.totals = totals_;
    job.gradient = gradient_;
    job.loss = loss_;
    job.list_loss = list_loss_;
    job.side = lane_.side;
    job.cleared = lane_.cleared;
    return job;
}

void *LossTerm::memory_for_long()
{
    return lane_.arena.bytes(long_bytes(matrix_.lists, matrix_.items, size_));
}

} // namespace rk
