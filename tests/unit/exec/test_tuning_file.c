/* SPDX-License-Identifier: Apache-2.0 */
/* Tuning files: a written file is read back, and an unusable one is refused with one sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "exec/tune.h"
#include "exec/tuning_file.h"

static void refused(const char *text, size_t bytes, const char *sentence)
{
    struct rk_err err = {0};
    struct rk_tuning tuning;
    assert_int_equal(rk_tuning_parse("t", text, bytes, &tuning, &err), RANKD_INVALID);
    assert_string_equal(err.text, sentence);
}

static void a_file_that_can_not_be_used_is_refused_with_its_line_and_what_may_stand(void **state)
{
    (void)state;
    static const struct {
        const char *text, *sentence;
    } cases[] = {
        {"grain", "t:1: \"grain\" has no =; a line is `name = number`"},
        {"# x\n\nspeed = 3\n",
         "t:3: \"speed\" is not a name of a tuning file; it may be one of compare, merge, buckets, "
         "far, grain"},
        {" = 3",
         "t:1: \"\" is not a name of a tuning file; it may be one of compare, merge, buckets, far, grain"},
        {"far = 65536\nfar = 65536", "t:2: far is set a second time; it may stand once"},
        {"far =", "t:1: far is \"\"; it may be 4194304 or a power of two from 65536 to 1073741824"},
        {"far = 65537",
         "t:1: far is \"65537\"; it may be 4194304 or a power of two from 65536 to 1073741824"},
        {"far = -65536",
         "t:1: far is \"-65536\"; it may be 4194304 or a power of two from 65536 to 1073741824"},
        {"far = 32768",
         "t:1: far is \"32768\"; it may be 4194304 or a power of two from 65536 to 1073741824"},
        {"far = 6.5e4",
         "t:1: far is \"6.5e4\"; it may be 4194304 or a power of two from 65536 to 1073741824"},
        {"far = 99999999999999999999999999", "t:1: far is \"99999999999999999999999999\"; it may be 4194304 "
                                             "or a power of two from 65536 to 1073741824"},
        {"far = 2147483648",
         "t:1: far is \"2147483648\"; it may be 4194304 or a power of two from 65536 to 1073741824"},
        {"compare = 2048", "t:1: compare is \"2048\"; it may be 0 or a power of two from 8 to 1024"},
        {"far = 65536 131072",
         "t:1: far is \"65536 131072\"; it may be 4194304 or a power of two from 65536 to 1073741824"},
        {"far \xc3\xbc = 1", "t is not a tuning file: it may contain only printable ASCII"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(cases[i].text, strlen(cases[i].text), cases[i].sentence);
    refused("far\0 = 65536", 12, "t is not a tuning file: it may contain only printable ASCII");
}

static void a_path_that_is_no_file_of_bounded_size_is_refused(void **state)
{
    (void)state;
    static const char *const paths[] = {"/", "/dev/zero", "/nowhere/at/all"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct rk_err err = {0};
        assert_int_equal(rk_tuning_check(paths[i], &err), RANKD_INVALID);
        assert_non_null(strstr(err.text, "--tuning"));
    }
}

static void names_that_are_not_in_the_file_keep_their_defaults(void **state)
{
    (void)state;
    struct rk_err err = {0};
    struct rk_tuning tuning, wanted = rk_tuning_default;
    const char text[] = "# made by hand\r\n  merge=65536   # half\n\n";
    wanted.merge = 65536;
    assert_int_equal(rk_tuning_parse("t", text, strlen(text), &tuning, &err), RANKD_OK);
    assert_memory_equal(&tuning, &wanted, sizeof wanted);
    assert_int_equal(rk_tuning_parse("t", "", 0, &tuning, &err), RANKD_OK);
    assert_memory_equal(&tuning, &rk_tuning_default, sizeof tuning);
}

static void what_tune_prints_is_read_back(void **state)
{
    (void)state;
    char *text = NULL;
    size_t bytes = 0;
    struct rk_err err = {0};
    struct rk_tuning tuning;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    assert_int_equal(rk_tune(out, &err), RANKD_OK);
    assert_int_equal(fclose(out), 0);
    rk_tuning_use(&rk_tuning_default);
    if (rk_tuning_parse("t", text, bytes, &tuning, &err) != RANKD_OK)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < rk_tuning_row_count; i++) {
        char line[64];
        uint32_t value;
        memcpy(&value, (const char *)&tuning + rk_tuning_rows[i].offset, sizeof value);
        (void)snprintf(line, sizeof line, "\n%s = %u\n", rk_tuning_rows[i].name, value);
        assert_non_null(strstr(text, line));
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_can_not_be_used_is_refused_with_its_line_and_what_may_stand),
        cmocka_unit_test(a_path_that_is_no_file_of_bounded_size_is_refused),
        cmocka_unit_test(names_that_are_not_in_the_file_keep_their_defaults),
        cmocka_unit_test(what_tune_prints_is_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
