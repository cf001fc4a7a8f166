#include "loss_part.cuh"

#include <algorithm>

namespace rk
{

namespace
{

constexpr uint32_t LONG_ITEMS = 1 << 18; // a list of more is given the whole card, unless there are many
constexpr size_t MANY_LISTS = 64;

} // namespace

LossPart::LossPart(rk_card &card, Lane &lane, const Matrix &matrix, bool signed_targets, const Box &box,
                   Totals *report)
    : card_(card), lane_(lane), matrix_(matrix), signed_(signed_targets), box_(box), report_(report),
      tiles_(ceil_div(matrix.items, COUNT_TILE)), room_(std::min(matrix.items, SHORT_SOME)),
      whole_card_(matrix.items > LONG_ITEMS && matrix.lists < MANY_LISTS)
{
    if (matrix.lists * tiles_ > 0x7fffffff)
        throw Passed{};
}

void LossPart::count()
{
    // Cleared together.
    const size_t head = (sizeof(Totals) + 255) / 256 * 256, lists = matrix_.lists,
                 bytes = head + lists * sizeof(ListCount);
    unsigned char *base = lane_.arena.take<unsigned char>(bytes);
    totals_ = reinterpret_cast<Totals *>(base);
    count_ = reinterpret_cast<ListCount *>(base + head);
    tile_relevant_ = lane_.arena.take<uint32_t>(lists * tiles_);
    positions_ = whole_card_ ? nullptr : lane_.arena.take<uint32_t>(lists * room_);
    loss_ = lane_.arena.take<double>(lists);
    check(cudaMemsetAsync(base, 0, bytes, lane_.stream), "clearing");
    launch_count(lane_.stream, matrix_.targets, lists, matrix_.items, signed_, count_, tile_relevant_,
                 positions_, room_, totals_);
}

void LossPart::compute(float *gradient, float *list_loss)
{
    gradient_ = gradient;
    list_loss_ = list_loss;
    if (!whole_card_)
        return launch_short(lane_.stream, short_job(report_));
    run_long(0);
    launch_losses(lane_.stream, loss_, matrix_.lists, totals_, report_);
}

void LossPart::only_count()
{
    launch_losses(lane_.stream, loss_, 0, totals_, report_);
}

const Totals &LossPart::totals() const
{
    if (report_->bad || report_->nan)
        throw Passed{}; // the CPU engine finds the position and the sentence
    return *report_;
}

bool LossPart::compute_rest()
{
    const uint32_t most = report_->most;
    if (whole_card_ || most <= SHORT_SOME)
        return false;
    launch_short_rest(lane_.stream, short_job(nullptr));
    if (most > SHORT_MOST)
        run_long(SHORT_MOST);
    launch_losses(lane_.stream, loss_, matrix_.lists, totals_, report_);
    return true;
}

ShortJob LossPart::short_job(Totals *report) const
{
    return {matrix_, box_, count_, positions_, room_, totals_, gradient_, loss_, list_loss_, report};
}

std::vector<ListCount> LossPart::read_counts()
{
    std::vector<ListCount> counts(matrix_.lists);
    lane_.staging.to_host(lane_.stream, counts.data(), count_, counts.size() * sizeof(ListCount));
    return counts;
}

// Lists with more relevant items than `above`, one after the other in the same memory.
void LossPart::run_long(uint32_t above)
{
    const std::vector<ListCount> counts = read_counts();
    const size_t items = matrix_.items;
    size_t bytes = 0;
    for (const ListCount &count : counts)
        if (count.p > above)
            bytes = std::max(bytes, long_bytes(matrix_.items, count.p));
    void *memory = lane_.arena.bytes(bytes);
    for (size_t l = 0; l < counts.size(); l++) {
        const ListCount &count = counts[l];
        const Matrix list = list_of(l);
        float *gradient = gradient_ ? gradient_ + l * items : nullptr,
              *list_loss = list_loss_ ? list_loss_ + l : nullptr;
        if (count.p == 0 && above == 0) {
            check(cudaMemsetAsync(loss_ + l, 0, sizeof *loss_, lane_.stream), "clearing");
            launch_skip(lane_.stream, list, gradient, list_loss, totals_);
        }
        if (count.p <= above)
            continue;
        launch_long(lane_.stream,
                    {list, box_, count.p, matrix_.items - count.ignored, tile_relevant_ + l * tiles_, totals_,
                     gradient, loss_ + l, list_loss, lane_.side, lane_.cleared},
                    memory, card_.processors);
    }
}

Matrix LossPart::list_of(size_t l) const
{
    Matrix list = matrix_;
    const size_t size = list.type == Score::FP32 ? 4 : 2, first = l * matrix_.items;
    list.scores = static_cast<const unsigned char *>(matrix_.scores) + first * size;
    list.targets = matrix_.targets + first;
    list.lists = 1;
    return list;
}

} // namespace rk
