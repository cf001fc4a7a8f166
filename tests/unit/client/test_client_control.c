/* SPDX-License-Identifier: Apache-2.0 */
/* librankd: control calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "unit/support/client.h"

static void a_call_is_answered_as_over_http(void **state)
{
    char *answer = NULL;
    struct rankd_error error = {0};
    rankd_client *client = test_open(&test_shared, state, NULL);
    assert_int_equal(rankd_call(client, "GET", "/v2", NULL, 0, SECONDS(20), &answer, NULL, NULL), RANKD_OK);
    assert_non_null(strstr(answer, "\"rankd\""));
    free(answer);
    answer = (char *)1;
    assert_int_equal(
        rankd_call(client, "GET", "/v2/banks/nobody", NULL, 0, SECONDS(20), &answer, NULL, &error),
        RANKD_NOT_FOUND);
    assert_null(answer);
    assert_int_equal(error.status, RANKD_NOT_FOUND);
    assert_non_null(strstr(error.text, "nobody"));
    assert_int_equal(rankd_call(client, "GET", "/v2/banks/nobody", NULL, 0, SECONDS(20), &answer, NULL, NULL),
                     RANKD_NOT_FOUND);
    test_call(client, "DELETE", "/v2", NULL, RANKD_WRONG_VERB);
    test_call(client, "PUT", "/v2/banks/x", "{", RANKD_INVALID);
    test_call(client, "GET", "/v2/nothing/of/the/kind", NULL, RANKD_NOT_FOUND);
    test_call(client, "GET", "/v2/health/live", NULL, RANKD_OK); /* an empty answer */
    rankd_close(client);
}

static void a_call_that_is_no_line_is_misuse(void **state)
{
    const char *const wrong[][2] = {{"GET", "v2"},         {"GET", ""},   {"GET", "/a b"},
                                    {"GET", "/a\r\nX: y"}, {"", "/v2"},   {"GE T", "/v2"},
                                    {"GET\n", "/v2"},      {NULL, "/v2"}, {"GET", NULL}};
    rankd_client *client = test_open(&test_shared, state, NULL);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *answer = (char *)1;
        struct rankd_error error = {0};
        assert_int_equal(
            rankd_call(client, wrong[i][0], wrong[i][1], NULL, 0, SECONDS(20), &answer, NULL, &error),
            RANKD_MISUSE);
        assert_null(answer);
        assert_true(strlen(error.text) > 10);
    }
    char *answer;
    assert_int_equal(rankd_call(client, "GET", "/v2", NULL, 5, SECONDS(20), &answer, NULL, NULL),
                     RANKD_MISUSE);
    assert_int_equal(rankd_call(client, "GET", "/v2", NULL, 0, SECONDS(20), NULL, NULL, NULL), RANKD_MISUSE);
    test_still_works(client);
    rankd_close(client);
}

static void long_answers_come_whole(void **state)
{
    enum { BANKS = 250 };
    char path[128], *answer;
    size_t bytes;
    rankd_client *client = test_open(&test_shared, state, NULL);
    for (int i = 0; i < BANKS; i++) {
        (void)snprintf(path, sizeof path, "/v2/banks/one-of-many-%050d", i);
        test_call(client, "PUT", path,
                  "{\"kind\":\"scores\",\"lists\":1,\"capacity\":1,\"durability\":\"none\"}", RANKD_OK);
    }
    assert_int_equal(rankd_call(client, "GET", "/v2/banks", NULL, 0, SECONDS(20), &answer, &bytes, NULL),
                     RANKD_OK);
    assert_true(bytes > 65536);
    assert_int_equal(strlen(answer), bytes);
    size_t found = 0;
    for (const char *at = answer; (at = strstr(at, "one-of-many-")) != NULL; at++)
        found++;
    assert_int_equal(found, BANKS);
    free(answer);
    for (int i = 0; i < BANKS; i++) {
        (void)snprintf(path, sizeof path, "/v2/banks/one-of-many-%050d", i);
        test_call(client, "DELETE", path, NULL, RANKD_OK);
    }
    rankd_close(client);
}

static void a_body_beyond_the_bound_is_too_large(void **state)
{
    static char body[70000];
    struct rankd_error error = {0};
    char *answer;
    memset(body, ' ', sizeof body);
    rankd_client *client = test_open(&test_shared, state, NULL);
    int status =
        rankd_call(client, "PUT", "/v2/banks/x", body, sizeof body, SECONDS(20), &answer, NULL, &error);
    assert_int_equal(status, RANKD_TOO_LARGE);
    test_still_works(client);
    rankd_close(client);
}

/* The daemon takes one call of a connection at a time; the next waits for the end of the abandoned
 * one. */
static void a_call_that_was_given_up_costs_nobody_the_connection(void **state)
{
    struct test_request example;
    struct rankd_error error = {0};
    char *answer = (char *)1;
    rankd_client *client = test_open(&test_shared, state, NULL);
    test_example(&example);
    test_daemon_hold(&test_shared);
    uint64_t tag = test_submitted(client, &example);
    for (int i = 0; i < 3; i++) {
        uint64_t begun = test_now_ns();
        assert_int_equal(rankd_call(client, "GET", "/metrics", NULL, 0, SECONDS(0.05), &answer, NULL, &error),
                         RANKD_TIMEOUT);
        assert_true(test_now_ns() - begun >= SECONDS(0.05));
        assert_null(answer);
    }
    test_daemon_go(&test_shared);
    test_takes_example(client, tag);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(
            rankd_call(client, "GET", "/v2/models/ap", NULL, 0, SECONDS(20), &answer, NULL, &error),
            RANKD_OK);
        assert_non_null(strstr(answer, "\"ap\"")); /* and not the answer to the earlier call */
        free(answer);
    }
    test_still_works(client);
    rankd_close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        over_both(a_call_is_answered_as_over_http),
        over_both(a_call_that_is_no_line_is_misuse),
        over_both(long_answers_come_whole),
        over_both(a_body_beyond_the_bound_is_too_large),
        over_both(a_call_that_was_given_up_costs_nobody_the_connection),
    };
    return cmocka_run_group_tests_name("client_control", tests, test_shared_start, test_shared_stop);
}
