/* SPDX-License-Identifier: Apache-2.0 */
// A term of the loss of a request on scores: its lists, or with interclass the whole batch as one.
#pragma once

#include "cuda/device.cuh"
#include "cuda/kernels.cuh"

namespace rk
{

class LossTerm
{
  public:
    // `report`: pinned, written by the last kernel of the term.
    LossTerm(rk_plugin_device &device, Lane &lane, const Matrix &matrix, bool signed_targets, const Box &box,
             Totals *report);
    LossTerm(const LossTerm &) = delete;
    LossTerm &operator=(const LossTerm &) = delete;

    void count();
    // After count(). gradient: [lists, items] or NULL; list_loss: [lists] or NULL; all on the
    // device.
    void compute(float *gradient, float *list_loss);
    void only_count(); // in place of compute(): no loss, only the counts
    // After a wait. Throws Declined for errors; the CPU engine has the sentence.
    const Totals &totals() const;
    // After a wait: computes again if lists have more relevant items than compute() expected. True:
    // wait again.
    bool compute_again();
    // After the last wait: records the sizes for requests of the same shape.
    void remember();

    const Box &box() const
    {
        return box_;
    }
    const ListCount *counts() const // [lists], on the device
    {
        return count_;
    }
    const Totals *totals_on_device() const
    {
        return totals_;
    }

  private:
    LongSize wanted_size() const;
    void launch();
    ShortJob short_job(Totals *report) const;
    LongJob long_job() const;
    void *memory_for_long();

    rk_plugin_device &device_;
    Lane &lane_;
    Matrix matrix_;
    bool signed_;
    Box box_;
    Totals *report_;
    uint32_t tiles_, room_;
    bool whole_device_; // for all lists together, for any number of relevant items
    LongSize size_ = {};
    Totals *totals_ = nullptr;
    ListCount *count_ = nullptr;
    uint32_t *tile_relevant_ = nullptr, *positions_ = nullptr;
    double *loss_ = nullptr;
    float *list_loss_ = nullptr, *gradient_ = nullptr;
};

} // namespace rk
