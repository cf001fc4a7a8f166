/* SPDX-License-Identifier: Apache-2.0 */
/* The errors for requests that the engine can't compute: one sentence that names the field, its
 * value and the allowed values. And the places of the outputs of valid requests. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "unit/support/engine_call.h"

static const float scores[6] = {0.9f, 0.8f, 0.7f, 0.6f, 0.5f, 0.4f};
static const int8_t targets[6] = {0, 1, 0, 1, 0, 0};

/* A good request of 2 lists of 3 items; tests then break one thing. */
static void start(struct test_call *call, const char *model)
{
    test_call_start(call, model, 0);
    test_input(call, RK_IN_SCORES, RK_FP32, 2, 3, scores);
    if (call->request.model->loss)
        test_input(call, RK_IN_TARGETS, RK_INT8, 2, 3, targets);
}

static void refused_invalid(struct test_call *call, const char *sentence)
{
    test_refused(call, RANKD_INVALID, sentence);
    test_call_end(call);
}

static void an_input_that_is_missing_is_named(void **state)
{
    (void)state;
    struct test_call call;
    start(&call, "ap");
    call.request.in[RK_IN_TARGETS].data = NULL;
    refused_invalid(&call, "input targets is missing; model ap takes scores and targets, or embeddings and "
                           "labels (or relevance)");
    start(&call, "recall");
    call.request.in[RK_IN_SCORES].data = NULL;
    refused_invalid(&call, "input scores is missing; model recall takes scores and targets, or embeddings "
                           "and labels (or relevance)");
    start(&call, "rank_vjp");
    refused_invalid(&call, "input upstream is missing; model rank_vjp takes scores and upstream");
    start(&call, "ap");
    call.request.in[RK_IN_SCORES].data = call.request.in[RK_IN_TARGETS].data = NULL;
    test_input(&call, RK_IN_EMBEDDINGS, RK_FP32, 2, 3, scores);
    refused_invalid(&call, "input labels is missing; model ap takes scores and targets, or embeddings and "
                           "labels (or relevance)");
}

static void an_input_that_does_not_belong_is_named(void **state)
{
    (void)state;
    struct test_call call;
    start(&call, "rank");
    test_input(&call, RK_IN_TARGETS, RK_INT8, 2, 3, targets);
    refused_invalid(&call, "input targets is not one of model rank; it takes scores");
    start(&call, "ap");
    test_input(&call, RK_IN_EMBEDDINGS, RK_FP32, 2, 3, scores);
    refused_invalid(&call,
                    "input scores cannot be sent with embeddings; model ap takes scores and targets, or "
                    "embeddings and labels (or relevance)");
    start(&call, "ap");
    test_vector(&call, RK_IN_IDS, RK_INT64, 2, scores);
    refused_invalid(&call,
                    "input ids goes with embeddings, which were not sent; model ap takes scores and targets, "
                    "or embeddings and labels (or relevance)");
}

static void a_tensor_of_the_wrong_type_or_shape_is_named(void **state)
{
    (void)state;
    struct test_call call;
    start(&call, "ap");
    call.request.in[RK_IN_SCORES].dtype = RK_INT32;
    refused_invalid(&call, "input scores has datatype INT32; it must be FP16, BF16, FP32 or FP64");
    start(&call, "ap");
    call.request.in[RK_IN_TARGETS].dtype = RK_FP64;
    refused_invalid(
        &call, "input targets has datatype FP64; it must be BOOL, UINT8, INT8, INT32, INT64, FP16, BF16 or "
               "FP32");
    start(&call, "ap");
    call.request.in[RK_IN_SCORES].dtype = (enum rk_dtype)99;
    refused_invalid(&call, "input scores has datatype ?; it must be FP16, BF16, FP32 or FP64");
    start(&call, "ap");
    test_vector(&call, RK_IN_SCORES, RK_FP32, 6, scores);
    refused_invalid(&call, "input scores has 1 dimension; its shape must be [Q, N]");
    start(&call, "ap");
    call.request.in[RK_IN_SCORES].rank = 7;
    refused_invalid(&call, "input scores has 7 dimensions; its shape must be [Q, N]");
    start(&call, "ap");
    test_input(&call, RK_IN_SCORES, RK_FP32, 0, 3, scores);
    refused_invalid(&call, "input targets has shape [2, 3]; it must be that of scores, [0, 3]");
    start(&call, "ap");
    test_input(&call, RK_IN_TARGETS, RK_INT8, 3, 2, targets);
    refused_invalid(&call, "input targets has shape [3, 2]; it must be that of scores, [2, 3]");
    start(&call, "ap");
    call.request.in[RK_IN_SCORES].bytes = 20;
    refused_invalid(&call, "input scores has 20 bytes; its shape [2, 3] of FP32 takes 24");
    start(&call, "ap");
    test_input(&call, RK_IN_SCORES, RK_FP32, SIZE_MAX / 2, 4, scores);
    refused_invalid(&call,
                    "input scores has shape [9223372036854775807, 4], which is more than can be addressed");
}

static void a_list_that_is_too_long_is_refused_before_it_is_read(void **state)
{
    (void)state;
    struct test_call call;
    const size_t n = (size_t)1 << 31;
    test_call_start(&call, "ap", 0);
    test_input(&call, RK_IN_SCORES, RK_FP16, 1, n, scores);
    test_input(&call, RK_IN_TARGETS, RK_INT8, 1, n, targets);
    test_refused(&call, RANKD_TOO_LARGE,
                 "input scores has shape [1, 2147483648]; a list may have at most 2147483647 items");
    test_input(&call, RK_IN_SCORES, RK_FP16, 2, n / 2, scores);
    test_input(&call, RK_IN_TARGETS, RK_INT8, 2, n / 2, targets);
    test_number(&call, "interclass", 0.5);
    test_refused(
        &call, RANKD_TOO_LARGE,
        "input scores has shape [2, 1073741824]; a list may have at most 2147483647 items, with interclass "
        "the whole batch");
    test_call_end(&call);
}

static void a_nan_score_is_named_by_its_position(void **state)
{
    (void)state;
    float bad[6];
    struct test_call call;
    for (int axis = 0; axis < 2; axis++) {
        for (size_t at = 0; at < 6; at++) {
            char sentence[128];
            memcpy(bad, scores, sizeof bad);
            for (size_t i = at; i < 6; i += 3)
                bad[i] = NAN; /* the first one counts, in the order of the lists */
            start(&call, at % 2 ? "ap" : "recall");
            test_input(&call, RK_IN_SCORES, RK_FP32, 2, 3, bad);
            test_number(&call, "axis", axis);
            (void)snprintf(
                sentence, sizeof sentence,
                "scores[%zu, %zu] is NaN; a score must be a number unless its target is -1 (ignored)", at / 3,
                at % 3);
            refused_invalid(&call, sentence);
        }
    }
    memcpy(bad, scores, sizeof bad);
    bad[4] = NAN;
    start(&call, "rank");
    test_input(&call, RK_IN_SCORES, RK_FP32, 2, 3, bad);
    refused_invalid(&call, "scores[1, 1] is NaN; a score must be a number");
}

static void a_nan_is_found_in_lists_that_are_skipped_and_where_nothing_is_computed_but_the_loss(void **state)
{
    (void)state;
    const float bad[6] = {1, 2, 3, 4, NAN, 6};
    const int8_t none[6] = {1, 0, 0, 0, 0, 0};
    struct test_call call;
    start(&call, "ap");
    test_input(&call, RK_IN_SCORES, RK_FP32, 2, 3, bad);
    test_input(&call, RK_IN_TARGETS, RK_INT8, 2, 3, none);
    call.request.outputs = 1u << RK_OUT_LOSS;
    refused_invalid(&call, "scores[1, 1] is NaN; a score must be a number unless its target is -1 (ignored)");
}

static void an_ignored_nan_is_no_error(void **state)
{
    (void)state;
    const float with_nan[6] = {NAN, 2, 3, 4, 5, NAN};
    const int8_t ignored[6] = {-1, 1, 0, 0, 1, -1};
    struct test_call call;
    start(&call, "ap");
    test_input(&call, RK_IN_SCORES, RK_FP32, 2, 3, with_nan);
    test_input(&call, RK_IN_TARGETS, RK_INT8, 2, 3, ignored);
    test_run(&call);
    assert_true(test_gradient(&call)[0] == 0 && test_gradient(&call)[5] == 0);
    test_call_end(&call);
}

static void a_value_that_is_no_target_is_named_by_its_position(void **state)
{
    (void)state;
    const int8_t i8[6] = {0, 1, 0, 0, -2, 1};
    const uint8_t u8[6] = {0, 1, 0, 0, 255, 2};
    const int32_t i32[6] = {0, 1, 0, 0, 257, 1};
    const int64_t i64[6] = {0, 1, 0, 0, (int64_t)1 << 32, 1};
    const float f32[6] = {0, 1, 0, 0, 0.5f, 1}, nan[6] = {0, 1, 0, 0, NAN, 1};
    const struct {
        enum rk_dtype dtype;
        const void *data;
        const char *value, *may;
    } cases[] = {
        {RK_INT8, i8, "-2", "1 (relevant), 0 (irrelevant) or -1 (ignored)"},
        {RK_UINT8, u8, "255", "1 (relevant) or 0 (irrelevant)"},
        {RK_BOOL, u8, "255", "1 (relevant) or 0 (irrelevant)"},
        {RK_INT32, i32, "257", "1 (relevant), 0 (irrelevant) or -1 (ignored)"},
        {RK_INT64, i64, "4294967296", "1 (relevant), 0 (irrelevant) or -1 (ignored)"},
        {RK_FP32, f32, "0.5", "1 (relevant), 0 (irrelevant) or -1 (ignored)"},
        {RK_FP32, nan, "NaN", "1 (relevant), 0 (irrelevant) or -1 (ignored)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int axis = 0; axis < 2; axis++) {
            struct test_call call;
            char sentence[128];
            start(&call, "ap");
            test_input(&call, RK_IN_TARGETS, cases[i].dtype, 2, 3, cases[i].data);
            test_number(&call, "axis", axis);
            (void)snprintf(sentence, sizeof sentence, "targets[1, 1] is %s; it may be %s", cases[i].value,
                           cases[i].may);
            refused_invalid(&call, sentence);
        }
    }
}

static void upstream_must_be_finite(void **state)
{
    (void)state;
    float upstream[6] = {0, 0, 0, 0, 0, -INFINITY};
    struct test_call call;
    start(&call, "rank_vjp");
    test_input(&call, RK_IN_UPSTREAM, RK_FP32, 2, 3, upstream);
    refused_invalid(&call, "upstream[1, 2] is -Infinity; it must be finite");
    upstream[1] = NAN;
    start(&call, "rank_vjp");
    test_input(&call, RK_IN_UPSTREAM, RK_FP32, 2, 3, upstream);
    refused_invalid(&call, "upstream[0, 1] is NaN; it must be finite");
    start(&call, "rank_vjp");
    test_input(&call, RK_IN_UPSTREAM, RK_FP32, 3, 2, upstream);
    refused_invalid(&call, "input upstream has shape [3, 2]; it must be that of scores, [2, 3]");
}

static void a_parameter_of_another_model_is_named(void **state)
{
    (void)state;
    struct test_call call;
    start(&call, "ap");
    test_word(&call, "weight", "log");
    refused_invalid(&call, "parameter weight does not belong to model ap with scores; it goes with recall");
    start(&call, "rank");
    test_number(&call, "lambda", 2);
    refused_invalid(
        &call,
        "parameter lambda does not belong to model rank; it goes with ap, recall, ndcg, mrr, rank_vjp");
    start(&call, "recall");
    assert_int_equal(rk_param_set_flag(&call.request.params, rk_param_find("normalize"), true, &call.err),
                     RANKD_OK);
    refused_invalid(&call,
                    "parameter normalize does not belong to model recall with scores; it goes with ap with "
                    "embeddings, recall with embeddings, ndcg with embeddings, mrr with embeddings, hits "
                    "with embeddings");
}

static void a_parameter_about_a_bank_without_one_is_refused(void **state)
{
    (void)state;
    struct test_call call;
    start(&call, "ap");
    test_number(&call, "bank_max_age", 5);
    refused_invalid(&call, "parameter bank_max_age was 5, but parameter bank was not sent; send bank too, or "
                           "leave bank_max_age out");
    start(&call, "hits");
    assert_int_equal(rk_param_set_flag(&call.request.params, rk_param_find("bank_read"), false, &call.err),
                     RANKD_OK);
    refused_invalid(&call,
                    "parameter bank_read was false, but parameter bank was not sent; send bank too, or "
                    "leave bank_read out");
    start(&call, "recall");
    test_number(&call, "bank_version", 0);
    refused_invalid(&call, "parameter bank_version was 0, but parameter bank was not sent; send bank too, or "
                           "leave bank_version out");
}

static void the_default_of_a_parameter_about_a_bank_needs_none(void **state)
{
    (void)state;
    struct test_call call;
    start(&call, "ap");
    test_number(&call, "bank_max_age", 0);
    test_number(&call, "bank_version", -1);
    assert_int_equal(rk_param_set_flag(&call.request.params, rk_param_find("bank_read"), true, &call.err),
                     RANKD_OK);
    test_run(&call);
    test_call_end(&call);
}

static void a_parameter_that_no_table_checked_is_checked(void **state)
{
    (void)state;
    struct test_call call;
    start(&call, "ap");
    test_number(&call, "lambda", 1);
    call.request.params.lambda = NAN;
    refused_invalid(&call, "parameter lambda was NaN; it must be a number from 1e-12 to 1e+12");
}

static void an_output_of_another_model_is_named(void **state)
{
    (void)state;
    struct test_call call;
    start(&call, "rank");
    call.request.outputs = 1u << RK_OUT_LOSS;
    refused_invalid(&call, "output loss is not one of model rank; it has ranks");
    start(&call, "rank_vjp");
    test_input(&call, RK_IN_UPSTREAM, RK_FP32, 2, 3, scores);
    call.request.outputs = 1u << RK_OUT_LIST_LOSS;
    refused_invalid(&call,
                    "output list_loss is not one of model rank_vjp; it has gradient, ranks, gradient_indices "
                    "and gradient_values");
    start(&call, "ap");
    call.request.outputs = 1u << RK_OUT_REF_GRADIENT;
    refused_invalid(&call, "output ref_gradient was asked for, but input ref_embeddings was not sent");
}

static void the_defaults_come_where_nothing_is_asked_for(void **state)
{
    (void)state;
    struct test_call call;
    start(&call, "ap");
    test_run(&call);
    assert_int_equal(call.reply.outputs, 1u << RK_OUT_LOSS | 1u << RK_OUT_GRADIENT);
    assert_true(call.reply.info.has_gradient);
    test_call_end(&call);
    start(&call, "rank");
    test_run(&call);
    assert_int_equal(call.reply.outputs, 1u << RK_OUT_RANKS);
    assert_false(call.reply.info.has_gradient);
    test_call_end(&call);
}

static void loss_alone_computes_no_gradient(void **state)
{
    (void)state;
    struct test_call call;
    start(&call, "ap");
    test_run(&call);
    double loss = call.reply.info.loss;
    call.request.outputs = 1u << RK_OUT_LOSS;
    test_run(&call);
    assert_true(call.reply.info.loss == loss);
    assert_false(call.reply.info.has_gradient);
    assert_int_equal(call.reply.info.gradient_nonzero, 0);
    assert_null(call.reply.out[RK_OUT_GRADIENT].data);
    test_call_end(&call);
}

static void no_list_with_a_relevant_item_is_loss_0_and_no_error(void **state)
{
    (void)state;
    const int8_t none[6] = {0};
    struct test_call call;
    for (int i = 0; i < 3; i++) {
        start(&call, "ap");
        test_input(&call, RK_IN_TARGETS, RK_INT8, 2, 3, none);
        test_number(&call, "interclass", i * 0.5);
        test_word(&call, "average", i == 1 ? "micro" : "macro");
        call.request.outputs = 1u << RK_OUT_LOSS | 1u << RK_OUT_GRADIENT | 1u << RK_OUT_LIST_LOSS;
        test_run(&call);
        assert_true(call.reply.info.loss == 0);
        assert_int_equal(call.reply.info.lists_skipped, 2);
        assert_true(isnan(test_floats(&call, RK_OUT_LIST_LOSS)[0]) &&
                    isnan(test_floats(&call, RK_OUT_LIST_LOSS)[1]));
        for (size_t k = 0; k < 6; k++)
            assert_true(test_gradient(&call)[k] == 0 && !signbit(test_gradient(&call)[k]));
        test_call_end(&call);
    }
}

static void outputs_go_where_the_caller_wants_them(void **state)
{
    (void)state;
    struct test_call call;
    float own[6], gradient[8];
    start(&call, "ap");
    test_run(&call);
    memcpy(own, test_gradient(&call), sizeof own);
    rk_reply_clear(&call.reply);
    memset(gradient, 0x55, sizeof gradient);
    call.reply.out[RK_OUT_GRADIENT].data = gradient;
    call.reply.out[RK_OUT_GRADIENT].capacity = sizeof own;
    test_run(&call);
    assert_memory_equal(gradient, own, sizeof own);
    assert_int_equal(call.reply.out[RK_OUT_GRADIENT].bytes, sizeof own);
    assert_false(call.reply.out[RK_OUT_GRADIENT].owned);
    assert_true(call.reply.out[RK_OUT_LOSS].owned);
    const float untouched[2] = {gradient[6], gradient[7]};
    uint32_t bits[2];
    memcpy(bits, untouched, sizeof bits);
    assert_int_equal(bits[0], 0x55555555);
    assert_int_equal(bits[1], 0x55555555);
    rk_reply_clear(&call.reply);
    assert_ptr_equal(call.reply.out[RK_OUT_GRADIENT].data, gradient);
    test_call_end(&call);
}

static void an_output_with_too_little_room_says_how_much_it_needs(void **state)
{
    (void)state;
    struct test_call call;
    float gradient[6];
    int64_t index[1];
    start(&call, "ap");
    call.reply.out[RK_OUT_GRADIENT].data = gradient;
    call.reply.out[RK_OUT_GRADIENT].capacity = sizeof gradient - 1;
    test_refused(&call, RANKD_INVALID, "output gradient has room for 23 bytes; it needs 24");
    assert_int_equal(call.reply.out[RK_OUT_GRADIENT].bytes, 24);
    call.reply.out[RK_OUT_GRADIENT].data = (char *)gradient + 1;
    call.reply.out[RK_OUT_GRADIENT].capacity = sizeof gradient;
    test_refused(&call, RANKD_INVALID, "output gradient is not at a multiple of 4 bytes, as FP32 must");
    call.reply.out[RK_OUT_GRADIENT] = (struct rk_out){0};
    call.reply.out[RK_OUT_GRADIENT_INDICES].data = index;
    call.reply.out[RK_OUT_GRADIENT_INDICES].capacity = sizeof index;
    call.request.outputs = 1u << RK_OUT_GRADIENT_INDICES;
    test_refused(&call, RANKD_INVALID, "output gradient_indices has room for 8 bytes; it needs 16");
    assert_int_equal(call.reply.out[RK_OUT_GRADIENT_INDICES].bytes, 16);
    test_call_end(&call);
}

static void inputs_may_lie_anywhere(void **state)
{
    (void)state;
    struct test_call call;
    char buffer[128];
    float aligned[6];
    static const enum rk_dtype types[] = {RK_FP32, RK_FP64};
    for (size_t t = 0; t < 2; t++) {
        double wide[6];
        int64_t labels[6];
        for (size_t i = 0; i < 6; i++) {
            wide[i] = (double)scores[i];
            labels[i] = targets[i];
        }
        const void *from = t ? (const void *)wide : (const void *)scores;
        for (size_t shift = 0; shift < 8; shift++) {
            char label_buffer[128];
            memcpy(buffer + shift, from, 6 * rk_dtype_size(types[t]));
            memcpy(label_buffer + shift, labels, sizeof labels);
            start(&call, "ap");
            test_input(&call, RK_IN_SCORES, types[t], 2, 3, buffer + shift);
            test_input(&call, RK_IN_TARGETS, RK_INT64, 2, 3, label_buffer + shift);
            test_run(&call);
            if (t == 0 && shift == 0)
                memcpy(aligned, test_gradient(&call), sizeof aligned);
            assert_memory_equal(test_gradient(&call), aligned, sizeof aligned);
            test_call_end(&call);
        }
    }
}

static void a_deadline_that_has_passed_is_said(void **state)
{
    (void)state;
    struct test_call call;
    static const char sentence[] =
        "the deadline passed while the request was computed; allow more time, or send fewer lists";
    start(&call, "ap");
    call.exec.deadline_ns = 1;
    test_refused(&call, RANKD_DEADLINE, sentence);
    test_call_end(&call);
    start(&call, "rank");
    call.exec.deadline_ns = 1;
    test_refused(&call, RANKD_DEADLINE, sentence);
    call.exec.deadline_ns = UINT64_MAX;
    test_run(&call);
    test_call_end(&call);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_input_that_is_missing_is_named),
        cmocka_unit_test(an_input_that_does_not_belong_is_named),
        cmocka_unit_test(a_tensor_of_the_wrong_type_or_shape_is_named),
        cmocka_unit_test(a_list_that_is_too_long_is_refused_before_it_is_read),
        cmocka_unit_test(a_nan_score_is_named_by_its_position),
        cmocka_unit_test(a_nan_is_found_in_lists_that_are_skipped_and_where_nothing_is_computed_but_the_loss),
        cmocka_unit_test(an_ignored_nan_is_no_error),
        cmocka_unit_test(a_value_that_is_no_target_is_named_by_its_position),
        cmocka_unit_test(upstream_must_be_finite),
        cmocka_unit_test(a_parameter_of_another_model_is_named),
        cmocka_unit_test(a_parameter_about_a_bank_without_one_is_refused),
        cmocka_unit_test(the_default_of_a_parameter_about_a_bank_needs_none),
        cmocka_unit_test(a_parameter_that_no_table_checked_is_checked),
        cmocka_unit_test(an_output_of_another_model_is_named),
        cmocka_unit_test(the_defaults_come_where_nothing_is_asked_for),
        cmocka_unit_test(loss_alone_computes_no_gradient),
        cmocka_unit_test(no_list_with_a_relevant_item_is_loss_0_and_no_error),
        cmocka_unit_test(outputs_go_where_the_caller_wants_them),
        cmocka_unit_test(an_output_with_too_little_room_says_how_much_it_needs),
        cmocka_unit_test(inputs_may_lie_anywhere),
        cmocka_unit_test(a_deadline_that_has_passed_is_said),
    };
    return cmocka_run_group_tests_name("engine_request", tests, NULL, NULL);
}
