/* SPDX-License-Identifier: Apache-2.0 */
/* Embeddings as from a network: properties of any vectors, and refusals. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bank/labels.h"
#include "kernels/normalize.h"
#include "request/bank_view.h"
#include "retrieval/product.h"
#include "unit/support/engine_call.h"
#include "unit/support/retrieval_case.h"

enum { B = 14, R = 6, M = 25, D = 9 };

static float *draw(struct test_random *random, size_t n)
{
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(test_uniform(random) - 0.5);
    return x;
}

/* Σ G_qj <u_q, u_j> over the pairs, in FP64: the function whose gradient the reply is, with G held
 * constant. */
static double surrogate(const double *pair, const double *x, size_t items, bool normalize)
{
    double sum = 0;
    double *norm = malloc(items * sizeof *norm);
    for (size_t i = 0; i < items; i++) {
        norm[i] = 0;
        for (size_t k = 0; k < D; k++)
            norm[i] += x[i * D + k] * x[i * D + k];
        norm[i] = normalize && i < B + R ? sqrt(norm[i]) : 1;
    }
    for (size_t q = 0; q < B; q++)
        for (size_t j = 0; j < items; j++)
            for (size_t k = 0; k < D; k++)
                sum += pair[q * items + j] * x[q * D + k] / norm[q] * x[j * D + k] / norm[j];
    free(norm);
    return sum;
}

/* Batch, references and memory of random vectors, without a margin so that no two scores are near a
 * tie. */
static void try_slope(bool normalize, uint64_t seed)
{
    struct test_random random = {seed};
    const size_t items = B + R + M;
    struct test_call call;
    struct oracle_item item[B + R + M];
    int64_t labels[B + R + M];
    float *x = draw(&random, items * D);
    double wide[(B + R + M) * D];
    for (size_t i = 0; i < items * D; i++)
        wide[i] = (double)x[i];
    for (size_t i = 0; i < items; i++) {
        labels[i] = (int64_t)test_below(&random, 4);
        item[i] = (struct oracle_item){.x = wide + i * D, .label = labels[i], .id = -1, .stored = i >= B + R};
    }
    struct rk_labels *index = rk_labels_new(labels + B + R, M);
    rk_labels_add(index, M);
    struct rk_bank_chunk chunk = {
        .items = M, .embeddings = x + (B + R) * D, .labels = labels + B + R, .by_label = index};
    struct rk_bank_snapshot view = {.holds = RK_BANK_HOLDS_EMBEDDINGS, .items = M};
    view.embeddings = (struct rk_bank_embeddings){
        .dtype = RK_FP32, .dim = D, .normalize = normalize, .chunks = 1, .chunk = &chunk};

    test_call_start(&call, "ap", 0);
    test_input(&call, RK_IN_EMBEDDINGS, RK_FP32, B, D, x);
    test_vector(&call, RK_IN_LABELS, RK_INT64, B, labels);
    test_input(&call, RK_IN_REF_EMBEDDINGS, RK_FP32, R, D, x + B * D);
    test_vector(&call, RK_IN_REF_LABELS, RK_INT64, R, labels + B);
    test_number(&call, "margin", 0);
    test_number(&call, "lambda", 0.2);
    call.request.params.normalize = normalize;
    call.request.bank_snapshot = &view;
    call.request.outputs = 1u << RK_OUT_GRADIENT | 1u << RK_OUT_REF_GRADIENT;
    test_run(&call);

    struct oracle_request oracle = {
        .batch = B, .items = items, .dim = D, .item = item, .normalize = normalize, .lambda = 0.2};
    struct oracle_reply want = oracle_run(&oracle);
    assert_true(fabs(want.loss - call.reply.info.loss) < 1e-9);
    for (size_t i = 0; i < (B + R) * D; i++) {
        const double step = 1e-5;
        double at = wide[i], up, down;
        wide[i] = at + step;
        up = surrogate(want.pair, wide, items, normalize);
        wide[i] = at - step;
        down = surrogate(want.pair, wide, items, normalize);
        wide[i] = at;
        double slope = (up - down) / (2 * step);
        double got = (double)(i < B * D ? test_gradient(&call)[i]
                                        : test_floats(&call, RK_OUT_REF_GRADIENT)[i - B * D]);
        if (!(fabs(got - slope) <= 1e-5 * (1 + fabs(slope))))
            fail_msg("element %zu: gradient %.9g, slope %.9g", i, got, slope);
    }
    oracle_free(&want);
    test_call_end(&call);
    rk_labels_free(index);
    free(x);
}

static void the_gradient_is_the_slope_of_the_similarities_through_the_normalization(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 6; seed++) {
        try_slope(true, seed);
        try_slope(false, seed);
    }
}

/* A normalized vector does not change when it grows, so the gradient has no part along it. */
static void the_gradient_is_orthogonal_to_a_normalized_embedding(void **state)
{
    (void)state;
    struct test_random random = {9};
    struct test_call call;
    int64_t labels[100];
    float *x = draw(&random, 100 * D);
    for (size_t i = 0; i < 100; i++)
        labels[i] = (int64_t)(i % 9);
    test_call_start(&call, "ap", 0);
    test_input(&call, RK_IN_EMBEDDINGS, RK_FP32, 100, D, x);
    test_vector(&call, RK_IN_LABELS, RK_INT64, 100, labels);
    test_run(&call);
    for (size_t i = 0; i < 100; i++) {
        double along = 0, size = 0;
        for (size_t k = 0; k < D; k++) {
            double g = (double)test_gradient(&call)[i * D + k];
            along += g * (double)x[i * D + k];
            size += fabs(g);
        }
        assert_true(fabs(along) <= 1e-6 * size);
    }
    test_call_end(&call);
    free(x);
}

static void a_pair_of_the_batch_has_one_similarity_in_both_directions_and_in_any_block(void **state)
{
    (void)state;
    struct test_random random = {4};
    enum { ITEMS = 301, DIM = 128 };
    struct rk_items items = {
        .n_queries = ITEMS, .total = ITEMS, .dim = DIM, .rows = draw(&random, ITEMS * DIM)};
    float *all = malloc(ITEMS * ITEMS * sizeof *all), *part = malloc(ITEMS * ITEMS * sizeof *part);
    void *work = aligned_alloc(64, rk_product_work(DIM));
    rk_product_batch(&items, 0, ITEMS, all, ITEMS, work);
    for (size_t i = 0; i < ITEMS; i++)
        for (size_t j = 0; j < ITEMS; j++) {
            double exact = 0;
            for (size_t k = 0; k < DIM; k++)
                exact += (double)items.rows[i * DIM + k] * (double)items.rows[j * DIM + k];
            assert_true(fabs((double)all[i * ITEMS + j] - exact) < 1e-4);
            assert_true(all[i * ITEMS + j] == all[j * ITEMS + i]);
        }
    for (size_t first = 0, count; first < ITEMS; first += count) {
        count = 1 + test_below(&random, ITEMS - first);
        rk_product_batch(&items, first, count, part, ITEMS, work);
        assert_memory_equal(part, all + first * ITEMS, count * ITEMS * sizeof *part);
    }
    free(work);
    free(part);
    free(all);
    free(items.rows);
}

static const float unit[8] = {1, 0, 0, 1, 1, 0, 0, 1};
static const int64_t four[4] = {1, 1, 2, 2};

static void start(struct test_call *call, const float *x)
{
    test_call_start(call, "ap", 0);
    test_input(call, RK_IN_EMBEDDINGS, RK_FP32, 4, 2, x);
    test_vector(call, RK_IN_LABELS, RK_INT64, 4, four);
}

static void vectors_without_direction_are_refused_with_their_position(void **state)
{
    (void)state;
    struct test_call call;
    const struct {
        float x[8];
        const char *sentence;
    } bad[] = {
        {{1, 0, 0, 0, 1, 0, 0, 1},
         "embeddings[1] is the zero vector, which has no direction; it must not be, or send normalize false"},
        {{1, 0, 0, 1, 1, NAN, 0, 1}, "embeddings[2, 1] is NaN; it must be a finite number in FP32"},
        {{1, 0, 0, 1, 1, 0, INFINITY, 1}, "embeddings[3, 0] is Infinity; it must be a finite number in FP32"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        start(&call, bad[i].x);
        test_refused(&call, RANKD_INVALID, bad[i].sentence);
        test_call_end(&call);
    }
    const double large[8] = {1, 0, 0, 1, 1e300, 0, 0, 1};
    start(&call, unit);
    test_input(&call, RK_IN_EMBEDDINGS, RK_FP64, 4, 2, large);
    test_refused(&call, RANKD_INVALID, "embeddings[2, 0] is Infinity; it must be a finite number in FP32");
    test_call_end(&call);
    const float zero[2] = {0, 0};
    start(&call, unit);
    test_input(&call, RK_IN_REF_EMBEDDINGS, RK_FP32, 1, 2, zero);
    test_vector(&call, RK_IN_REF_LABELS, RK_INT64, 1, four);
    test_refused(&call, RANKD_INVALID,
                 "ref_embeddings[0] is the zero vector, which has no direction; it must not be, or send "
                 "normalize false");
    test_call_end(&call);
}

static void an_inner_product_that_is_not_a_number_is_refused(void **state)
{
    (void)state;
    struct test_call call;
    const float x[2] = {NAN, 1};
    const int64_t label = 2;
    struct rk_labels *index = rk_labels_new(&label, 1);
    rk_labels_add(index, 1);
    struct rk_bank_chunk chunk = {.items = 1, .embeddings = x, .labels = &label, .by_label = index};
    struct rk_bank_snapshot view = {.holds = RK_BANK_HOLDS_EMBEDDINGS, .items = 1};
    view.embeddings = (struct rk_bank_embeddings){.dtype = RK_FP32, .dim = 2, .chunks = 1, .chunk = &chunk};
    start(&call, unit);
    call.request.params.normalize = false;
    call.request.bank_snapshot = &view;
    test_refused(&call, RANKD_INVALID,
                 "embeddings[0] has an inner product that is not a number; without normalize, lengths must "
                 "be such that "
                 "inner products fit FP32");
    test_call_end(&call);
    rk_labels_free(index);
}

static void shapes_that_do_not_fit_together_are_refused(void **state)
{
    (void)state;
    struct test_call call;
    const unsigned char mask[4] = {1, 0, 2, 1};
    start(&call, unit);
    test_vector(&call, RK_IN_LABELS, RK_INT64, 3, four);
    test_refused(&call, RANKD_INVALID,
                 "input labels has shape [3]; it must be [4], one for each of embeddings");
    test_vector(&call, RK_IN_LABELS, RK_INT64, 4, four);
    test_vector(&call, RK_IN_IDS, RK_INT64, 2, four);
    test_refused(&call, RANKD_INVALID, "input ids has shape [2]; it must be [4], one for each of embeddings");
    call.request.in[RK_IN_IDS] = (struct rk_tensor){0};
    test_vector(&call, RK_IN_ENQUEUE_MASK, RK_BOOL, 4, mask);
    test_refused(&call, RANKD_INVALID, "enqueue_mask[2] is 2; it may be 0 or 1");
    call.request.in[RK_IN_ENQUEUE_MASK] = (struct rk_tensor){0};
    test_vector(&call, RK_IN_REF_LABELS, RK_INT64, 4, four);
    test_refused(&call, RANKD_INVALID, "input ref_labels goes with ref_embeddings, which were not sent");
    test_input(&call, RK_IN_REF_EMBEDDINGS, RK_FP32, 4, 1, unit);
    test_refused(&call, RANKD_INVALID,
                 "input ref_embeddings has shape [4, 1]; its second dimension must be that of embeddings, 2");
    call.request.in[RK_IN_REF_LABELS] = (struct rk_tensor){0};
    test_refused(&call, RANKD_INVALID, "input ref_labels is missing; ref_embeddings need a label each");
    test_call_end(&call);
}

static void a_bank_of_another_kind_is_refused(void **state)
{
    (void)state;
    struct test_call call;
    struct rk_bank_snapshot view = {.holds = RK_BANK_HOLDS_EMBEDDINGS};
    view.embeddings = (struct rk_bank_embeddings){.dtype = RK_FP32, .dim = 3, .normalize = true};
    start(&call, unit);
    strcpy(call.request.params.bank, "b");
    call.request.bank_snapshot = &view;
    test_refused(&call, RANKD_INVALID, "embeddings have 2 dimensions; bank \"b\" holds items of 3");
    view.embeddings.dim = 2;
    call.request.params.normalize = false;
    call.request.params.given |= 1u << RK_PARAM_normalize;
    test_refused(&call, RANKD_INVALID,
                 "normalize is false; bank \"b\" was made with true, leave it out or send that");
    view.holds = RK_BANK_HOLDS_SCORES;
    test_refused(&call, RANKD_INVALID, "bank \"b\" holds scores; embeddings need a bank of kind embeddings");
    test_call_end(&call);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_gradient_is_the_slope_of_the_similarities_through_the_normalization),
        cmocka_unit_test(the_gradient_is_orthogonal_to_a_normalized_embedding),
        cmocka_unit_test(a_pair_of_the_batch_has_one_similarity_in_both_directions_and_in_any_block),
        cmocka_unit_test(vectors_without_direction_are_refused_with_their_position),
        cmocka_unit_test(an_inner_product_that_is_not_a_number_is_refused),
        cmocka_unit_test(shapes_that_do_not_fit_together_are_refused),
        cmocka_unit_test(a_bank_of_another_kind_is_refused),
    };
    return cmocka_run_group_tests_name("retrieval_properties", tests, NULL, NULL);
}
