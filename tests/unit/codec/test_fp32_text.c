/* SPDX-License-Identifier: Apache-2.0 */
/* FP32 as text: the same bytes as a search with printf() and strtof() finds. Numbers below the
 * least normal one have fewer than six digits, so the search begins with one. Below a power of two
 * floats lie twice as close: the nearest decimal may read back as the float below, and the next
 * decimal above as the power. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fp32_text.h"
#include "codec/numbers.h"

/* The decimal of `precision` digits next above the nearest one. */
static int next_above(float value, int precision, char *out, size_t size)
{
    const double unit = pow(10, floor(log10(fabs((double)value))) - precision + 1);
    return snprintf(out, size, "%.*g", precision, (double)value + copysign(unit, (double)value));
}

static int searched(float value, char *out, size_t size)
{
    if (value == 0)
        return snprintf(out, size, signbit(value) ? "-0.0" : "0.0");
    if (fabsf(value) < 1e6F && value == truncf(value))
        return snprintf(out, size, "%d.0", (int)value);
    for (int precision = fabsf(value) < FLT_MIN ? 1 : 6; precision < 9; precision++) {
        int length = snprintf(out, size, "%.*g", precision, (double)value);
        if (strtof(out, NULL) == value)
            return length;
        length = next_above(value, precision, out, size);
        if (strtof(out, NULL) == value)
            return length;
    }
    return snprintf(out, size, "%.9g", (double)value);
}

static void compare(uint32_t bits)
{
    float value;
    char want[32], have[RK_FP32_TEXT + 1];
    memcpy(&value, &bits, sizeof value);
    if (!isfinite(value))
        return;
    const int length = searched(value, want, sizeof want);
    have[rk_fp32_text(value, have)] = '\0';
    if (strlen(have) != (size_t)length || strcmp(have, want) != 0)
        fail_msg("%08x is %s, not %s", bits, have, want);
}

static void numbers_next_to_powers(void **state)
{
    (void)state;
    for (uint32_t exponent = 0; exponent < 255; exponent++) {
        for (int near = -20; near <= 20; near++) {
            compare((exponent << 23) + (uint32_t)near);
            compare(((exponent << 23) + (uint32_t)near) | 0x80000000);
        }
        for (uint32_t bit = 0; bit < 23; bit++)
            compare(exponent << 23 | (uint32_t)1 << bit);
    }
    for (int power = -45; power <= 38; power++) {
        for (int first = 1; first <= 99; first++) {
            char text[32];
            uint32_t bits;
            (void)snprintf(text, sizeof text, "%de%d", first, power);
            const float value = strtof(text, NULL);
            memcpy(&bits, &value, sizeof bits);
            for (uint32_t near = 0; near < 4; near++)
                compare(bits + near - 2);
        }
    }
}

static void fractions_and_whole_numbers(void **state)
{
    (void)state;
    for (int divisor = 1; divisor <= 300; divisor++) {
        for (int i = 1; i <= 300; i++) {
            const float value = (float)i / (float)divisor, large = (float)i * 7919 * (float)divisor;
            uint32_t bits;
            memcpy(&bits, &value, sizeof bits);
            compare(bits);
            memcpy(&bits, &large, sizeof bits);
            compare(bits);
        }
    }
}

/* RK_FP32_STEP=1 tries all of them, which takes an hour. */
static void numbers_of_all_bits(void **state)
{
    (void)state;
    const char *step = getenv("RK_FP32_STEP");
    const uint32_t by = step ? (uint32_t)strtoul(step, NULL, 10) : 10007;
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += by)
        compare((uint32_t)bits);
}

static void runs_of_zeros_are_written_as_zeros_one_by_one(void **state)
{
    (void)state;
    enum { MOST = 3000 };
    float values[MOST];
    for (size_t run = 0; run < 2500; run = run * 2 + 1) {
        struct rk_text text = {0}, wanted = {0};
        for (size_t i = 0; i < MOST; i++)
            values[i] = run == 0 || i % (run + 1) == run ? (i % 3 ? 0.5F : -0.0F) : 0;
        rk_json_open(&text, NULL, '{');
        rk_numbers_write(&text, RK_FP32, values, MOST);
        rk_json_open(&wanted, NULL, '{');
        rk_json_open(&wanted, "data", '[');
        for (size_t i = 0; i < MOST; i++)
            rk_json_fp32(&wanted, values[i]);
        rk_json_close(&wanted, ']');
        assert_int_equal(text.length, wanted.length);
        assert_memory_equal(text.data, wanted.data, text.length);
        rk_text_free(&text);
        rk_text_free(&wanted);
    }
}

/* Texts are kept in 64 places: most of these numbers push another one out, and come again. */
static void numbers_that_come_again_are_written_as_at_first(void **state)
{
    (void)state;
    enum { MOST = 20000, DIFFERENT = 300 };
    static float values[MOST];
    struct rk_text text = {0}, wanted = {0};
    uint32_t random = 1;
    for (size_t i = 0; i < MOST; i++) {
        random = random * 1664525 + 1013904223;
        const uint32_t which = (random >> 8) % (i % 2 ? DIFFERENT : 12);
        const uint32_t bits = which * 0x01234567u + (which == 5 ? 0x7f800000u : 0);
        memcpy(&values[i], &bits, sizeof bits);
        values[i] = which == 7 ? INFINITY : which == 9 ? 1e-40F : values[i];
        values[i] = random & 0x80 ? -values[i] : values[i];
    }
    rk_json_open(&text, NULL, '{');
    rk_numbers_write(&text, RK_FP32, values, MOST);
    rk_json_open(&wanted, NULL, '{');
    rk_json_open(&wanted, "data", '[');
    for (size_t i = 0; i < MOST; i++)
        rk_json_fp32(&wanted, values[i]);
    rk_json_close(&wanted, ']');
    assert_int_equal(text.length, wanted.length);
    assert_memory_equal(text.data, wanted.data, text.length);
    rk_text_free(&text);
    rk_text_free(&wanted);
}

static void integers_of_every_length(void **state)
{
    (void)state;
    int64_t values[] = {0, -1, INT64_MAX, INT64_MIN, 9, 10, 99, 100, -100, 1234567890123, 0, 0};
    struct rk_text text = {0};
    size_t length;
    rk_json_open(&text, NULL, '{');
    rk_numbers_write(&text, RK_INT64, values, sizeof values / sizeof *values);
    char *written = rk_text_take(&text, &length);
    assert_string_equal(
        written,
        "{\"data\":[0,-1,9223372036854775807,-9223372036854775808,9,10,99,100,-100,1234567890123,0,0]");
    free(written);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_next_to_powers),
        cmocka_unit_test(fractions_and_whole_numbers),
        cmocka_unit_test(numbers_of_all_bits),
        cmocka_unit_test(runs_of_zeros_are_written_as_zeros_one_by_one),
        cmocka_unit_test(numbers_that_come_again_are_written_as_at_first),
        cmocka_unit_test(integers_of_every_length),
    };
    return cmocka_run_group_tests_name("fp32_text", tests, NULL, NULL);
}
