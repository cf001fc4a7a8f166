/* SPDX-License-Identifier: Apache-2.0 */
/* Graded relevance, first hit and cut-off: the worked examples of docs/semantics.md, the edges, and
 * the sentence about each value that is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/kernel.h"
#include "unit/support/engine_call.h"

enum { FOUR = 4 };
static const float scores[FOUR] = {0.9f, 0.8f, 0.7f, 0.6f};

static void start(struct test_call *call, const char *model, enum rk_dtype dtype, const void *targets)
{
    test_call_start(call, model, 0);
    test_input(call, RK_IN_SCORES, RK_FP32, 1, FOUR, scores);
    test_input(call, RK_IN_TARGETS, dtype, 1, FOUR, targets);
}

static void refused(struct test_call *call, const char *sentence)
{
    test_refused(call, RANKD_INVALID, sentence);
    test_call_end(call);
}

static void gives(struct test_call *call, double loss, const float *gradient)
{
    test_run(call);
    if (fabs(call->reply.info.loss - loss) > 5e-7)
        fail_msg("loss %.9g, not %.9g", call->reply.info.loss, loss);
    assert_memory_equal(test_gradient(call), gradient, FOUR * sizeof *gradient);
    test_call_end(call);
}

static void the_worked_examples_come_out(void **state)
{
    (void)state;
    const int8_t binary[] = {0, 1, 0, 1}, grades[] = {0, 1, 0, 3};
    struct test_call call;
    start(&call, "recall", RK_INT8, binary);
    gives(&call, 0.633933, (const float[]){0.5f, -0.25f, 0.25f, -0.5f});
    start(&call, "ap", RK_INT8, binary);
    test_number(&call, "top_k", 3);
    gives(&call, 0.75, (const float[]){0.25f, -0.25f, 0.25f, -0.25f});
    start(&call, "mrr", RK_INT8, binary);
    gives(&call, 0.5, (const float[]){0.25f, -0.25f, 0, 0});
    start(&call, "mrr", RK_INT8, binary);
    test_number(&call, "top_k", 1);
    gives(&call, 1, (const float[]){0.25f, -0.25f, 0, 0});
    start(&call, "ndcg", RK_INT8, grades);
    test_number(&call, "lambda", 8);
    gives(&call, 0.522251, (const float[]){0.0625f, 0, 0.03125f, -0.09375f});
    start(&call, "ndcg", RK_INT8, grades);
    test_number(&call, "lambda", 8);
    test_number(&call, "top_k", 2);
    gives(&call, 1 - 0.6309298 / 7.6309298, (const float[]){0.0625f, 0, 0.03125f, -0.09375f});
    start(&call, "ndcg", RK_INT8, grades);
    test_word(&call, "gain", "linear");
    test_number(&call, "lambda", 8);
    gives(&call, 1 - (1 / log2(3) + 3 / log2(5)) / (3 + 1 / log2(3)),
          (const float[]){0.0625f, -0.03125f, 0.03125f, -0.0625f});
}

/* Equal scores: the irrelevant item first, then grades from the lowest, then the index. */
static void ties_are_ranked_from_the_lowest_grade(void **state)
{
    (void)state;
    const float equal[] = {0.5f, 0.5f, 0.5f, 0.5f, 0.5f};
    const int8_t grades[] = {3, 1, 0, 3, 2}; /* ranks 4, 2, 1, 5, 3 */
    const double dcg = 1 / log2(3) + 3 / log2(4) + 7 / log2(5) + 7 / log2(6);
    const double idcg = 7 + 7 / log2(3) + 3 / log2(4) + 1 / log2(5);
    struct test_call call;
    test_call_start(&call, "ndcg", 0);
    test_input(&call, RK_IN_SCORES, RK_FP32, 1, 5, equal);
    test_input(&call, RK_IN_TARGETS, RK_INT8, 1, 5, grades);
    test_run(&call);
    assert_true(fabs(call.reply.info.loss - (1 - dcg / idcg)) < 1e-15);
    /* Every item moves: the better ranked one of grade 3 to the top, by 7/(5 ln² 5), the irrelevant
     * one to the end. */
    const float want[] = {-3 / 5.f, 2 / 5.f, 4 / 5.f, -2 / 5.f, -1 / 5.f};
    assert_memory_equal(test_gradient(&call), want, sizeof want);
    test_call_end(&call);
}

static void a_perfect_order_costs_exactly_nothing(void **state)
{
    (void)state;
    enum { MANY = 1000 };
    static float descending[MANY], grades[MANY];
    for (int i = 0; i < MANY; i++) {
        descending[i] = (float)(MANY - i);
        grades[i] = i < MANY / 2 ? 1 / (float)(i / 3 + 3) : 0;
    }
    for (int k = 0; k <= MANY; k += 50) {
        struct test_call call;
        test_call_start(&call, "ndcg", 0);
        test_input(&call, RK_IN_SCORES, RK_FP32, 1, MANY, descending);
        test_input(&call, RK_IN_TARGETS, RK_FP32, 1, MANY, grades);
        test_word(&call, "gain", "linear");
        test_number(&call, "top_k", k);
        test_run(&call);
        assert_true(call.reply.info.loss == 0 && !signbit(call.reply.info.loss));
        assert_int_equal(call.reply.info.lists_stalled, 0);
        test_call_end(&call);
    }
}

/* With every relevant item of one grade, what that grade is does not matter. */
static void equal_grades_are_as_good_as_ones(void **state)
{
    (void)state;
    const int64_t ones[] = {0, 1, -1, 1}, fives[] = {0, 5, -1, 5};
    const double far = 1 / log2(3) + 1 / log2(4), best = 1 + 1 / log2(3);
    for (int which = 0; which < 2; which++) {
        struct test_call call;
        start(&call, "ndcg", RK_INT64, which ? fives : ones);
        gives(&call, 1 - far / best, (const float[]){1 / 3.f, -1 / 3.f, 0, 0});
    }
}

static void every_type_of_targets_holds_the_same_grades(void **state)
{
    (void)state;
    const int8_t i8[] = {0, 1, 0, 3};
    const uint8_t u8[] = {0, 1, 0, 3};
    const int32_t i32[] = {0, 1, 0, 3};
    const int64_t i64[] = {0, 1, 0, 3};
    const float f32[] = {-0.0f, 1, 0, 3};
    const uint16_t fp16[] = {0x8000, 0x3c00, 0, 0x4200}, bf16[] = {0x8000, 0x3f80, 0, 0x4040};
    const struct {
        enum rk_dtype dtype;
        const void *targets;
    } types[] = {{RK_INT8, i8},  {RK_UINT8, u8},  {RK_INT32, i32}, {RK_INT64, i64},
                 {RK_FP32, f32}, {RK_FP16, fp16}, {RK_BF16, bf16}};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        struct test_call call;
        start(&call, "ndcg", types[t].dtype, types[t].targets);
        test_number(&call, "lambda", 8);
        gives(&call, 0.522251, (const float[]){0.0625f, 0, 0.03125f, -0.09375f});
    }
}

static void the_largest_and_the_smallest_gains_are_finite(void **state)
{
    (void)state;
    const float wide[][FOUR] = {{3.4028234e38f, 1e-45f, 0, 3.4028234e38f}, {1e-45f, 1e-45f, 1e-45f, 1e-45f}};
    const int64_t whole[] = {INT64_MAX, 1, (INT64_C(1) << 53) + 1, 0};
    const uint8_t most[] = {31, 30, 1, 31};
    struct test_call call;
    for (int i = 0; i < 3; i++) {
        start(&call, "ndcg", i < 2 ? RK_FP32 : RK_INT64, i < 2 ? (const void *)wide[i] : whole);
        test_word(&call, "gain", "linear");
        test_run(&call);
        assert_true(call.reply.info.loss >= 0 && call.reply.info.loss < 1);
        test_call_end(&call);
    }
    start(&call, "ndcg", RK_UINT8, most);
    test_run(&call);
    const double a = 0x1p31 - 1, b = 0x1p30 - 1;
    const double dcg = a + b / log2(3) + 1 / log2(4) + a / log2(5),
                 idcg = a + a / log2(3) + b / log2(4) + 1 / log2(5);
    assert_true(fabs(call.reply.info.loss - (1 - dcg / idcg)) < 1e-15);
    test_call_end(&call);
}

static void a_grade_is_refused_by_losses_of_binary_relevance(void **state)
{
    (void)state;
    const int8_t grades[] = {0, 1, 0, 2};
    const float fraction[] = {0, 1, 0.5f, 0};
    static const char *const models[] = {"ap", "recall", "mrr"};
    struct test_call call;
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        start(&call, models[m], RK_INT8, grades);
        refused(&call, "targets[0, 3] is 2; it may be 1 (relevant), 0 (irrelevant) or -1 (ignored)");
        start(&call, models[m], RK_FP32, fraction);
        refused(&call, "targets[0, 2] is 0.5; it may be 1 (relevant), 0 (irrelevant) or -1 (ignored)");
    }
}

static void what_is_no_grade_is_refused(void **state)
{
    (void)state;
    const int32_t many[] = {0, 31, 32, 1}, negative[] = {0, 1, -2, -1};
    const float fraction[] = {0, 1, 2.5f, -1}, nan[] = {0, 1, 1, NAN}, infinite[] = {INFINITY, 1, 0, 0},
                below[] = {0, 1, -0.25f, -1};
    const uint16_t half[] = {0x3e00, 0, 0, 0};
    const uint8_t unsigned_many[] = {0, 255, 0, 0}, not_bool[] = {0, 1, 2, 0};
    const struct {
        enum rk_dtype dtype;
        const void *targets;
        const char *gain, *sentence;
    } cases[] = {
#define WHOLE "; it may be a whole grade from 0 (irrelevant) to 31, or -1 (ignored)"
#define REAL "; it may be a finite grade of 0 (irrelevant) or more, or -1 (ignored)"
        {RK_INT32, many, "exp2", "targets[0, 2] is 32" WHOLE},
        {RK_INT32, negative, "exp2", "targets[0, 2] is -2" WHOLE},
        {RK_FP32, fraction, "exp2", "targets[0, 2] is 2.5" WHOLE},
        {RK_FP32, nan, "exp2", "targets[0, 3] is NaN" WHOLE},
        {RK_FP16, half, "exp2", "targets[0, 0] is 1.5" WHOLE},
        {RK_UINT8, unsigned_many, "exp2",
         "targets[0, 1] is 255; it may be a whole grade from 0 (irrelevant) to 31"},
        {RK_BOOL, not_bool, "exp2", "targets[0, 2] is 2; it may be 1 (relevant) or 0 (irrelevant)"},
        {RK_INT32, negative, "linear", "targets[0, 2] is -2" REAL},
        {RK_FP32, below, "linear", "targets[0, 2] is -0.25" REAL},
        {RK_FP32, infinite, "linear", "targets[0, 0] is Infinity" REAL},
        {RK_FP32, nan, "linear", "targets[0, 3] is NaN" REAL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int axis = 0; axis < 2; axis++) {
            struct test_call call;
            start(&call, "ndcg", cases[i].dtype, cases[i].targets);
            test_word(&call, "gain", cases[i].gain);
            test_number(&call, "axis", axis);
            refused(&call, cases[i].sentence);
        }
    }
}

static void parameters_that_do_not_belong_are_refused(void **state)
{
    (void)state;
    const int8_t targets[] = {0, 1, 0, 1};
    struct test_call call;
    start(&call, "recall", RK_INT8, targets);
    test_number(&call, "top_k", 3);
    refused(&call,
            "parameter top_k does not belong to model recall with scores; it goes with ap, ndcg, mrr, hits");
    start(&call, "ap", RK_INT8, targets);
    test_word(&call, "gain", "linear");
    refused(&call, "parameter gain does not belong to model ap with scores; it goes with ndcg");
    start(&call, "ndcg", RK_INT8, targets);
    call.request.params.top_k = UINT64_C(1) << 40;
    call.request.params.given |= 1u << RK_PARAM_top_k;
    refused(&call, "parameter top_k was 1099511627776; it must be a whole number from 0 to 2147483647");
    start(&call, "ndcg", RK_INT8, targets);
    test_word(&call, "bank", "b");
    refused(&call,
            "parameter bank was \"b\"; model ndcg is of graded relevance, and a bank holds no grades: it "
            "goes with ap, recall, mrr, hits");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_worked_examples_come_out),
        cmocka_unit_test(ties_are_ranked_from_the_lowest_grade),
        cmocka_unit_test(a_perfect_order_costs_exactly_nothing),
        cmocka_unit_test(equal_grades_are_as_good_as_ones),
        cmocka_unit_test(every_type_of_targets_holds_the_same_grades),
        cmocka_unit_test(the_largest_and_the_smallest_gains_are_finite),
        cmocka_unit_test(a_grade_is_refused_by_losses_of_binary_relevance),
        cmocka_unit_test(what_is_no_grade_is_refused),
        cmocka_unit_test(parameters_that_do_not_belong_are_refused),
    };
    return cmocka_run_group_tests_name("engine_graded", tests, NULL, NULL);
}
