/* SPDX-License-Identifier: Apache-2.0 */
/* The engine against brute force on random lists: every parameter, every type, every set of kernels
 * of this machine. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine.h"
#include "kernels/kernel.h"
#include "unit/support/kernel_sets.h"
#include "unit/support/problem.h"

static const struct rk_kernels *sets[TEST_SETS];
static size_t set_count;

static int find_sets(void **state)
{
    (void)state;
    set_count = test_sets(sets);
    return set_count >= 2 ? 0 : -1;
}

static void differ(const struct problem *problem, const char *set, uint64_t seed, const char *what,
                   double got, double want)
{
    fail_msg("seed %llu, %s, %zu x %zu: %s is %.17g, not %.17g", (unsigned long long)seed, set, problem->rows,
             problem->columns, what, got, want);
}

static void compare_gradient(const struct problem *problem, const struct test_call *call, const char *set,
                             uint64_t seed)
{
    const float *gradient = test_gradient(call);
    size_t nonzero = 0;
    for (size_t i = 0; i < problem->rows * problem->columns; i++) {
        float want = (float)problem->brute.gradient[i];
        if (gradient[i] != want || (want == 0 && signbit(gradient[i])))
            differ(problem, set, seed, "an element of the gradient", (double)gradient[i], (double)want);
        nonzero += want != 0;
    }
    if (call->reply.info.gradient_nonzero != nonzero)
        differ(problem, set, seed, "gradient_nonzero", (double)call->reply.info.gradient_nonzero,
               (double)nonzero);
    const int64_t *index = test_ints(call, RK_OUT_GRADIENT_INDICES);
    const float *value = test_floats(call, RK_OUT_GRADIENT_VALUES);
    assert_int_equal(call->reply.out[RK_OUT_GRADIENT_INDICES].shape[0], nonzero);
    assert_int_equal(call->reply.out[RK_OUT_GRADIENT_VALUES].shape[0], nonzero);
    for (size_t i = 0, at = 0; i < problem->rows * problem->columns; i++) {
        if (gradient[i] == 0)
            continue;
        assert_int_equal(index[at], i);
        assert_true(value[at++] == gradient[i]);
    }
}

static void compare(const struct problem *problem, const struct test_call *call, const char *set,
                    uint64_t seed)
{
    const struct brute *o = &problem->brute;
    double loss = call->reply.info.loss;
    /* NDCG is defined as a difference from 1. */
    const double lost = o->loss_kind >= BRUTE_NDCG_EXP2 ? 1e-14 : 0;
    if (fabs(loss - o->loss) > 1e-12 * fabs(o->loss) + lost * (double)call->reply.info.lists)
        differ(problem, set, seed, "the loss", loss, o->loss);
    const float *list_loss = test_floats(call, RK_OUT_LIST_LOSS);
    for (size_t l = 0; l < call->reply.info.lists; l++) {
        double want = o->list_loss[l], got = (double)list_loss[l];
        if (o->interclass < 1 && isnan(want) != isnan(got))
            differ(problem, set, seed, "a list loss", got, want);
        if (!isnan(want) && fabs(got - want) > 1e-7 * fabs(want) + lost)
            differ(problem, set, seed, "a list loss", got, want);
    }
    if (call->reply.info.lists_skipped != o->skipped)
        differ(problem, set, seed, "lists_skipped", (double)call->reply.info.lists_skipped,
               (double)o->skipped);
    if (call->reply.info.lists_stalled != o->stalled)
        differ(problem, set, seed, "lists_stalled", (double)call->reply.info.lists_stalled,
               (double)o->stalled);
    double jumped = call->reply.info.number[RANKD_REPLY_PAIRS_JUMPED];
    if (fabs(jumped - o->jumped) > 1e-12 * o->jumped)
        differ(problem, set, seed, "pairs_jumped", jumped, o->jumped);
    compare_gradient(problem, call, set, seed);
}

/* The sparse pair alone is computed by other code: the result must be the same. */
static void compare_sparse_alone(const struct problem *problem, struct test_call *call, const char *set,
                                 uint64_t seed)
{
    size_t nonzero = call->reply.info.gradient_nonzero;
    int64_t *index = malloc((nonzero + 1) * sizeof *index);
    float *value = malloc((nonzero + 1) * sizeof *value);
    memcpy(index, test_ints(call, RK_OUT_GRADIENT_INDICES), nonzero * sizeof *index);
    memcpy(value, test_floats(call, RK_OUT_GRADIENT_VALUES), nonzero * sizeof *value);
    call->request.outputs = 1u << RK_OUT_GRADIENT_INDICES | 1u << RK_OUT_GRADIENT_VALUES;
    test_run(call);
    if (call->reply.info.gradient_nonzero != nonzero)
        differ(problem, set, seed, "gradient_nonzero of the sparse pair",
               (double)call->reply.info.gradient_nonzero, (double)nonzero);
    assert_memory_equal(index, test_ints(call, RK_OUT_GRADIENT_INDICES), nonzero * sizeof *index);
    assert_memory_equal(value, test_floats(call, RK_OUT_GRADIENT_VALUES), nonzero * sizeof *value);
    assert_null(call->reply.out[RK_OUT_GRADIENT].data);
    free(index);
    free(value);
}

static void check_cost(const struct test_call *call)
{
    size_t most = rk_engine_cost(&call->request);
    if (rk_scratch_peak(call->exec.scratch) > most)
        fail_msg("the request took %zu bytes of scratch, its cost says %zu",
                 rk_scratch_peak(call->exec.scratch), most);
}

static void run_seed(uint64_t seed, size_t lists, size_t items)
{
    struct test_random random = {seed};
    struct problem problem;
    problem_draw(&problem, &random, lists, items);
    brute_run(&problem.brute);
    for (size_t s = 0; s < set_count; s++) {
        struct test_call call;
        test_call_start(&call, problem_model(&problem), 0);
        problem_fill(&problem, &call);
        call.exec.kernels = sets[s];
        call.request.outputs = 1u << RK_OUT_LOSS | 1u << RK_OUT_GRADIENT | 1u << RK_OUT_LIST_LOSS |
                               1u << RK_OUT_GRADIENT_INDICES | 1u << RK_OUT_GRADIENT_VALUES;
        test_run(&call);
        compare(&problem, &call, sets[s]->name, seed);
        compare_sparse_alone(&problem, &call, sets[s]->name, seed);
        if (sets[s]->way == RK_LIST_STREAMED)
            check_cost(&call);
        test_call_end(&call);
    }
    problem_free(&problem);
}

static void tiny_lists_agree_with_brute_force(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4000 * test_times(); seed++)
        run_seed(seed, 4, 6);
}

static void short_lists_agree_with_brute_force(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 1500 * test_times(); seed++)
        run_seed(seed << 32, 9, 80);
}

static void long_lists_agree_with_brute_force(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40 * test_times(); seed++)
        run_seed(seed << 48, 2, 3000);
}

/* By column these are loaded in tiles. */
static void many_lists_agree_with_brute_force(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150 * test_times(); seed++)
        run_seed(seed << 20, 150, 40);
    for (uint64_t seed = 1; seed <= 10 * test_times(); seed++)
        run_seed(seed << 21, 1200, 8);
    for (uint64_t seed = 1; seed <= 10 * test_times(); seed++)
        run_seed(seed << 22, 40, 300);
}

static void vjp_agrees_with_brute_force(void **state)
{
    (void)state;
    static const double lambdas[] = {1e-12, 0.01, 1, 30, 1e12};
    for (uint64_t seed = 1; seed <= 400 * test_times(); seed++) {
        struct test_random random = {seed};
        size_t rows = 1 + test_below(&random, 3), n = 1 + test_below(&random, seed % 20 ? 60 : 1500);
        double lambda = lambdas[test_below(&random, 5)];
        bool normalized = test_below(&random, 2), ties = test_below(&random, 2);
        float *scores = calloc(rows * n, sizeof *scores), *upstream = calloc(rows * n, sizeof *upstream);
        int64_t *ranks = calloc(n, sizeof *ranks);
        double *gradient = calloc(n, sizeof *gradient);
        for (size_t i = 0; i < rows * n; i++) {
            scores[i] = ties ? (float)test_below(&random, 3) - 1 : (float)test_uniform(&random);
            if (test_below(&random, 20) == 0)
                scores[i] = test_below(&random, 2) ? INFINITY : -0.0f;
            upstream[i] = test_below(&random, 3) ? (float)(test_uniform(&random) - 0.5) : 0;
            if (test_below(&random, 30) == 0)
                upstream[i] *= 1e38f; /* y' overflows */
        }
        struct test_call call;
        test_call_start(&call, "rank_vjp", 0);
        test_input(&call, RK_IN_SCORES, RK_FP32, rows, n, scores);
        test_input(&call, RK_IN_UPSTREAM, RK_FP32, rows, n, upstream);
        test_number(&call, "lambda", lambda);
        test_word(&call, "lambda_units", normalized ? "normalized" : "rank");
        call.request.outputs = call.request.model->outputs;
        test_run(&call);
        for (size_t r = 0; r < rows; r++) {
            brute_vjp(scores + r * n, upstream + r * n, n, lambda, normalized, ranks, gradient);
            assert_memory_equal(test_ints(&call, RK_OUT_RANKS) + r * n, ranks, n * sizeof *ranks);
            for (size_t i = 0; i < n; i++) {
                float got = test_gradient(&call)[r * n + i], want = (float)gradient[i];
                if (got != want || (want == 0 && signbit(got)))
                    fail_msg("seed %llu: gradient[%zu, %zu] is %.9g, not %.9g", (unsigned long long)seed, r,
                             i, (double)got, (double)want);
            }
        }
        struct problem shape = {.rows = rows, .columns = n};
        compare_sparse_alone(&shape, &call, "vjp", seed);
        check_cost(&call);
        test_call_end(&call);
        free(scores);
        free(upstream);
        free(ranks);
        free(gradient);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_lists_agree_with_brute_force),
        cmocka_unit_test(short_lists_agree_with_brute_force),
        cmocka_unit_test(long_lists_agree_with_brute_force),
        cmocka_unit_test(many_lists_agree_with_brute_force),
        cmocka_unit_test(vjp_agrees_with_brute_force),
    };
    return cmocka_run_group_tests_name("engine_oracle", tests, find_sets, NULL);
}
