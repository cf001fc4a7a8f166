/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors in JSON, read from the text: the same values as with Jansson, or its error sentences. The
 * fuzz target makes the comparison; this test runs it over a list of texts, and over random
 * ones. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec/decimal.h"
#include "codec/infer_request.h"
#include "codec/json.h"
#include "fuzz/targets.h"

static uint64_t random_state = 88172645463325252u;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

#define HEAD "{\"inputs\":[{\"name\":\"%s\",\"shape\":[%d,%d],\"datatype\":\"%s\",\"data\":"

static void read_data(const char *dtype, int rows, int columns, const char *data)
{
    static char text[1 << 16];
    const char *name = strncmp(dtype, "FP", 2) == 0 ? "scores" : "targets";
    const int bytes = snprintf(text, sizeof text, HEAD "%s}]}", name, rows, columns, dtype, data);
    rk_fuzz_json_tensors((const uint8_t *)text, (size_t)bytes);
}

static void every_form_of_data(const char *const *texts, size_t count, int rows, int columns)
{
    static const char *const dtypes[] = {"FP32", "FP64", "FP16", "INT8", "UINT8", "BOOL", "INT32", "INT64"};
    for (size_t i = 0; i < count; i++) {
        for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++)
            read_data(dtypes[d], rows, columns, texts[i]);
    }
}
#define EVERY(texts, rows, columns) every_form_of_data(texts, sizeof(texts) / sizeof *(texts), rows, columns)

static void values_of_every_form(void **state)
{
    (void)state;
    static const char *const one[] = {"[0]",
                                      "[-0]",
                                      "[-0.0]",
                                      "[1]",
                                      "[2]",
                                      "[1.0]",
                                      "[1e0]",
                                      "[4.0]",
                                      "[2.5]",
                                      "[255]",
                                      "[256]",
                                      "[-128]",
                                      "[-129]",
                                      "[2147483648]",
                                      "[9223372036854775807]",
                                      "[9223372036854775808]",
                                      "[-9223372036854775808]",
                                      "[-9223372036854775809]",
                                      "[18446744073709551617]",
                                      "[9007199254740993]",
                                      "[9007199254740992.0]",
                                      "[9007199254740994.0]",
                                      "[1e400]",
                                      "[-1e400]",
                                      "[1e-400]",
                                      "[1.7976931348623157e308]",
                                      "[1.7976931348623159e308]",
                                      "[5e-324]",
                                      "[2e-324]",
                                      "[16777217]",
                                      "[0.1]",
                                      "[1e23]",
                                      "[8.5e22]",
                                      "[0.000000000000000000000000000001234567890123456789]",
                                      "[100000000000000000000000000000.5]",
                                      "[1.00000000000000011102230246251565404236316680908203125]",
                                      "[1.00000000000000011102230246251565404236316680908203126]",
                                      "[null]",
                                      "[true]",
                                      "[false]",
                                      "[\"Infinity\"]",
                                      "[\"-Infinity\"]",
                                      "[\"\\u0049nfinity\"]",
                                      "[\"infinity\"]",
                                      "[\"NaN\"]",
                                      "[\"\"]",
                                      "[\"\\ud83d\\ude00\"]",
                                      "[\"\\ud83d\"]",
                                      "[\"\\u0000\"]",
                                      "[\"\x01\"]",
                                      "[\"\xc3\xa4\"]",
                                      "[\"\xc3\"]",
                                      "[{}]",
                                      "[{\"a\":[1,2]}]",
                                      "[{\"a\":1,\"a\":2}]",
                                      "[{\"]\":\"[\"}]",
                                      "[01]",
                                      "[1.]",
                                      "[.5]",
                                      "[1e]",
                                      "[1e+]",
                                      "[+1]",
                                      "[-]",
                                      "[0x1p3]",
                                      "[NaN]",
                                      "[Infinity]",
                                      "[nul]",
                                      "[nulll]",
                                      "[true1]",
                                      "[1 2]",
                                      "[1,]",
                                      "[,1]",
                                      "[1,,1]",
                                      "[",
                                      "[1",
                                      "[1}",
                                      "[]",
                                      "[[]]",
                                      "[[1]]",
                                      "[[[1]]]",
                                      " [ 1 ] ",
                                      "[\n1\n,\n]",
                                      "[\r\n\t1x]",
                                      "[[1],]",
                                      "[[1]1]",
                                      "[1[1]]",
                                      "[1]x",
                                      "\"text\"",
                                      "5",
                                      "null",
                                      "{\"a\":1}",
                                      "[1e5]",
                                      "[1E5]",
                                      "[1e+5]",
                                      "[1e-5]",
                                      "[1e99999999999999999999]",
                                      "[0e99999999999999999999]",
                                      "[\"a\nb\"]",
                                      "[\"\\x\"]",
                                      "[\"\xed\xa0\x80\"]",
                                      "[1\xff]",
                                      "[\xff]",
                                      "[\"",
                                      "[\"\\"};
    static const char *const six[] = {"[1,2,3,4,5,6]",
                                      "[[1,2,3],[4,5,6]]",
                                      "[[1,2],[3,4],[5,6]]",
                                      "[[1,2,3,4,5,6]]",
                                      "[[1,2],[3,4,5,6]]",
                                      "[[1,2,3],4,5,6]",
                                      "[4,5,6,[1,2,3]]",
                                      "[[[1,2,3]],[[4,5,6]]]",
                                      "[[1,2,3],[4,5]]",
                                      "[1,2,3,4,5,6,[]]",
                                      "[[1,2,3],[4,5,[6]]]",
                                      "[[1,2,3],[4,5,x]]",
                                      "[[1,2,3],[4,5,6],]",
                                      "[[1,2,3],[4,5,6]",
                                      "[[1,2,3] [4,5,6]]",
                                      "[1,2,3,4,5,{}]",
                                      "[[1,2,3],[4,\"x\",6]]",
                                      "[\n[1,\n2,3],\n[4,5,\n\xc3]]",
                                      "[\"\xc3\xa4\xc3\xb6\", 1, 2, 3, x]",
                                      "[1,1,1,1,1,2000000000000]",
                                      "[1,2,3,4,5,99999999999999999999]",
                                      "[ 1 , 0 , 1 , 0 , 1 , 0 ]",
                                      "[1,2,3,4,5]",
                                      "[1,2,3,4,5,6,7]"};
    EVERY(one, 1, 1);
    EVERY(six, 2, 3);
    static const char *const none[] = {"[]", "[[]]", "[[],[]]", "[[],[],[]]", "[[[]],[[]]]"};
    EVERY(none, 2, 0);
    EVERY(none, 0, 2);
}

/* A number or another value, in unusual forms. */
static int random_value(char *at, size_t room)
{
    static const char *const odd[] = {"null",
                                      "true",
                                      "false",
                                      "\"Infinity\"",
                                      "\"-Infinity\"",
                                      "1e309",
                                      "[1]",
                                      "{}",
                                      "-",
                                      "\"x\"",
                                      "\\",
                                      ",",
                                      "]",
                                      "01",
                                      " "};
    const uint64_t pick = random_next();
    double real;
    memcpy(&real, &pick, sizeof real);
    switch (random_next() % 16) {
    case 0:
        return snprintf(at, room, "%s", odd[random_next() % (sizeof odd / sizeof *odd)]);
    case 1:
        return snprintf(at, room, "%lld", (long long)pick >> pick % 64);
    case 2:
    case 3:
        return isfinite(real) ? snprintf(at, room, "%.17g", real) : snprintf(at, room, "null");
    case 4:
    case 5:
        return snprintf(at, room, "%d", (int)(pick % 3));
    case 6:
        return snprintf(at, room, "%.*f", (int)(pick % 30), (double)(int64_t)pick * 0x1p-60);
    case 7:
        return snprintf(at, room, "%llu.%llue%d", (unsigned long long)random_next() >> pick % 64,
                        (unsigned long long)pick, (int)(pick % 70) - 35);
    default:
        return snprintf(at, room, "%.17g", (double)pick * 0x1p-64);
    }
}

static void random_arrays(void **state)
{
    (void)state;
    static const char *const dtypes[] = {"FP32", "FP64", "INT8", "BOOL"};
    static const char *const spaces[] = {"", "", "", " ", "\n"};
    static char data[1 << 14];
    for (int run = 0; run < 30000; run++) {
        const int rows = (int)(random_next() % 3) + 1, columns = (int)(random_next() % 4) + 1;
        const bool nested = random_next() % 2;
        size_t at = 0;
        data[at++] = '[';
        for (int i = 0; i < rows * columns; i++) {
            at += (size_t)snprintf(data + at, 64, "%s%s%s", i ? "," : "", spaces[random_next() % 5],
                                   nested && i % columns == 0 ? "[" : "");
            at += (size_t)random_value(data + at, 200);
            at += (size_t)snprintf(data + at, 64, "%s%s", spaces[random_next() % 5],
                                   nested && i % columns == columns - 1 ? "]" : "");
        }
        (void)snprintf(data + at, 8, "]");
        read_data(dtypes[random_next() % 4], rows, columns, data);
    }
    for (size_t i = 0; i < 3; i++)
        assert_true(rk_fuzz_json_outcomes[i] > 100);
}

static void documents_around_the_data(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"inputs\":[{\"d\\u0061ta\":[1,2],\"name\":\"scores\",\"shape\":[1,2],\"datatype\":\"FP32\"}]}",
        "{\"\\u0069nputs\":[{\"data\":[1,x],\"name\":\"scores\",\"shape\":[1,2],\"datatype\":\"FP32\"}]}",
        "{\"inputs\":[{\"data\":[1,2],\"data\":[1,2]}]}",
        "{\"inputs\":[{\"data\":[1,2]}],\"inputs\":[{\"data\":[1,2]}]}",
        "{\"inputs\":[{\"data\":[1,2]}],\"id\":4.5e1}",
        "{\"inputs\":[{\"data\":[1,x]}],\"unknown\":4}",
        "{\"unknown\":4,\"inputs\":[{\"data\":[1,\n\nx]}]}",
        "{\"id\":36893488147419103232,\"inputs\":[{\"data\":[1,2]}]}",
        "{\"id\":36893488147419103232,\"inputs\":[{\"data\":[1,x]}]}",
        "{\"id\":36893488147419103232,\"inputs\":[{\"data\":[1,2]}],}",
        "{\"inputs\":[{\"data\":[36893488147419103232,x]}],\"timeout\":-36893488147419103232}",
        "{\"id\":36893488147419103232,\"id\":1,\"inputs\":[{\"data\":[1,2]}]}",
        "{\"timeout\":36893488147419103232,\"inputs\":[{\"name\":\"scores\",\"shape\":[1,2],\"datatype\":"
        "\"FP32\",\"data\":[36893488147419103232,3]}]}",
        "{\"inputs\":[{\"data\":[1,2]}]} x",
        "{\"inputs\":[{\"data\":[1,2]}]",
        "{\"inputs\":[{\"data\":[1,2]}",
        "{\"inputs\":[{\"data\":[1,2",
        "{\"inputs\":[{\"data\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}]}",
        "{\"inputs\":[{\"data\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}]}",
        "{\"inputs\":[{\"data\":[1]},{\"data\":[1]},{\"data\":[1]},{\"data\":[1]},{\"data\":[1]},{\"data\":["
        "1]},{\"data\":[1]},{\"data\":[1]},"
        "{\"data\":[1]},{\"data\":[1]},{\"data\":[1]},{\"data\":[1]},{\"data\":[1]},{\"data\":[1,x]}]}",
        "{\"inputs\":{\"data\":[1,2]}}",
        "[{\"inputs\":[{\"data\":[1,2]}]}]",
        "",
        "{",
        "{\"inputs\":[{\"name\":\"scores\",\"shape\":[1,2.5],\"datatype\":\"FP32\",\"data\":[0.25,3]}]}",
        "{\"inputs\":[{\"name\":\"scores\",\"datatype\":\"FP32\",\"data\":[0.25,3],\"shape\":[1,2.5]}]}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        rk_fuzz_json_tensors((const uint8_t *)texts[i], strlen(texts[i]));
}

/* Jansson loses a NUL behind a number or a word. */
static void a_nul_is_no_json(void **state)
{
    (void)state;
    static const char *const data[] = {"[1@,2]",  "[1@@,2]", "[@1,2]",     "[1,2@]",   "[null@,1]",
                                       "[1@ ,x]", "[1@2]",   "[\"x\"@,1]", "[1.5@,2]", "[1,2]@"};
    for (size_t i = 0; i < sizeof data / sizeof *data; i++) {
        char text[256];
        const int bytes = snprintf(text, sizeof text, HEAD "%s}]}", "scores", 1, 2, "FP32", data[i]);
        for (int c = 0; c < bytes; c++)
            text[c] = text[c] == '@' ? '\0' : text[c];
        rk_fuzz_json_tensors((const uint8_t *)text, (size_t)bytes);
        struct rk_err err = {0};
        struct rk_wire_request wire;
        const struct rk_wire_source source = {
            .body = text, .bytes = (size_t)bytes, .json_bytes = (size_t)bytes};
        assert_int_equal(rk_wire_request_parse(&wire, &rk_models[0], &source, &err), RANKD_INVALID);
        assert_non_null(strstr(err.text, "is NUL"));
        rk_wire_request_clear(&wire);
        assert_null(rk_json_parse_new(text, (size_t)bytes, "it", &err));
    }
}

/* Those beyond 64 bits become reals, others stay exact, and texts and arrays are left alone. */
static void whole_numbers_of_any_size(void **state)
{
    (void)state;
    static const char text[] =
        "{\"a\\\"99999999999999999999\":-9223372036854775808,\"b\":100000000000000000000,"
        "\"c\":[9007199254740993,-18446744073709551616,\"123456789012345678901\"],"
        "\"d\":{\"e\":9223372036854775807,\"f\":1e300,\"g\":-0}}";
    struct rk_err err = {0};
    json_t *document = rk_json_parse_new(text, sizeof text - 1, "it", &err);
    assert_non_null(document);
    assert_int_equal(json_integer_value(json_object_get(document, "a\"99999999999999999999")), INT64_MIN);
    assert_true(json_is_real(json_object_get(document, "b")));
    assert_true(json_real_value(json_object_get(document, "b")) == 1e20);
    const json_t *array = json_object_get(document, "c"), *object = json_object_get(document, "d");
    assert_int_equal(json_integer_value(json_array_get(array, 0)), INT64_C(9007199254740993));
    assert_true(json_real_value(json_array_get(array, 1)) == -0x1p64);
    assert_string_equal(json_string_value(json_array_get(array, 2)), "123456789012345678901");
    assert_int_equal(json_integer_value(json_object_get(object, "e")), INT64_MAX);
    assert_true(json_real_value(json_object_get(object, "f")) == 1e300);
    assert_true(json_is_integer(json_object_get(object, "g")));
    json_decref(document);
}

static void decimals_are_the_nearest_doubles(void **state)
{
    (void)state;
    char text[96];
    for (int run = 0; run < 500000; run++) {
        struct rk_decimal number;
        const uint64_t pick = random_next();
        const int digits = (int)(pick % 20) + 1, exponent = (int)(random_next() % 150) - 75;
        int bytes = snprintf(text, sizeof text, "%.*fe%d", digits, (double)random_next() * 0x1p-60, exponent);
        if (run % 2) { /* halfway between two, or next to it */
            const uint64_t half = (pick >> 11 | (uint64_t)1 << 52) * 2 + 1;
            bytes =
                snprintf(text, sizeof text, "%llu.%de0", (unsigned long long)half, (int)(pick % 3) - 1 > 0);
        }
        text[bytes] = ']';
        assert_ptr_equal(rk_decimal_scan(text, text + bytes + 1, &number), text + bytes);
        const double got = rk_decimal_real(&number), want = strtod(text, NULL);
        assert_memory_equal(&got, &want, sizeof got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_every_form),      cmocka_unit_test(random_arrays),
        cmocka_unit_test(documents_around_the_data), cmocka_unit_test(a_nul_is_no_json),
        cmocka_unit_test(whole_numbers_of_any_size), cmocka_unit_test(decimals_are_the_nearest_doubles),
    };
    return cmocka_run_group_tests_name("json_tensors", tests, NULL, NULL);
}
