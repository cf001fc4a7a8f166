/* SPDX-License-Identifier: Apache-2.0 */
/* Results do not depend on the tuning, and memory is planned for any. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/kernel.h"
#include "kernels/tuning.h"
#include "unit/support/engine_call.h"

enum { TUNINGS = 60 };

static const char *const sets[] = {"scalar", "avx2", "avx512"};
enum { SETS = sizeof sets / sizeof *sets };

/* Half of the rows at their smallest or largest value, the others anywhere between. */
static struct rk_tuning draw_tuning(struct test_random *random)
{
    struct rk_tuning tuning = rk_tuning_default;
    for (size_t i = 0; i < rk_tuning_row_count; i++) {
        const struct rk_tuning_row *row = &rk_tuning_rows[i];
        uint32_t value = row->min;
        const size_t how = test_below(random, 4);
        if (how == 1)
            value = row->max;
        for (size_t doubled = test_below(random, 31); how > 1 && doubled > 0 && value < row->max; doubled--)
            value *= 2;
        assert_true(rk_tuning_may_be(row, value));
        memcpy((char *)&tuning + row->offset, &value, sizeof value);
    }
    return tuning;
}

struct tuned_lists {
    size_t lists, items;
    double relevant;
    bool ignored;
};

static void fill(struct test_random *random, const struct tuned_lists *shape, float *scores, int8_t *targets)
{
    for (size_t i = 0; i < shape->lists * shape->items; i++) {
        scores[i] =
            (float)(test_below(random, 2) ? (double)test_below(random, 50) / 50.0 : test_uniform(random));
        targets[i] = test_uniform(random) < shape->relevant         ? 1
                     : shape->ignored && test_below(random, 9) == 0 ? -1
                                                                    : 0;
    }
}

/* A call on those lists with the tuning in use; the caller ends it. */
static void run(struct test_call *call, const struct rk_kernels *kernels, struct rk_pool *pool,
                const struct tuned_lists *shape, const float *scores, const int8_t *targets)
{
    test_call_start(call, "ap", 0);
    call->exec.kernels = kernels;
    call->exec.pool = pool;
    call->request.outputs = 1u << RK_OUT_GRADIENT | 1u << RK_OUT_LOSS | 1u << RK_OUT_LIST_LOSS;
    test_input(call, RK_IN_SCORES, RK_FP32, shape->lists, shape->items, scores);
    test_input(call, RK_IN_TARGETS, RK_INT8, shape->lists, shape->items, targets);
    test_run(call);
    test_covered(call);
}

static void check(struct test_random *random, const struct tuned_lists *shape, struct rk_pool *pool)
{
    float *scores = malloc(shape->lists * shape->items * sizeof *scores);
    int8_t *targets = malloc(shape->lists * shape->items);
    struct test_call usual, tuned;
    assert_true(scores && targets);
    fill(random, shape, scores, targets);
    const struct rk_tuning tuning = draw_tuning(random);
    run(&usual, rk_kernels_named("scalar"), NULL, shape, scores, targets);
    rk_tuning_use(&tuning);
    for (size_t s = 0; s < SETS; s++) {
        if (!rk_kernels_named(sets[s]))
            continue;
        for (int threads = 0; threads < 2; threads++) {
            run(&tuned, rk_kernels_named(sets[s]), threads ? pool : NULL, shape, scores, targets);
            test_same_bits(&usual.reply, &tuned.reply);
            test_call_end(&tuned);
        }
    }
    rk_tuning_use(&rk_tuning_default);
    test_call_end(&usual);
    free(scores);
    free(targets);
}

static void any_tuning_gives_the_bits_of_the_default_within_the_cost(void **state)
{
    (void)state;
    struct test_random random = {23};
    struct rk_pool *pool = test_pool_new(3);
    for (int i = 0; i < TUNINGS; i++) {
        const struct tuned_lists shape = {1 + test_below(&random, 6), 1 + test_below(&random, 40000),
                                          test_uniform(&random) * test_uniform(&random),
                                          test_below(&random, 2)};
        check(&random, &shape, pool);
    }
    const struct tuned_lists many = {1, 200000, 0.5, false}; /* beyond the least value of `merge` */
    for (int i = 0; i < 6; i++)
        check(&random, &many, pool);
    test_pool_free(pool);
}

/* The test above would prove nothing if the numbers changed no plan. */
static void a_tuning_changes_the_plan(void **state)
{
    (void)state;
    struct rk_tuning tuning = rk_tuning_default;
    for (size_t s = 0; s < SETS; s++) {
        const struct rk_kernels *kernels = rk_kernels_named(sets[s]);
        if (!kernels)
            continue;
        rk_tuning_use(&rk_tuning_default);
        const struct rk_strategy *few = kernels->plan(4096, 1, RK_FP32, 1),
                                 *usual = kernels->plan(4096, 600, RK_FP32, 1);
        const struct rk_strategy *half = kernels->plan(65536, 32768, RK_FP32, 1);
        tuning.compare = 1024;
        tuning.merge = 16384;
        rk_tuning_use(&tuning);
        assert_ptr_equal(kernels->plan(4096, 600, RK_FP32, 1), few);
        assert_ptr_not_equal(few, usual);
        assert_ptr_not_equal(kernels->plan(65536, 32768, RK_FP32, 1), half);
    }
    rk_tuning_use(&rk_tuning_default);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_tuning_gives_the_bits_of_the_default_within_the_cost),
        cmocka_unit_test(a_tuning_changes_the_plan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
