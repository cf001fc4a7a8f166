/* SPDX-License-Identifier: Apache-2.0 */
/* rankctl's files: a table of forms, each read to the number or refused in one sentence. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../clients/ctl/array.h"

typedef bool reader(struct ctl_array *array, const char *path, FILE *file, char why[CTL_WHY]);

/* From a block of exactly that size. */
static bool read_bytes(reader *read, const void *bytes, size_t size, struct ctl_array *array,
                       char why[CTL_WHY])
{
    char *copy = malloc(size + 1);
    memcpy(copy, bytes, size);
    FILE *file = size ? fmemopen(copy, size, "rb") : fopen("/dev/null", "rb");
    assert_non_null(file);
    *array = (struct ctl_array){0};
    why[0] = 0;
    bool good = read(array, "f", file, why);
    (void)fclose(file);
    free(copy);
    return good;
}

static void refused(reader *read, const void *bytes, size_t size, const char *sentence)
{
    struct ctl_array array;
    char why[CTL_WHY];
    if (read_bytes(read, bytes, size, &array, why) || !strstr(why, sentence))
        fail_msg("'%.*s': said '%s', not '%s'", (int)size, (const char *)bytes, why, sentence);
    rankd_ctl_array_free(&array);
}

/* ---- Text ---- */

#define TEXT(literal) literal, sizeof(literal) - 1

static const struct {
    const char *text;
    size_t bytes;
    int64_t rows, columns;
    double values[6];
} texts[] = {
    {TEXT(".9,.8"), 1, 2, {.9, .8}},
    {TEXT("1,2\n3,4\n"), 2, 2, {1, 2, 3, 4}},
    {TEXT("1,2\r\n3,4\r\n"), 2, 2, {1, 2, 3, 4}},
    {TEXT("1,2\r\n3,4\r"), 2, 2, {1, 2, 3, 4}},
    {TEXT("\n  \n1;2\n\n3;4\n\n"), 2, 2, {1, 2, 3, 4}},
    {TEXT("1\t2\n3\t4"), 2, 2, {1, 2, 3, 4}},
    {TEXT("1 \t 2  \n   3\t4"), 2, 2, {1, 2, 3, 4}},
    {TEXT(" 1 , 2 \n3 ,4"), 2, 2, {1, 2, 3, 4}},
    {TEXT("  1   2\n3 4  \n"), 2, 2, {1, 2, 3, 4}},
    {TEXT("1\n2\n3"), 3, 1, {1, 2, 3}},
    {TEXT("-inf,1e-400\nInfinity,-1E+3"), 2, 2, {-INFINITY, 0, INFINITY, -1000}},
    /* a byte order mark is no cell, and quoted numbers are numbers */
    {TEXT("\xef\xbb\xbf"
          "1,2\n3,4"),
     2,
     2,
     {1, 2, 3, 4}},
    {TEXT("\xef\xbb\xbf"
          "a,b\n3,4"),
     1,
     2,
     {3, 4}},
    {TEXT("\"1\",\"2\"\n3,4"), 2, 2, {1, 2, 3, 4}},
    {TEXT("\xef\xbb\xbf\"1\" , \"2\"\r\n\"3\", \"4\" \r\n"), 2, 2, {1, 2, 3, 4}},
    {TEXT("\"1\" \"2\"\n3 4"), 2, 2, {1, 2, 3, 4}},
    /* headings */
    {TEXT("a,b\n1,2"), 1, 2, {1, 2}},
    {TEXT(",a,b\n0,1,2"), 1, 3, {0, 1, 2}},
    {TEXT("\"a;\"\"b\"\"\",\"two\nlines\"\n1,2"), 1, 2, {1, 2}},
    {TEXT("# made by hand\n1 2"), 1, 2, {1, 2}},
};

static void text_is_read_to_the_number(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct ctl_array array;
        char why[CTL_WHY];
        if (!read_bytes(rankd_ctl_text_read, texts[i].text, texts[i].bytes, &array, why))
            fail_msg("'%s': %s", texts[i].text, why);
        assert_string_equal(array.datatype, "FP64");
        if (array.rows != texts[i].rows || array.columns != texts[i].columns ||
            array.bytes != (size_t)(array.rows * array.columns) * sizeof(double) ||
            memcmp(array.data, texts[i].values, array.bytes) != 0)
            fail_msg("'%s' became %d rows of %d", texts[i].text, (int)array.rows, (int)array.columns);
        rankd_ctl_array_free(&array);
    }
}

static const struct {
    const char *text;
    size_t bytes;
    const char *sentence;
} bad_texts[] = {
    {TEXT(""), "f holds no numbers"},
    {TEXT("\xef\xbb\xbf\n"), "f holds no numbers"},
    {TEXT("a,b\n"), "f holds no numbers"},
    {TEXT(".9,,.8"), "f, line 1, column 2 is empty"},
    {TEXT("1,2\n3,,4"), "f, line 2, column 2 is empty"},
    {TEXT("1,2\n\n3,\n"), "f, line 3, column 2 is empty"},
    {TEXT(",1\n"), "f, line 1, column 1 is empty"},
    {TEXT(",,\n1,2,3\n"), "f, line 1, column 1 is empty"},
    {TEXT("1,2\n,,\n"), "f, line 2, column 1 is empty"},
    {TEXT("1;\"\"\n"), "f, line 1, column 2 is empty"},
    {TEXT("1,2,\n"), "f, line 1, column 3 is empty"},
    {TEXT("1,x"), "f, line 1, column 2: 'x' is not a number"},
    {TEXT("x,1"), "f, line 1, column 1: 'x' is not a number"},
    {TEXT("a,b\nc,d"), "f, line 2, column 1: 'c' is not a number"},
    {TEXT("0,9;0,8"), "f, line 1, column 1: '0,9' is not a number"},
    {TEXT("0,9;0,8\n1;2"), "f, line 1, column 1: '0,9' is not a number"},
    {TEXT("1st 2nd\n1 2"), "f, line 1, column 1: '1st' is not a number"},
    {TEXT("1,2 3"), "column 2: '2 3' is not a number"},
    {TEXT("1,0x10"), "'0x10' is not a number"},
    {TEXT("1,nan(1)"), "'nan(1)' is not a number"},
    {TEXT("1,\v2"), "'?2' is not a number"},
    {TEXT("1,2\r3,4"), "column 2: '2?3' is not a number"},
    {TEXT("1,2\0"), "column 2: '2?' is not a number"},
    {TEXT("1\0,2"), "column 1: '1?' is not a number"},
    {TEXT("1,1e999"), "'1e999' is larger than a double can be"},
    {TEXT("1,2\n3"), "f, line 2 has 1 numbers; the lines before it have 2"},
    {TEXT("1,\"2"), "f, line 1, column 2: a quote that is never closed"},
    {TEXT("\"1\"2,3"), "f, line 1, column 1: there is text after a closing quote"},
    {TEXT("\"1\n\",\"x\n"), "f, line 2, column 2: a quote that is never closed"},
    {TEXT("\xff\xfe"
          "1\0,\0"),
     "f is UTF-16"},
};

static void damaged_text_is_refused_with_line_and_column(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_texts / sizeof *bad_texts; i++)
        refused(rankd_ctl_text_read, bad_texts[i].text, bad_texts[i].bytes, bad_texts[i].sentence);
}

static void a_line_may_be_very_long_and_a_cell_may_not(void **state)
{
    (void)state;
    enum { CELLS = 300000 };
    struct ctl_array array;
    char why[CTL_WHY], *line = malloc(2 * CELLS);
    for (size_t i = 0; i < CELLS; i++)
        memcpy(line + 2 * i, "7,", 2);
    assert_true(read_bytes(rankd_ctl_text_read, line, 2 * CELLS - 1, &array, why));
    assert_int_equal(array.columns, CELLS);
    rankd_ctl_array_free(&array);
    memset(line, '1', 2 * CELLS);
    refused(rankd_ctl_text_read, line, 2 * CELLS, "is not a number");
    free(line);
}

/* ---- .npy ---- */

enum { NPY_MAX = 512 };

/* Lead and header, and `data` behind them; the header is not filled up. */
static size_t npy(char to[NPY_MAX], int version, const char *header, const void *data, size_t bytes)
{
    size_t length = strlen(header), lead = version == 1 ? 10 : 12;
    memcpy(to, "\x93NUMPY", 6);
    memset(to + 6, 0, 6);
    to[6] = (char)version;
    to[8] = (char)(length & 255);
    to[9] = (char)(length >> 8);
    memcpy(to + lead, header, length);
    memcpy(to + lead + length, data, bytes);
    return lead + length + bytes;
}

static const struct {
    int version;
    const char *header;
    const char *datatype;
    int64_t rows, columns;
    size_t bytes;
} arrays[] = {
    {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }", "FP32", 1, 2, 8},
    {2, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }   \n", "FP32", 2, 1, 8},
    {3, "{\"shape\":(3,),\"descr\":\"|i1\",\"fortran_order\":False}", "INT8", 1, 3, 3},
    {1, "{'descr': '<i8', 'fortran_order': False, 'shape': (1L,), }", "INT64", 1, 1, 8},
    {1, "{'descr': '|b1', 'fortran_order': False, 'shape': (0, 5), }", "BOOL", 0, 5, 0},
    {1, "{'descr': '<f2', 'fortran_order': False, 'shape': (4, 0), }", "FP16", 4, 0, 0},
};

static void npy_of_each_version_is_read(void **state)
{
    (void)state;
    static const char data[] = "\1\2\3\4\5\6\7\x8";
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        struct ctl_array array;
        char file[NPY_MAX], why[CTL_WHY];
        size_t size = npy(file, arrays[i].version, arrays[i].header, data, arrays[i].bytes);
        if (!read_bytes(rankd_ctl_npy_read, file, size, &array, why))
            fail_msg("%s: %s", arrays[i].header, why);
        assert_string_equal(array.datatype, arrays[i].datatype);
        assert_int_equal(array.rows, arrays[i].rows);
        assert_int_equal(array.columns, arrays[i].columns);
        assert_int_equal(array.bytes, arrays[i].bytes);
        assert_non_null(array.data);
        assert_memory_equal(array.data, data, array.bytes);
        rankd_ctl_array_free(&array);
        if (arrays[i].bytes)
            refused(rankd_ctl_npy_read, file, size - 1, "shorter than its header says");
        file[size] = 1;
        refused(rankd_ctl_npy_read, file, size + 1, "longer than its header says");
    }
}

#define ORDER_SHAPE "'fortran_order': False, 'shape': (1, 2), }"

static const struct {
    int version;
    const char *header, *sentence;
} bad_arrays[] = {
    {1, "{'descr':", "elements of type ;"},
    {1, "{'descr': ", "elements of type ;"},
    {1, "{'descr': '", "elements of type ';"},
    {1, "{'descr': '<f4", "elements of type '<f4;"},
    {1, "", "not a dictionary"},
    {1, "{", "not a dictionary"},
    {1, "{}", "elements of type (none)"},
    {1, "{'descr'", "not a dictionary"},
    {1, "{'descr': '<f4'", "not a dictionary"},
    {1, "{'descr': '<f4', }", "not a dictionary"},
    {1, "{'descr': '<f4', 'fortran_order':", "not a dictionary"},
    {1, "{'descr': '<f4', 'fortran_order': False, 'shape':", "not a dictionary"},
    {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (", "has the shape (;"},
    {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1", "has the shape (1;"},
    {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,", "has the shape (1,;"},
    {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2)", "not a dictionary"},
    {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2)} x", "not a dictionary"},
    {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), 'more': 1}", "not a dictionary"},
    {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), 'shape': (1, 2)}", "two entries shape"},
    {1, "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2), }", "Fortran order"},
    {1, "{'descr': '<f4', 'fortran_order': 0, 'shape': (1, 2), }", "not a dictionary"},
    {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, -2), }", "has the shape (1, -2);"},
    {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2.0), }", "has the shape (1, 2.0);"},
    {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 2), }", "has the shape (1, 1, 2);"},
    {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (), }", "single number"},
    {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 1), }", "has the shape"},
    {1, "{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904, 4611686018427387904), }",
     "more bytes than there can be"},
    {1, "{'descr': '|i1', 'fortran_order': False, 'shape': (1, 9223372036854775807), }",
     "shorter than its header says"},
    {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (100000, 1000000), }",
     "shorter than its header says"},
    {1, "{'descr': '>f4', " ORDER_SHAPE, "elements of type '>f4';"},
    {1, "{'descr': '=f4', " ORDER_SHAPE, "elements of type '=f4';"},
    {1, "{'descr': '<f44', " ORDER_SHAPE, "elements of type '<f44';"},
    {1, "{'descr': '|O', " ORDER_SHAPE, "elements of type '|O';"},
    {1, "{'descr': '<U3', " ORDER_SHAPE, "elements of type '<U3';"},
    {1, "{'descr': [('a', '<f4'), ('b', '<f4')], " ORDER_SHAPE, "elements of type [('a', '<f4'), ('b',;"},
    {0, "{'descr': '<f4', " ORDER_SHAPE, "version 0.0"},
    {4, "{'descr': '<f4', " ORDER_SHAPE, "version 4.0"},
};

static void a_damaged_npy_header_is_refused(void **state)
{
    (void)state;
    char file[NPY_MAX];
    for (size_t i = 0; i < sizeof bad_arrays / sizeof *bad_arrays; i++)
        refused(rankd_ctl_npy_read, file,
                npy(file, bad_arrays[i].version, bad_arrays[i].header, "\0\0\0\0\0\0\0\0", 8),
                bad_arrays[i].sentence);
    /* cut anywhere, it is no array */
    size_t whole = npy(file, 2, arrays[0].header, "12345678", 8);
    for (size_t size = 0; size < whole; size++)
        refused(rankd_ctl_npy_read, file, size, "f ");
    memcpy(file + 8, "\xff\xff\xff\xff", 4);
    refused(rankd_ctl_npy_read, file, whole, "header over 64 KiB");
}

static void a_pipe_is_a_file_too(void **state)
{
    (void)state;
    int ends[2];
    char file[NPY_MAX], path[64], why[CTL_WHY];
    struct ctl_array array;
    size_t size = npy(file, 1, arrays[0].header, "12345678", 8);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], file, size), size);
    (void)close(ends[1]);
    FILE *from = fdopen(ends[0], "rb");
    (void)snprintf(path, sizeof path, "pipe");
    assert_true(rankd_ctl_npy_read(&array, path, from, why) || !printf("%s\n", why));
    assert_memory_equal(array.data, "12345678", 8);
    rankd_ctl_array_free(&array);
    (void)fclose(from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_read_to_the_number),
        cmocka_unit_test(damaged_text_is_refused_with_line_and_column),
        cmocka_unit_test(a_line_may_be_very_long_and_a_cell_may_not),
        cmocka_unit_test(npy_of_each_version_is_read),
        cmocka_unit_test(a_damaged_npy_header_is_refused),
        cmocka_unit_test(a_pipe_is_a_file_too),
    };
    return cmocka_run_group_tests_name("array", tests, NULL, NULL);
}
