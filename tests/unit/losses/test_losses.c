/* SPDX-License-Identifier: Apache-2.0 */
/* The promises of a loss (losses/loss.h), for every loss of the table. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/ln_whole.h"
#include "losses/loss.h"
#include "request/request.h"
#include "unit/support/engine_call.h"

enum { MOST = 200, LISTS = 400 };

/* Ascending, as counts along a ranking are; now and then with large steps, or none. */
static uint32_t draw_list(struct test_random *random, uint32_t *irrelevant_above)
{
    const uint32_t p = 1 + (uint32_t)test_below(random, MOST);
    const size_t step = (size_t[]){1, 2, 20, 1000000}[test_below(random, 4)];
    uint32_t above = 0;
    for (uint32_t k = 0; k < p; k++)
        irrelevant_above[k] = above += (uint32_t)test_below(random, step);
    return p;
}

/* Any gains for a loss of graded relevance, in any order; and ascending. */
static void draw_gains(struct test_random *random, uint32_t p, double *gain, double *ascending)
{
    const double most = (double[]){1, 31, 1e-45, 3.4e38, 9.3e18}[test_below(random, 5)];
    for (uint32_t k = 0; k < p; k++) {
        gain[k] = most * (test_below(random, 3) ? 1 : 1 - test_uniform(random));
        uint32_t at = k;
        for (; at > 0 && ascending[at - 1] > gain[k]; at--)
            ascending[at] = ascending[at - 1];
        ascending[at] = gain[k];
    }
}

/* Any value that the table allows, for each parameter that is not text. */
static struct rk_loss_params draw_params(struct test_random *random)
{
    struct rk_params params = rk_params_default();
    for (size_t i = 0; i < RK_PARAM_COUNT; i++) {
        const struct rk_param_row *row = &rk_param_rows[i];
        void *field = (char *)&params + row->offset;
        size_t words = 1;
        for (const char *c = row->choices; c && *c; c++)
            words += *c == '|';
        const double ends[] = {row->min, row->max, row->value,
                               row->min + (row->max - row->min) * test_uniform(random)};
        if (row->type == RK_PARAM_REAL)
            *(double *)field = ends[test_below(random, 4)];
        else if (row->type == RK_PARAM_WHOLE)
            *(uint64_t *)field = test_below(random, 2) ? test_below(random, 2 * MOST) : (uint64_t)row->max;
        else if (row->type == RK_PARAM_CHOICE)
            *(int *)field = (int)test_below(random, words);
    }
    return rk_loss_params_of(&params);
}

static void loss_and_slopes_are_finite_and_not_negative(void **state)
{
    (void)state;
    struct test_random random = {7};
    for (size_t m = 0; m < rk_model_count; m++) {
        const struct rk_loss *loss = rk_models[m].loss;
        for (int l = 0; loss && l < LISTS; l++) {
            uint32_t irrelevant_above[MOST];
            double slope[MOST], again[MOST];
            const struct rk_loss_params params = draw_params(&random);
            double gain[MOST], ascending[MOST];
            const uint32_t p = draw_list(&random, irrelevant_above);
            struct rk_ranked ranked = {.p = p, .irrelevant_above = irrelevant_above};
            if (rk_model_graded(&rk_models[m]) && l % 4) {
                draw_gains(&random, p, gain, ascending);
                ranked.gain = gain;
                ranked.gain_ascending = ascending;
            }
            const double value = loss->list(&params, &ranked, slope);
            assert_true(isfinite(value) && value >= 0);
            for (uint32_t k = 0; k < p; k++)
                assert_true(isfinite(slope[k]) && slope[k] >= 0);
            /* The loss depends only on its arguments, and not on whether slopes are requested. */
            const double same = loss->list(&params, &ranked, again),
                         alone = rk_loss_list(loss, &params, &ranked, NULL);
            assert_memory_equal(&same, &value, sizeof value);
            assert_memory_equal(&alone, &value, sizeof value);
            assert_memory_equal(again, slope, p * sizeof *slope);
        }
    }
}

static void a_loss_has_its_name_and_number(void **state)
{
    (void)state;
    uint32_t numbers = 1u << RK_LOSS_NONE;
    for (size_t m = 0; m < rk_model_count; m++) {
        const struct rk_loss *loss = rk_models[m].loss;
        if (!loss)
            continue;
        assert_string_equal(loss->name, rk_models[m].name);
        assert_true(loss->number < 32);
        assert_false(numbers >> loss->number & 1);
        numbers |= 1u << loss->number;
    }
}

static void logarithms_that_are_looked_up_have_the_same_bits(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 2 * RK_LN_TABLE; n++) {
        const double looked_up = rk_ln_whole(n), computed = rk_ln((double)n);
        assert_memory_equal(&looked_up, &computed, sizeof computed);
        assert_true(fabs(computed - log((double)n)) <= 4e-16 * computed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loss_and_slopes_are_finite_and_not_negative),
        cmocka_unit_test(a_loss_has_its_name_and_number),
        cmocka_unit_test(logarithms_that_are_looked_up_have_the_same_bits),
    };
    return cmocka_run_group_tests_name("losses", tests, NULL, NULL);
}
