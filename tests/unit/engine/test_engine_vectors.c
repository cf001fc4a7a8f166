/* SPDX-License-Identifier: Apache-2.0 */
/* The engine against results of independent code: tests/data/vectors.json and vectors_graded.json,
 * from an oracle that sorts, and the worked examples of the documentation. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "kernels/kernel.h"
#include "unit/support/engine_call.h"
#include "unit/support/kernel_sets.h"

static void set_parameters(struct test_call *call, json_t *parameters)
{
    const char *name;
    json_t *value;
    json_object_foreach(parameters, name, value)
    {
        if (json_is_string(value))
            test_word(call, name, json_string_value(value));
        else
            test_number(call, name, json_number_value(value));
    }
}

static bool close_to(double a, double b)
{
    return fabs(a - b) <= 1e-12 * fmax(1.0, fabs(b));
}

static void compare_list_loss(const struct test_call *call, json_t *expected, size_t case_number)
{
    const float *list_loss = test_floats(call, RK_OUT_LIST_LOSS);
    assert_int_equal(call->reply.out[RK_OUT_LIST_LOSS].shape[0], json_array_size(expected));
    for (size_t l = 0; l < json_array_size(expected); l++) {
        json_t *one = json_array_get(expected, l);
        if (json_is_null(one) ? !isnan(list_loss[l]) : list_loss[l] != (float)json_number_value(one))
            fail_msg("case %zu: loss of list %zu is %.9g", case_number, l, (double)list_loss[l]);
    }
}

static void compare(const struct test_call *call, json_t *vector, size_t case_number)
{
    double loss = json_number_value(json_object_get(vector, "loss"));
    if (!close_to(call->reply.info.loss, loss))
        fail_msg("case %zu: loss %.17g, not %.17g", case_number, call->reply.info.loss, loss);
    json_t *gradient = json_object_get(vector, "gradient");
    const float *got = test_gradient(call);
    for (size_t i = 0; i < json_array_size(gradient); i++) {
        float want = (float)json_number_value(json_array_get(gradient, i));
        if (got[i] != want || (want == 0 && signbit(got[i])))
            fail_msg("case %zu: gradient[%zu] is %.9g, not %.9g", case_number, i, (double)got[i],
                     (double)want);
    }
    if (json_object_get(vector, "list_loss"))
        compare_list_loss(call, json_object_get(vector, "list_loss"), case_number);
}

/* The weights of the lists, [lists]; NULL where the vector has none. */
static float *weights_of(json_t *vector, size_t lists)
{
    json_t *weights = json_object_get(vector, "list_weight");
    if (!json_is_array(weights))
        return NULL;
    float *weight = calloc(lists, sizeof *weight);
    assert_int_equal(json_array_size(weights), lists);
    for (size_t l = 0; l < lists; l++)
        weight[l] = (float)json_number_value(json_array_get(weights, l));
    return weight;
}

static void run_vector(json_t *vector, const struct rk_kernels *kernels, size_t case_number)
{
    json_t *shape = json_object_get(vector, "shape");
    size_t rows = (size_t)json_integer_value(json_array_get(shape, 0));
    size_t columns = (size_t)json_integer_value(json_array_get(shape, 1));
    uint32_t *scores = calloc(rows * columns, sizeof *scores);
    float *targets = calloc(rows * columns, sizeof *targets);
    for (size_t i = 0; i < rows * columns; i++) {
        scores[i] =
            (uint32_t)json_integer_value(json_array_get(json_object_get(vector, "scores_fp32_bits"), i));
        targets[i] = (float)json_number_value(json_array_get(json_object_get(vector, "targets"), i));
    }
    struct test_call call;
    test_call_start(&call, json_string_value(json_object_get(vector, "model")), 0);
    call.exec.kernels = kernels;
    call.request.outputs = 1u << RK_OUT_LOSS | 1u << RK_OUT_GRADIENT | 1u << RK_OUT_LIST_LOSS;
    set_parameters(&call, json_object_get(vector, "parameters"));
    test_input(&call, RK_IN_SCORES, RK_FP32, rows, columns, scores);
    test_input(&call, RK_IN_TARGETS, RK_FP32, rows, columns, targets);
    const size_t lists = call.request.params.axis == RK_AXIS_COLUMNS ? columns : rows;
    float *weight = weights_of(vector, lists);
    if (weight)
        test_vector(&call, RK_IN_LIST_WEIGHT, RK_FP32, lists, weight);
    test_run(&call);
    compare(&call, vector, case_number);
    free(weight);
    test_call_end(&call);
    free(scores);
    free(targets);
}

static void hold_with_every_set_of_kernels(const char *file)
{
    json_error_t error;
    json_t *vectors = json_load_file(file, 0, &error);
    if (!vectors)
        fail_msg("%s: %s", file, error.text);
    assert_true(json_array_size(vectors) > 100);
    const struct rk_kernels *sets[TEST_SETS];
    const size_t count = test_sets(sets);
    for (size_t s = 0; s < count; s++) {
        for (size_t i = 0; i < json_array_size(vectors); i++)
            run_vector(json_array_get(vectors, i), sets[s], i);
    }
    assert_true(count >= 2);
    json_decref(vectors);
}

static void every_vector_holds_with_every_set_of_kernels(void **state)
{
    (void)state;
    hold_with_every_set_of_kernels("tests/data/vectors.json");
}

static void every_graded_vector_holds_with_every_set_of_kernels(void **state)
{
    (void)state;
    hold_with_every_set_of_kernels("tests/data/vectors_graded.json");
}

static void the_worked_example_comes_out(void **state)
{
    (void)state;
    const float scores[] = {0.9f, 0.8f, 0.7f, 0.6f};
    const int8_t targets[] = {0, 1, 0, 1};
    const float want[] = {0.25f, -0.25f, 0.25f, -0.25f};
    struct test_call call;
    test_call_start(&call, "ap", 0);
    test_input(&call, RK_IN_SCORES, RK_FP32, 1, 4, scores);
    test_input(&call, RK_IN_TARGETS, RK_INT8, 1, 4, targets);
    test_run(&call);
    assert_true(call.reply.info.loss == 0.5);
    assert_true(test_floats(&call, RK_OUT_LOSS)[0] == 0.5f);
    assert_memory_equal(test_gradient(&call), want, sizeof want);
    assert_int_equal(call.reply.info.lists, 1);
    assert_int_equal(call.reply.info.lists_skipped, 0);
    assert_int_equal(call.reply.info.lists_stalled, 0);
    assert_int_equal(call.reply.info.gradient_nonzero, 4);
    test_call_end(&call);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vector_holds_with_every_set_of_kernels),
        cmocka_unit_test(every_graded_vector_holds_with_every_set_of_kernels),
        cmocka_unit_test(the_worked_example_comes_out),
    };
    return cmocka_run_group_tests_name("engine_vectors", tests, NULL, NULL);
}
