/* SPDX-License-Identifier: Apache-2.0 */
/* Properties of all lists: the potential whose difference the gradient is, lists that do not affect
 * each other, types that are read exactly. */
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/ln.h"
#include "base/transpose.h"
#include "engine.h"
#include "kernels/kernel.h"
#include "kernels/score.h"
#include "kernels/threshold.h"
#include "unit/support/problem.h"

/* The potential that blackbox differentiation (Vlastelica et al., ICLR 2020) gives a piecewise
 * constant ranking: f(y) = L(rk(y_hat)) - (1/Λ)·[c(y, rk(y')) - c(y', rk(y'))] has the gradient
 * -(rk(y) - rk(y'))/Λ wherever it has one. Here its part that depends on y, up to sign: F(y) =
 * (min_r <y, r> over rankings at y'
 * - at y)/Λ, with g held fixed. Its finite difference along a direction must be the gradient's
 *   product with
 * it. */
static double best_alignment(const double *y, size_t n)
{
    /* <y, rk(y)>: rank 1 goes to the largest. Selection by counting; ties do not change the sum. */
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        size_t rank = 1;
        for (size_t j = 0; j < n; j++)
            rank += y[j] > y[i] || (y[j] == y[i] && j < i);
        sum += y[i] * (double)rank;
    }
    return sum;
}

static double potential(const double *y, const double *g, size_t n, double lambda)
{
    double *moved = calloc(n, sizeof *moved);
    for (size_t i = 0; i < n; i++)
        moved[i] = y[i] + lambda * g[i];
    double value = (best_alignment(moved, n) - best_alignment(y, n)) / lambda;
    free(moved);
    return value;
}

static void the_gradient_is_the_slope_of_the_blackbox_potential(void **state)
{
    (void)state;
    enum { N = 40 };
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct test_random random = {seed};
        float scores[N], upstream[N];
        double y[N], g[N], step[N], back[N], forth[N], slope = 0;
        const double lambda = 2, h = 1e-7;
        for (size_t i = 0; i < N; i++) {
            scores[i] = (float)test_uniform(&random);
            upstream[i] = test_below(&random, 4) ? 0 : (float)(test_uniform(&random) - 0.5);
            y[i] = (double)scores[i];
            g[i] = (double)upstream[i];
            step[i] = test_uniform(&random) - 0.5;
        }
        struct test_call call;
        test_call_start(&call, "rank_vjp", 0);
        test_input(&call, RK_IN_SCORES, RK_FP32, 1, N, scores);
        test_input(&call, RK_IN_UPSTREAM, RK_FP32, 1, N, upstream);
        test_number(&call, "lambda", lambda);
        test_word(&call, "lambda_units", "rank");
        test_run(&call);
        for (size_t i = 0; i < N; i++) {
            back[i] = y[i] - h * step[i];
            forth[i] = y[i] + h * step[i];
            slope += (double)test_gradient(&call)[i] * step[i];
        }
        double difference = (potential(forth, g, N, lambda) - potential(back, g, N, lambda)) / (2 * h);
        if (fabs(slope - difference) > 1e-4 * (1 + fabs(difference)))
            fail_msg("seed %llu: slope %.9g, difference %.9g", (unsigned long long)seed, slope, difference);
        test_call_end(&call);
    }
}

static void the_gradient_of_a_list_sums_to_0(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct test_random random = {seed * 77};
        struct problem problem;
        struct test_call call;
        problem_draw(&problem, &random, 5, 200);
        test_call_start(&call, problem_model(&problem), 0);
        problem_fill(&problem, &call);
        test_run(&call);
        double sum = 0, size = 0;
        for (size_t i = 0; i < problem.rows * problem.columns; i++) {
            sum += (double)test_gradient(&call)[i];
            size += fabs((double)test_gradient(&call)[i]);
        }
        assert_true(fabs(sum) <= 1e-6 * size);
        test_call_end(&call);
        problem_free(&problem);
    }
}

/* In scope list with average sum, the result of a list does not depend on the other lists of the
 * request. */
static void lists_do_not_feel_each_other(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct test_random random = {seed * 1001};
        struct problem problem;
        struct test_call all, one;
        problem_draw(&problem, &random, 6, 150);
        problem.brute.interclass = 0;
        problem.brute.batch_scope = false;
        problem.brute.lists_are_columns = false;
        problem.brute.average = BRUTE_SUM;
        test_call_start(&all, problem_model(&problem), 0);
        problem_fill(&problem, &all);
        test_run(&all);
        double loss = 0;
        for (size_t r = 0; r < problem.rows; r++) {
            test_call_start(&one, problem_model(&problem), 0);
            problem_fill(&problem, &one);
            test_input(&one, RK_IN_SCORES, RK_FP32, 1, problem.columns, problem.values + r * problem.columns);
            test_input(&one, RK_IN_TARGETS, problem.target_dtype, 1, problem.columns,
                       (const char *)problem.targets +
                           r * problem.columns * rk_dtype_size(problem.target_dtype));
            test_run(&one);
            loss += one.reply.info.loss;
            assert_memory_equal(test_gradient(&one), test_gradient(&all) + r * problem.columns,
                                problem.columns * sizeof(float));
            test_call_end(&one);
        }
        assert_true(fabs(loss - all.reply.info.loss) <= 1e-12 * fabs(loss));
        test_call_end(&all);
        problem_free(&problem);
    }
}

static void every_half_precision_pattern_is_read_exactly(void **state)
{
    (void)state;
    for (unsigned pattern = 0; pattern < 65536; pattern++) {
        uint16_t half = (uint16_t)pattern;
        float fp16 = rk_score_at(&half, RK_FP16, 0), bf16 = rk_score_at(&half, RK_BF16, 0), wide[2];
        float want16 = problem_fp16(half), wantb = problem_bf16(half);
        rk_scores_widen(&half, RK_FP16, 1, &wide[0]);
        rk_scores_widen(&half, RK_BF16, 1, &wide[1]);
        assert_true(isnan(want16) ? isnan(fp16) : memcmp(&fp16, &want16, sizeof fp16) == 0);
        assert_true(isnan(wantb) ? isnan(bf16) : memcmp(&bf16, &wantb, sizeof bf16) == 0);
        assert_true(isnan(want16) ? isnan(wide[0]) : memcmp(&wide[0], &want16, sizeof fp16) == 0);
        assert_true(isnan(wantb) ? isnan(wide[1]) : memcmp(&wide[1], &wantb, sizeof bf16) == 0);
    }
}

/* One list of every finite FP16 (BF16) value: its ranks are those of the same values as FP32. */
static void every_half_precision_value_ranks_like_its_fp32_value(void **state)
{
    (void)state;
    for (int b = 0; b < 2; b++) {
        uint16_t *halves = calloc(65536, sizeof *halves);
        float *wide = calloc(65536, sizeof *wide);
        int8_t *targets = calloc(65536, 1);
        size_t n = 0;
        for (unsigned pattern = 0; pattern < 65536; pattern++) {
            float x = b ? problem_bf16((uint16_t)pattern) : problem_fp16((uint16_t)pattern);
            if (isnan(x))
                continue;
            halves[n] = (uint16_t)pattern;
            wide[n] = x;
            targets[n++] = pattern * 2654435761u >> 24 == 7;
        }
        struct test_call half_call, wide_call;
        for (int i = 0; i < 2; i++) {
            struct test_call *call = i ? &wide_call : &half_call;
            test_call_start(call, "ap", 0);
            test_input(call, RK_IN_SCORES,
                       i   ? RK_FP32
                       : b ? RK_BF16
                           : RK_FP16,
                       1, n, i ? (void *)wide : (void *)halves);
            test_input(call, RK_IN_TARGETS, RK_INT8, 1, n, targets);
            test_number(call, "margin", 0.003);
            test_number(call, "lambda", 5);
            test_run(call);
        }
        assert_true(half_call.reply.info.gradient_nonzero > 100);
        test_same_bits(&half_call.reply, &wide_call.reply);
        test_call_end(&half_call);
        test_call_end(&wide_call);
        free(halves);
        free(wide);
        free(targets);
    }
}

static void fp64_is_rounded_once_to_the_nearest_fp32(void **state)
{
    (void)state;
    /* Distinct as FP64, equal as FP32: a tie, in which the irrelevant item is first. */
    const double scores[3] = {1.0 + 0x1p-30, 1.0, 1.0 - 0x1p-30};
    const int8_t targets[3] = {1, 0, 0};
    struct test_call call;
    test_call_start(&call, "recall", 0);
    test_word(&call, "weight", "identity");
    test_input(&call, RK_IN_SCORES, RK_FP64, 1, 3, scores);
    test_input(&call, RK_IN_TARGETS, RK_INT8, 1, 3, targets);
    test_run(&call);
    assert_true(call.reply.info.loss == 2);
    test_call_end(&call);
}

static void the_logarithm_is_right_to_the_last_bit_but_one(void **state)
{
    (void)state;
    struct test_random random = {1};
    double worst = 0;
    for (size_t i = 0; i < 400000; i++) {
        double x = i < 100000   ? 1.0 + (double)i
                   : i < 200000 ? 1.0 + test_uniform(&random) * 30
                   : i < 300000 ? 1.0 + ldexp(test_uniform(&random), -(int)test_below(&random, 50))
                                : ldexp(1.0 + test_uniform(&random), (int)test_below(&random, 60));
        double want = (double)logl((long double)x), got = rk_ln(x);
        double ulp = nextafter(fabs(want), INFINITY) - fabs(want);
        worst = fmax(worst, (double)(fabsl((long double)got - logl((long double)x)) / (long double)ulp));
    }
    if (worst > 1)
        fail_msg("off by %g units in the last place", worst);
    assert_true(rk_ln(1.0) == 0);
}

static void a_transpose_puts_every_element_in_its_place(void **state)
{
    (void)state;
    enum { MOST = 40, PITCH = 200 };
    static uint8_t from[MOST * PITCH], to[MOST * PITCH];
    struct test_random random = {6};
    for (size_t i = 0; i < sizeof from; i++)
        from[i] = (uint8_t)test_next(&random);
    for (size_t size = 1; size <= 4; size *= 2) {
        for (size_t rows = 1; rows <= MOST; rows++) {
            for (size_t columns = 1; columns <= MOST; columns += rows % 16 ? 3 : 1) {
                memset(to, 0x77, sizeof to);
                rk_transpose(from + 1, PITCH - 5, rows, columns, size, to + 3, PITCH - 1);
                size_t untouched = 0;
                for (size_t i = 0; i < sizeof to; i++)
                    untouched += to[i] == 0x77;
                assert_true(untouched + rows * columns * size >= sizeof to);
                for (size_t r = 0; r < rows; r++) {
                    for (size_t c = 0; c < columns; c++)
                        assert_memory_equal(to + 3 + c * (PITCH - 1) + r * size,
                                            from + 1 + r * (PITCH - 5) + c * size, size);
                }
            }
        }
    }
}

/* The threshold is the least score that reaches the adjusted: it does, and the next lower float
 * does not. */
static void a_cut_is_the_least_score_that_reaches_its_threshold(void **state)
{
    (void)state;
    static const double margins[] = {0, 1e-45, 1e-30, 1e-8, 0.01, 0.05, 1, 0x1.000001p0, 1e10, 5e29};
    struct test_random random = {5};
    for (size_t i = 0; i < 400000; i++) {
        double margin = margins[test_below(&random, sizeof margins / sizeof *margins)];
        float adjusted;
        switch (test_below(&random, 4)) {
        case 0:
            adjusted = (float)(test_uniform(&random) * 2 - 1);
            break;
        case 1: /* where the score nearly cancels, a great many scores round to one sum */
            adjusted = nextafterf((float)margin, test_below(&random, 2) ? INFINITY : -INFINITY);
            break;
        case 2:
            adjusted = (float)margin;
            break;
        default: {
            uint32_t bits = (uint32_t)test_next(&random);
            memcpy(&adjusted, &bits, sizeof adjusted);
            break;
        }
        }
        if (isnan(adjusted))
            continue;
        float threshold = rk_raw_threshold(adjusted, margin), lower = nextafterf(threshold, -INFINITY);
        assert_false(isnan(threshold) || (threshold == 0 && signbit(threshold)));
        if (!((float)((double)threshold + margin) >= adjusted))
            fail_msg("threshold %a does not reach %a with %a", (double)threshold, (double)adjusted, margin);
        if (threshold != -INFINITY && (float)((double)lower + margin) >= adjusted)
            fail_msg("%a reaches %a with %a, the threshold was %a", (double)lower, (double)adjusted, margin,
                     (double)threshold);
    }
}

#if defined(__SANITIZE_THREAD__)
#define RACES_ARE_REPORTED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RACES_ARE_REPORTED 1
#endif
#endif

#ifndef RACES_ARE_REPORTED /* the test needs the race */
struct scribble {
    _Atomic(bool) stop, lawful; /* lawful: only values that a request may hold are written */
    unsigned char *scores, *targets;
    size_t bytes, items;
};

static void *scribble(void *arg)
{
    struct scribble *s = arg;
    struct test_random random = {9};
    while (!atomic_load(&s->stop)) {
        /* The byte of sign and exponent is left alone mostly, or all requests would end at a
         * NaN. */
        size_t at = test_below(&random, s->bytes);
        bool lawful = atomic_load(&s->lawful), spare = lawful || test_below(&random, 500);
        volatile unsigned char *score = s->scores + (at % 4 == 3 && spare ? at - 1 : at);
        volatile unsigned char *target = s->targets + test_below(&random, s->items);
        *score = (unsigned char)test_next(&random);
        *target = (unsigned char)(test_below(&random, lawful ? 3 : 4) - 1 +
                                  (!lawful && test_below(&random, 100000) == 0 ? 7 : 0));
    }
    return NULL;
}

/* A client may write to its tensors while they are read: any answer or refusal is valid, as long as
 * the request ends and no memory outside of it is touched (the sanitizers check that). */
__attribute__((no_sanitize("thread"))) static void
inputs_that_change_while_they_are_read_do_no_harm(void **state)
{
    (void)state;
    enum { ROWS = 7, COLUMNS = 601 };
    struct scribble s = {.bytes = ROWS * COLUMNS * sizeof(float), .items = ROWS * COLUMNS};
    struct test_random random = {4};
    s.scores = calloc(1, s.bytes);
    s.targets = calloc(1, s.items);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, scribble, &s), 0);
    size_t answered = 0;
    for (int i = 0; i < 3000; i++) {
        struct test_call call;
        struct rk_err err = {0};
        /* Every other two dozen contain only lawful values and are not refused, however fast the
         * other thread is, so that answers are checked too. */
        atomic_store(&s.lawful, i / 24 % 2 == 0);
        /* Fresh each time: a NaN would stay, and refuse every request that follows. */
        for (size_t k = 0; k < s.items; k++)
            s.targets[k] = (unsigned char)(test_below(&random, 3) - 1);
        memset(s.scores, 0, s.bytes);
        test_call_start(&call, i % 2 ? "ap" : "recall", 0);
        test_input(&call, RK_IN_SCORES, RK_FP32, ROWS, COLUMNS, s.scores);
        test_input(&call, RK_IN_TARGETS, RK_INT8, ROWS, COLUMNS, s.targets);
        test_number(&call, "axis", i / 2 % 2);
        test_number(&call, "interclass", i / 4 % 3 * 0.5);
        call.request.outputs = i / 12 % 2 ? 1u << RK_OUT_GRADIENT : 1u << RK_OUT_GRADIENT_INDICES;
        answered += rk_engine_run(&call.exec, &call.request, &call.reply, &err) == RANKD_OK;
        assert_true(err.status == RANKD_OK || err.status == RANKD_INVALID);
        test_call_end(&call);
    }
    atomic_store(&s.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(answered > 0);
    free(s.scores);
    free(s.targets);
}

/* The same with several threads that count, find, sort and merge the items of one list: what one
 * thread counted may differ from what another finds. */
__attribute__((no_sanitize("thread"))) static void long_inputs_that_change_do_no_harm(void **state)
{
    (void)state;
    enum { COLUMNS = 2200007 };
    struct scribble s = {.bytes = COLUMNS * sizeof(float), .items = COLUMNS, .lawful = true};
    s.scores = calloc(1, s.bytes);
    s.targets = calloc(1, s.items);
    for (size_t k = 0; k < s.items; k++)
        s.targets[k] = (unsigned char)(k % 3 - 1);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, scribble, &s), 0);
    size_t answered = 0;
    for (unsigned i = 0; i < 12; i++) {
        struct rk_pool *pool = test_pool_new(i % 2 ? 2 : 5); /* merges, and a table */
        struct test_call call;
        struct rk_err err = {0};
        test_call_start(&call, "ap", 0);
        call.exec.pool = pool;
        test_input(&call, RK_IN_SCORES, RK_FP32, 1, COLUMNS, s.scores);
        test_input(&call, RK_IN_TARGETS, RK_INT8, 1, COLUMNS, s.targets);
        call.request.outputs = i / 2 % 2 ? 1u << RK_OUT_GRADIENT : 1u << RK_OUT_GRADIENT_INDICES;
        answered += rk_engine_run(&call.exec, &call.request, &call.reply, &err) == RANKD_OK;
        assert_true(err.status == RANKD_OK || err.status == RANKD_INVALID);
        test_call_end(&call);
        test_pool_free(pool);
    }
    atomic_store(&s.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(answered > 0);
    free(s.scores);
    free(s.targets);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_gradient_is_the_slope_of_the_blackbox_potential),
        cmocka_unit_test(the_gradient_of_a_list_sums_to_0),
        cmocka_unit_test(lists_do_not_feel_each_other),
        cmocka_unit_test(every_half_precision_pattern_is_read_exactly),
        cmocka_unit_test(every_half_precision_value_ranks_like_its_fp32_value),
        cmocka_unit_test(fp64_is_rounded_once_to_the_nearest_fp32),
        cmocka_unit_test(the_logarithm_is_right_to_the_last_bit_but_one),
        cmocka_unit_test(a_transpose_puts_every_element_in_its_place),
        cmocka_unit_test(a_cut_is_the_least_score_that_reaches_its_threshold),
#ifndef RACES_ARE_REPORTED
        cmocka_unit_test(inputs_that_change_while_they_are_read_do_no_harm),
        cmocka_unit_test(long_inputs_that_change_do_no_harm),
#endif
    };
    return cmocka_run_group_tests_name("engine_properties", tests, NULL, NULL);
}
