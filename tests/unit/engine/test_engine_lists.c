/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of different lengths, with weights: against brute force, list by list, and against the same
 * lists one request each. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/kernel.h"
#include "unit/support/brute.h"
#include "unit/support/engine_call.h"
#include "unit/support/kernel_sets.h"

#define BIT(x) (1u << (x))
#define EVERYTHING                                                                                           \
    (BIT(RK_OUT_LOSS) | BIT(RK_OUT_GRADIENT) | BIT(RK_OUT_LIST_LOSS) | BIT(RK_OUT_GRADIENT_INDICES) |        \
     BIT(RK_OUT_GRADIENT_VALUES))

enum { LISTS = 12, ITEMS = 400 };

/* Some lists side by side, and the options of the request. */
struct ragged {
    size_t count, items;
    int64_t offset[LISTS + 1];
    float score[ITEMS], weight[LISTS];
    int8_t target[ITEMS];
    bool weighted, batch_scope, normalized;
    enum brute_average average;
    double lambda, margin;
};

static void draw(struct ragged *l, struct test_random *random)
{
    static const double lambdas[] = {0.01, 1, 30}, margins[] = {0, 0.4};
    *l = (struct ragged){.count = test_below(random, LISTS + 1),
                         .weighted = test_below(random, 3),
                         .batch_scope = test_below(random, 2),
                         .normalized = test_below(random, 2),
                         .average = (enum brute_average)test_below(random, 3),
                         .lambda = lambdas[test_below(random, 3)],
                         .margin = margins[test_below(random, 2)]};
    const bool ties = test_below(random, 2);
    for (size_t q = 0; q < l->count; q++) {
        const size_t longest = test_below(random, 4) ? 8 : ITEMS / LISTS;
        l->items += test_below(random, 4) ? test_below(random, longest) : 0;
        l->offset[q + 1] = (int64_t)l->items;
        l->weight[q] = test_below(random, 5) ? (float)test_uniform(random) * 3 : 0;
    }
    for (size_t i = 0; i < l->items; i++) {
        l->score[i] = ties ? (float)test_below(random, 3) : (float)test_uniform(random);
        if (test_below(random, 20) == 0)
            l->score[i] = test_below(random, 2) ? INFINITY : -INFINITY;
        l->target[i] = (int8_t)((test_below(random, 3) == 0) - (test_below(random, 9) == 0));
    }
}

static void fill(struct test_call *call, const struct ragged *l)
{
    static const char *const averages[] = {"macro", "micro", "sum"};
    test_vector(call, RK_IN_SCORES, RK_FP32, l->items, l->score);
    test_vector(call, RK_IN_TARGETS, RK_INT8, l->items, l->target);
    test_vector(call, RK_IN_OFFSETS, RK_INT64, l->count + 1, l->offset);
    if (l->weighted)
        test_vector(call, RK_IN_LIST_WEIGHT, RK_FP32, l->count, l->weight);
    test_number(call, "lambda", l->lambda);
    test_number(call, "margin", l->margin);
    test_word(call, "lambda_scope", l->batch_scope ? "batch" : "list");
    test_word(call, "lambda_units", l->normalized ? "normalized" : "rank");
    test_word(call, "average", averages[l->average]);
    call->request.outputs = EVERYTHING;
}

/* n and P of a list, P = 0 where its weight skips it. */
static void count(const struct ragged *l, size_t q, size_t *n, size_t *p)
{
    *n = *p = 0;
    for (int64_t i = l->offset[q]; i < l->offset[q + 1]; i++) {
        *n += l->target[i] != -1;
        *p += l->target[i] == 1;
    }
    if (l->weighted && l->weight[q] == 0)
        *p = 0;
}

static double weight_of(const struct ragged *l, size_t q, size_t p)
{
    const double weight = l->weighted ? (double)l->weight[q] : 1;
    return l->average == BRUTE_MICRO ? weight * (double)p : weight;
}

static void expect_list(const struct ragged *l, const struct test_call *call, size_t q, double w, size_t n,
                        double *loss, uint64_t seed)
{
    const size_t first = (size_t)l->offset[q], length = (size_t)l->offset[q + 1] - first;
    double step = l->normalized ? l->lambda * (double)n : l->lambda, gradient[ITEMS], list_loss;
    step = l->batch_scope ? step * w : step;
    struct brute brute = {.rows = 1,
                          .columns = length,
                          .scores = l->score + first,
                          .targets = l->target + first,
                          .loss_kind = BRUTE_AP,
                          .average = BRUTE_SUM,
                          .lambda = step,
                          .margin = l->margin,
                          .list_loss = &list_loss,
                          .gradient = gradient};
    brute_run(&brute);
    *loss += w * brute.loss;
    if (test_floats(call, RK_OUT_LIST_LOSS)[q] != (float)brute.loss)
        fail_msg("seed %llu: loss of list %zu is %.9g, not %.9g", (unsigned long long)seed, q,
                 (double)test_floats(call, RK_OUT_LIST_LOSS)[q], brute.loss);
    for (size_t i = 0; i < length; i++) {
        const double delta = round(-gradient[i] * step);
        const float want = (float)((-w * delta) / step) + 0.0f, got = test_gradient(call)[first + i];
        if (got != want || signbit(got) != signbit(want))
            fail_msg("seed %llu: gradient[%zu] is %.9g, not %.9g", (unsigned long long)seed, first + i,
                     (double)got, (double)want);
    }
}

static void expect_skipped(const struct ragged *l, const struct test_call *call, size_t q)
{
    assert_true(isnan(test_floats(call, RK_OUT_LIST_LOSS)[q]));
    for (int64_t i = l->offset[q]; i < l->offset[q + 1]; i++)
        assert_true(test_gradient(call)[i] == 0 && !signbit(test_gradient(call)[i]));
}

static void expect(const struct ragged *l, const struct test_call *call, uint64_t seed)
{
    double sum = 0, loss = 0;
    size_t n, p, skipped = 0;
    for (size_t q = 0; q < l->count; q++) {
        count(l, q, &n, &p);
        sum += p > 0 ? weight_of(l, q, p) : 0;
        skipped += p == 0;
    }
    for (size_t q = 0; q < l->count; q++) {
        count(l, q, &n, &p);
        if (p == 0)
            expect_skipped(l, call, q);
        else
            expect_list(l, call, q, weight_of(l, q, p) / (l->average == BRUTE_SUM ? 1 : sum), n, &loss, seed);
    }
    const struct rk_info *info = &call->reply.info;
    assert_true(fabs(info->loss - loss) <= 1e-12 * fmax(1, fabs(loss)));
    assert_int_equal(info->lists, l->count);
    assert_int_equal(info->lists_skipped, skipped);
    assert_int_equal(call->reply.out[RK_OUT_GRADIENT].rank, 1);
    assert_int_equal(call->reply.out[RK_OUT_GRADIENT].shape[0], l->items);
}

/* The sparse pair is the dense gradient's, and both are as many as the reply says. */
static void expect_sparse(const struct ragged *l, const struct test_call *call)
{
    const int64_t *index = test_ints(call, RK_OUT_GRADIENT_INDICES);
    const float *value = test_floats(call, RK_OUT_GRADIENT_VALUES), *dense = test_gradient(call);
    size_t at = 0;
    for (size_t i = 0; i < l->items; i++) {
        if (dense[i] == 0)
            continue;
        assert_int_equal(index[at], i);
        assert_true(value[at] == dense[i]);
        at++;
    }
    assert_int_equal(call->reply.out[RK_OUT_GRADIENT_INDICES].shape[0], at);
    assert_int_equal(call->reply.info.gradient_nonzero, at);
}

static void lists_of_any_length_agree_with_brute_force(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3000 * test_times(); seed++) {
        struct test_random random = {seed};
        const struct rk_kernels *kernels = rk_kernels_named(test_set_names[seed % TEST_SETS]);
        struct ragged l;
        struct test_call call;
        draw(&l, &random);
        test_call_start(&call, "ap", 0);
        fill(&call, &l);
        call.exec.kernels = kernels ? kernels : rk_kernels();
        test_run(&call);
        expect(&l, &call, seed);
        expect_sparse(&l, &call);
        test_covered(&call);
        test_call_end(&call);
    }
}

static void ranks_of_lists_agree_with_brute_force(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 500 * test_times(); seed++) {
        struct test_random random = {seed};
        struct ragged l;
        float upstream[ITEMS];
        draw(&l, &random);
        for (size_t i = 0; i < l.items; i++)
            upstream[i] = test_below(&random, 3) ? (float)test_uniform(&random) - 0.5f : 0;
        struct test_call call;
        test_call_start(&call, "rank_vjp", 0);
        test_vector(&call, RK_IN_SCORES, RK_FP32, l.items, l.score);
        test_vector(&call, RK_IN_UPSTREAM, RK_FP32, l.items, upstream);
        test_vector(&call, RK_IN_OFFSETS, RK_INT64, l.count + 1, l.offset);
        test_number(&call, "lambda", l.lambda);
        call.request.outputs = BIT(RK_OUT_RANKS) | BIT(seed % 2 ? RK_OUT_GRADIENT : RK_OUT_GRADIENT_VALUES);
        test_run(&call);
        size_t nonzero = 0;
        for (size_t q = 0; q < l.count; q++) {
            const size_t first = (size_t)l.offset[q], length = (size_t)l.offset[q + 1] - first;
            int64_t ranks[ITEMS];
            double gradient[ITEMS];
            brute_vjp(l.score + first, upstream + first, length, l.lambda, true, ranks, gradient);
            assert_memory_equal(test_ints(&call, RK_OUT_RANKS) + first, ranks, length * sizeof *ranks);
            for (size_t i = 0; i < length; i++) {
                nonzero += gradient[i] != 0;
                assert_true(seed % 2 == 0 || test_gradient(&call)[first + i] == (float)gradient[i]);
            }
        }
        assert_int_equal(call.reply.info.gradient_nonzero, nonzero);
        test_covered(&call);
        test_call_end(&call);
    }
}

/* --- long lists among short ones --- */

/* Of two windows of a group and more, of none, and at the ends of windows. */
static const size_t lengths[] = {0,   40000, 200000, 0, 0,      65536, 1,      131072, 70000,
                                 500, 0,     131071, 3, 400000, 0,     131072, 0};
enum { LENGTHS = sizeof lengths / sizeof *lengths, ALL = 1169255 };

struct long_lists {
    int64_t offset[LENGTHS + 1];
    float *score;
    int8_t *target;
};

static struct long_lists draw_long(void)
{
    struct long_lists l = {.score = malloc(ALL * sizeof(float)), .target = malloc(ALL)};
    struct test_random random = {7};
    for (size_t q = 0; q < LENGTHS; q++)
        l.offset[q + 1] = l.offset[q] + (int64_t)lengths[q];
    assert_int_equal(l.offset[LENGTHS], ALL);
    for (size_t i = 0; i < ALL; i++) {
        l.score[i] = (float)test_uniform(&random);
        l.target[i] = test_below(&random, 100) == 0;
    }
    return l;
}

static void start_long(struct test_call *call, const char *model, const struct long_lists *l,
                       struct rk_pool *pool)
{
    test_call_start(call, model, 0);
    call->exec.pool = pool;
    test_vector(call, RK_IN_SCORES, RK_FP32, ALL, l->score);
    test_vector(call, RK_IN_OFFSETS, RK_INT64, LENGTHS + 1, l->offset);
    if (call->request.model->loss)
        test_vector(call, RK_IN_TARGETS, RK_INT8, ALL, l->target);
}

static void a_list_gets_what_it_gets_alone(void **state)
{
    (void)state;
    struct long_lists l = draw_long();
    struct test_call all;
    start_long(&all, "recall", &l, NULL);
    test_word(&all, "average", "sum");
    all.request.outputs = EVERYTHING;
    test_run(&all);
    for (size_t q = 0; q < LENGTHS; q++) {
        struct test_call one;
        if (lengths[q] == 0)
            continue;
        test_call_start(&one, "recall", 0);
        test_input(&one, RK_IN_SCORES, RK_FP32, 1, lengths[q], l.score + l.offset[q]);
        test_input(&one, RK_IN_TARGETS, RK_INT8, 1, lengths[q], l.target + l.offset[q]);
        test_word(&one, "average", "sum");
        test_run(&one);
        assert_memory_equal(test_gradient(&all) + l.offset[q], test_gradient(&one),
                            lengths[q] * sizeof(float));
        test_call_end(&one);
    }
    test_covered(&all);
    test_call_end(&all);
    free(l.score);
    free(l.target);
}

static void threads_change_nothing_for_lists_of_any_length(void **state)
{
    (void)state;
    static const char *const models[] = {"ap", "recall", "rank"};
    struct long_lists l = draw_long();
    for (unsigned width = 2; width <= 64; width *= 4) {
        struct rk_pool *pool = test_pool_new(width);
        for (size_t m = 0; m < 3; m++) {
            struct test_call alone, together;
            start_long(&alone, models[m], &l, NULL);
            start_long(&together, models[m], &l, pool);
            alone.request.outputs = together.request.outputs =
                m == 1 ? EVERYTHING & ~BIT(RK_OUT_GRADIENT) : alone.request.model->outputs_default;
            test_run(&alone);
            test_run(&together);
            test_same_bits(&alone.reply, &together.reply);
            test_covered(&together);
            test_call_end(&alone);
            test_call_end(&together);
        }
        test_pool_free(pool);
    }
    free(l.score);
    free(l.target);
}

/* The first NaN of all, even if a later list is begun earlier. */
static void threads_name_the_first_nan_of_any_list(void **state)
{
    (void)state;
    struct long_lists l = draw_long();
    struct rk_pool *pool = test_pool_new(3);
    l.score[900000] = l.score[l.offset[13] + 5] = l.score[l.offset[5] + 17] = NAN;
    for (int i = 0; i < 6; i++) {
        struct test_call call;
        start_long(&call, i % 2 ? "ap" : "rank", &l, pool);
        test_refused(&call, RANKD_INVALID,
                     i % 2
                         ? "scores[240017] is NaN; a score must be a number unless its target is -1 (ignored)"
                         : "scores[240017] is NaN; a score must be a number");
        test_call_end(&call);
    }
    test_pool_free(pool);
    free(l.score);
    free(l.target);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_of_any_length_agree_with_brute_force),
        cmocka_unit_test(ranks_of_lists_agree_with_brute_force),
        cmocka_unit_test(a_list_gets_what_it_gets_alone),
        cmocka_unit_test(threads_change_nothing_for_lists_of_any_length),
        cmocka_unit_test(threads_name_the_first_nan_of_any_list),
    };
    return cmocka_run_group_tests_name("engine_lists", tests, NULL, NULL);
}
