/* SPDX-License-Identifier: Apache-2.0 */
// A request on scores: inputs to the device, kernels, outputs back. The host waits once, at the
// end: memory and sorts are sized by what requests of the same shape wanted before. One that wants
// more, and the first one of a few long lists, are computed again.
#include <memory>

#include "cuda/knows.cuh"
#include "cuda/loss_term.cuh"
#include "cuda/tensors.cuh"

namespace rk
{

namespace
{

// In pinned memory; written by the last kernels.
struct ScoresReport {
    Totals lists, flat;
    unsigned long long nonzero; // of a joined gradient
};
static_assert(sizeof(ScoresReport) <= Lane::REPORT_BYTES, "a lane has room for it");

class ScoresRequest
{
  public:
    ScoresRequest(rk_plugin_device &device, Lane &lane, rk_device_scores_job &job)
        : device_(device), lane_(lane), job_(job), report_(static_cast<ScoresReport *>(lane.report)),
          lists_(job.by_column ? job.columns : job.rows), items_(job.by_column ? job.rows : job.columns),
          elements_(job.rows * job.columns), out_(lane, job.gradient, elements_)
    {
    }

    void run()
    {
        if (items_ > LIST_MOST || (interclass() > 0 && elements_ > LIST_MOST))
            throw Declined{};
        scores_ = bring(lane_, job_.scores, job_.scores_on_device, job_.score_dtype, elements_);
        targets_ = bring(lane_, job_.targets, job_.targets_on_device, job_.target_dtype, elements_);
        make_parts();
        compute();
        wait();
        const bool again = computes_lists() && lists_part_->compute_again(),
                   again_flat = flat_part_ && flat_part_->compute_again();
        if (again || again_flat) {
            arrange();
            wait();
        }
        write();
    }

  private:
    // The share of the loss over the whole batch as one list.
    double interclass() const
    {
        return job_.box.params.interclass;
    }

    bool computes_lists() const
    {
        return interclass() < 1 || job_.list_loss;
    }

    // With two parts, what each finds is kept as changes of rank, and weighed where it is added.
    bool joins() const
    {
        return out_.any() && interclass() > 0 && interclass() < 1;
    }

    // Scores and targets as kernels read them, by row or turned.
    Matrix matrix_of(bool by_column, size_t lists, size_t items)
    {
        Matrix matrix = {scores_, static_cast<const int8_t *>(targets_), Score::FP32,
                         lists,   static_cast<uint32_t>(items),          static_cast<uint32_t>(items)};
        if (by_column || job_.score_dtype == RK_FP64) {
            float *to = lane_.arena.take<float>(elements_);
            launch_convert_scores(lane_.stream, scores_, job_.score_dtype, job_.rows, job_.columns, by_column,
                                  to);
            matrix.scores = to;
        } else if (job_.score_dtype != RK_FP32) {
            matrix.type = job_.score_dtype == RK_FP16 ? Score::FP16 : Score::BF16;
        }
        if (converts(by_column)) {
            int8_t *to = lane_.arena.take<int8_t>(elements_);
            launch_convert_targets(lane_.stream, targets_, job_.target_dtype, job_.rows, job_.columns,
                                   by_column, to);
            matrix.targets = to;
        }
        return matrix;
    }
    bool converts(bool by_column) const
    {
        return by_column || size_of(job_.target_dtype) > 1;
    }

    std::unique_ptr<LossTerm> part_of(const Matrix &matrix, bool by_column, const Box &box, Totals *report)
    {
        const bool is_signed = converts(by_column) || job_.target_dtype == RK_INT8;
        auto part = std::make_unique<LossTerm>(device_, lane_, matrix, is_signed, box, report);
        part->count();
        return part;
    }

    void make_parts()
    {
        const Matrix lists = matrix_of(job_.by_column, lists_, items_);
        lists_part_ =
            part_of(lists, job_.by_column,
                    box_of(job_.box, 1.0 - interclass(), job_.box.params.average, joins()), &report_->lists);
        if (interclass() == 0)
            return;
        Matrix flat = job_.by_column ? matrix_of(false, 1, elements_) : lists;
        flat.lists = 1;
        flat.items = flat.stride = static_cast<uint32_t>(elements_);
        flat_part_ =
            part_of(flat, false, box_of(job_.box, interclass(), RK_AVERAGE_SUM, joins()), &report_->flat);
    }

    void compute()
    {
        const bool weighs = interclass() < 1; // the lists do
        list_loss_ = job_.list_loss ? lane_.arena.take<float>(lists_) : nullptr;
        if (out_.any()) {
            result_ = out_.memory();
            const bool apart = job_.by_column || joins();
            lists_gradient_ = !weighs ? nullptr : apart ? lane_.arena.take<float>(elements_) : result_;
            turned_ = job_.by_column && joins() ? lane_.arena.take<float>(elements_) : result_;
            flat_gradient_ = joins() ? lane_.arena.take<float>(elements_) : result_;
            nonzero_ = lane_.arena.take<unsigned long long>(1);
        }
        if (computes_lists())
            lists_part_->compute(lists_gradient_, list_loss_);
        else
            lists_part_->only_count();
        if (flat_part_)
            flat_part_->compute(flat_gradient_, nullptr);
        arrange();
    }

    // Brings the gradient into the tensor's own order and its parts together.
    void arrange()
    {
        if (!out_.any())
            return;
        const float *lists = lists_gradient_;
        if (lists && job_.by_column) {
            launch_turn(lane_.stream, lists, lists_, items_, turned_);
            lists = turned_;
        }
        if (joins())
            join(lists);
        out_.count(result_);
    }

    void join(const float *lists)
    {
        launch_join(lane_.stream, {reinterpret_cast<const int32_t *>(lists),
                                   reinterpret_cast<const int32_t *>(flat_gradient_), lists_part_->box(),
                                   flat_part_->box(), lists_part_->counts(), flat_part_->counts(),
                                   lists_part_->totals_on_device(), flat_part_->totals_on_device(),
                                   job_.by_column, job_.rows, job_.columns, result_, nonzero_});
        check(cudaMemcpyAsync(&report_->nonzero, nonzero_, sizeof *nonzero_, cudaMemcpyDeviceToHost,
                              lane_.stream),
              "copying a count");
    }

    void wait()
    {
        check(cudaStreamSynchronize(lane_.stream), "computing");
        (void)lists_part_->totals();
        if (flat_part_)
            (void)flat_part_->totals();
    }

    void write()
    {
        if (computes_lists())
            lists_part_->remember();
        if (flat_part_)
            flat_part_->remember();
        const Totals &lists = lists_part_->totals();
        const Totals none = {}, &flat = flat_part_ ? flat_part_->totals() : none;
        job_.loss = lists.loss + flat.loss;
        job_.lists = lists_;
        job_.skipped = lists_ - lists.valid;
        job_.stalled = lists.stalled;
        job_.jumped = lists.jumped;
        job_.relevant = lists.relevant;
        job_.gradient.nonzero = joins() ? report_->nonzero : lists.nonzero + flat.nonzero;
        if (list_loss_)
            lane_.staging.to_host(lane_.stream, job_.list_loss, list_loss_, lists_ * sizeof(float));
        if (out_.any())
            out_.write(result_);
    }

    rk_plugin_device &device_;
    Lane &lane_;
    rk_device_scores_job &job_;
    ScoresReport *report_;
    size_t lists_, items_, elements_;
    GradientOut out_;
    const void *scores_ = nullptr, *targets_ = nullptr;
    std::unique_ptr<LossTerm> lists_part_, flat_part_;
    float *list_loss_ = nullptr;
    // By list; the same in the tensor's order; of the flat part; as it goes out.
    float *lists_gradient_ = nullptr, *turned_ = nullptr, *flat_gradient_ = nullptr, *result_ = nullptr;
    unsigned long long *nonzero_ = nullptr;
};

} // namespace

void run_scores(rk_plugin_device &device, rk_device_scores_job &job)
{
    Borrowed lane(device);
    ScoresRequest(device, *lane, job).run();
}

} // namespace rk
