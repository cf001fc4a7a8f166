/* SPDX-License-Identifier: Apache-2.0 */
/* The embeddings route against the definition (unit/support/retrieval_oracle.h), on vectors whose
 * inner products are exact. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "retrieval/retrieval.h"
#include "unit/support/retrieval_agrees.h"

static struct rk_scratch *scratch;

static int begin(void **state)
{
    (void)state;
    scratch = rk_scratch_new((size_t)1 << 30);
    return scratch == NULL;
}

static int end(void **state)
{
    (void)state;
    assert_int_equal(rk_scratch_mark(scratch), 0);
    rk_scratch_free(scratch);
    return 0;
}

static void try_shape(struct retrieval_shape shape, uint64_t seed, size_t times)
{
    for (size_t t = 0; t < times; t++) {
        struct retrieval_case c;
        case_random(&c, &shape, &seed);
        case_agrees(&c, scratch, NULL);
        case_free(&c);
    }
}

static void batch_alone_agrees_with_the_definition(void **state)
{
    (void)state;
    for (size_t batch = 1; batch < 20; batch++)
        try_shape((struct retrieval_shape){.batch = batch, .dim = 5, .labels = 3, .dtype = RK_FP32}, batch,
                  3);
    try_shape(
        (struct retrieval_shape){.batch = 130, .dim = 16, .labels = 9, .dtype = RK_FP32, .normalize = true},
        1, 2);
    try_shape((struct retrieval_shape){.batch = 300, .dim = 7, .labels = 40, .dtype = RK_FP32}, 2, 1);
}

static void every_type_of_embeddings_and_labels_agrees(void **state)
{
    (void)state;
    const enum rk_dtype dtypes[] = {RK_FP64, RK_FP32, RK_FP16, RK_BF16};
    for (size_t i = 0; i < 4; i++)
        try_shape((struct retrieval_shape){.batch = 24,
                                           .refs = 9,
                                           .dim = 16,
                                           .labels = 4,
                                           .dtype = dtypes[i],
                                           .normalize = i % 2,
                                           .int32_labels = i > 1},
                  i, 3);
}

static void references_distractors_and_ids_agree(void **state)
{
    (void)state;
    struct retrieval_shape shape = {.batch = 40,
                                    .refs = 33,
                                    .dim = 16,
                                    .labels = 5,
                                    .distractors = 0.2,
                                    .with_id = 0.6,
                                    .ids = 12,
                                    .dtype = RK_FP32};
    try_shape(shape, 1, 10);
    shape.normalize = true;
    try_shape(shape, 2, 10);
    shape.ids = 2; /* most of a list is ignored: more than is cut out of it */
    shape.with_id = 1;
    shape.refs = 150;
    try_shape(shape, 3, 3);
    shape.ids = 1; /* all of it */
    try_shape(shape, 4, 1);
}

static void memory_of_every_type_agrees_and_what_is_outside_the_view_does_not_count(void **state)
{
    (void)state;
    const enum rk_dtype dtypes[] = {RK_FP32, RK_FP16, RK_BF16};
    for (size_t i = 0; i < 3; i++) {
        struct retrieval_shape shape = {.batch = 30,
                                        .refs = 7 * i,
                                        .memory = 700,
                                        .dim = 16,
                                        .labels = 20,
                                        .distractors = 0.1,
                                        .with_id = 0.5,
                                        .ids = 100,
                                        .normalize = i != 1,
                                        .dtype = RK_FP32,
                                        .bank = dtypes[i],
                                        .chunk = 300};
        try_shape(shape, i, 2);
        shape.ids = 0;
        shape.chunk = 64;
        try_shape(shape, i + 9, 2);
    }
}

static void empty_memory_is_as_none(void **state)
{
    (void)state;
    try_shape(
        (struct retrieval_shape){
            .batch = 12, .dim = 4, .labels = 3, .dtype = RK_FP32, .bank = RK_FP32, .chunk = 8},
        1, 2);
}

static void every_parameter_agrees(void **state)
{
    (void)state;
    const struct retrieval_shape shape = {.batch = 25,
                                          .refs = 10,
                                          .memory = 90,
                                          .dim = 6,
                                          .labels = 6,
                                          .distractors = 0.1,
                                          .dtype = RK_FP32,
                                          .bank = RK_FP32,
                                          .chunk = 50};
    uint64_t seed = 5;
    for (int recall = 0; recall < 2; recall++)
        for (int average = 0; average < 3; average++)
            for (int weight = 0; weight < (recall ? 3 : 1); weight++)
                for (int way = 0; way < 8; way++) {
                    struct retrieval_case c;
                    case_random(&c, &shape, &seed);
                    struct rk_params *params = &c.request.params;
                    params->average = average;
                    params->transform = weight;
                    params->lambda_scope = way & 1;
                    params->lambda_units = way >> 1 & 1;
                    params->gradient_scale = (way ^ average ^ weight) & 1;
                    params->lambda = way & 4 ? 0.03 : 20;
                    params->margin = way & 4 ? 1.5 : 0;
                    params->given = 1u << RK_PARAM_margin;
                    case_params(&c, recall);
                    case_agrees(&c, scratch, NULL);
                    case_free(&c);
                }
}

static void without_labels_in_common_there_is_no_loss_and_no_gradient(void **state)
{
    (void)state;
    struct retrieval_case c;
    struct rk_reply reply;
    struct rk_err err;
    uint64_t seed = 3;
    case_random(&c, &(struct retrieval_shape){.batch = 10, .dim = 4, .dtype = RK_FP32}, &seed);
    assert_int_equal(case_run(&c, scratch, NULL, &reply, &err), RANKD_OK);
    assert_true(reply.info.loss == 0);
    assert_int_equal(reply.info.lists_skipped, 10);
    assert_int_equal(reply.info.gradient_nonzero, 0);
    const float *gradient = reply.out[RK_OUT_GRADIENT].data;
    for (size_t i = 0; i < 40; i++)
        assert_true(gradient[i] == 0);
    rk_reply_clear(&reply);
    case_free(&c);
}

static void loss_alone_computes_the_same_loss(void **state)
{
    (void)state;
    struct retrieval_case c;
    struct rk_reply reply, alone = {0};
    struct rk_err err;
    struct rk_exec exec = {.scratch = scratch};
    uint64_t seed = 8;
    case_random(&c, &(struct retrieval_shape){.batch = 50, .dim = 8, .labels = 6, .dtype = RK_FP32}, &seed);
    assert_int_equal(case_run(&c, scratch, NULL, &reply, &err), RANKD_OK);
    c.request.outputs = 1u << RK_OUT_LOSS;
    assert_int_equal(rk_retrieval_run(&exec, &c.request, &alone, &err), RANKD_OK);
    assert_true(alone.info.loss == reply.info.loss);
    assert_false(alone.info.has_gradient);
    assert_null(alone.out[RK_OUT_GRADIENT].data);
    rk_reply_clear(&reply);
    rk_reply_clear(&alone);
    case_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_alone_agrees_with_the_definition),
        cmocka_unit_test(every_type_of_embeddings_and_labels_agrees),
        cmocka_unit_test(references_distractors_and_ids_agree),
        cmocka_unit_test(memory_of_every_type_agrees_and_what_is_outside_the_view_does_not_count),
        cmocka_unit_test(empty_memory_is_as_none),
        cmocka_unit_test(every_parameter_agrees),
        cmocka_unit_test(without_labels_in_common_there_is_no_loss_and_no_gradient),
        cmocka_unit_test(loss_alone_computes_the_same_loss),
    };
    return cmocka_run_group_tests_name("retrieval", tests, begin, end);
}
