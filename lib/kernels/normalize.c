/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/normalize.h"

#include <math.h>

#include "base/number.h"
#include "kernels/score.h"

/* One row as FP32. False: position *bad is NaN or infinite (an FP64 too large for FP32 is). */
static bool read_row(const struct rk_tensor *in, size_t row, size_t dim, float *out, size_t *bad)
{
    const char *at = (const char *)in->data + row * dim * rk_dtype_size(in->dtype);
    rk_scores_widen(at, in->dtype, dim, out);
    for (size_t k = 0; k < dim; k++) {
        if (!isfinite(out[k])) {
            *bad = k;
            return false;
        }
    }
    return true;
}

static double length(size_t dim, const float *row)
{
    double sum = 0;
    for (size_t k = 0; k < dim; k++)
        sum += (double)row[k] * (double)row[k];
    return sqrt(sum);
}

enum rankd_status rk_embeddings_read(const char *field, const struct rk_tensor *in, bool normalize,
                                     float *out, double *norms, struct rk_err *err)
{
    size_t items = in->shape[0], dim = in->shape[1], bad = 0;
    for (size_t i = 0; i < items; i++) {
        float *row = out + i * dim;
        if (!read_row(in, i, dim, row, &bad))
            return rk_fail(err, RANKD_INVALID, "%s[%zu, %zu] is %s; it must be a finite number in FP32",
                           field, i, bad, rk_float_text(row[bad], (char[RK_NUMBER_TEXT]){0}));
        double norm = 1;
        if (normalize) {
            norm = length(dim, row);
            if (!(norm > 0))
                return rk_fail(err, RANKD_INVALID,
                               "%s[%zu] is the zero vector, which has no direction; it must not be, or send "
                               "normalize false",
                               field, i);
            for (size_t k = 0; k < dim; k++)
                row[k] = (float)((double)row[k] / norm);
        }
        if (norms)
            norms[i] = norm;
    }
    return RANKD_OK;
}

void rk_normalize_chain(size_t dim, const float *unit, double norm, double *gradient)
{
    double along = 0;
    for (size_t k = 0; k < dim; k++)
        along += gradient[k] * (double)unit[k];
    for (size_t k = 0; k < dim; k++)
        gradient[k] = (gradient[k] - along * (double)unit[k]) / norm;
}
