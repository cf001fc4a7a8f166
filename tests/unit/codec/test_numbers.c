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
    json_t *document = rk_json_parse_new(written, length, "the text", &err);
    assert_non_null(document);
    const struct rk_json_source source = {document, written, length};
    assert_int_equal(rk_numbers_read(json_object_get(document, "data"), &source, "x", &tensor, 6, back, &err),
                     RANKD_OK);
    for (size_t i = 0; i < 6; i++)
        assert_true(isnan(values[i]) ? isnan(back[i]) : memcmp(&values[i], &back[i], sizeof back[i]) == 0);
    json_decref(document);
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
