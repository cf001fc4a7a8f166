/* SPDX-License-Identifier: Apache-2.0 */
/* The inputs offsets and list_weight: weights together with other options, refusals, and memory
 * that changes while it is read. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine.h"
#include "request/offsets.h"
#include "unit/support/engine_call.h"

#define BIT(x) (1u << (x))

enum { ROWS = 5, COLUMNS = 7 };

static void start_dense(struct test_call *call, const float *scores, const int8_t *targets,
                        const float *weight, size_t lists)
{
    test_call_start(call, "ap", 0);
    test_input(call, RK_IN_SCORES, RK_FP32, ROWS, COLUMNS, scores);
    test_input(call, RK_IN_TARGETS, RK_INT8, ROWS, COLUMNS, targets);
    if (weight)
        test_vector(call, RK_IN_LIST_WEIGHT, RK_FP32, lists, weight);
}

static void draw_dense(struct test_random *random, float *scores, int8_t *targets)
{
    for (size_t i = 0; i < (size_t)ROWS * COLUMNS; i++) {
        scores[i] = (float)test_uniform(random);
        targets[i] = test_below(random, 3) == 0;
    }
}

/* (1 - β) times the weighted lists, and β times the flat list, whose items all count. */
static void the_flat_list_of_interclass_has_no_weights(void **state)
{
    (void)state;
    struct test_random random = {3};
    float scores[ROWS * COLUMNS];
    int8_t targets[ROWS * COLUMNS];
    const float weight[] = {0.5f, 0, 2, 1.25f, 0, 3, 1};
    for (int round = 0; round < 100; round++) {
        struct test_call lists, flat, both;
        const size_t count = round % 2 ? COLUMNS : ROWS;
        draw_dense(&random, scores, targets);
        start_dense(&lists, scores, targets, weight, count);
        start_dense(&flat, scores, targets, NULL, 0);
        start_dense(&both, scores, targets, weight, count);
        test_number(&flat, "interclass", 1);
        test_number(&both, "interclass", 0.25);
        test_number(&lists, "axis", round % 2 ? 0 : 1);
        test_number(&both, "axis", round % 2 ? 0 : 1);
        test_run(&lists);
        test_run(&flat);
        test_run(&both);
        assert_true(fabs(both.reply.info.loss -
                         (0.75 * lists.reply.info.loss + 0.25 * flat.reply.info.loss)) < 1e-12);
        for (size_t i = 0; i < (size_t)ROWS * COLUMNS; i++)
            assert_true(fabs((double)test_gradient(&both)[i] - (0.75 * (double)test_gradient(&lists)[i] +
                                                                0.25 * (double)test_gradient(&flat)[i])) <
                        1e-6);
        assert_int_equal(both.reply.info.lists_skipped, lists.reply.info.lists_skipped);
        test_call_end(&lists);
        test_call_end(&flat);
        test_call_end(&both);
    }
}

/* Gradients so small that FP32 has none of them are zero, and not counted. */
static void weights_near_0_are_counted_by_their_gradients(void **state)
{
    (void)state;
    struct test_random random = {4};
    float scores[ROWS * COLUMNS];
    int8_t targets[ROWS * COLUMNS];
    const float weight[] = {1, 1e-44f, 1e-44f, 1, 1e-30f};
    draw_dense(&random, scores, targets);
    for (int sparse = 0; sparse < 2; sparse++) {
        struct test_call call;
        start_dense(&call, scores, targets, weight, ROWS);
        test_word(&call, "average", "sum");
        call.request.outputs = sparse ? BIT(RK_OUT_GRADIENT_VALUES) : BIT(RK_OUT_GRADIENT);
        test_number(&call, "lambda", 1e6);
        test_run(&call);
        size_t nonzero = 0;
        for (size_t i = 0; !sparse && i < (size_t)ROWS * COLUMNS; i++) {
            nonzero += test_gradient(&call)[i] != 0;
            assert_true(test_gradient(&call)[i] != 0 || !signbit(test_gradient(&call)[i]));
        }
        if (sparse)
            nonzero = call.reply.out[RK_OUT_GRADIENT_VALUES].shape[0];
        assert_true(nonzero > 0 && nonzero <= (size_t)3 * COLUMNS);
        assert_int_equal(call.reply.info.gradient_nonzero, nonzero);
        test_call_end(&call);
    }
}

/* A query of weight 0 is skipped; weights that are all 1 change nothing. */
static void queries_have_weights(void **state)
{
    (void)state;
    enum { BATCH = 6, DIM = 4 };
    struct test_random random = {5};
    float embeddings[BATCH * DIM];
    const int64_t labels[BATCH] = {1, 1, 2, 2, 1, 3};
    const float ones[BATCH] = {1, 1, 1, 1, 1, 1}, weight[BATCH] = {2, 0, 1, 3, 0.5f, 7};
    for (size_t i = 0; i < (size_t)BATCH * DIM; i++)
        embeddings[i] = (float)test_uniform(&random) - 0.5f;
    struct test_call call[3];
    for (int i = 0; i < 3; i++) {
        test_call_start(&call[i], "ap", 0);
        test_input(&call[i], RK_IN_EMBEDDINGS, RK_FP32, BATCH, DIM, embeddings);
        test_vector(&call[i], RK_IN_LABELS, RK_INT64, BATCH, labels);
        if (i > 0)
            test_vector(&call[i], RK_IN_LIST_WEIGHT, RK_FP32, BATCH, i == 1 ? ones : weight);
        call[i].request.outputs = BIT(RK_OUT_LOSS) | BIT(RK_OUT_GRADIENT) | BIT(RK_OUT_LIST_LOSS);
        test_run(&call[i]);
        test_covered(&call[i]);
    }
    test_same_bits(&call[0].reply, &call[1].reply);
    const float *each = test_floats(&call[0], RK_OUT_LIST_LOSS);
    double loss = (2 * (double)each[0] + (double)each[2] + 3 * (double)each[3] + 0.5 * (double)each[4]) / 6.5;
    assert_true(fabs(call[2].reply.info.loss - loss) < 1e-6);
    assert_int_equal(call[2].reply.info.lists_skipped, 2);
    assert_true(isnan(test_floats(&call[2], RK_OUT_LIST_LOSS)[1]));
    for (int i = 0; i < 3; i++)
        test_call_end(&call[i]);
}

/* --- refusals --- */

static void refuse_offsets(const int64_t *offsets, size_t count, const char *sentence)
{
    static const float scores[6] = {0};
    static const int8_t targets[6] = {0};
    static const char *const models[] = {"ap", "recall", "rank", "rank_vjp"};
    for (size_t m = 0; m < 4; m++) {
        struct test_call call;
        test_call_start(&call, models[m], 0);
        test_vector(&call, RK_IN_SCORES, RK_FP32, 6, scores);
        if (m < 2)
            test_vector(&call, RK_IN_TARGETS, RK_INT8, 6, targets);
        if (m == 3)
            test_vector(&call, RK_IN_UPSTREAM, RK_FP32, 6, scores);
        test_vector(&call, RK_IN_OFFSETS, RK_INT64, count, offsets);
        test_refused(&call, RANKD_INVALID, sentence);
        test_call_end(&call);
    }
}

static void wrong_offsets_are_refused_by_a_sentence(void **state)
{
    (void)state;
    refuse_offsets((const int64_t[]){1, 6}, 2, "offsets[0] is 1; the first list must begin at 0");
    refuse_offsets((const int64_t[]){-1, 6}, 2, "offsets[0] is -1; the first list must begin at 0");
    refuse_offsets((const int64_t[]){0, 4, 3, 6}, 4,
                   "offsets[2] is 3, below offsets[1], 4; offsets must not descend");
    refuse_offsets((const int64_t[]){0, INT64_MIN, 6}, 3,
                   "offsets[1] is -9223372036854775808, below offsets[0], 0; offsets must not descend");
    refuse_offsets((const int64_t[]){0, 4, 5}, 3,
                   "offsets[2], the last, is 5; it must be the number of scores, 6");
    refuse_offsets((const int64_t[]){0, 7}, 2,
                   "offsets[1], the last, is 7; it must be the number of scores, 6");
    refuse_offsets((const int64_t[]){0}, 1, "offsets[0], the last, is 0; it must be the number of scores, 6");
    refuse_offsets((const int64_t[]){0}, 0,
                   "input offsets has shape [0]; it must have one element more than there are lists");
}

static void refuse_empty_offsets(void)
{
    static const int64_t bad[] = {0, 1}, good[] = {0, 0, 0};
    struct test_call call;
    test_call_start(&call, "ap", 0);
    test_vector(&call, RK_IN_SCORES, RK_FP32, 0, good);
    test_vector(&call, RK_IN_TARGETS, RK_INT8, 0, good);
    test_vector(&call, RK_IN_OFFSETS, RK_INT64, 2, bad);
    test_refused(&call, RANKD_INVALID, "offsets[1], the last, is 1; it must be the number of scores, 0");
    test_vector(&call, RK_IN_OFFSETS, RK_INT64, 3, good);
    call.err = (struct rk_err){0};
    test_run(&call);
    assert_int_equal(call.reply.info.lists, 2);
    assert_int_equal(call.reply.info.lists_skipped, 2);
    test_call_end(&call);
}

static void what_does_not_go_with_offsets_is_refused_by_name(void **state)
{
    (void)state;
    static const float scores[4] = {0};
    static const int8_t targets[4] = {0};
    static const int64_t offsets[] = {0, 1, 4};
    static const struct {
        const char *parameter, *sentence;
    } refused[] = {
        {"axis", "parameter axis was sent with offsets, which say where each list begins; leave it out"},
        {"interclass",
         "parameter interclass was sent with offsets; lists of different lengths have no loss over "
         "the batch as one list, leave it out"},
    };
    struct test_call call;
    for (size_t i = 0; i < 2; i++) {
        test_call_start(&call, "ap", 0);
        test_vector(&call, RK_IN_SCORES, RK_FP32, 4, scores);
        test_vector(&call, RK_IN_TARGETS, RK_INT8, 4, targets);
        test_vector(&call, RK_IN_OFFSETS, RK_INT64, 3, offsets);
        test_number(&call, refused[i].parameter, 1);
        test_refused(&call, RANKD_INVALID, refused[i].sentence);
        test_call_end(&call);
    }
    test_call_start(&call, "ap", 0);
    test_input(&call, RK_IN_SCORES, RK_FP32, 2, 2, scores);
    test_vector(&call, RK_IN_TARGETS, RK_INT8, 4, targets);
    test_vector(&call, RK_IN_OFFSETS, RK_INT64, 3, offsets);
    test_refused(&call, RANKD_INVALID, "input scores has 2 dimensions; with offsets its shape must be [N]");
    test_vector(&call, RK_IN_SCORES, RK_FP32, 3, scores);
    call.err = (struct rk_err){0};
    test_refused(&call, RANKD_INVALID, "input targets has shape [4]; it must be that of scores, [3]");
    test_call_end(&call);
    refuse_empty_offsets();
}

static void wrong_weights_are_refused_by_position(void **state)
{
    (void)state;
    static const float scores[ROWS * COLUMNS] = {0};
    static const int8_t targets[ROWS * COLUMNS] = {0};
    static const struct {
        float weight;
        const char *sentence;
    } refused[] = {
        {NAN, "list_weight[3] is NaN; it must be finite and 0 or more"},
        {INFINITY, "list_weight[3] is Infinity; it must be finite and 0 or more"},
        {-0.5f, "list_weight[3] is -0.5; it must be finite and 0 or more"},
    };
    struct test_call call;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const float weight[ROWS] = {1, 0, 2, refused[i].weight, -1};
        start_dense(&call, scores, targets, weight, ROWS);
        test_refused(&call, RANKD_INVALID, refused[i].sentence);
        test_call_end(&call);
    }
    start_dense(&call, scores, targets, scores, COLUMNS);
    test_refused(&call, RANKD_INVALID, "input list_weight has shape [7]; it must be [5], one for each list");
    test_call_end(&call);
}

/* --- memory that another process writes to --- */

static void offsets_that_no_run_would_take_have_no_longest_list(void **state)
{
    (void)state;
    static const int64_t bad[][3] = {{0, 3, 2}, {-1, 2, 4}, {0, 4, 9}, {INT64_MIN, INT64_MAX, 4}};
    const float scores[4] = {0};
    struct test_call call;
    test_call_start(&call, "rank", 0);
    test_vector(&call, RK_IN_SCORES, RK_FP32, 4, scores);
    assert_int_equal(rk_offsets_longest(&call.request), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        test_vector(&call, RK_IN_OFFSETS, RK_INT64, 3, bad[i]);
        assert_int_equal(rk_offsets_longest(&call.request), 0);
    }
    const int64_t good[] = {0, 3, 4};
    test_vector(&call, RK_IN_OFFSETS, RK_INT64, 3, good);
    assert_int_equal(rk_offsets_longest(&call.request), 3);
    call.request.longest = 2; /* as if another process had changed them since */
    test_refused(&call, RANKD_INVALID,
                 "offsets changed while they were read; leave them alone until the reply");
    call.request.in[RK_IN_OFFSETS].dtype = RK_INT32;
    assert_int_equal(rk_offsets_longest(&call.request), 0);
    test_call_end(&call);
}

static void write_wildly(volatile int64_t *offset, size_t count)
{
    struct test_random random = {(uint64_t)getpid()};
    for (;;)
        offset[test_below(&random, count)] = (int64_t)test_next(&random) >> test_below(&random, 64);
}

/* The engine stays within the tensors, which a build with a sanitizer checks. */
static void offsets_that_change_meanwhile_do_no_harm(void **state)
{
    (void)state;
    enum { COUNT = 9, N = 64 };
    int64_t *offset = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    float *scores = calloc(N, sizeof *scores);
    int8_t *targets = calloc(N, 1);
    const pid_t writer = fork();
    if (writer == 0)
        write_wildly(offset, COUNT);
    for (int i = 0; i < 4000; i++) {
        struct test_call call;
        for (size_t q = 0; q < COUNT; q++)
            offset[q] = (int64_t)(q * N / (COUNT - 1));
        test_call_start(&call, i % 2 ? "ap" : "rank", 0);
        test_vector(&call, RK_IN_SCORES, RK_FP32, N, scores);
        if (i % 2)
            test_vector(&call, RK_IN_TARGETS, RK_INT8, N, targets);
        test_vector(&call, RK_IN_OFFSETS, RK_INT64, COUNT, offset);
        const enum rankd_status status = rk_engine_run(&call.exec, &call.request, &call.reply, &call.err);
        assert_true(status == RANKD_OK || status == RANKD_INVALID || status == RANKD_TOO_LARGE);
        test_call_end(&call);
    }
    (void)kill(writer, SIGKILL);
    assert_int_equal(waitpid(writer, NULL, 0), writer);
    free(scores);
    free(targets);
    (void)munmap(offset, 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_flat_list_of_interclass_has_no_weights),
        cmocka_unit_test(weights_near_0_are_counted_by_their_gradients),
        cmocka_unit_test(queries_have_weights),
        cmocka_unit_test(wrong_offsets_are_refused_by_a_sentence),
        cmocka_unit_test(offsets_that_no_run_would_take_have_no_longest_list),
        cmocka_unit_test(what_does_not_go_with_offsets_is_refused_by_name),
        cmocka_unit_test(wrong_weights_are_refused_by_position),
        cmocka_unit_test(offsets_that_change_meanwhile_do_no_harm),
    };
    return cmocka_run_group_tests_name("engine_list_inputs", tests, NULL, NULL);
}
