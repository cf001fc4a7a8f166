/* SPDX-License-Identifier: Apache-2.0 */
// A request's tensors on their way: brought to the device, and a gradient to where it is wanted.
#pragma once

#include "cuda/device.cuh"

namespace rk
{

size_t size_of(int dtype); // bytes of an element; enum rk_dtype

// Where `elements` elements can be read on the device: `data` itself if it lies there and is
// aligned to its type.
const void *bring(Lane &lane, const void *data, bool on_device, int dtype, size_t elements);

// The gradient's way out. All of it is put on the lane's stream; write() waits.
class GradientOut
{
  public:
    GradientOut(Lane &lane, rk_device_gradient &wanted, size_t elements)
        : lane_(lane), wanted_(wanted), elements_(elements)
    {
    }
    bool any() const
    {
        return wanted_.dense || wanted_.sparse;
    }
    float *memory();                // the caller's own where kernels may write there, else new
    void count(const float *dense); // before the wait: how much the sparse pair will be
    void write(const float *dense); // after it

  private:
    void write_sparse(const float *dense);
    Lane &lane_;
    rk_device_gradient &wanted_;
    size_t elements_;
    void *compress_ = nullptr;
    unsigned long long *sparse_total_ = nullptr;
};

} // namespace rk
