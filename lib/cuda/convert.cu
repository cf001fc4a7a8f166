/* SPDX-License-Identifier: Apache-2.0 */
// Converts scores and targets to the form that the kernels read; and a gradient back.
#include "cuda/kernels.cuh"

namespace rk
{

namespace
{

constexpr int SIDE = 32, DEEP = 8; // of a tile that is turned, and of the block that turns it

struct Float64 {
    static __device__ float of(const void *from, size_t i)
    {
        return static_cast<float>(static_cast<const double *>(from)[i]);
    }
};
struct Float32 {
    static __device__ float of(const void *from, size_t i)
    {
        return static_cast<const float *>(from)[i];
    }
};
template <class H> struct Half {
    static __device__ float of(const void *from, size_t i)
    {
        return widen(static_cast<const H *>(from)[i]);
    }
};

constexpr int8_t BAD = 2; // what is no target

template <class T> struct Target {
    static __device__ int8_t of(const void *from, size_t i)
    {
        const T value = static_cast<const T *>(from)[i];
        return value == T(0) ? 0 : value == T(1) ? 1 : value == T(-1) ? -1 : BAD;
    }
};
struct Byte { // BOOL, UINT8: 255 is no -1
    static __device__ int8_t of(const void *from, size_t i)
    {
        const uint8_t value = static_cast<const uint8_t *>(from)[i];
        return value <= 1 ? static_cast<int8_t>(value) : BAD;
    }
};

template <class From, class T> __global__ void copy(const void *from, size_t count, T *to)
{
    for (size_t i = grid_first(); i < count; i += grid_step())
        to[i] = From::of(from, i);
}

// to[columns, rows] = from[rows, columns], a tile a block.
template <class From, class T> __global__ void turn(const void *from, size_t rows, size_t columns, T *to)
{
    __shared__ T tile[SIDE][SIDE + 1];
    const size_t across = ceil_div<size_t>(columns, SIDE);
    const size_t row = blockIdx.x / across * SIDE, column = blockIdx.x % across * SIDE;
    for (int r = threadIdx.y; r < SIDE; r += DEEP)
        if (row + r < rows && column + threadIdx.x < columns)
            tile[r][threadIdx.x] = From::of(from, (row + r) * columns + column + threadIdx.x);
    __syncthreads();
    for (int c = threadIdx.y; c < SIDE; c += DEEP)
        if (column + c < columns && row + threadIdx.x < rows)
            to[(column + c) * rows + row + threadIdx.x] = tile[threadIdx.x][c];
}

template <class From, class T>
void launch(cudaStream_t stream, const void *from, size_t rows, size_t columns, bool by_column, T *to)
{
    const size_t count = rows * columns,
                 tiles = ceil_div<size_t>(rows, SIDE) * ceil_div<size_t>(columns, SIDE);
    if (by_column)
        launch_kernel(stream, "converting a matrix", turn<From, T>, static_cast<unsigned>(tiles),
                      dim3(SIDE, DEEP), 0, from, rows, columns, to);
    else
        launch_kernel(
            stream, "converting a matrix", copy<From, T>,
            static_cast<unsigned>(ceil_div<size_t>(count, 256) < 4096 ? ceil_div<size_t>(count, 256) : 4096),
            256, 0, from, count, to);
}

} // namespace

void launch_convert_scores(cudaStream_t stream, const void *from, int dtype, size_t rows, size_t columns,
                           bool by_column, float *to)
{
    switch (dtype) {
    case RK_FP64:
        return launch<Float64>(stream, from, rows, columns, by_column, to);
    case RK_FP16:
        return launch<Half<Fp16>>(stream, from, rows, columns, by_column, to);
    case RK_BF16:
        return launch<Half<Bf16>>(stream, from, rows, columns, by_column, to);
    default:
        return launch<Float32>(stream, from, rows, columns, by_column, to);
    }
}

void launch_convert_targets(cudaStream_t stream, const void *from, int dtype, size_t rows, size_t columns,
                            bool by_column, int8_t *to)
{
    switch (dtype) {
    case RK_INT32:
        return launch<Target<int32_t>>(stream, from, rows, columns, by_column, to);
    case RK_INT64:
        return launch<Target<int64_t>>(stream, from, rows, columns, by_column, to);
    case RK_FP32:
        return launch<Target<float>>(stream, from, rows, columns, by_column, to);
    case RK_INT8:
        return launch<Target<int8_t>>(stream, from, rows, columns, by_column, to);
    default:
        return launch<Byte>(stream, from, rows, columns, by_column, to);
    }
}

void launch_turn(cudaStream_t stream, const float *from, size_t rows, size_t columns, float *to)
{
    launch<Float32>(stream, from, rows, columns, true, to);
}

} // namespace rk
