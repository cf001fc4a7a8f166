/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/score.h"

void rk_scores_widen(const void *scores, enum rk_dtype dtype, size_t n, float *out)
{
    const char *at = scores;
    uint16_t half;
    double wide;
    switch (dtype) {
    case RK_FP16:
        for (size_t i = 0; i < n; i++) {
            memcpy(&half, at + i * sizeof half, sizeof half);
            out[i] = rk_float_of_fp16(half);
        }
        break;
    case RK_BF16:
        for (size_t i = 0; i < n; i++) {
            memcpy(&half, at + i * sizeof half, sizeof half);
            out[i] = rk_float_of_bf16(half);
        }
        break;
    case RK_FP64:
        for (size_t i = 0; i < n; i++) {
            memcpy(&wide, at + i * sizeof wide, sizeof wide);
            out[i] = (float)wide;
        }
        break;
    default:
        memcpy(out, scores, n * sizeof *out);
        break;
    }
}
