/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/tensors.cuh"

#include "cuda/kernels.cuh"

namespace rk
{

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

const void *bring(Lane &lane, const void *data, bool on_device, int dtype, size_t elements)
{
    const size_t size = size_of(dtype), bytes = elements * size;
    if (on_device && reinterpret_cast<uintptr_t>(data) % size == 0)
        return data;
    void *to = lane.arena.bytes(bytes);
    if (on_device)
        check(cudaMemcpyAsync(to, data, bytes, cudaMemcpyDeviceToDevice, lane.stream), "copying a tensor");
    else
        lane.staging.to_device(lane.stream, to, data, bytes);
    return to;
}

float *GradientOut::memory()
{
    const bool direct =
        wanted_.dense && wanted_.on_device && reinterpret_cast<uintptr_t>(wanted_.data) % sizeof(float) == 0;
    return direct ? wanted_.data : lane_.arena.take<float>(elements_);
}

void GradientOut::count(const float *dense)
{
    if (!wanted_.sparse)
        return;
    if (!compress_) {
        compress_ = lane_.arena.bytes(compress_bytes(elements_));
        sparse_total_ = lane_.arena.take<unsigned long long>(1);
    }
    launch_compress_count(lane_.stream, dense, elements_, compress_, sparse_total_);
}

void GradientOut::write_sparse(const float *dense)
{
    unsigned long long count = 0;
    lane_.staging.to_host(lane_.stream, &count, sparse_total_, sizeof count);
    int64_t *index = nullptr;
    float *value = nullptr;
    if (!wanted_.sparse_room(wanted_.sparse_arg, count, &index, &value))
        throw Declined{};
    if (count == 0)
        return;
    int64_t *index_on_device = index ? lane_.arena.take<int64_t>(count) : nullptr;
    float *value_on_device = value ? lane_.arena.take<float>(count) : nullptr;
    launch_compress(lane_.stream, dense, elements_, compress_, index_on_device, value_on_device);
    if (index)
        lane_.staging.to_host(lane_.stream, index, index_on_device, count * sizeof *index);
    if (value)
        lane_.staging.to_host(lane_.stream, value, value_on_device, count * sizeof *value);
}

void GradientOut::write(const float *dense)
{
    if (wanted_.sparse)
        write_sparse(dense);
    if (!wanted_.dense || dense == wanted_.data)
        return;
    const size_t bytes = elements_ * sizeof(float);
    if (!wanted_.on_device)
        return lane_.staging.to_host(lane_.stream, wanted_.data, dense, bytes);
    check(cudaMemcpyAsync(wanted_.data, dense, bytes, cudaMemcpyDeviceToDevice, lane_.stream),
          "copying a gradient");
    check(cudaStreamSynchronize(lane_.stream), "copying a gradient");
}

} // namespace rk
