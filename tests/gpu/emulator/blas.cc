/* SPDX-License-Identifier: Apache-2.0 */
#include <cublas_v2.h>

#include <cblas.h>

#include "state.h"

namespace device
{
struct Blas {
    Stream *stream = nullptr;
};

static bool fails_now(const char *what)
{
    const Hold hold(the_device().lock);
    return fails(what);
}
} // namespace device

cublasStatus_t cublasCreate(cublasHandle_t *handle)
{
    if (device::fails_now("cublasCreate"))
        return CUBLAS_STATUS_ALLOC_FAILED;
    *handle = new device::Blas;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy(cublasHandle_t handle)
{
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream)
{
    handle->stream = stream;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSgemm(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m,
                           int n, int k, const float *alpha, const float *a, int lda, const float *b, int ldb,
                           const float *beta, float *c, int ldc)
{
    const float one = *alpha, zero = *beta;
    if (transa != CUBLAS_OP_T || transb != CUBLAS_OP_N || m < 0 || n < 0 || k < 0 || lda < k || ldb < k ||
        ldc < m || zero != 0)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (device::fails_now("sgemm"))
        return CUBLAS_STATUS_EXECUTION_FAILED;
    if (m == 0 || n == 0)
        return CUBLAS_STATUS_SUCCESS;
    const cudaError_t code = device::enqueue(handle->stream, [=] {
        cblas_sgemm(CblasColMajor, CblasTrans, CblasNoTrans, m, n, k, one, a, lda, b, ldb, zero, c, ldc);
    });
    return code == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
