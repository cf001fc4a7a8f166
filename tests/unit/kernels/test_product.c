/* SPDX-License-Identifier: Apache-2.0 */
/* The products of every set of kernels: the chain of fused multiply-adds that product.h states, to
 * the bit; near the exact sum; the same at every place of a pair. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/kernel.h"
#include "kernels/product.h"
#include "unit/support/engine_call.h"
#include "unit/support/kernel_sets.h"

enum { MOST = 300, MOST_DIM = 600 };

static void *work;
static float a[MOST * MOST_DIM], b[MOST * MOST_DIM], c[MOST * (MOST + 7)];

/* A number of any magnitude, subnormal and zero too, or about 1. */
static float draw(struct test_random *random, bool wild)
{
    float value = (float)(test_uniform(random) - 0.5);
    if (!wild)
        return value;
    size_t kind = test_below(random, 8);
    return kind == 0   ? 0.0f
           : kind == 1 ? ldexpf(value, -70)
           : kind == 2 ? ldexpf(value, 40)
           : kind == 3 ? -0.0f
                       : value;
}

static float chain(const float *x, const float *y, size_t dim)
{
    float sum = 0;
    for (size_t k = 0; k < dim; k++)
        sum = fmaf(x[k], y[k], sum);
    return sum;
}

static void check(const struct rk_product_kernels *product, size_t m, size_t n, size_t dim, bool wild,
                  struct test_random *random)
{
    const size_t stride = n + test_below(random, 8);
    for (size_t i = 0; i < m * dim; i++)
        a[i] = draw(random, wild);
    for (size_t i = 0; i < n * dim; i++)
        b[i] = draw(random, wild);
    memset(c, 0x7f, sizeof c);
    rk_product_run(product, m, n, dim, a, b, c, stride, work);
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < stride && i * stride + j < sizeof c / sizeof *c; j++) {
            float want = j < n ? chain(a + i * dim, b + j * dim, dim) : 0;
            if (j >= n)
                memset(&want, 0x7f, sizeof want); /* what lies between rows is left alone */
            if (memcmp(&c[i * stride + j], &want, sizeof want) != 0)
                fail_msg("%zu x %zu x %zu: [%zu, %zu] is %a, not %a", m, n, dim, i, j,
                         (double)c[i * stride + j], (double)want);
        }
    }
}

static void every_set_gives_the_chain_of_fused_multiply_adds(void **state)
{
    (void)state;
    static const size_t shape[][3] = {{1, 1, 1},   {12, 32, 16}, {13, 33, 17},  {6, 16, 8},    {7, 17, 9},
                                      {300, 5, 3}, {5, 300, 3},  {265, 129, 2}, {25, 40, 257}, {3, 70, 600}};
    struct test_random random = {7};
    for (size_t s = 0; s < TEST_SETS; s++) {
        const struct rk_kernels *kernels = rk_kernels_named(test_set_names[s]);
        if (!kernels)
            continue;
        for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
            check(kernels->product, shape[i][0], shape[i][1], shape[i][2], i % 2 == 0, &random);
        for (int trial = 0; trial < 60; trial++)
            check(kernels->product, 1 + test_below(&random, 40), 1 + test_below(&random, 80),
                  1 + test_below(&random, trial % 10 == 0 ? MOST_DIM : 40), trial % 2, &random);
    }
}

/* Rounding first to FP64 and then to FP32 would be wrong in the middle between two FP32 values. */
static void a_sum_is_rounded_once(void **state)
{
    (void)state;
    const float x[] = {1.0f, 0x1p-24f, 0x1p-60f}, y[] = {1.0f, 1.0f, 1.0f};
    const float low[] = {0x1.000002p0f, -0x1p-24f, -0x1p-60f};
    for (size_t s = 0; s < TEST_SETS; s++) {
        const struct rk_kernels *kernels = rk_kernels_named(test_set_names[s]);
        float got[1];
        if (!kernels)
            continue;
        rk_product_run(kernels->product, 1, 1, 3, x, y, got, 1, work);
        assert_true(got[0] == chain(x, y, 3));
        rk_product_run(kernels->product, 1, 1, 3, low, y, got, 1, work);
        assert_true(got[0] == chain(low, y, 3));
        /* One step: product and sum together lie just above the middle. */
        const float p[] = {1.0f, 0x1.000002p-12f}, q[] = {1.0f, 0x1p-12f};
        rk_product_run(kernels->product, 1, 1, 2, p, q, got, 1, work);
        assert_true(got[0] == 0x1.000002p0f);
    }
}

static void sums_are_near_the_exact_ones(void **state)
{
    (void)state;
    enum { M = 40, N = 70, DIM = 500 };
    struct test_random random = {3};
    for (size_t s = 0; s < TEST_SETS; s++) {
        const struct rk_kernels *kernels = rk_kernels_named(test_set_names[s]);
        if (!kernels)
            continue;
        for (size_t i = 0; i < N * DIM; i++) {
            a[i] = draw(&random, false);
            b[i] = draw(&random, false);
        }
        rk_product_run(kernels->product, M, N, DIM, a, b, c, N, work);
        for (size_t i = 0; i < M * N; i++) {
            long double exact = 0, size = 0;
            for (size_t k = 0; k < DIM; k++) {
                long double term = (long double)a[i / N * DIM + k] * (long double)b[i % N * DIM + k];
                exact += term;
                size += fabsl(term);
            }
            assert_true(fabsl((long double)c[i] - exact) <= DIM * 0x1p-24L * size);
        }
    }
}

/* Rows that end where memory ends. */
static void nothing_is_read_behind_the_rows(void **state)
{
    (void)state;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *memory = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    assert_int_equal(mprotect(memory + 2 * page, page, PROT_NONE), 0);
    for (size_t s = 0; s < TEST_SETS; s++) {
        const struct rk_kernels *kernels = rk_kernels_named(test_set_names[s]);
        for (size_t rows = 1; kernels && rows < 40; rows++) {
            const size_t dim = 1 + rows % 19;
            float *end = (float *)(void *)(memory + 2 * page) - rows * dim;
            for (size_t i = 0; i < rows * dim; i++)
                end[i] = (float)i;
            rk_product_run(kernels->product, rows, rows, dim, end, end, c, rows, work);
            assert_true(c[rows * rows - 1] == chain(end + (rows - 1) * dim, end + (rows - 1) * dim, dim));
        }
    }
    assert_int_equal(munmap(memory, 3 * page), 0);
}

static void what_is_not_finite_stays_in_its_own_sums(void **state)
{
    (void)state;
    enum { M = 15, N = 35, DIM = 20 };
    for (size_t s = 0; s < TEST_SETS; s++) {
        const struct rk_kernels *kernels = rk_kernels_named(test_set_names[s]);
        if (!kernels)
            continue;
        for (size_t i = 0; i < N * DIM; i++)
            a[i] = b[i] = 1;
        a[3 * DIM + 5] = NAN;
        b[34 * DIM + 7] = INFINITY;
        rk_product_run(kernels->product, M, N, DIM, a, b, c, N, work);
        for (size_t i = 0; i < M * N; i++) {
            if (i / N == 3)
                assert_true(isnan(c[i]));
            else
                assert_true(c[i] == (i % N == 34 ? INFINITY : (float)DIM));
        }
    }
}

static int take_work(void **state)
{
    (void)state;
    work = aligned_alloc(64, RK_PRODUCT_WORK);
    return work ? 0 : -1;
}

static int give_work(void **state)
{
    (void)state;
    free(work);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_set_gives_the_chain_of_fused_multiply_adds),
        cmocka_unit_test(a_sum_is_rounded_once),
        cmocka_unit_test(sums_are_near_the_exact_ones),
        cmocka_unit_test(nothing_is_read_behind_the_rows),
        cmocka_unit_test(what_is_not_finite_stays_in_its_own_sums),
    };
    return cmocka_run_group_tests_name("product", tests, take_work, give_work);
}
