/* SPDX-License-Identifier: Apache-2.0 */
/* A batch of scores as a bank stores it, from rows and from columns of every type, against one
 * element after the other. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bank/batch.h"
#include "bank/kind.h"
#include "kernels/score.h"
#include "request/target.h"
#include "unit/support/engine_call.h"

enum { CAPACITY = 5000, MOST = 200 * 130, WIDEST = 8 };

static const struct {
    size_t lists, items;
} shapes[] = {{1, 1},   {1, 5000}, {3, 1400}, {3, 17},   {16, 255},  {64, 64},
              {80, 51}, {80, 300}, {128, 33}, {129, 32}, {200, 130}, {5000, 2}};

/* Numbers that every type of targets can hold. */
static void put_target(char *at, enum rk_dtype dtype, int value)
{
    const int8_t byte = (int8_t)value;
    const int32_t whole = value;
    const int64_t wide = value;
    const float real = (float)value;
    const unsigned one = dtype == RK_FP16 ? 0x3c00 : 0x3f80;
    const uint16_t bits = (uint16_t)((value == 0 ? 0 : one) | (value < 0 ? 0x8000 : 0));
    if (dtype == RK_INT32)
        memcpy(at, &whole, sizeof whole);
    else if (dtype == RK_INT64)
        memcpy(at, &wide, sizeof wide);
    else if (dtype == RK_FP32)
        memcpy(at, &real, sizeof real);
    else if (dtype == RK_FP16 || dtype == RK_BF16)
        memcpy(at, &bits, sizeof bits);
    else
        memcpy(at, &byte, sizeof byte);
}

static bool has_minus_one(enum rk_dtype dtype)
{
    return dtype != RK_BOOL && dtype != RK_UINT8;
}

static char scores[MOST * WIDEST], targets[MOST * WIDEST];

/* Random bytes are scores of all kinds; NaN only where an item is ignored. */
static void draw(struct test_random *random, size_t n, enum rk_dtype score, enum rk_dtype target)
{
    for (size_t i = 0; i < n; i++) {
        const uint64_t bits = test_next(random);
        const int value = (int)test_below(random, 3) - has_minus_one(target);
        memcpy(scores + i * rk_dtype_size(score), &bits, rk_dtype_size(score));
        put_target(targets + i * rk_dtype_size(target), target, value < 2 ? value : 0);
        if (isnan(rk_score_at(scores, score, i)) && value != -1)
            memset(scores + i * rk_dtype_size(score), 0, rk_dtype_size(score));
    }
}

static void start(struct test_call *call, bool columns, size_t lists, size_t items, enum rk_dtype score,
                  enum rk_dtype target)
{
    test_call_start(call, "ap", 0);
    test_number(call, "axis", columns ? 0 : 1);
    test_input(call, RK_IN_SCORES, score, columns ? items : lists, columns ? lists : items, scores);
    test_input(call, RK_IN_TARGETS, target, columns ? items : lists, columns ? lists : items, targets);
}

static void assert_stored(const struct rk_batch *batch, bool columns, size_t lists, size_t items,
                          enum rk_dtype score, enum rk_dtype target)
{
    assert_int_equal(batch->items, items);
    for (size_t l = 0; l < lists; l++) {
        for (size_t i = 0; i < items; i++) {
            const size_t from = columns ? i * lists + l : l * items + i, to = l * items + i;
            const float expected = rk_score_at(scores, score, from);
            int8_t narrow;
            rk_targets_narrow(targets + from * rk_dtype_size(target), target, RK_TARGET_BINARY, 1, &narrow);
            assert_memory_equal((const float *)batch->column[0] + to, &expected, sizeof expected);
            assert_int_equal(((const int8_t *)batch->column[1])[to], narrow);
        }
    }
}

static const enum rk_dtype score_types[] = {RK_FP32, RK_FP16, RK_BF16, RK_FP64};
static const enum rk_dtype target_types[] = {RK_INT8,  RK_UINT8, RK_BOOL, RK_INT32,
                                             RK_INT64, RK_FP32,  RK_FP16, RK_BF16};
enum { SCORE_TYPES = 4, TARGET_TYPES = 8 };

static void every_element_is_stored_in_its_list(void **state)
{
    (void)state;
    struct test_random random = {11};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        for (size_t type = 0; type < 2 * TARGET_TYPES; type++) {
            const size_t lists = shapes[s].lists, items = shapes[s].items;
            const enum rk_dtype score = score_types[(s + type) % SCORE_TYPES];
            const enum rk_dtype target = target_types[type / 2];
            const struct rk_bank_shape shape = {
                .kind = &rk_bank_kind_scores, .lists = lists, .capacity = CAPACITY, .dtype = RK_FP32};
            const bool columns = type % 2;
            struct test_call call;
            struct rk_batch batch;
            draw(&random, lists * items, score, target);
            start(&call, columns, lists, items, score, target);
            assert_int_equal(rk_batch_new(&shape, &call.request, &batch, &call.err), RANKD_OK);
            assert_stored(&batch, columns, lists, items, score, target);
            rk_batch_free(&batch);
            test_call_end(&call);
        }
    }
}

static void assert_not_stored(bool columns, size_t lists, size_t items, const char *sentence)
{
    const struct rk_bank_shape shape = {
        .kind = &rk_bank_kind_scores, .lists = lists, .capacity = CAPACITY, .dtype = RK_FP32};
    struct test_call call;
    struct rk_batch batch;
    start(&call, columns, lists, items, RK_FP32, RK_INT8);
    assert_int_equal(rk_batch_new(&shape, &call.request, &batch, &call.err), RANKD_INVALID);
    assert_string_equal(call.err.text, sentence);
    assert_null(batch.block);
    test_call_end(&call);
}

/* Tensors in shared memory may change after they were checked. */
static void what_changed_since_it_was_checked_is_refused_with_its_place(void **state)
{
    (void)state;
    struct test_random random = {12};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const size_t lists = shapes[s].lists, items = shapes[s].items,
                     at = test_below(&random, lists * items);
        const float nan = NAN;
        char sentence[RK_ERR_TEXT];
        draw(&random, lists * items, RK_FP32, RK_INT8);
        memcpy(scores + at * sizeof nan, &nan, sizeof nan);
        targets[at] = 0;
        (void)snprintf(sentence, sizeof sentence, "scores has NaN at position %zu", at);
        assert_not_stored(s % 2, lists, items, sentence);
        targets[at] = 2;
        (void)snprintf(sentence, sizeof sentence,
                       "targets has a value at position %zu that is none of 1, 0 and -1", at);
        assert_not_stored(s % 2, lists, items, sentence);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_element_is_stored_in_its_list),
        cmocka_unit_test(what_changed_since_it_was_checked_is_refused_with_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
