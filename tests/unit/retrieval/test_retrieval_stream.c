/* SPDX-License-Identifier: Apache-2.0 */
/* Embeddings against a bank too large for complete rows, beside the same lists sent as scores:
 * inner products are exact, so the two must agree with any tiles, samples and windows. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine.h"
#include "retrieval/retrieval_internal.h"
#include "unit/support/engine_call.h"
#include "unit/support/retrieval_case.h"

/* The lists of a case as scores and targets. */
static void as_scores(const struct retrieval_case *c, struct test_call *call, float *scores, int8_t *targets)
{
    size_t items = c->oracle.items, dim = c->oracle.dim;
    for (size_t q = 0; q < c->oracle.batch; q++) {
        const struct oracle_item *query = &c->item[q];
        for (size_t j = 0; j < items; j++) {
            const struct oracle_item *item = &c->item[j];
            double s = 0;
            for (size_t k = 0; k < dim; k++)
                s += query->x[k] * item->x[k];
            bool ignored = j == q || (query->id != -1 && query->id == item->id) ||
                           (c->oracle.references && j < c->oracle.batch);
            int8_t target = query->label != -1 && query->label == item->label;
            if (c->oracle.relevance)
                target = c->oracle.relevance[q * items + j];
            scores[q * items + j] = (float)s;
            targets[q * items + j] = ignored ? -1 : target;
        }
    }
    test_input(call, RK_IN_SCORES, RK_FP32, c->oracle.batch, items, scores);
    test_input(call, RK_IN_TARGETS, RK_INT8, c->oracle.batch, items, targets);
}

/* d loss / d embeddings of the batch and the references, from that of the scores. */
static double *chain(const struct retrieval_case *c, const float *pair)
{
    size_t items = c->oracle.items, dim = c->oracle.dim;
    double *sum = calloc(items * dim, sizeof *sum);
    for (size_t q = 0; q < c->oracle.batch; q++) {
        for (size_t j = 0; j < items; j++) {
            double g = pair[q * items + j];
            for (size_t k = 0; g != 0 && k < dim; k++) {
                sum[q * dim + k] += g * c->item[j].x[k];
                sum[j * dim + k] += g * c->item[q].x[k];
            }
        }
    }
    return sum;
}

static void assert_rows(const float *got, const double *want, size_t rows, size_t dim)
{
    for (size_t r = 0; r < rows; r++) {
        double scale = 0;
        for (size_t k = 0; k < dim; k++)
            scale = fmax(scale, fabs(want[r * dim + k]));
        for (size_t k = 0; k < dim; k++)
            if (!(fabs((double)got[r * dim + k] - want[r * dim + k]) <= 1e-6 * scale))
                fail_msg("row %zu, element %zu is %.9g, the scores give %.9g", r, k, (double)got[r * dim + k],
                         want[r * dim + k]);
    }
}

static void run_scores(const struct retrieval_case *c, struct test_call *call)
{
    size_t cells = c->oracle.batch * c->oracle.items;
    float *scores = malloc(cells * sizeof *scores);
    int8_t *targets = malloc(cells);
    call->request.params = c->request.params;
    as_scores(c, call, scores, targets);
    call->request.outputs = 1u << RK_OUT_GRADIENT | 1u << RK_OUT_LIST_LOSS;
    test_run(call);
    free(scores);
    free(targets);
}

static void try_case(struct retrieval_shape shape, const char *model, double lambda, double margin, int scope,
                     int scale)
{
    struct retrieval_case c;
    struct test_call call, scores;
    uint64_t seed = shape.memory + shape.dim;
    case_random(&c, &shape, &seed);
    assert_true(rk_retrieval_streams(c.oracle.batch, c.oracle.items));
    test_call_start(&scores, model, 0);
    test_call_start(&call, model, 0);
    c.request.params.lambda = lambda;
    c.request.params.margin = margin;
    c.request.params.lambda_scope = scope;
    c.request.params.gradient_scale = scale;
    c.request.params.given = 1u << RK_PARAM_margin | 1u << RK_PARAM_lambda | 1u << RK_PARAM_lambda_scope;
    const struct rk_model *named = call.request.model;
    run_scores(&c, &scores);
    call.request = c.request;
    call.request.model = named;
    call.request.outputs = 1u << RK_OUT_GRADIENT | 1u << RK_OUT_LIST_LOSS;
    if (shape.refs)
        call.request.outputs |= 1u << RK_OUT_REF_GRADIENT;
    test_run(&call);

    assert_true(call.reply.info.loss == scores.reply.info.loss);
    assert_int_equal(call.reply.info.lists_skipped, scores.reply.info.lists_skipped);
    assert_int_equal(call.reply.info.lists_stalled, scores.reply.info.lists_stalled);
    assert_true(call.reply.info.number[RANKD_REPLY_PAIRS_JUMPED] ==
                scores.reply.info.number[RANKD_REPLY_PAIRS_JUMPED]);
    assert_true(call.reply.info.number[RANKD_REPLY_PAIRS_JUMPED] > 0);
    assert_memory_equal(test_floats(&call, RK_OUT_LIST_LOSS), test_floats(&scores, RK_OUT_LIST_LOSS),
                        c.oracle.batch * sizeof(float));
    double *want = chain(&c, test_gradient(&scores));
    assert_rows(test_gradient(&call), want, c.oracle.batch, c.oracle.dim);
    if (shape.refs)
        assert_rows(test_floats(&call, RK_OUT_REF_GRADIENT), want + c.oracle.batch * c.oracle.dim, shape.refs,
                    c.oracle.dim);
    free(want);
    test_call_end(&call);
    test_call_end(&scores);
    case_free(&c);
}

/* 160 x 66,000: just too many for rows. */
static const struct retrieval_shape large = {.batch = 160,
                                             .memory = 66000,
                                             .dim = 12,
                                             .range = 100,
                                             .labels = 8000,
                                             .distractors = 0.05,
                                             .dtype = RK_FP32,
                                             .bank = RK_FP32,
                                             .chunk = 4096};

static void few_relevant_items_agree_with_scores(void **state)
{
    (void)state;
    try_case(large, "ap", 3e4, 20000, RK_SCOPE_LIST, RK_SCALE_LAMBDA);
    try_case(large, "recall", 1e5, 0, RK_SCOPE_BATCH, RK_SCALE_UNIT);
}

static void many_relevant_items_agree_with_scores(void **state)
{
    (void)state;
    struct retrieval_shape shape = large;
    shape.labels = 100;
    shape.refs = 700;
    shape.with_id = 0.5;
    shape.ids = 40;
    try_case(shape, "ap", 3e4, 1000, RK_SCOPE_LIST, RK_SCALE_UNIT);
    shape.bank = RK_FP16;
    try_case(shape, "recall", 1e4, 0, RK_SCOPE_LIST, RK_SCALE_LAMBDA);
}

static void lists_with_more_relevant_items_than_a_stream_takes_agree_with_scores(void **state)
{
    (void)state;
    struct retrieval_shape shape = large;
    shape.labels = 2;
    shape.batch = 161;
    try_case(shape, "ap", 1e4, 0, RK_SCOPE_LIST, RK_SCALE_UNIT);
}

static void references_alone_agree_with_scores(void **state)
{
    (void)state;
    struct retrieval_shape shape = large;
    shape.references = true;
    shape.refs = 900;
    shape.labels = 900;
    shape.with_id = 0.5;
    shape.ids = 300;
    try_case(shape, "ap", 3e4, 1000, RK_SCOPE_LIST, RK_SCALE_LAMBDA);
    shape.refs = 0;
    shape.bank = RK_BF16;
    try_case(shape, "recall", 1e5, 0, RK_SCOPE_BATCH, RK_SCALE_UNIT);
}

static void a_relevance_agrees_with_scores(void **state)
{
    (void)state;
    struct retrieval_shape shape = large;
    shape.refs = shape.memory;
    shape.memory = shape.chunk = 0;
    shape.target = RK_INT8;
    shape.relevance = 0.0005;
    try_case(shape, "ap", 3e4, 1000, RK_SCOPE_LIST, RK_SCALE_LAMBDA);
    shape.references = true;
    try_case(shape, "recall", 1e5, 0, RK_SCOPE_LIST, RK_SCALE_LAMBDA);
}

/* Small integers: hundreds of items share a score, and moved items pass all of them. */
static void heavy_ties_agree_with_scores(void **state)
{
    (void)state;
    struct retrieval_shape shape = large;
    shape.range = 2;
    shape.dim = 6;
    shape.labels = 300;
    shape.bank = RK_BF16;
    try_case(shape, "ap", 50, 0, RK_SCOPE_LIST, RK_SCALE_LAMBDA);
    try_case(shape, "ap", 1e6, 3, RK_SCOPE_LIST, RK_SCALE_UNIT); /* everything jumps: more than can be kept */
}

/* The sample predicts ranks that are far too bad, so the windows are too narrow for most lists; or
 * it predicts that nothing will be kept, and the room is too small. */
static void a_sample_that_misleads_costs_time_and_nothing_else(void **state)
{
    (void)state;
    struct retrieval_shape shape = large;
    shape.misleading = 1;
    shape.chunk = 512;
    shape.labels = 2000;
    try_case(shape, "ap", 3e4, 100, RK_SCOPE_LIST, RK_SCALE_UNIT);
    shape.misleading = -1;
    try_case(shape, "ap", 1e12, 30000, RK_SCOPE_LIST, RK_SCALE_LAMBDA);
}

static void a_stream_repeats_itself_bit_for_bit(void **state)
{
    (void)state;
    struct retrieval_case c;
    struct test_call call, again;
    uint64_t seed = 4;
    struct retrieval_shape shape = large;
    case_random(&c, &shape, &seed);
    /* similarities that are not exact */
    float *row = malloc(c.request.in[RK_IN_EMBEDDINGS].bytes);
    for (size_t i = 0; i < c.oracle.batch * c.oracle.dim; i++)
        row[i] = (float)case_below(&seed, 1000003) / 1000003.0f - 0.5f;
    c.request.in[RK_IN_EMBEDDINGS].data = row;
    test_call_start(&call, "ap", 0);
    test_call_start(&again, "ap", 0);
    call.request = again.request = c.request;
    test_run(&call);
    test_run(&again);
    assert_memory_equal(test_gradient(&call), test_gradient(&again), c.request.in[RK_IN_EMBEDDINGS].bytes);
    assert_true(call.reply.info.loss == again.reply.info.loss);
    test_call_end(&call);
    test_call_end(&again);
    case_free(&c);
    free(row);
}

static void a_stream_takes_less_scratch_than_it_says(void **state)
{
    (void)state;
    struct retrieval_case c;
    struct test_call call;
    uint64_t seed = 4;
    case_random(&c, &large, &seed);
    test_call_start(&call, "ap", 0);
    call.request = c.request;
    test_run(&call);
    assert_true(rk_scratch_peak(call.exec.scratch) <= rk_engine_cost(&c.request));
    assert_true(rk_scratch_peak(call.exec.scratch) < (size_t)64 << 20);
    test_call_end(&call);
    case_free(&c);
}

static void a_passed_deadline_ends_a_stream(void **state)
{
    (void)state;
    struct retrieval_case c;
    struct test_call call;
    uint64_t seed = 4;
    case_random(&c, &large, &seed);
    test_call_start(&call, "ap", 0);
    call.request = c.request;
    call.exec.deadline_ns = 1;
    assert_int_equal(rk_engine_run(&call.exec, &call.request, &call.reply, &call.err), RANKD_DEADLINE);
    test_call_end(&call);
    case_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_relevant_items_agree_with_scores),
        cmocka_unit_test(many_relevant_items_agree_with_scores),
        cmocka_unit_test(lists_with_more_relevant_items_than_a_stream_takes_agree_with_scores),
        cmocka_unit_test(references_alone_agree_with_scores),
        cmocka_unit_test(a_relevance_agrees_with_scores),
        cmocka_unit_test(heavy_ties_agree_with_scores),
        cmocka_unit_test(a_sample_that_misleads_costs_time_and_nothing_else),
        cmocka_unit_test(a_stream_repeats_itself_bit_for_bit),
        cmocka_unit_test(a_stream_takes_less_scratch_than_it_says),
        cmocka_unit_test(a_passed_deadline_ends_a_stream),
    };
    return cmocka_run_group_tests_name("retrieval_stream", tests, NULL, NULL);
}
