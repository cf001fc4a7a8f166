/* SPDX-License-Identifier: Apache-2.0 */
/* The tensors that the engine reads and writes in place, and the reported bytes of the copied
 * ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "unit/support/engine_call.h"

enum { ROWS = 8, COLUMNS = 3000, ITEMS = ROWS * COLUMNS, DIM = 16 };

static float scores[ITEMS], gradient[ITEMS], values[ITEMS];
static double wide[ITEMS];
static uint16_t half[ITEMS];
static int8_t targets[ITEMS];
static int64_t keys[ITEMS], indices[ITEMS];

static int fill(void **state)
{
    (void)state;
    struct test_random random = {5};
    for (size_t i = 0; i < ITEMS; i++) {
        scores[i] = (float)test_uniform(&random);
        wide[i] = (double)scores[i];
        half[i] = (uint16_t)(0x3c00u - test_below(&random, 0x400)); /* FP16 and BF16 below 1 */
        targets[i] = test_below(&random, 50) == 0;
        keys[i] = targets[i];
    }
    return 0;
}

static void give(struct test_call *call, enum rk_output which, void *data, size_t capacity)
{
    call->request.outputs |= 1u << which;
    call->reply.out[which] = (struct rk_out){.data = data, .capacity = capacity};
}

static void give_dense(struct test_call *call)
{
    give(call, RK_OUT_GRADIENT, gradient, sizeof gradient);
}

static void give_sparse(struct test_call *call)
{
    give(call, RK_OUT_GRADIENT_INDICES, indices, sizeof indices);
    give(call, RK_OUT_GRADIENT_VALUES, values, sizeof values);
}

static void start(struct test_call *call, const char *model, enum rk_dtype dtype, const void *data)
{
    test_call_start(call, model, 0);
    test_input(call, RK_IN_SCORES, dtype, ROWS, COLUMNS, data);
    if (call->request.model->loss)
        test_input(call, RK_IN_TARGETS, RK_INT8, ROWS, COLUMNS, targets);
}

/* Runs and ends the call; returns the copied bytes. */
static size_t copied(struct test_call *call)
{
    atomic_size_t bytes = 0;
    call->exec.copied = &bytes;
    test_run(call);
    test_call_end(call);
    return bytes;
}

static void lists_by_row_are_read_and_written_in_place(void **state)
{
    (void)state;
    const struct {
        enum rk_dtype dtype;
        const void *data;
    } in_place[] = {{RK_FP32, scores}, {RK_FP16, half}, {RK_BF16, half}};
    struct test_call call;
    for (size_t i = 0; i < sizeof in_place / sizeof *in_place; i++) {
        for (int sparse = 0; sparse < 2; sparse++) {
            start(&call, i % 2 ? "recall" : "ap", in_place[i].dtype, in_place[i].data);
            sparse ? give_sparse(&call) : give_dense(&call);
            assert_int_equal(copied(&call), 0);
        }
    }
    start(&call, "ap", RK_FP32, scores); /* both: the pair is taken from the dense one */
    give_dense(&call);
    give_sparse(&call);
    assert_int_equal(copied(&call), 0);
}

static void wide_types_are_copied(void **state)
{
    (void)state;
    struct test_call call;
    start(&call, "ap", RK_FP64, wide);
    give_dense(&call);
    assert_int_equal(copied(&call), sizeof wide);
    start(&call, "ap", RK_FP32, scores);
    test_input(&call, RK_IN_TARGETS, RK_INT64, ROWS, COLUMNS, keys);
    give_sparse(&call);
    assert_int_equal(copied(&call), sizeof keys);
}

static void lists_by_column_are_copied_there_and_a_dense_gradient_back(void **state)
{
    (void)state;
    struct test_call call;
    start(&call, "ap", RK_FP32, scores);
    test_word(&call, "axis", "0");
    give_sparse(&call);
    assert_int_equal(copied(&call), sizeof scores + sizeof targets);
    start(&call, "ap", RK_FP32, scores);
    test_word(&call, "axis", "0");
    give_dense(&call);
    assert_int_equal(copied(&call), sizeof scores + sizeof targets + sizeof gradient);
    start(&call, "ap", RK_FP32, scores); /* an output in new memory is not a copy */
    test_word(&call, "axis", "0");
    assert_int_equal(copied(&call), sizeof scores + sizeof targets);
}

static void a_gradient_of_two_parts_is_copied_from_its_sums(void **state)
{
    (void)state;
    struct test_call call;
    start(&call, "ap", RK_FP32, scores);
    test_number(&call, "interclass", 0.5);
    give_dense(&call);
    assert_int_equal(copied(&call), sizeof gradient);
    start(&call, "ap", RK_FP64, wide); /* loaded for each part */
    test_number(&call, "interclass", 0.5);
    give_dense(&call);
    assert_int_equal(copied(&call), 2 * sizeof wide + sizeof gradient);
}

static void rows_that_are_sorted_are_copied(void **state)
{
    (void)state;
    struct test_call call;
    start(&call, "rank", RK_FP32, scores);
    give(&call, RK_OUT_RANKS, indices, sizeof indices);
    assert_int_equal(copied(&call), sizeof scores);
    start(&call, "rank_vjp", RK_FP32, scores);
    test_input(&call, RK_IN_UPSTREAM, RK_FP32, ROWS, COLUMNS, scores);
    give_dense(&call);
    assert_int_equal(copied(&call), 2 * sizeof scores); /* ranked twice */
}

static void embeddings_are_copied_and_so_is_their_gradient(void **state)
{
    (void)state;
    struct test_call call;
    const size_t batch = 100, rows = batch * DIM * sizeof(float), labels = batch * sizeof(int64_t);
    test_call_start(&call, "ap", 0);
    test_input(&call, RK_IN_EMBEDDINGS, RK_FP32, batch, DIM, scores);
    test_vector(&call, RK_IN_LABELS, RK_INT64, batch, keys);
    give_dense(&call);
    assert_int_equal(copied(&call), rows + labels + rows);
    test_call_start(&call, "ap", 0);
    test_input(&call, RK_IN_EMBEDDINGS, RK_FP32, batch, DIM, scores);
    test_vector(&call, RK_IN_LABELS, RK_INT64, batch, keys);
    give_sparse(&call);
    atomic_size_t bytes = 0;
    call.exec.copied = &bytes;
    test_run(&call);
    assert_int_equal(bytes, rows + labels + call.reply.info.gradient_nonzero * 12);
    test_call_end(&call);
}

/* The copied bytes of one long list in which one item in `every` is relevant. */
static size_t copied_of_long(size_t items, size_t every)
{
    struct test_call call;
    struct test_random random = {7};
    float *line = malloc(items * sizeof *line), *out = malloc(items * sizeof *out);
    int8_t *relevant = malloc(items);
    for (size_t i = 0; i < items; i++) {
        line[i] = (float)test_uniform(&random);
        relevant[i] = i % every == 0;
    }
    test_call_start(&call, "ap", 0);
    test_input(&call, RK_IN_SCORES, RK_FP32, 1, items, line);
    test_input(&call, RK_IN_TARGETS, RK_INT8, 1, items, relevant);
    give(&call, RK_OUT_GRADIENT, out, items * sizeof *out);
    size_t bytes = copied(&call);
    free(line);
    free(out);
    free(relevant);
    return bytes;
}

/* With more than 1,572,864 relevant items a list is put in order, some of its items at a time: once
 * to count, and what may move once more. */
static void a_list_that_is_put_in_order_is_copied(void **state)
{
    (void)state;
    const size_t items = 6600000, irrelevant = items / 4 * 3 * sizeof(float);
    assert_in_range(copied_of_long(items, 4), irrelevant, 2 * irrelevant);
}

/* With many relevant items, over a quarter of the list, the others are sorted. */
static void a_list_that_is_merged_is_copied(void **state)
{
    (void)state;
    const size_t items = 900000;
    assert_int_equal(copied_of_long(items, 3), items / 3 * 2 * sizeof(float));
}

static void any_other_long_list_is_read_in_place(void **state)
{
    (void)state;
    assert_int_equal(copied_of_long(900000, 4), 0);
    assert_int_equal(copied_of_long(900000, 100), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_by_row_are_read_and_written_in_place),
        cmocka_unit_test(wide_types_are_copied),
        cmocka_unit_test(lists_by_column_are_copied_there_and_a_dense_gradient_back),
        cmocka_unit_test(a_gradient_of_two_parts_is_copied_from_its_sums),
        cmocka_unit_test(rows_that_are_sorted_are_copied),
        cmocka_unit_test(embeddings_are_copied_and_so_is_their_gradient),
        cmocka_unit_test(a_list_that_is_put_in_order_is_copied),
        cmocka_unit_test(a_list_that_is_merged_is_copied),
        cmocka_unit_test(any_other_long_list_is_read_in_place),
    };
    return cmocka_run_group_tests_name("copies", tests, fill, NULL);
}
