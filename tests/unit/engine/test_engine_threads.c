/* SPDX-License-Identifier: Apache-2.0 */
/* Threads change nothing: no number, and not which of several errors is reported. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "kernels/kernel.h"
#include "unit/support/problem.h"

static void run_on(struct test_call *call, const struct problem *problem, struct rk_pool *pool,
                   unsigned outputs)
{
    test_call_start(call, problem_model(problem), 0);
    problem_fill(problem, call);
    call->request.outputs = outputs;
    call->exec.pool = pool;
    test_run(call);
}

static void threads_change_nothing(void **state)
{
    (void)state;
    struct rk_pool *pool = test_pool_new(4);
    const unsigned dense = 1u << RK_OUT_LOSS | 1u << RK_OUT_GRADIENT | 1u << RK_OUT_LIST_LOSS;
    const unsigned sparse = 1u << RK_OUT_GRADIENT_INDICES | 1u << RK_OUT_GRADIENT_VALUES;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct test_random random = {seed * 31337};
        struct problem problem;
        struct test_call alone, together;
        do {
            problem_draw(&problem, &random, 3000, 400);
        } while (problem.rows * problem.columns < 300000 && (problem_free(&problem), true));
        for (int i = 0; i < 2; i++) {
            run_on(&alone, &problem, NULL, i ? sparse : dense);
            run_on(&together, &problem, pool, i ? sparse : dense);
            test_same_bits(&alone.reply, &together.reply);
            test_call_end(&alone);
            test_call_end(&together);
        }
        problem_free(&problem);
    }
    test_pool_free(pool);
}

static void start_vjp(struct test_call *call, struct rk_pool *pool, size_t rows, size_t columns,
                      const float *scores, const float *upstream)
{
    test_call_start(call, "rank_vjp", 0);
    call->exec.pool = pool;
    call->request.outputs = 1u << RK_OUT_GRADIENT | 1u << RK_OUT_RANKS | 1u << RK_OUT_GRADIENT_INDICES |
                            1u << RK_OUT_GRADIENT_VALUES;
    test_input(call, RK_IN_SCORES, RK_FP32, rows, columns, scores);
    test_input(call, RK_IN_UPSTREAM, RK_FP32, rows, columns, upstream);
    test_number(call, "lambda", 0.01);
}

/* A few long rows are ranked before and after at once: the same numbers, and of two errors the same
 * one. */
static void long_rows_are_ranked_twice_at_once(void **state)
{
    (void)state;
    enum { COLUMNS = 140001, ROWS = 3 };
    struct rk_pool *pool = test_pool_new(2);
    struct test_random random = {99};
    float *scores = malloc(sizeof(float[ROWS][COLUMNS])), *upstream = malloc(sizeof(float[ROWS][COLUMNS]));
    for (size_t i = 0; i < (size_t)ROWS * COLUMNS; i++) {
        scores[i] = (float)test_below(&random, 50000);
        upstream[i] = (float)(test_uniform(&random) - 0.5);
    }
    struct test_call alone, together;
    for (size_t rows = 1; rows <= ROWS; rows++) {
        start_vjp(&alone, NULL, rows, COLUMNS, scores, upstream);
        start_vjp(&together, pool, rows, COLUMNS, scores, upstream);
        test_run(&alone);
        test_run(&together);
        assert_true(alone.reply.info.gradient_nonzero > rows * COLUMNS / 2);
        test_same_bits(&alone.reply, &together.reply);
        test_call_end(&alone);
        test_call_end(&together);
    }
    upstream[COLUMNS + 5] = INFINITY;
    start_vjp(&together, pool, 2, COLUMNS, scores, upstream);
    test_refused(&together, RANKD_INVALID, "upstream[1, 5] is Infinity; it must be finite");
    test_call_end(&together);
    scores[2 * COLUMNS - 1] = NAN;
    start_vjp(&together, pool, 2, COLUMNS, scores, upstream);
    test_refused(&together, RANKD_INVALID, "scores[1, 140000] is NaN; a score must be a number");
    test_call_end(&together);
    free(scores);
    free(upstream);
    test_pool_free(pool);
}

static void start_list(struct test_call *call, const char *cpu, struct rk_pool *pool, const float *scores,
                       const int8_t *targets, size_t columns, bool sparse)
{
    test_call_start(call, "ap", 0);
    call->exec.pool = pool;
    call->exec.kernels = rk_kernels_named(cpu);
    call->request.outputs =
        sparse ? 1u << RK_OUT_LOSS | 1u << RK_OUT_GRADIENT_INDICES | 1u << RK_OUT_GRADIENT_VALUES
               : 1u << RK_OUT_LOSS | 1u << RK_OUT_GRADIENT;
    test_input(call, RK_IN_SCORES, RK_FP32, 1, columns, scores);
    test_input(call, RK_IN_TARGETS, RK_INT8, 1, columns, targets);
    test_number(call, "lambda", 0.05);
}

/* Where half of a long list is relevant, one thread sorts the relevant items and another the rest,
 * and then both merge: as plain sorting has it, to the bit. */
static void half_of_a_list_is_relevant(void **state)
{
    (void)state;
    enum { COLUMNS = 1100003 };
    struct test_random random = {4711};
    float *scores = malloc(COLUMNS * sizeof *scores);
    int8_t *targets = malloc(COLUMNS);
    for (size_t i = 0; i < COLUMNS; i++)
        targets[i] = (int8_t)(test_below(&random, 20) == 0 ? -1 : (int)test_below(&random, 2));
    for (unsigned values = 3, threads = 2; values <= 3000000; values *= 1000, threads++) {
        struct rk_pool *pool = test_pool_new(threads);
        for (size_t i = 0; i < COLUMNS; i++)
            scores[i] = (float)test_below(&random, values) / (float)values;
        for (int sparse = 0; sparse < 2; sparse++) {
            struct test_call plain, together;
            start_list(&plain, "reference", NULL, scores, targets, COLUMNS, sparse);
            start_list(&together, "scalar", pool, scores, targets, COLUMNS, sparse);
            test_run(&plain);
            test_run(&together);
            assert_true(together.reply.info.gradient_nonzero > COLUMNS / 10);
            test_same_bits(&plain.reply, &together.reply);
            test_call_end(&plain);
            test_call_end(&together);
        }
        test_pool_free(pool);
    }
    struct rk_pool *pool = test_pool_new(2);
    for (int8_t target = 0; target < 2; target++) {
        struct test_call call;
        targets[COLUMNS - 2] = target;
        scores[COLUMNS - 2] = NAN;
        start_list(&call, "scalar", pool, scores, targets, COLUMNS, false);
        test_refused(&call, RANKD_INVALID,
                     "scores[0, 1100001] is NaN; a score must be a number unless its target is -1 (ignored)");
        test_call_end(&call);
    }
    free(scores);
    free(targets);
    test_pool_free(pool);
}

/* The relevant items of a list of millions are counted and found range by range. */
static void relevant_items_are_found_by_several_threads(void **state)
{
    (void)state;
    enum { COLUMNS = 4300007 };
    struct rk_pool *pool = test_pool_new(4);
    struct test_random random = {815};
    float *scores = malloc(COLUMNS * sizeof *scores);
    int8_t *targets = malloc(COLUMNS);
    for (size_t i = 0; i < COLUMNS; i++) {
        scores[i] = (float)test_below(&random, 1000000) / 1e6f;
        targets[i] = (int8_t)(test_below(&random, 60) == 0); /* so many that adding them is shared too */
    }
    for (int sparse = 0; sparse < 2; sparse++) {
        struct test_call alone, together;
        start_list(&alone, rk_kernels()->name, NULL, scores, targets, COLUMNS, sparse);
        start_list(&together, rk_kernels()->name, pool, scores, targets, COLUMNS, sparse);
        test_run(&alone);
        test_run(&together);
        assert_true(together.reply.info.gradient_nonzero > COLUMNS / 60);
        test_same_bits(&alone.reply, &together.reply);
        test_call_end(&alone);
        test_call_end(&together);
    }
    free(scores);
    free(targets);
    test_pool_free(pool);
}

static void threads_name_the_same_error(void **state)
{
    (void)state;
    enum { ROWS = 64, COLUMNS = 65536 };
    struct rk_pool *pool = test_pool_new(4);
    float *scores = calloc((size_t)ROWS * COLUMNS, sizeof *scores);
    for (size_t r = 5; r < ROWS; r++)
        scores[r * COLUMNS + (ROWS - r) * 7] = NAN;
    for (int i = 0; i < 20; i++) {
        struct test_call call;
        test_call_start(&call, "rank", 0);
        call.exec.pool = pool;
        test_input(&call, RK_IN_SCORES, RK_FP32, ROWS, COLUMNS, scores);
        test_refused(&call, RANKD_INVALID, "scores[5, 413] is NaN; a score must be a number");
        test_call_end(&call);
    }
    free(scores);
    test_pool_free(pool);
}

/* Targets of a list longer than a million items are counted piece by piece, of many short ones list
 * by list. */
static void long_targets_are_counted_by_pieces(size_t rows, size_t columns)
{
    struct rk_pool *pool = test_pool_new(3);
    float *scores = malloc(rows * columns * sizeof *scores);
    int32_t *wide = calloc(rows * columns, sizeof *wide);
    int8_t *narrow = calloc(rows * columns, sizeof *narrow);
    for (size_t i = 0; i < rows * columns; i++)
        scores[i] = (float)(i * 2654435761u % 1000003);
    for (size_t i = 7; i < rows * columns; i += 50021)
        wide[i] = narrow[i] = i % 3 ? 1 : -1;
    double loss[4];
    for (int i = 0; i < 4; i++) {
        struct test_call call;
        test_call_start(&call, "ap", 0);
        call.exec.pool = i % 2 ? pool : NULL;
        test_input(&call, RK_IN_SCORES, RK_FP32, rows, columns, scores);
        test_input(&call, RK_IN_TARGETS, i / 2 ? RK_INT32 : RK_INT8, rows, columns,
                   i / 2 ? (const void *)wide : narrow);
        test_run(&call);
        loss[i] = call.reply.info.loss;
        assert_true(loss[i] > 0 && loss[i] == loss[0]);
        test_call_end(&call);

        size_t row = rows - 1, column = columns - 3, bad = row * columns + column;
        char sentence[128];
        int was = narrow[bad];
        narrow[bad] = 2;
        wide[bad] = 2;
        (void)snprintf(sentence, sizeof sentence,
                       "targets[%zu, %zu] is 2; it may be 1 (relevant), 0 (irrelevant) or -1 (ignored)", row,
                       column);
        test_call_start(&call, "ap", 0);
        call.exec.pool = i % 2 ? pool : NULL;
        test_input(&call, RK_IN_SCORES, RK_FP32, rows, columns, scores);
        test_input(&call, RK_IN_TARGETS, i / 2 ? RK_INT32 : RK_INT8, rows, columns,
                   i / 2 ? (const void *)wide : narrow);
        test_refused(&call, RANKD_INVALID, sentence);
        test_call_end(&call);
        wide[bad] = was;
        narrow[bad] = (int8_t)was;
    }
    free(scores);
    free(wide);
    free(narrow);
    test_pool_free(pool);
}

static void long_targets_are_counted_whatever_the_threads(void **state)
{
    (void)state;
    long_targets_are_counted_by_pieces(1, 3300001);
    long_targets_are_counted_by_pieces(2, 1100003);
    long_targets_are_counted_by_pieces(700, 4001);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(long_rows_are_ranked_twice_at_once),
        cmocka_unit_test(half_of_a_list_is_relevant),
        cmocka_unit_test(relevant_items_are_found_by_several_threads),
        cmocka_unit_test(threads_name_the_same_error),
        cmocka_unit_test(long_targets_are_counted_whatever_the_threads),
    };
    return cmocka_run_group_tests_name("engine_threads", tests, NULL, NULL);
}
