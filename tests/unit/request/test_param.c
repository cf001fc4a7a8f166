/* SPDX-License-Identifier: Apache-2.0 */
/* The table of parameters: defaults, checks, sentences, nearest names. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/nearest.h"
#include "base/number.h"
#include "request/request.h"

static void defaults_are_those_of_the_documentation(void **state)
{
    (void)state;
    struct rk_params p = rk_params_default();
    assert_true(p.lambda == 1.0 && p.margin == 0.0 && p.interclass == 0.0);
    assert_int_equal(p.lambda_scope, RK_SCOPE_LIST);
    assert_int_equal(p.lambda_units, RK_UNITS_NORMALIZED);
    assert_int_equal(p.average, RK_AVERAGE_MACRO);
    assert_int_equal(p.axis, RK_AXIS_ROWS);
    assert_int_equal(p.transform, RK_TRANSFORM_LOGLOG);
    assert_true(p.normalize && p.enqueue);
    assert_string_equal(p.bank, "");
    assert_int_equal(p.given, 0);
}

static void numbers_within_bounds_are_taken(void **state)
{
    (void)state;
    struct rk_err err = {0};
    struct rk_params p = rk_params_default();
    assert_int_equal(rk_param_set_number(&p, rk_param_find("lambda"), 1e-12, &err), RANKD_OK);
    assert_true(p.lambda == 1e-12);
    assert_int_equal(rk_param_set_number(&p, rk_param_find("axis"), 0, &err), RANKD_OK);
    assert_int_equal(p.axis, RK_AXIS_COLUMNS);
    assert_int_equal(rk_param_set_number(&p, rk_param_find("top_k"), 2147483647, &err), RANKD_OK);
    assert_true(p.top_k == 2147483647);
    assert_int_equal(rk_param_set_text(&p, rk_param_find("axis"), "1", &err), RANKD_OK);
    assert_int_equal(p.axis, RK_AXIS_ROWS);
    assert_int_equal(rk_param_set_text(&p, rk_param_find("bank"), "b", &err), RANKD_OK);
    assert_string_equal(p.bank, "b");
    assert_int_equal(rk_param_set_flag(&p, rk_param_find("enqueue"), false, &err), RANKD_OK);
    assert_false(p.enqueue);
    assert_int_equal(p.given, 1u << RK_PARAM_lambda | 1u << RK_PARAM_axis | 1u << RK_PARAM_top_k |
                                  1u << RK_PARAM_bank | 1u << RK_PARAM_enqueue);
}

static void refused(struct rk_params *params, enum rankd_status status, struct rk_err *err,
                    const char *sentence)
{
    struct rk_params fresh = rk_params_default();
    assert_int_equal(status, RANKD_INVALID);
    assert_string_equal(err->text, sentence);
    assert_memory_equal(params, &fresh, sizeof fresh);
    *err = (struct rk_err){0};
}

static void what_is_out_of_bounds_is_refused_with_the_bounds(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double value;
        const char *sentence;
    } numbers[] = {
        {"lambda", 0, "parameter lambda was 0; it must be a number from 1e-12 to 1e+12"},
        {"lambda", -1, "parameter lambda was -1; it must be a number from 1e-12 to 1e+12"},
        {"lambda", NAN, "parameter lambda was NaN; it must be a number from 1e-12 to 1e+12"},
        {"lambda", INFINITY, "parameter lambda was Infinity; it must be a number from 1e-12 to 1e+12"},
        {"lambda", 1.1e12, "parameter lambda was 1.1e+12; it must be a number from 1e-12 to 1e+12"},
        {"margin", -0.1, "parameter margin was -0.1; it must be a number from 0 to 1e+30"},
        {"interclass", 1.5, "parameter interclass was 1.5; it must be a number from 0 to 1"},
        {"top_k", -1, "parameter top_k was -1; it must be a whole number from 0 to 2147483647"},
        {"top_k", 2.5, "parameter top_k was 2.5; it must be a whole number from 0 to 2147483647"},
        {"top_k", 2147483648,
         "parameter top_k was 2147483648; it must be a whole number from 0 to 2147483647"},
        {"top_k", NAN, "parameter top_k was NaN; it must be a whole number from 0 to 2147483647"},
        {"axis", 2, "parameter axis was 2; it must be 0 or 1"},
        {"axis", 0.5, "parameter axis was 0.5; it must be 0 or 1"},
        {"average", 1, "parameter average was 1; it must be macro, micro or sum"},
        {"enqueue", 1, "parameter enqueue was 1; it must be true or false"},
        {"bank", 7, "parameter bank was 7; it must be a string of 1 to 64 bytes"},
    };
    struct rk_err err = {0};
    struct rk_params p = rk_params_default();
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        enum rankd_status status =
            rk_param_set_number(&p, rk_param_find(numbers[i].name), numbers[i].value, &err);
        refused(&p, status, &err, numbers[i].sentence);
    }
    refused(&p, rk_param_set_flag(&p, rk_param_find("lambda"), true, &err), &err,
            "parameter lambda was true; it must be a number from 1e-12 to 1e+12");
    refused(&p, rk_param_set_text(&p, rk_param_find("lambda"), "big", &err), &err,
            "parameter lambda was \"big\"; it must be a number from 1e-12 to 1e+12");
    refused(&p, rk_param_set_text(&p, rk_param_find("weight"), "lo", &err), &err,
            "parameter weight was \"lo\"; it must be log, loglog or identity");
    refused(&p, rk_param_set_text(&p, rk_param_find("weight"), "log|loglog", &err), &err,
            "parameter weight was \"log|loglog\"; it must be log, loglog or identity");
    refused(&p, rk_param_set_text(&p, rk_param_find("bank"), "", &err), &err,
            "parameter bank was \"\"; it must be a string of 1 to 64 bytes");
}

static void a_long_or_dirty_value_is_shown_short_and_clean(void **state)
{
    (void)state;
    struct rk_err err = {0};
    struct rk_params p = rk_params_default();
    char value[400];
    memset(value, 'x', sizeof value);
    value[sizeof value - 1] = '\0';
    value[1] = '\n';
    assert_int_equal(rk_param_set_text(&p, rk_param_find("weight"), value, &err), RANKD_INVALID);
    assert_non_null(strstr(err.text, "\"x?xxxx"));
    assert_non_null(strstr(err.text, "xxx...\"; it must be log"));
    assert_true(strlen(err.text) < 150);
    for (size_t i = 0; i + 1 < sizeof value; i += 2)
        memcpy(value + i, "\xc3\xa4", 2);
    value[sizeof value - 1] = '\0';
    err = (struct rk_err){0};
    assert_int_equal(rk_param_set_text(&p, rk_param_find("weight"), value, &err), RANKD_INVALID);
    assert_non_null(strstr(err.text, "\xc3\xa4...\"; it must be"));
}

static void a_mistyped_name_is_answered_with_the_nearest(void **state)
{
    (void)state;
    assert_string_equal(rk_param_nearest("lamda", rk_params_used(RK_USE_GRADIENT)), "lambda");
    assert_string_equal(rk_param_nearest("lambda_val", rk_params_used(RK_USE_GRADIENT)), "lambda");
    assert_string_equal(rk_param_nearest("margni", rk_params_used(RK_USE_SCORES)), "margin");
    assert_string_equal(rk_param_nearest("batchid", rk_params_used(RK_USE_SCORES)), "batch_id");
    assert_string_equal(rk_param_nearest("wieght", 1u << RK_PARAM_transform), "weight");
    assert_null(rk_param_nearest("wieght", rk_params_used(RK_USE_SCORES)));
    assert_null(rk_param_nearest("zzz", rk_params_used(RK_USE_SCORES)));
    assert_null(rk_param_nearest("", rk_params_used(RK_USE_SCORES)));
    char name[1000];
    memset(name, 'l', sizeof name);
    name[sizeof name - 1] = '\0';
    assert_null(rk_param_nearest(name, rk_params_used(RK_USE_SCORES)));
}

static void every_row_says_what_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < RK_PARAM_COUNT; i++) {
        assert_ptr_equal(rk_param_find(rk_param_rows[i].name), &rk_param_rows[i]);
        assert_true(strlen(rk_param_rows[i].help) > 10);
        bool taken = false;
        for (size_t m = 0; m < rk_model_count; m++)
            taken |= rk_model_params(&rk_models[m], false) >> i & 1;
        assert_true(taken || rk_param_rows[i].uses == RK_USE_EMBEDDINGS);
    }
    assert_null(rk_param_find("lamda"));
}

static void the_fewest_digits_that_read_back_are_written(void **state)
{
    (void)state;
    char text[RK_NUMBER_TEXT], want[RK_NUMBER_TEXT];
    for (uint64_t i = 1; i < 30000; i++) {
        const double values[] = {ldexp((double)(i * 0x9e3779b97f4a7c15u), (int)(i % 1900) - 1000),
                                 (double)(i % 997) / (double)(1 + i / 7), ldexp(1, -(int)(i % 1075)),
                                 nextafter(ldexp(1, (int)(i % 1900) - 1000), i % 2 ? 0 : INFINITY)};
        const double value = values[i % 4];
        int digits = 0;
        do
            (void)snprintf(want, sizeof want, "%.*g", ++digits, value);
        while (strtod(want, NULL) != value);
        if (fabs(value) >= 1e6 || value != trunc(value))
            assert_string_equal(rk_number_text(value, text), want);
    }
}

static void numbers_in_sentences_are_short_and_exact(void **state)
{
    (void)state;
    char text[RK_NUMBER_TEXT];
    assert_string_equal(rk_number_text(0.1, text), "0.1");
    assert_string_equal(rk_number_text(1.0 / 3.0, text), "0.3333333333333333");
    assert_string_equal(rk_number_text(-INFINITY, text), "-Infinity");
    assert_string_equal(rk_number_text(1e300, text), "1e+300");
    assert_string_equal(rk_number_text((double)0.1f, text), "0.10000000149011612");
    assert_string_equal(rk_float_text(0.1f, text), "0.1");
    assert_string_equal(rk_float_text(-3.4028235e38f, text), "-3.4028235e+38");
    assert_string_equal(rk_float_text(-INFINITY, text), "-Infinity");
    assert_string_equal(rk_float_text(NAN, text), "NaN");
    for (int whole = -999999; whole <= 999999; whole += 333) { /* "40", and not "4e+01" */
        char want[RK_NUMBER_TEXT];
        (void)snprintf(want, sizeof want, "%d", whole);
        assert_string_equal(rk_number_text(whole, text), want);
        assert_string_equal(rk_float_text((float)whole, text), want);
    }
    assert_string_equal(rk_number_text(1e6, text), "1e+06");
    for (uint64_t i = 1; i < 20000; i++) {
        double value = ldexp((double)(i * 0x9e3779b97f4a7c15u), (int)(i % 1900) - 1000);
        assert_true(strtod(rk_number_text(value, text), NULL) == value);
        float narrow = ldexpf((float)(uint32_t)(i * 0x9e3779b9u), (int)(i % 240) - 150);
        assert_true(strtof(rk_float_text(narrow, text), NULL) == narrow);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_documentation),
        cmocka_unit_test(numbers_within_bounds_are_taken),
        cmocka_unit_test(what_is_out_of_bounds_is_refused_with_the_bounds),
        cmocka_unit_test(a_long_or_dirty_value_is_shown_short_and_clean),
        cmocka_unit_test(a_mistyped_name_is_answered_with_the_nearest),
        cmocka_unit_test(every_row_says_what_it_is),
        cmocka_unit_test(numbers_in_sentences_are_short_and_exact),
        cmocka_unit_test(the_fewest_digits_that_read_back_are_written),
    };
    return cmocka_run_group_tests_name("param", tests, NULL, NULL);
}
