#include "retrieval_gradient.h"

#include "kernel/score.h"
#include "normalize.h"

static void add_scaled(size_t dim, double factor, const float *row, double *sum)
{
    for (size_t k = 0; k < dim; k++)
        sum[k] += factor * (double)row[k];
}

void rk_gradient_add(const struct rk_items *items, size_t q, double w, double lambda,
                     const struct rk_delta *delta, size_t count, double *sum, float *wide)
{
    size_t dim = items->dim, own = items->batch + items->refs;
    const float *query = items->rows + q * dim;
    const struct rk_run *run = items->run;
    for (size_t i = 0; i < count; i++) {
        size_t at = delta[i].position;
        double value = (double)rk_sink_value(w, lambda, delta[i].delta);
        if (at < own)
            add_scaled(dim, value, query, sum + at * dim);
        if (at >= run->start + run->items)
            run = rk_items_run(items, at);
        size_t place = (at - run->start) * dim;
        const float *row = (const float *)run->rows + place;
        if (run->dtype != RK_FP32) {
            rk_scores_widen((const char *)run->rows + place * rk_dtype_size(run->dtype), run->dtype, dim,
                            wide);
            row = wide;
        }
        add_scaled(dim, value, row, sum + q * dim);
    }
}

size_t rk_gradient_finish(const struct rk_items *items, bool normalize, size_t first, size_t count,
                          double *sum, float *out)
{
    size_t dim = items->dim, nonzero = 0;
    for (size_t i = first; i < first + count; i++) {
        double *row = sum + i * dim;
        if (normalize)
            rk_normalize_chain(dim, items->rows + i * dim, items->norms[i], row);
        for (size_t k = 0; k < dim; k++) {
            float value = (float)row[k] + 0.0f; /* -0.0f becomes +0.0f */
            out[(i - first) * dim + k] = value;
            nonzero += value != 0;
        }
    }
    return nonzero;
}
