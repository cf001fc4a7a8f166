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
    whole.array[0] = (struct rk_json_array){
        .text = strchr(written, '['), .bytes = length - 1 - strlen("{\"data\":"), .depth = 1};
    const struct rk_numbers numbers = {&whole, &whole.array[0], "the text", "x", &tensor, 6, back};
    assert_int_equal(rk_numbers_read(&numbers, true, &err), RANKD_OK);
    for (size_t i = 0; i < 6; i++)
        assert_true(isnan(values[i]) ? isnan(back[i]) : memcmp(&values[i], &back[i], sizeof back[i]) == 0);
    free(written);
}

enum { MANY = 10000 };

/* MANY times the value, as an array. */
static char *array_of(const char *value)
{
    struct rk_text text = {0};
    size_t length;
    for (size_t i = 0; i < MANY; i++)
        rk_text_printf(&text, "%s%s", i ? "," : "[", value);
    rk_text_puts(&text, "]");
    return rk_text_take(&text, &length);
}

static enum rankd_status read_many(char *array, enum rk_dtype dtype, double *out, uint64_t deadline_ns,
                                   struct rk_err *err)
{
    const struct rk_tensor tensor = {.dtype = dtype, .rank = 1, .shape = {MANY}};
    struct rk_json_text whole = {
        .text = array, .bytes = strlen(array), .arrays = 1, .deadline_ns = deadline_ns};
    whole.array[0] = (struct rk_json_array){.text = array, .bytes = strlen(array), .depth = 1};
    const struct rk_numbers numbers = {&whole, &whole.array[0], "the text", "x", &tensor, MANY, out};
    return rk_numbers_read(&numbers, true, err);
}

static void long_data_look_at_the_deadline(void **state)
{
    (void)state;
    static const char *const values[] = {"1", "-2.5", "\"\\u0049nfinity\"", "{}", "\"a\""};
    double *out = calloc(MANY, sizeof *out);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char *array = array_of(values[i]);
        for (int dtype = 0; dtype < 2; dtype++) {
            struct rk_err err = {0};
            assert_int_equal(read_many(array, dtype ? RK_INT8 : RK_FP64, out, 1, &err), RANKD_DEADLINE);
            assert_string_equal(err.text,
                                "the deadline passed while the JSON was read; allow more time, or send "
                                "tensors in binary");
        }
        free(array);
    }
    free(out);
}

static size_t blocks;

static void *count_block(size_t bytes)
{
    blocks++;
    return malloc(bytes);
}

/* Each value that Jansson reads takes some blocks. */
static size_t blocks_for(const char *value, enum rk_dtype dtype, enum rankd_status wanted)
{
    struct rk_err err = {0};
    double *out = calloc(MANY, sizeof *out);
    char *array = array_of(value);
    blocks = 0;
    assert_int_equal(read_many(array, dtype, out, 0, &err), wanted);
    assert_true(dtype != RK_FP64 || isinf(out[MANY - 1]));
    free(array);
    free(out);
    return blocks;
}

static void a_value_that_jansson_reads_is_read_once(void **state)
{
    (void)state;
    static const char value[] = "\"\\u0049nfinity\"";
    json_set_alloc_funcs(count_block, free);
    json_decref(json_loadb(value, strlen(value), JSON_DECODE_ANY, NULL));
    const size_t once = blocks;
    assert_true(once > 0);
    assert_true(blocks_for(value, RK_FP64, RANKD_OK) <= MANY * once);
    /* Refused at the first value, once it is known that all of them are JSON. */
    assert_true(blocks_for(value, RK_INT8, RANKD_INVALID) <= (MANY + 1) * once);
    json_set_alloc_funcs(malloc, free);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_a_number_of_json_has_a_form_of_its_own),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(long_data_look_at_the_deadline),
        cmocka_unit_test(a_value_that_jansson_reads_is_read_once),
    };
    return cmocka_run_group_tests_name("numbers", tests, NULL, NULL);
}
