/* SPDX-License-Identifier: Apache-2.0 */
/* The items that a query ranks (gallery), and relevance without labels: against the definition, and
 * refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "unit/support/engine_call.h"
#include "unit/support/kernel_sets.h"
#include "unit/support/retrieval_agrees.h"

static struct rk_scratch *scratch;
static const struct rk_kernels *sets[TEST_SETS];
static size_t set_count;

static int begin(void **state)
{
    (void)state;
    set_count = test_sets(sets);
    scratch = rk_scratch_new((size_t)1 << 30);
    return scratch && set_count >= 2 ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    assert_int_equal(rk_scratch_mark(scratch), 0);
    rk_scratch_free(scratch);
    return 0;
}

static struct retrieval_shape draw_shape(uint64_t *seed)
{
    static const enum rk_dtype rows[] = {RK_FP32, RK_FP16, RK_BF16, RK_FP64};
    static const enum rk_dtype targets[] = {RK_INT8, RK_INT32, RK_INT64, RK_FP32, RK_BOOL, RK_UINT8};
    struct retrieval_shape shape = {.batch = 1 + case_below(seed, 20),
                                    .refs = case_below(seed, 40),
                                    .dim = 16,
                                    .labels = 1 + (int64_t)case_below(seed, 6),
                                    .distractors = 0.1,
                                    .normalize = case_below(seed, 2),
                                    .int32_labels = case_below(seed, 2),
                                    .references = case_below(seed, 2),
                                    .dtype = rows[case_below(seed, 4)],
                                    .bank = rows[case_below(seed, 3)],
                                    .target = targets[case_below(seed, 6)]};
    if (case_below(seed, 2)) {
        shape.ids = 1 + (int64_t)case_below(seed, 20);
        shape.with_id = 0.6;
    }
    if (case_below(seed, 2)) {
        shape.relevance = case_below(seed, 4) ? 0.3 : 0.02;
        shape.ndcg = case_below(seed, 2);
    } else if (case_below(seed, 2)) {
        shape.memory = case_below(seed, 60);
        shape.chunk = 24;
    }
    if (shape.references && shape.chunk == 0)
        shape.refs++; /* there must be an item to rank */
    return shape;
}

static void every_gallery_and_relevance_agrees_with_the_definition_on_every_set_of_kernels(void **state)
{
    (void)state;
    uint64_t seed = 11;
    for (size_t t = 0; t < 1500 * test_times(); t++) {
        struct retrieval_case c;
        const struct retrieval_shape shape = draw_shape(&seed);
        case_random(&c, &shape, &seed);
        struct rk_params *params = &c.request.params;
        params->average = (int)case_below(&seed, 3);
        params->lambda_scope = (int)case_below(&seed, 2);
        params->lambda_units = (int)case_below(&seed, 2);
        params->gradient_scale = (int)case_below(&seed, 2);
        params->lambda = case_below(&seed, 2) ? 20 : 0.05;
        params->margin = case_below(&seed, 2) ? 0.5 : 0;
        params->given = 1u << RK_PARAM_margin;
        case_params(&c, case_below(&seed, 2));
        for (size_t s = 0; s < set_count; s++)
            case_agrees(&c, scratch, sets[s]);
        case_free(&c);
    }
}

/* More queries than a tile of the product has rows, and lists from which more is ignored than is
 * cut out. */
static void many_queries_with_many_ignored_items_agree(void **state)
{
    (void)state;
    uint64_t seed = 3;
    for (int references = 0; references < 2; references++) {
        struct retrieval_case c;
        const struct retrieval_shape shape = {.batch = 150,
                                              .refs = 700,
                                              .dim = 8,
                                              .labels = 1,
                                              .references = references,
                                              .relevance = 0.1,
                                              .target = RK_INT8,
                                              .dtype = RK_FP32};
        case_random(&c, &shape, &seed);
        case_agrees(&c, scratch, NULL);
        case_free(&c);
    }
}

static const float queries[4] = {1, 0, 0.999f, 0.045f};
static const float documents[4] = {0.9f, -0.43f, 0.9f, 0.43f};
static const int64_t two[2] = {0, 1}, same[2] = {5, 5}, others[2] = {7, 8};

static void start(struct test_call *call, const char *gallery)
{
    test_call_start(call, "ap", 0);
    test_input(call, RK_IN_EMBEDDINGS, RK_FP32, 2, 2, queries);
    test_input(call, RK_IN_REF_EMBEDDINGS, RK_FP32, 2, 2, documents);
    test_number(call, "margin", 0);
    if (gallery)
        test_word(call, "gallery", gallery);
}

static void start_with_labels(struct test_call *call, const char *gallery)
{
    start(call, gallery);
    test_vector(call, RK_IN_LABELS, RK_INT64, 2, two);
    test_vector(call, RK_IN_REF_LABELS, RK_INT64, 2, two);
}

/* Two queries that are close to each other. Each ranks both documents: the first its own second,
 * the second its own first. */
static void queries_rank_documents_and_not_each_other(void **state)
{
    (void)state;
    struct test_call call;
    start_with_labels(&call, NULL);
    test_run(&call);
    assert_true(call.reply.info.loss > 0.58 && call.reply.info.loss < 0.59);
    test_call_end(&call);
    start_with_labels(&call, "references");
    call.request.outputs = 1u << RK_OUT_LIST_LOSS;
    test_run(&call);
    assert_true(call.reply.info.loss == 0.25);
    assert_true(test_floats(&call, RK_OUT_LIST_LOSS)[0] == 0.5f);
    assert_true(test_floats(&call, RK_OUT_LIST_LOSS)[1] == 0.0f);
    test_call_end(&call);
}

static void equal_ids_of_query_and_reference_hide_the_pair(void **state)
{
    (void)state;
    struct test_call call;
    start_with_labels(&call, "references");
    test_vector(&call, RK_IN_IDS, RK_INT64, 2, same);
    test_vector(&call, RK_IN_REF_IDS, RK_INT64, 2, two);
    test_run(&call); /* none is equal */
    assert_true(call.reply.info.loss == 0.25);
    test_vector(&call, RK_IN_IDS, RK_INT64, 2, two);
    test_run(&call); /* each query's own document is hidden: nothing is left to find */
    assert_int_equal(call.reply.info.lists_skipped, 2);
    test_vector(&call, RK_IN_REF_IDS, RK_INT64, 2, same);
    test_vector(&call, RK_IN_IDS, RK_INT64, 2, same);
    test_run(&call);
    assert_int_equal(call.reply.info.lists_skipped, 2);
    test_call_end(&call);
}

static void a_gallery_of_nothing_is_refused(void **state)
{
    (void)state;
    struct test_call call;
    start(&call, "references");
    call.request.in[RK_IN_REF_EMBEDDINGS] = (struct rk_tensor){0};
    test_vector(&call, RK_IN_LABELS, RK_INT64, 2, two);
    test_refused(&call, RANKD_INVALID,
                 "gallery is references, and there is nothing to rank; send ref_embeddings or name a bank");
    test_call_end(&call);
}

static void grades_are_those_of_the_gain(void **state)
{
    (void)state;
    struct test_call call;
    const float grades[4] = {9, 0.5f, 2, 9};
    const int8_t whole[4] = {0, 31, 32, 0};
    test_call_start(&call, "ndcg", 0);
    test_input(&call, RK_IN_EMBEDDINGS, RK_FP32, 2, 2, queries);
    test_input(&call, RK_IN_RELEVANCE, RK_FP32, 2, 2, grades);
    test_refused(
        &call, RANKD_INVALID,
        "relevance[0, 1] is 0.5; it may be a whole grade from 0 (irrelevant) to 31, or -1 (ignored)");
    test_word(&call, "gain", "linear");
    test_run(&call);
    test_input(&call, RK_IN_RELEVANCE, RK_INT8, 2, 2, whole);
    test_run(&call);
    test_word(&call, "gain", "exp2");
    test_refused(&call, RANKD_INVALID,
                 "relevance[1, 0] is 32; it may be a whole grade from 0 (irrelevant) to 31, or -1 (ignored)");
    test_call_end(&call);
}

static void a_mask_goes_with_the_items_that_are_appended(void **state)
{
    (void)state;
    struct test_call call;
    const unsigned char mask[3] = {1, 1, 0};
    start_with_labels(&call, "references");
    test_vector(&call, RK_IN_ENQUEUE_MASK, RK_BOOL, 3, mask);
    test_refused(&call, RANKD_INVALID,
                 "input enqueue_mask has shape [3]; it must be [2], one for each of ref_embeddings");
    test_vector(&call, RK_IN_ENQUEUE_MASK, RK_BOOL, 2, mask);
    test_run(&call);
    test_call_end(&call);
}

static void relevance_that_does_not_fit_is_refused_with_its_reason(void **state)
{
    (void)state;
    struct test_call call;
    struct rk_bank_snapshot view = {.holds = RK_BANK_HOLDS_EMBEDDINGS};
    const int8_t all[8] = {9, 1, 0, 1, 1, 9, 0, 1}, bad[4] = {1, 0, 2, 0};
    const float half[4] = {1, 0, 0.5f, 0};
    start(&call, "all");
    test_input(&call, RK_IN_RELEVANCE, RK_INT8, 2, 4, all);
    test_run(&call);
    test_input(&call, RK_IN_RELEVANCE, RK_INT8, 2, 2, all);
    test_refused(
        &call, RANKD_INVALID,
        "input relevance has shape [2, 2]; it must be [2, 4], one for each of embeddings and each item that "
        "is ranked (the batch, then the references)");
    test_word(&call, "gallery", "references");
    test_input(&call, RK_IN_RELEVANCE, RK_INT8, 2, 4, all);
    test_refused(
        &call, RANKD_INVALID,
        "input relevance has shape [2, 4]; it must be [2, 2], one for each of embeddings and each item that "
        "is ranked (the references)");
    test_input(&call, RK_IN_RELEVANCE, RK_INT8, 2, 2, bad);
    test_refused(&call, RANKD_INVALID,
                 "relevance[1, 0] is 2; it may be 1 (relevant), 0 (irrelevant) or -1 (ignored)");
    test_input(&call, RK_IN_RELEVANCE, RK_FP32, 2, 2, half);
    test_refused(&call, RANKD_INVALID,
                 "relevance[1, 0] is 0.5; it may be 1 (relevant), 0 (irrelevant) or -1 (ignored)");
    test_input(&call, RK_IN_RELEVANCE, RK_UINT8, 2, 2, bad);
    test_refused(&call, RANKD_INVALID, "relevance[1, 0] is 2; it may be 1 (relevant) or 0 (irrelevant)");
    test_vector(&call, RK_IN_LABELS, RK_INT64, 2, two);
    test_refused(&call, RANKD_INVALID, "input labels cannot be sent with relevance, which replaces labels");
    call.request.in[RK_IN_LABELS] = (struct rk_tensor){0};
    test_vector(&call, RK_IN_REF_LABELS, RK_INT64, 2, two);
    test_refused(&call, RANKD_INVALID,
                 "input ref_labels cannot be sent with relevance, which replaces labels");
    call.request.in[RK_IN_REF_LABELS] = (struct rk_tensor){0};
    call.request.bank_snapshot = &view;
    test_refused(
        &call, RANKD_INVALID,
        "parameter bank cannot be sent with relevance, which says nothing of the bank's items; send labels "
        "and ref_labels in its place, or no bank");
    test_call_end(&call);
}

/* No query, no document, an empty bank, in both galleries: a loss of 0 and gradients of the inputs'
 * shapes. */
static void empty_batches_and_galleries_have_an_answer(void **state)
{
    (void)state;
    static const float nothing[1];
    struct rk_bank_snapshot view = {.holds = RK_BANK_HOLDS_EMBEDDINGS, .version = 4};
    view.embeddings = (struct rk_bank_embeddings){.dtype = RK_FP32, .dim = 2, .normalize = true};
    for (unsigned way = 0; way < 16; way++) {
        struct test_call call;
        const size_t batch = way & 1 ? 2 : 0, refs = way & 2 ? 2 : 0, items = (way & 4 ? 0 : batch) + refs;
        const bool relevance = way & 8;
        static const int8_t zeros[16];
        start(&call, way & 4 ? "references" : "all");
        test_input(&call, RK_IN_EMBEDDINGS, RK_FP32, batch, 2, queries);
        test_input(&call, RK_IN_REF_EMBEDDINGS, RK_FP32, refs, 2, refs ? documents : nothing);
        if (relevance) {
            test_input(&call, RK_IN_RELEVANCE, RK_INT8, batch, items, zeros);
        } else {
            test_vector(&call, RK_IN_LABELS, RK_INT64, batch, two);
            test_vector(&call, RK_IN_REF_LABELS, RK_INT64, refs, others);
            call.request.bank_snapshot = &view;
        }
        call.request.outputs = 1u << RK_OUT_LOSS | 1u << RK_OUT_GRADIENT | 1u << RK_OUT_REF_GRADIENT;
        test_run(&call);
        assert_true(call.reply.info.loss == 0);
        assert_int_equal(call.reply.info.lists, batch);
        assert_int_equal(call.reply.info.lists_skipped, batch);
        assert_int_equal(call.reply.out[RK_OUT_GRADIENT].shape[0], batch);
        assert_int_equal(call.reply.out[RK_OUT_REF_GRADIENT].shape[0], refs);
        for (size_t i = 0; i < refs * 2; i++)
            assert_true(test_floats(&call, RK_OUT_REF_GRADIENT)[i] == 0);
        test_call_end(&call);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_gallery_and_relevance_agrees_with_the_definition_on_every_set_of_kernels),
        cmocka_unit_test(many_queries_with_many_ignored_items_agree),
        cmocka_unit_test(queries_rank_documents_and_not_each_other),
        cmocka_unit_test(equal_ids_of_query_and_reference_hide_the_pair),
        cmocka_unit_test(a_gallery_of_nothing_is_refused),
        cmocka_unit_test(grades_are_those_of_the_gain),
        cmocka_unit_test(a_mask_goes_with_the_items_that_are_appended),
        cmocka_unit_test(relevance_that_does_not_fit_is_refused_with_its_reason),
        cmocka_unit_test(empty_batches_and_galleries_have_an_answer),
    };
    return cmocka_run_group_tests_name("retrieval_gallery", tests, begin, end);
}
