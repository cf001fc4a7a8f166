/* SPDX-License-Identifier: Apache-2.0 */
/* librankd and tensors of 0 bytes: the address is ignored then, and results have their shape. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "unit/support/client.h"

static const struct {
    uint64_t rows, columns;
} shapes[] = {{0, 5}, {5, 0}, {0, 0}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void has_shape(const struct rankd_reply *reply, int port, int rank, uint64_t rows, uint64_t columns)
{
    const struct rankd_tensor *output = &reply->outputs[port];
    assert_non_null(output->data);
    assert_int_equal(output->rank, rank);
    assert_int_equal(output->shape[0], rows);
    assert_int_equal(output->shape[1], columns);
}

static void scores_of_no_bytes_need_no_address(void **state)
{
    rankd_client *client = test_open(&test_shared, state, NULL);
    float room[8];
    for (size_t i = 0; i < (size_t)SHAPES * 2; i++) {
        const uint64_t rows = shapes[i / 2].rows, columns = shapes[i / 2].columns;
        const struct rankd_tensor inputs[] = {
            {.port = RANKD_IN_SCORES, .dtype = RANKD_FP32, .rank = 2, .shape = {rows, columns}},
            {.port = RANKD_IN_TARGETS, .dtype = RANKD_INT8, .rank = 2, .shape = {rows, columns}}};
        const struct rankd_tensor outputs[] = {
            {.port = RANKD_OUT_LOSS},
            {.port = RANKD_OUT_GRADIENT, .data = i % 2 ? room : NULL, .bytes = i % 2 ? sizeof room : 0},
            {.port = RANKD_OUT_LIST_LOSS}};
        const struct rankd_request request = {
            .model = "ap", .inputs = inputs, .input_count = 2, .outputs = outputs, .output_count = 3};
        struct rankd_reply reply;
        assert_int_equal(rankd_infer(client, &request, &reply), RANKD_OK);
        assert_true(reply.loss == 0);
        assert_int_equal(reply.lists, rows);
        assert_int_equal(reply.lists_skipped, rows);
        has_shape(&reply, RANKD_OUT_GRADIENT, 2, rows, columns);
        assert_int_equal(reply.outputs[RANKD_OUT_GRADIENT].bytes, 0);
        has_shape(&reply, RANKD_OUT_LIST_LOSS, 1, rows, 0);
        for (uint64_t l = 0; l < rows; l++)
            assert_true(isnan(((const float *)reply.outputs[RANKD_OUT_LIST_LOSS].data)[l]));
        rankd_reply_clear(client, &reply);
    }
    rankd_close(client);
}

static void references_keep_their_gradient_when_no_query_is_there(void **state)
{
    rankd_client *client = test_open(&test_shared, state, NULL);
    float refs[6] = {1, 0, 0, 0, 1, 0};
    int64_t labels[2] = {4, 4};
    const struct rankd_tensor inputs[] = {
        {.port = RANKD_IN_EMBEDDINGS, .dtype = RANKD_FP32, .rank = 2, .shape = {0, 3}},
        {.port = RANKD_IN_LABELS, .dtype = RANKD_INT64, .rank = 1},
        {RANKD_IN_REF_EMBEDDINGS, RANKD_FP32, 2, {2, 3}, refs, sizeof refs},
        {RANKD_IN_REF_LABELS, RANKD_INT64, 1, {2}, labels, sizeof labels}};
    const struct rankd_tensor outputs[] = {{.port = RANKD_OUT_GRADIENT}, {.port = RANKD_OUT_REF_GRADIENT}};
    const struct rankd_request request = {
        .model = "recall", .inputs = inputs, .input_count = 4, .outputs = outputs, .output_count = 2};
    struct rankd_reply reply;
    assert_int_equal(rankd_infer(client, &request, &reply), RANKD_OK);
    has_shape(&reply, RANKD_OUT_GRADIENT, 2, 0, 3);
    has_shape(&reply, RANKD_OUT_REF_GRADIENT, 2, 2, 3);
    for (int i = 0; i < 6; i++)
        assert_true(((const float *)reply.outputs[RANKD_OUT_REF_GRADIENT].data)[i] == 0);
    rankd_reply_clear(client, &reply);
    rankd_close(client);
}

static void bytes_without_an_address_are_a_misuse(void **state)
{
    rankd_client *client = test_open(&test_shared, state, NULL);
    const struct rankd_tensor input = {
        .port = RANKD_IN_SCORES, .dtype = RANKD_FP32, .rank = 2, .shape = {1, 2}, .bytes = 8};
    const struct rankd_request request = {.model = "rank", .inputs = &input, .input_count = 1};
    struct rankd_reply reply;
    assert_int_equal(rankd_infer(client, &request, &reply), RANKD_MISUSE);
    assert_string_equal(reply.error, "scores has no data");
    rankd_close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        over_both(scores_of_no_bytes_need_no_address),
        over_both(references_keep_their_gradient_when_no_query_is_there),
        over_both(bytes_without_an_address_are_a_misuse),
    };
    return cmocka_run_group_tests(tests, test_shared_start, test_shared_stop);
}
