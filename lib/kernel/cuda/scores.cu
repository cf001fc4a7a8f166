// A request on scores: inputs to the card, kernels, outputs back. The host waits once, at the end; lists with
// very many relevant items, and requests of a few long lists, want one more wait before it, because memory
// and sorts are sized by what was counted.
#include <algorithm>
#include <vector>

#include "card.cuh"
#include "kernels.cuh"

namespace rk
{

namespace
{

constexpr uint32_t LONG_ITEMS = 1 << 18; // a list of more is given the whole card, unless there are many
constexpr size_t MANY_LISTS = 64;

size_t size_of(int dtype)
{
    switch (dtype) {
    case RK_FP64:
    case RK_INT64:
        return 8;
    case RK_FP32:
    case RK_INT32:
        return 4;
    case RK_FP16:
    case RK_BF16:
        return 2;
    default:
        return 1;
    }
}

class Request
{
  public:
    Request(rk_card &card, Lane &lane, rk_card_scores &job)
        : card_(card), lane_(lane), job_(job), report_(static_cast<Totals *>(lane.report))
    {
    }

    void run()
    {
        measure();
        bring();
        count();
        if (whole_card_) {
            run_long(read_counts(), 0);
            launch_losses(lane_.stream, loss_, lists_, totals_, report_);
        } else {
            launch_short(lane_.stream, short_job(report_));
        }
        arrange();
        Totals totals = read_totals();
        if (!whole_card_ && totals.most > SHORT_SOME) { // lists that are left
            run_rest(totals.most);
            arrange();
            totals = read_totals();
        }
        write(totals);
    }

  private:
    void measure()
    {
        lists_ = job_.by_column ? job_.columns : job_.rows;
        items_ = static_cast<uint32_t>(job_.by_column ? job_.rows : job_.columns);
        elements_ = lists_ * items_;
        tiles_ = ceil_div(items_, COUNT_TILE);
        if (lists_ * tiles_ > 0x7fffffff)
            throw Passed{};
        whole_card_ = items_ > LONG_ITEMS && lists_ < MANY_LISTS;
        box_ = {job_.recall,  job_.normalized, job_.batch, job_.weight,
                job_.average, job_.margin / 2, job_.lambda};
        want_gradient_ = job_.wants_gradient || job_.wants_sparse;
    }

    const void *brought(const void *data, bool on_card, int dtype)
    {
        const size_t size = size_of(dtype), bytes = elements_ * size;
        if (on_card && reinterpret_cast<uintptr_t>(data) % size == 0)
            return data;
        void *to = lane_.arena.bytes(bytes);
        if (on_card)
            check(cudaMemcpyAsync(to, data, bytes, cudaMemcpyDeviceToDevice, lane_.stream),
                  "copying a tensor");
        else
            lane_.staging.to_card(lane_.stream, to, data, bytes);
        return to;
    }

    void bring()
    {
        const void *scores = brought(job_.scores, job_.scores_on_card, job_.score_dtype);
        const void *targets = brought(job_.targets, job_.targets_on_card, job_.target_dtype);
        matrix_ = {scores, static_cast<const int8_t *>(targets), Score::FP32, lists_, items_, items_};
        signed_ = job_.target_dtype == RK_INT8;
        if (job_.by_column || job_.score_dtype == RK_FP64) {
            float *to = lane_.arena.take<float>(elements_);
            launch_convert_scores(lane_.stream, scores, job_.score_dtype, job_.rows, job_.columns,
                                  job_.by_column, to);
            matrix_.scores = to;
        } else if (job_.score_dtype != RK_FP32) {
            matrix_.type = job_.score_dtype == RK_FP16 ? Score::FP16 : Score::BF16;
        }
        if (job_.by_column || size_of(job_.target_dtype) > 1) {
            int8_t *to = lane_.arena.take<int8_t>(elements_);
            launch_convert_targets(lane_.stream, targets, job_.target_dtype, job_.rows, job_.columns,
                                   job_.by_column, to);
            matrix_.targets = to;
            signed_ = true;
        }
    }

    void count()
    {
        // Cleared together.
        const size_t head = (sizeof(Totals) + 255) / 256 * 256, bytes = head + lists_ * sizeof(ListCount);
        unsigned char *base = lane_.arena.take<unsigned char>(bytes);
        totals_ = reinterpret_cast<Totals *>(base);
        count_ = reinterpret_cast<ListCount *>(base + head);
        tile_relevant_ = lane_.arena.take<uint32_t>(lists_ * tiles_);
        room_ = std::min(items_, SHORT_SOME);
        positions_ = whole_card_ ? nullptr : lane_.arena.take<uint32_t>(lists_ * room_);
        loss_ = lane_.arena.take<double>(lists_);
        list_loss_ = job_.list_loss ? lane_.arena.take<float>(lists_) : nullptr;
        if (want_gradient_) {
            const bool in_place = job_.wants_gradient && job_.gradient_on_card && !job_.by_column &&
                                  reinterpret_cast<uintptr_t>(job_.gradient) % sizeof(float) == 0;
            gradient_ = in_place ? job_.gradient : lane_.arena.take<float>(elements_);
        }
        check(cudaMemsetAsync(base, 0, bytes, lane_.stream), "clearing");
        launch_count(lane_.stream, matrix_.targets, lists_, items_, signed_, count_, tile_relevant_,
                     positions_, room_, totals_);
    }

    ShortJob short_job(Totals *report) const
    {
        return {matrix_, box_, count_, positions_, room_, totals_, gradient_, loss_, list_loss_, report};
    }

    void run_rest(uint32_t most)
    {
        launch_short_rest(lane_.stream, short_job(nullptr));
        if (most > SHORT_MOST)
            run_long(read_counts(), SHORT_MOST);
        launch_losses(lane_.stream, loss_, lists_, totals_, report_);
    }

    Totals read_totals()
    {
        check(cudaStreamSynchronize(lane_.stream), "computing");
        const Totals totals = *report_;
        if (totals.bad || totals.nan)
            throw Passed{}; // the CPU engine finds the position and the sentence
        return totals;
    }

    std::vector<ListCount> read_counts()
    {
        std::vector<ListCount> counts(lists_);
        lane_.staging.to_host(lane_.stream, counts.data(), count_, lists_ * sizeof(ListCount));
        return counts;
    }

    // Lists with more relevant items than `above`, one after the other in the same memory.
    void run_long(const std::vector<ListCount> &counts, uint32_t above)
    {
        size_t bytes = 0;
        for (const ListCount &count : counts)
            if (count.p > above)
                bytes = std::max(bytes, long_bytes(items_, count.p));
        void *memory = lane_.arena.bytes(bytes);
        for (size_t l = 0; l < lists_; l++) {
            const ListCount &count = counts[l];
            const Matrix list = list_of(l);
            float *gradient = gradient_ ? gradient_ + l * items_ : nullptr,
                  *list_loss = list_loss_ ? list_loss_ + l : nullptr;
            if (count.p == 0 && above == 0) {
                check(cudaMemsetAsync(loss_ + l, 0, sizeof *loss_, lane_.stream), "clearing");
                launch_skip(lane_.stream, list, gradient, list_loss, totals_);
            }
            if (count.p <= above)
                continue;
            launch_long(lane_.stream,
                        {list, box_, count.p, items_ - count.ignored, tile_relevant_ + l * tiles_, totals_,
                         gradient, loss_ + l, list_loss, lane_.side, lane_.cleared},
                        memory, card_.processors);
        }
    }

    Matrix list_of(size_t l) const
    {
        Matrix list = matrix_;
        const size_t size = list.type == Score::FP32 ? 4 : 2;
        list.scores = static_cast<const unsigned char *>(matrix_.scores) + l * items_ * size;
        list.targets = matrix_.targets + l * items_;
        list.lists = 1;
        return list;
    }

    // Brings the gradient into the tensor's own order, and counts the sparse pair.
    void arrange()
    {
        result_ = gradient_;
        if (gradient_ && job_.by_column) {
            if (!turned_)
                turned_ = job_.wants_gradient && job_.gradient_on_card ? job_.gradient
                                                                       : lane_.arena.take<float>(elements_);
            launch_turn(lane_.stream, gradient_, lists_, items_, turned_);
            result_ = turned_;
        }
        if (job_.wants_sparse) {
            if (!compress_) {
                compress_ = lane_.arena.bytes(compress_bytes(elements_));
                sparse_total_ = lane_.arena.take<unsigned long long>(1);
            }
            launch_compress_count(lane_.stream, result_, elements_, compress_, sparse_total_);
        }
    }

    void write(const Totals &totals)
    {
        job_.loss = totals.loss;
        job_.lists = lists_;
        job_.skipped = lists_ - totals.valid;
        job_.stalled = totals.stalled;
        job_.nonzero = totals.nonzero;
        if (list_loss_)
            lane_.staging.to_host(lane_.stream, job_.list_loss, list_loss_, lists_ * sizeof(float));
        if (job_.wants_sparse)
            write_sparse();
        if (!job_.wants_gradient || result_ == job_.gradient)
            return;
        if (job_.gradient_on_card) {
            check(cudaMemcpyAsync(job_.gradient, result_, elements_ * sizeof(float), cudaMemcpyDeviceToDevice,
                                  lane_.stream),
                  "copying a gradient");
            check(cudaStreamSynchronize(lane_.stream), "copying a gradient");
        } else {
            lane_.staging.to_host(lane_.stream, job_.gradient, result_, elements_ * sizeof(float));
        }
    }

    void write_sparse()
    {
        unsigned long long count = 0;
        lane_.staging.to_host(lane_.stream, &count, sparse_total_, sizeof count);
        int64_t *index = nullptr;
        float *value = nullptr;
        if (!job_.sparse_room(job_.sparse_arg, count, &index, &value))
            throw Passed{};
        int64_t *index_on_card = index ? lane_.arena.take<int64_t>(count) : nullptr;
        float *value_on_card = value ? lane_.arena.take<float>(count) : nullptr;
        launch_compress(lane_.stream, result_, elements_, compress_, index_on_card, value_on_card);
        if (index)
            lane_.staging.to_host(lane_.stream, index, index_on_card, count * sizeof *index);
        if (value)
            lane_.staging.to_host(lane_.stream, value, value_on_card, count * sizeof *value);
    }

    rk_card &card_;
    Lane &lane_;
    rk_card_scores &job_;
    Totals *report_; // pinned: written by the kernel that comes last
    size_t lists_ = 0, elements_ = 0;
    uint32_t items_ = 0, tiles_ = 0;
    bool whole_card_ = false, want_gradient_ = false, signed_ = false;
    Box box_ = {};
    Matrix matrix_ = {};
    Totals *totals_ = nullptr;
    ListCount *count_ = nullptr;
    uint32_t *tile_relevant_ = nullptr, *positions_ = nullptr, room_ = 0;
    double *loss_ = nullptr;
    float *list_loss_ = nullptr, *gradient_ = nullptr; // by list
    float *turned_ = nullptr, *result_ = nullptr;      // in the order of the tensor
    void *compress_ = nullptr;
    unsigned long long *sparse_total_ = nullptr;
};

} // namespace

void run_scores(rk_card &card, rk_card_scores &job)
{
    Borrowed lane(card);
    Request(card, *lane, job).run();
}

} // namespace rk
