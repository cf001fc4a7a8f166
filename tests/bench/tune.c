/* SPDX-License-Identifier: Apache-2.0 */
/* The crossovers of the strategies on this machine: every strategy at every P, forced, through
 * rk_engine_run(). The constants in lib/kernels/plan.c and the sizes in lib/kernels/table_*.c come
 * from its output. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "kernels/kernel.h"
#include "unit/support/engine_call.h"

enum { RUNS = 15 };

static const struct rk_strategy *forced;

static const struct rk_strategy *plan(uint32_t items, uint32_t p, enum rk_dtype dtype, unsigned threads)
{
    (void)items;
    (void)p;
    (void)dtype;
    (void)threads;
    return forced;
}

static double now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* The best of some runs, in ns an item: the machine may be shared. */
static double time_of(struct test_call *call, size_t elements)
{
    double best = 1e300;
    for (int i = 0; i < RUNS; i++) {
        double start = now_ns();
        test_run(call);
        double ns = (now_ns() - start) / (double)elements;
        best = ns < best ? ns : best;
    }
    return best;
}

static void row(const struct rk_kernels *kernels, size_t lists, size_t n, size_t p)
{
    struct test_random random = {1};
    float *scores = malloc(lists * n * sizeof *scores);
    int8_t *targets = calloc(lists * n, 1);
    if (!scores || !targets)
        exit(1);
    for (size_t i = 0; i < lists * n; i++)
        scores[i] = (float)test_uniform(&random);
    for (size_t l = 0; l < lists; l++) {
        for (size_t k = 0; k < p; k++)
            targets[l * n + k * n / p] = 1;
    }
    struct rk_kernels ours = *kernels;
    ours.plan = plan;
    printf("%9zu %9zu", n, p);
    for (size_t s = 0; kernels->strategy[s]; s++) {
        struct test_call call;
        forced = kernels->strategy[s];
        if (p > forced->most) {
            printf("  %8s %8s", forced->name, "-");
            continue;
        }
        test_call_start(&call, "ap", 0);
        call.exec.kernels = &ours;
        test_input(&call, RK_IN_SCORES, RK_FP32, lists, n, scores);
        test_input(&call, RK_IN_TARGETS, RK_INT8, lists, n, targets);
        printf("  %8s %8.3f", forced->name, time_of(&call, lists * n));
        test_call_end(&call);
    }
    forced = kernels->plan((uint32_t)n, (uint32_t)p, RK_FP32, 1);
    printf("  planned: %s\n", forced->name);
    free(scores);
    free(targets);
}

int main(void)
{
    const size_t sizes[] = {4096, 65536, 1000000};
    const struct rk_kernels *kernels = rk_kernels();
    printf("%s, ns an item, forward + backward\n%9s %9s\n", kernels->name, "n", "P");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (size_t p = 4; p <= 1024 && p * 4 <= sizes[i]; p *= 2)
            row(kernels, sizes[i] < 65536 ? 64 : 4, sizes[i], p);
    }
    return 0;
}
