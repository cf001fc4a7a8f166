/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors in JSON. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec/numbers.h"

static void what_is_not_a_number_of_json_has_a_form_of_its_own(void **state)
{
    (void)state;
    static const float values[] = {NAN, INFINITY, -INFINITY, 1, -0.0F};
    static const char wanted[] = "{\"data\":[null,\"Infinity\",\"-Infinity\",1.0,-0.0]}";
    struct rk_text text = {0};
    size_t length;
    rk_json_open(&text, NULL, '{');
    rk_numbers_write(&text, RK_FP32, values, sizeof values / sizeof *values);
    rk_json_close(&text, '}');
    char *written = rk_text_take(&text, &length);
    assert_string_equal(written, wanted);
    free(written);
}

static void what_is_written_reads_back(void **state)
{
    (void)state;
    static const float values[] = {INFINITY, 0.1F, -INFINITY, 3.4028235e38F, NAN, 1e-45F};
    const struct rk_tensor tensor = {.dtype = RK_FP32, .rank = 2, .shape = {2, 3}};
    struct rk_text text = {0};
    struct rk_err err = {0};
    float back[6];
    size_t length;
    rk_json_open(&text, NULL, '{');
    rk_numbers_write(&text, RK_FP32, values, 6);
    rk_json_close(&text, '}');
    char *written = rk_text_take(&text, &length);
    struct rk_json_text whole = {.text = written, .bytes = length, .arrays = 1};
    whole.array[0] = (struct rk_json_array){strchr(written, '['), length - 1 - strlen("{\"data\":"), 0, 1};
    const struct rk_numbers numbers = {&whole, &whole.array[0], "the text", "x", &tensor, 6, back};
    assert_int_equal(rk_numbers_read(&numbers, true, &err), RANKD_OK);
    for (size_t i = 0; i < 6; i++)
        assert_true(isnan(values[i]) ? isnan(back[i]) : memcmp(&values[i], &back[i], sizeof back[i]) == 0);
    free(written);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_a_number_of_json_has_a_form_of_its_own),
        cmocka_unit_test(what_is_written_reads_back),
    };
    return cmocka_run_group_tests_name("numbers", tests, NULL, NULL);
}
