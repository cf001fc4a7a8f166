/* SPDX-License-Identifier: Apache-2.0 */
// rank and rank_vjp: every item's rank in its row, and the blackbox gradient of the ranking with an
// upstream of the caller's own. All rows are sorted at once, by CUB: the row stands in front of the
// key.
#include <cub/cub.cuh>

#include "cuda/device.cuh"
#include "cuda/kernels.cuh"
#include "cuda/tensors.cuh"

namespace rk
{

namespace
{

constexpr int THREADS = 256;

// Read by the host at the end.
struct RankReport {
    unsigned long long nonzero;
    uint32_t bad; // a NaN, or an upstream that is not finite
};

// One ranking of all rows. Key: uint32_t for one row, else uint64_t.
template <class Key> struct Ranking {
    Key *key, *sorted;
    uint32_t *column, *order; // order[k]: the column of what comes k-th
    void *temporary;
    size_t temporary_bytes;
};

// Ascending from the best score of the first row. upstream NULL: scores as they are.
template <class S, class Key>
__global__ void make_keys(const S *scores, const float *upstream, double lambda, size_t elements,
                          uint32_t columns, Key *key, uint32_t *column, RankReport *report)
{
    for (size_t i = grid_first(); i < elements; i += grid_step()) {
        float y = widen(scores[i]);
        if (y != y)
            report->bad = 1;
        if (upstream) {
            const float up = upstream[i];
            if (!(fabsf(up) <= 3.40282347e38f)) // FLT_MAX
                report->bad = 1;
            y = static_cast<float>(static_cast<double>(y) + lambda * static_cast<double>(up));
        }
        const size_t row = i / columns;
        key[i] = static_cast<Key>(~rk_key(y));
        if constexpr (sizeof(Key) > sizeof(uint32_t))
            key[i] |= static_cast<Key>(row) << 32;
        column[i] = static_cast<uint32_t>(i - row * columns);
    }
}

// Before the move: ranks, and places from 0 for the difference; each NULL where it is not wanted.
__global__ void write_ranks(const uint32_t *order, size_t elements, uint32_t columns, int64_t *rank,
                            int32_t *place)
{
    for (size_t i = grid_first(); i < elements; i += grid_step()) {
        const size_t begin = i / columns * columns, at = begin + order[i];
        if (rank)
            rank[at] = static_cast<int64_t>(i - begin) + 1;
        if (place)
            place[at] = static_cast<int32_t>(i - begin);
    }
}

__global__ void write_gradient(const uint32_t *order, const int32_t *place, size_t elements, uint32_t columns,
                               double scale, float *gradient, RankReport *report)
{
    __shared__ uint32_t warp[32];
    uint32_t changed = 0;
    for (size_t i = grid_first(); i < elements; i += grid_step()) {
        const size_t begin = i / columns * columns, at = begin + order[i];
        const float value = rk_gradient_value(1.0, scale, place[at] - static_cast<int32_t>(i - begin));
        gradient[at] = value;
        changed += value != 0;
    }
    changed = sum_block(changed, warp);
    if (threadIdx.x == 0 && changed)
        atomicAdd(&report->nonzero, static_cast<unsigned long long>(changed));
}

int bits_of(size_t rows)
{
    int bits = 0;
    while (bits < 31 && (rows - 1) >> bits)
        bits++;
    return bits;
}

class RankRequest
{
  public:
    RankRequest(Lane &lane, rk_device_rank_job &job)
        : lane_(lane), job_(job), elements_(job.rows * job.columns),
          columns_(static_cast<uint32_t>(job.columns)), out_(lane, job.gradient, elements_)
    {
    }

    void run()
    {
        if (job_.columns > LIST_MOST || job_.rows > LIST_MOST || elements_ / job_.rows != job_.columns)
            throw Declined{};
        if (job_.rows == 1)
            rank<uint32_t>();
        else
            rank<uint64_t>();
        check(cudaMemcpyAsync(lane_.report, report_, sizeof *report_, cudaMemcpyDeviceToHost, lane_.stream),
              "copying a report");
        check(cudaStreamSynchronize(lane_.stream), "ranking");
        const RankReport &report = *static_cast<const RankReport *>(lane_.report);
        if (report.bad)
            throw Declined{}; // the CPU engine finds the position and the sentence
        job_.gradient.nonzero = report.nonzero;
        write_out();
    }

  private:
    unsigned blocks() const
    {
        const size_t blocks = ceil_div<size_t>(elements_, 4 * THREADS);
        return static_cast<unsigned>(blocks < 8192 ? blocks : 8192);
    }

    // FP32 ones stay where they are; FP64 ones are rounded once.
    const void *scores()
    {
        const void *given = bring(lane_, job_.scores, job_.scores_on_device, job_.score_dtype, elements_);
        if (job_.score_dtype != RK_FP64)
            return given;
        float *to = lane_.arena.take<float>(elements_);
        launch_convert_scores(lane_.stream, given, RK_FP64, job_.rows, job_.columns, false, to);
        return to;
    }

    template <class Key> Ranking<Key> take_ranking()
    {
        Ranking<Key> r = {};
        check(cub::DeviceRadixSort::SortPairs(nullptr, r.temporary_bytes, r.key, r.sorted, r.column, r.order,
                                              elements_, 0, end_bit<Key>()),
              "sizing a sort");
        r.key = lane_.arena.take<Key>(elements_);
        r.sorted = lane_.arena.take<Key>(elements_);
        r.column = lane_.arena.take<uint32_t>(elements_);
        r.order = lane_.arena.take<uint32_t>(elements_);
        r.temporary = lane_.arena.bytes(r.temporary_bytes);
        return r;
    }

    template <class Key> int end_bit() const
    {
        return 32 + (sizeof(Key) > sizeof(uint32_t) ? bits_of(job_.rows) : 0);
    }

    template <class Key> void sort(const Ranking<Key> &r, const void *scores, const float *upstream)
    {
        switch (job_.score_dtype) {
        case RK_FP16:
            make(r, static_cast<const Fp16 *>(scores), upstream);
            break;
        case RK_BF16:
            make(r, static_cast<const Bf16 *>(scores), upstream);
            break;
        default:
            make(r, static_cast<const float *>(scores), upstream);
            break;
        }
        size_t bytes = r.temporary_bytes;
        check(cub::DeviceRadixSort::SortPairs(r.temporary, bytes, r.key, r.sorted, r.column, r.order,
                                              elements_, 0, end_bit<Key>(), lane_.stream),
              "sorting scores");
    }

    template <class Key, class S> void make(const Ranking<Key> &r, const S *scores, const float *upstream)
    {
        launch_kernel(lane_.stream, "making keys", make_keys<S, Key>, blocks(), THREADS, 0, scores, upstream,
                      job_.lambda, elements_, columns_, r.key, r.column, report_);
    }

    template <class Key> void rank()
    {
        const void *from = scores();
        const Ranking<Key> r = take_ranking<Key>();
        const bool in_place = job_.ranks_on_device && reinterpret_cast<uintptr_t>(job_.ranks) % 8 == 0;
        report_ = lane_.arena.take<RankReport>(1);
        ranks_ = !job_.ranks ? nullptr : in_place ? job_.ranks : lane_.arena.take<int64_t>(elements_);
        int32_t *place = job_.upstream ? lane_.arena.take<int32_t>(elements_) : nullptr;
        check(cudaMemsetAsync(report_, 0, sizeof *report_, lane_.stream), "clearing");
        sort(r, from, nullptr);
        launch_kernel(lane_.stream, "writing ranks", write_ranks, blocks(), THREADS, 0, r.order, elements_,
                      columns_, ranks_, place);
        if (!job_.upstream)
            return;
        const void *upstream = bring(lane_, job_.upstream, job_.upstream_on_device, RK_FP32, elements_);
        gradient_ = out_.memory();
        sort(r, from, static_cast<const float *>(upstream));
        launch_kernel(lane_.stream, "writing a gradient", write_gradient, blocks(), THREADS, 0, r.order,
                      place, elements_, columns_, job_.scale, gradient_, report_);
        out_.count(gradient_);
    }

    void write_out()
    {
        const size_t bytes = elements_ * sizeof(int64_t);
        if (job_.ranks && !job_.ranks_on_device)
            lane_.staging.to_host(lane_.stream, job_.ranks, ranks_, bytes);
        else if (job_.ranks && ranks_ != job_.ranks)
            check(cudaMemcpyAsync(job_.ranks, ranks_, bytes, cudaMemcpyDeviceToDevice, lane_.stream),
                  "copying ranks");
        if (gradient_)
            out_.write(gradient_);
        check(cudaStreamSynchronize(lane_.stream), "copying ranks");
    }

    Lane &lane_;
    rk_device_rank_job &job_;
    size_t elements_;
    uint32_t columns_;
    GradientOut out_;
    RankReport *report_ = nullptr;
    int64_t *ranks_ = nullptr;
    float *gradient_ = nullptr;
};

} // namespace

void run_rank(rk_plugin_device &device, rk_device_rank_job &job)
{
    Borrowed lane(device);
    RankRequest(*lane, job).run();
}

} // namespace rk
