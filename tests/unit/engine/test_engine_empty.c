/* SPDX-License-Identifier: Apache-2.0 */
/* Batches without an item: an answer, and not an error; and costs, which are computed before the
 * shapes are checked. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "bank/batch.h"
#include "bank/kind.h"
#include "engine.h"
#include "kernels/kernel.h"
#include "request/bank_view.h"
#include "request/empty.h"
#include "unit/support/engine_call.h"

#define BIT(x) (1u << (x))

static const struct {
    size_t rows, columns;
} shapes[] = {{0, 0}, {0, 1}, {0, 7}, {1, 0}, {5, 0}, {0, RK_LIST_MAX}, {70000, 0}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static const char nothing[1];

/* Scores without an item and the other inputs of the model, with all of its outputs. */
static void start(struct test_call *call, const char *model, size_t rows, size_t columns)
{
    test_call_start(call, model, 0);
    test_input(call, RK_IN_SCORES, RK_FP32, rows, columns, nothing);
    if (call->request.model->loss)
        test_input(call, RK_IN_TARGETS, RK_INT8, rows, columns, nothing);
    if (call->request.model->inputs_scores & BIT(RK_IN_UPSTREAM))
        test_input(call, RK_IN_UPSTREAM, RK_FP32, rows, columns, nothing);
    call->request.outputs = call->request.model->outputs & ~BIT(RK_OUT_REF_GRADIENT);
}

static void has_shape(const struct test_call *call, enum rk_output which, unsigned rank, size_t rows,
                      size_t columns)
{
    const struct rk_out *out = &call->reply.out[which];
    assert_true(call->reply.outputs & BIT(which));
    assert_non_null(out->data);
    assert_int_equal(out->rank, rank);
    assert_int_equal(out->shape[0], rows);
    assert_int_equal(out->shape[1], rank == 2 ? columns : 0);
    assert_int_equal(out->bytes, rows * (rank == 2 ? columns : 1) * rk_dtype_size(out->dtype));
}

static void is_zero_loss(const struct test_call *call, size_t lists)
{
    const struct rk_info *info = &call->reply.info;
    assert_int_equal(info->lists, lists);
    assert_int_equal(info->lists_skipped, lists);
    assert_int_equal(info->lists_stalled, 0);
    assert_int_equal(info->gradient_nonzero, 0);
    assert_true(info->has_gradient);
    assert_true(info->loss == 0 && !signbit(info->loss));
    assert_true(test_floats(call, RK_OUT_LOSS)[0] == 0);
    has_shape(call, RK_OUT_LIST_LOSS, 1, lists, 0);
    for (size_t l = 0; l < lists; l++)
        assert_true(isnan(test_floats(call, RK_OUT_LIST_LOSS)[l]));
    has_shape(call, RK_OUT_GRADIENT_INDICES, 1, 0, 0);
    has_shape(call, RK_OUT_GRADIENT_VALUES, 1, 0, 0);
}

static void scores_without_an_item_lose_nothing(void **state)
{
    (void)state;
    static const char *const models[] = {"ap", "recall", "ndcg", "mrr"}, *const averages[] = {"macro",
                                                                                              "micro", "sum"};
    for (size_t i = 0; i < (size_t)SHAPES * 4 * 3 * 2 * 3; i++) {
        struct test_call call;
        const size_t rows = shapes[i % SHAPES].rows, columns = shapes[i % SHAPES].columns;
        const size_t option = i / SHAPES;
        const bool by_column = option / 12 % 2;
        if ((by_column ? columns : rows) > 100000) /* another test has that many list losses */
            continue;
        start(&call, models[option % 4], rows, columns);
        test_word(&call, "average", averages[option / 4 % 3]);
        test_number(&call, "axis", by_column ? 0 : 1);
        test_number(&call, "interclass", (double)(option / 24) / 2);
        test_run(&call);
        is_zero_loss(&call, by_column ? columns : rows);
        has_shape(&call, RK_OUT_GRADIENT, 2, rows, columns);
        test_call_end(&call);
    }
}

static void an_empty_batch_has_empty_ranks_of_its_shape(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++) {
        struct test_call call;
        start(&call, "rank", shapes[i].rows, shapes[i].columns);
        test_run(&call);
        assert_int_equal(call.reply.info.lists, shapes[i].rows);
        assert_int_equal(call.reply.info.lists_skipped, 0);
        has_shape(&call, RK_OUT_RANKS, 2, shapes[i].rows, shapes[i].columns);
        test_call_end(&call);
        start(&call, "rank_vjp", shapes[i].rows, shapes[i].columns);
        test_run(&call);
        has_shape(&call, RK_OUT_RANKS, 2, shapes[i].rows, shapes[i].columns);
        has_shape(&call, RK_OUT_GRADIENT, 2, shapes[i].rows, shapes[i].columns);
        has_shape(&call, RK_OUT_GRADIENT_VALUES, 1, 0, 0);
        test_call_end(&call);
    }
}

/* Its lists have items and relevant ones, and no batch to be ranked. */
static void a_bank_makes_no_list_of_an_empty_batch_valid(void **state)
{
    (void)state;
    static const float scores[6] = {0.3f, 0.2f, 0.1f, 0.6f, 0.5f, 0.4f};
    static const int8_t targets[6] = {0, 1, 0, 1, 0, 0};
    const struct rk_bank_scores_chunk chunk = {.items = 3, .stride = 3, .scores = scores, .targets = targets};
    const struct rk_bank_snapshot view = {
        .items = 3, .version = 9, .generation = 4, .scores = {.lists = 2, .chunks = 1, .chunk = &chunk}};
    for (int axis = 0; axis < 2; axis++) {
        struct test_call call;
        start(&call, "ap", axis ? 2 : 0, axis ? 0 : 2);
        test_number(&call, "axis", axis);
        call.request.bank_snapshot = &view;
        test_run(&call);
        is_zero_loss(&call, 2);
        assert_true(call.reply.info.has_bank);
        assert_int_equal(call.reply.info.bank_items, 3);
        assert_int_equal(call.reply.info.bank_version, 9);
        assert_int_equal(call.reply.info.bank_generation, 4);
        assert_true(call.reply.info.gradient_dropped == 0);
        const struct rk_bank_shape shape = {
            .kind = &rk_bank_kind_scores, .lists = 2, .capacity = 4, .dtype = RK_FP32};
        struct rk_batch batch;
        assert_int_equal(rk_batch_new(&shape, &call.request, &batch, &call.err), RANKD_OK);
        assert_int_equal(batch.items, 0);
        rk_batch_free(&batch);
        test_call_end(&call);
    }
}

/* No query; references or none, with ids or without. */
static void embeddings_without_an_item_leave_references_a_gradient_of_zero(void **state)
{
    (void)state;
    static const float refs[6] = {1, 0, 0, 0, 2, 0};
    static const int64_t keys[2] = {3, 3};
    for (unsigned i = 0; i < 16; i++) {
        struct test_call call;
        const size_t count = i % 2 ? 2 : 0;
        test_call_start(&call, i & 2 ? "ap" : "recall", 0);
        test_input(&call, RK_IN_EMBEDDINGS, RK_FP32, 0, 3, nothing);
        test_vector(&call, RK_IN_LABELS, RK_INT64, 0, nothing);
        test_input(&call, RK_IN_REF_EMBEDDINGS, RK_FP32, count, 3, refs);
        test_vector(&call, RK_IN_REF_LABELS, RK_INT64, count, keys);
        if (i & 4) {
            test_vector(&call, RK_IN_IDS, RK_INT64, 0, nothing);
            test_vector(&call, RK_IN_ENQUEUE_MASK, RK_BOOL, 0, nothing);
        }
        if (i & 8)
            test_vector(&call, RK_IN_REF_IDS, RK_INT64, count, keys);
        call.request.outputs = call.request.model->outputs;
        test_run(&call);
        is_zero_loss(&call, 0);
        has_shape(&call, RK_OUT_GRADIENT, 2, 0, 3);
        has_shape(&call, RK_OUT_REF_GRADIENT, 2, count, 3);
        for (size_t k = 0; k < count * 3; k++)
            assert_true(test_floats(&call, RK_OUT_REF_GRADIENT)[k] == 0);
        test_call_end(&call);
    }
}

static void references_without_an_item_are_as_none(void **state)
{
    (void)state;
    static const float rows[8] = {1, 0, 0.9f, 0.1f, 0, 1, 0.5f, 0.5f};
    static const int64_t labels[4] = {1, 1, 2, 2};
    struct test_call with, without;
    struct test_call *both[] = {&with, &without};
    for (int i = 0; i < 2; i++) {
        test_call_start(both[i], "ap", 0);
        test_input(both[i], RK_IN_EMBEDDINGS, RK_FP32, 4, 2, rows);
        test_vector(both[i], RK_IN_LABELS, RK_INT64, 4, labels);
        if (i == 0) {
            test_input(both[i], RK_IN_REF_EMBEDDINGS, RK_FP32, 0, 2, nothing);
            test_vector(both[i], RK_IN_REF_LABELS, RK_INT32, 0, nothing);
        }
        test_run(both[i]);
    }
    test_same_bits(&with.reply, &without.reply);
    test_call_end(&with);
    test_call_end(&without);
}

static void refused(struct test_call *call, enum rankd_status status, const char *sentence)
{
    test_refused(call, status, sentence);
    test_call_end(call);
}

static void what_is_wrong_with_an_empty_batch_is_said(void **state)
{
    (void)state;
    struct test_call call;
    start(&call, "ap", 0, 4);
    test_input(&call, RK_IN_TARGETS, RK_INT8, 0, 5, nothing);
    refused(&call, RANKD_INVALID, "input targets has shape [0, 5]; it must be that of scores, [0, 4]");
    start(&call, "ap", (size_t)1 << 40, 0);
    refused(&call, RANKD_TOO_LARGE,
            "input scores has shape [1099511627776, 0]; there may be at most 2147483647 empty lists");
    start(&call, "rank", SIZE_MAX, 0);
    refused(&call, RANKD_TOO_LARGE,
            "input scores has shape [18446744073709551615, 0]; there may be at most 2147483647 empty lists");
    start(&call, "ap", 0, (size_t)1 << 62);
    refused(&call, RANKD_TOO_LARGE,
            "input scores has shape [0, 4611686018427387904]; a list may have at most 2147483647 items");
    start(&call, "rank", 0, 3);
    call.request.in[RK_IN_SCORES].bytes = 12;
    refused(&call, RANKD_INVALID, "input scores has 12 bytes; its shape [0, 3] of FP32 takes 0");
    test_call_start(&call, "ap", 0);
    test_input(&call, RK_IN_EMBEDDINGS, RK_FP32, 2, 0, nothing);
    test_vector(&call, RK_IN_LABELS, RK_INT64, 2, (int64_t[]){1, 1});
    refused(&call, RANKD_INVALID,
            "input embeddings has shape [2, 0]; a vector must have at least 1 dimension");
    test_call_start(&call, "ap", 0);
    test_input(&call, RK_IN_EMBEDDINGS, RK_FP32, 0, 4, nothing);
    test_vector(&call, RK_IN_LABELS, RK_INT64, 2, (int64_t[]){1, 1});
    refused(&call, RANKD_INVALID, "input labels has shape [2]; it must be [0], one for each of embeddings");
}

/* The budget is charged before a shape is checked: whatever was sent has a cost, if only
 * SIZE_MAX. */
static void any_shape_has_a_cost(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 5, 4096, RK_LIST_MAX, (size_t)1 << 32, (size_t)1 << 62, SIZE_MAX};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    const struct rk_bank_snapshot bank[] = {{.scores = {.lists = 3}}, {.holds = RK_BANK_HOLDS_EMBEDDINGS}};
    struct test_random random = {7};
    for (int round = 0; round < 40000; round++) {
        struct rk_request request = {.model = &rk_models[test_below(&random, rk_model_count)],
                                     .params = rk_params_default()};
        request.outputs = (unsigned)test_next(&random) & request.model->outputs;
        request.params.axis = (int)test_below(&random, 2);
        request.params.interclass = (double)test_below(&random, 2) / 2;
        for (unsigned i = 0; i < RK_IN_COUNT; i++) {
            struct rk_tensor *in = &request.in[i];
            *in = (struct rk_tensor){.dtype = (enum rk_dtype)test_below(&random, RK_DTYPE_COUNT),
                                     .rank = 1 + (unsigned)test_below(&random, 2),
                                     .data = test_below(&random, 4) ? nothing : NULL};
            for (unsigned d = 0; d < in->rank; d++)
                in->shape[d] = sizes[test_below(&random, SIZES)];
        }
        if (test_below(&random, 2))
            request.bank_snapshot = &bank[test_below(&random, 2)];
        (void)rk_engine_cost(&request);
    }
}

static void an_empty_batch_costs_no_more_than_its_reply(void **state)
{
    (void)state;
    struct test_call call;
    start(&call, "ap", 1000, 0);
    assert_true(rk_batch_is_empty(&call.request));
    assert_in_range(rk_engine_cost(&call.request), 4000, 5000);
    call.request.outputs = BIT(RK_OUT_LOSS);
    assert_in_range(rk_engine_cost(&call.request), 4, 100);
    test_call_end(&call);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_without_an_item_lose_nothing),
        cmocka_unit_test(an_empty_batch_has_empty_ranks_of_its_shape),
        cmocka_unit_test(a_bank_makes_no_list_of_an_empty_batch_valid),
        cmocka_unit_test(embeddings_without_an_item_leave_references_a_gradient_of_zero),
        cmocka_unit_test(references_without_an_item_are_as_none),
        cmocka_unit_test(what_is_wrong_with_an_empty_batch_is_said),
        cmocka_unit_test(any_shape_has_a_cost),
        cmocka_unit_test(an_empty_batch_costs_no_more_than_its_reply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
