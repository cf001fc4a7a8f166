/* SPDX-License-Identifier: Apache-2.0 */
/* Inner products of rows, by each set of kernels that this machine has, beside OpenBLAS on one
 * thread. The best of REPEATS runs each, taken in turn. */
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "kernels/kernel.h"
#include "kernels/product.h"

enum { REPEATS = 40 };

static const char *const sets[] = {"avx512", "avx2", "scalar"};
enum { SETS = sizeof sets / sizeof *sets };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *numbers(size_t count)
{
    float *all = aligned_alloc(64, (count * sizeof *all + 63) / 64 * 64);
    for (size_t i = 0; i < count; i++)
        all[i] = (float)(drand48() - 0.5);
    return all;
}

static void keep_least(double *best, double since)
{
    double passed = now() - since;
    *best = *best == 0 || passed < *best ? passed : *best;
}

static void measure(size_t m, size_t n, size_t dim)
{
    float *a = numbers(m * dim), *b = numbers(n * dim), *c = numbers(m * n);
    void *work = aligned_alloc(64, RK_PRODUCT_WORK);
    double blas = 0, best[SETS] = {0}, work_gflop = 2e-9 * (double)m * (double)n * (double)dim;
    for (int r = 0; r < REPEATS; r++) {
        double begin = now();
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)n, (int)dim, 1, a, (int)dim, b,
                    (int)dim, 0, c, (int)n);
        keep_least(&blas, begin);
        for (size_t s = 0; s < SETS; s++) {
            const struct rk_kernels *kernels = rk_kernels_named(sets[s]);
            if (!kernels || (s + 1 == SETS && r > 0)) /* without vectors: once is long enough */
                continue;
            begin = now();
            rk_product_run(kernels->product, m, n, dim, a, b, c, n, work);
            keep_least(&best[s], begin);
        }
    }
    printf("%4zu x %4zu x %4zu: OpenBLAS %6.1f GFLOP/s", m, n, dim, work_gflop / blas);
    for (size_t s = 0; s < SETS; s++)
        if (best[s] > 0)
            printf(", %s %6.1f (%.2f x the time)", sets[s], work_gflop / best[s], best[s] / blas);
    putchar('\n');
    free(a);
    free(b);
    free(c);
    free(work);
}

int main(void)
{
    openblas_set_num_threads(1);
    static const size_t shape[][3] = {{256, 512, 128}, {256, 512, 64}, {256, 512, 512}, {256, 512, 2048},
                                      {64, 512, 128},  {12, 512, 128}, {4, 512, 128},   {128, 128, 768}};
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
        measure(shape[i][0], shape[i][1], shape[i][2]);
    return 0;
}
