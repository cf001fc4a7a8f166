/* SPDX-License-Identifier: Apache-2.0 */
/* The table of options, and the text of replies. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "config/config.h"
#include "config/config_table.h"

static struct rk_err refused(const char *name, const char *value)
{
    struct rk_config config, before;
    struct rk_err err = {0};
    rk_config_default(&config);
    before = config;
    assert_int_equal(rk_config_set(&config, name, value, "here", &err), RANKD_INVALID);
    assert_memory_equal(&config, &before, sizeof config);
    assert_non_null(strstr(err.text, "here"));
    return err;
}

static void defaults_are_within_their_own_bounds(void **state)
{
    (void)state;
    struct rk_config config;
    char *text = NULL;
    size_t length = 0;
    rk_config_default(&config);
    FILE *out = open_memstream(&text, &length);
    rk_config_print(&config, out);
    (void)fclose(out);
    char *place;
    for (char *line = strtok_r(text, "\n", &place); line; line = strtok_r(NULL, "\n", &place)) {
        char *equals = strstr(line, " = ");
        struct rk_err err = {0};
        if (*line == '#' || !equals)
            continue;
        *equals = '\0';
        assert_int_equal(rk_config_set(&config, line, equals + 3, "print", &err), RANKD_OK);
    }
    struct rk_config again;
    rk_config_default(&again);
    assert_memory_equal(&config, &again, sizeof config);
    free(text);
}

/* A row lists its words and their enumerators separately: in the same number and order. */
static void every_word_has_its_enumerator(void **state)
{
    (void)state;
    size_t seen = 0;
    for (size_t i = 0; i < rk_option_count; i++) {
        const struct rk_option *option = &rk_options[i];
        if (option->type != RK_OPTION_WORD)
            continue;
        size_t words = 1;
        for (const char *c = option->words; *c; c++)
            words += *c == '|';
        assert_int_equal(option->max + 1, words);
        assert_in_range(option->value, option->min, option->max);
        seen++;
    }
    assert_true(seen > 0);
    struct rk_config config;
    struct rk_err err = {0};
    rk_config_default(&config);
    assert_int_equal(rk_config_set(&config, "io", "epoll", "here", &err), RANKD_OK);
    assert_int_equal(config.io, RK_IO_EPOLL);
    assert_int_equal(rk_config_set(&config, "log-level", "error", "here", &err), RANKD_OK);
    assert_int_equal(config.log_level, RK_LOG_ERROR);
}

static void quantities_take_suffixes_and_refuse_what_overflows(void **state)
{
    (void)state;
    struct rk_config config;
    struct rk_err err = {0};
    rk_config_default(&config);
    assert_int_equal(rk_config_set(&config, "body-bytes", "3M", "here", &err), RANKD_OK);
    assert_int_equal(config.body_bytes, 3u << 20);
    assert_int_equal(rk_config_set(&config, "idle-timeout", "2min", "here", &err), RANKD_OK);
    assert_int_equal(config.idle_timeout, 120000);
    static const char *const wrong[] = {
        "", "-1", "3X", "3 M", "1e3", "99999999999999999999", "18446744073709551615G", "3s", "0x10"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        (void)refused("body-bytes", wrong[i]);
}

static void a_misspelt_option_is_answered_with_the_nearest(void **state)
{
    (void)state;
    assert_non_null(strstr(refused("worker", "2").text, "workers"));
    assert_non_null(strstr(refused("log-level", "loud").text, "debug"));
}

static float next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    const uint32_t bits = (uint32_t)(*seed >> 32);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void every_float_reads_back_to_the_same_bits(void **state)
{
    (void)state;
    uint64_t seed = 7;
    static const float special[] = {0.0F,      -0.0F,      FLT_MAX,     -FLT_MAX, FLT_MIN,   1e-45F, 0.1F,
                                    999999.0F, 1000000.0F, 16777216.0F, INFINITY, -INFINITY, NAN};
    for (unsigned i = 0; i < 200000; i++) {
        const float value = i < sizeof special / sizeof *special ? special[i] : next_random(&seed);
        struct rk_text text = {0};
        size_t length;
        rk_json_fp32(&text, value);
        char *digits = rk_text_take(&text, &length);
        assert_non_null(digits);
        if (!isfinite(value)) {
            assert_string_equal(digits, isnan(value) ? "null" : value > 0 ? "\"Infinity\"" : "\"-Infinity\"");
        } else {
            const float back = strtof(digits, NULL);
            assert_memory_equal(&back, &value, sizeof value);
        }
        free(digits);
    }
}

static void text_of_any_bytes_becomes_valid_json(void **state)
{
    (void)state;
    struct rk_text text = {0};
    size_t length;
    rk_json_text(&text, NULL, "a\"\\\n\x01\xff\xc3\xa4\xed\xa0\x80z");
    char *json = rk_text_take(&text, &length);
    assert_string_equal(
        json, "\"a\\\"\\\\\\u000a\\u0001\xef\xbf\xbd\xc3\xa4\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\"");
    free(json);
}

static void a_flag_stands_alone_or_before_its_value(void **state)
{
    (void)state;
    static const struct {
        const char *argv[6];
        int argc;
        bool insecure, regions;
    } lines[] = {
        {{"rankd", "--insecure"}, 2, true, false},
        {{"rankd", "--insecure", "true"}, 3, true, false},
        {{"rankd", "--insecure", "1", "--allow-shm-regions"}, 4, true, true},
        {{"rankd", "--insecure", "false", "--allow-shm-regions", "true"}, 5, false, true},
        {{"rankd", "--insecure", "--insecure", "0"}, 4, false, false},
        {{"rankd", "--insecure", "--workers", "1"}, 4, true, false},
        {{"rankd", "--insecure=false", "--allow-shm-regions=true"}, 3, false, true},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct rk_config config;
        struct rk_err err = {0};
        enum rk_config_action action;
        char *const *argv = (char *const *)(uintptr_t)lines[i].argv;
        assert_int_equal(rk_config_read(&config, lines[i].argc, argv, NULL, &action, &err), RANKD_OK);
        assert_int_equal(config.insecure, lines[i].insecure);
        assert_int_equal(config.allow_shm_regions, lines[i].regions);
    }
    const char *const bad[] = {"rankd", "--insecure", "yes"};
    struct rk_config config;
    struct rk_err err = {0};
    enum rk_config_action action;
    assert_int_equal(rk_config_read(&config, 3, (char *const *)(uintptr_t)bad, NULL, &action, &err),
                     RANKD_INVALID);
    assert_string_equal(err.text, "insecure was \"yes\"; it may be true or false, or stand alone");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_within_their_own_bounds),
        cmocka_unit_test(every_word_has_its_enumerator),
        cmocka_unit_test(quantities_take_suffixes_and_refuse_what_overflows),
        cmocka_unit_test(a_misspelt_option_is_answered_with_the_nearest),
        cmocka_unit_test(every_float_reads_back_to_the_same_bits),
        cmocka_unit_test(text_of_any_bytes_becomes_valid_json),
        cmocka_unit_test(a_flag_stands_alone_or_before_its_value),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
