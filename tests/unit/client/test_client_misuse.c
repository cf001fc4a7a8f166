/* SPDX-License-Identifier: Apache-2.0 */
/* librankd: NULL where a pointer is required. The functions are read from rankd.h, so that the test
 * fails for a new one without a trial. */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "unit/support/client.h"

/* ---- One trial for each function: without a client, and with one but without each other pointer ---- */

static struct test_request example;
static struct rankd_reply reply;
static struct rankd_error error;

static void try_open(rankd_client *client)
{
    rankd_client *other = client;
    assert_int_equal(rankd_open(NULL, NULL, &other, &error), RANKD_MISUSE);
    assert_null(other);
    assert_int_equal(rankd_open("unix:/nowhere", NULL, NULL, &error), RANKD_MISUSE);
    assert_int_equal(rankd_open(NULL, NULL, NULL, NULL), RANKD_MISUSE);
}

static void try_close(rankd_client *client)
{
    (void)client;
    rankd_close(NULL);
}

static void try_reconnect(rankd_client *client)
{
    assert_int_equal(rankd_reconnect(NULL, &error), RANKD_MISUSE);
    assert_int_equal(rankd_reconnect(NULL, NULL), RANKD_MISUSE);
    assert_int_equal(rankd_reconnect(client, NULL), RANKD_OK);
}

static void try_alloc(rankd_client *client)
{
    (void)client;
    assert_null(rankd_alloc(NULL, 64));
}

static void try_free(rankd_client *client)
{
    char memory;
    rankd_free(NULL, &memory);
    rankd_free(NULL, NULL);
    rankd_free(client, NULL);
}

static void try_arena(rankd_client *client)
{
    uint64_t bytes = 1, largest = 1;
    rankd_arena(NULL, &bytes, &largest);
    assert_true(bytes == 0 && largest == 0);
    rankd_arena(client, NULL, &largest);
    rankd_arena(client, &bytes, NULL);
    assert_true(bytes != 0 && largest != 0);
    rankd_arena(NULL, NULL, NULL);
}

static void try_submit(rankd_client *client)
{
    uint64_t tag = 0;
    assert_int_equal(rankd_submit(NULL, &example.request, &tag, &error), RANKD_MISUSE);
    assert_int_equal(rankd_submit(client, NULL, &tag, &error), RANKD_MISUSE);
    assert_int_equal(rankd_submit(client, &example.request, NULL, &error), RANKD_MISUSE);
    assert_int_equal(rankd_submit(NULL, NULL, NULL, NULL), RANKD_MISUSE);
    assert_int_equal(tag, 0);
}

static void try_poll(rankd_client *client)
{
    assert_int_equal(rankd_poll(NULL, 1, &reply), RANKD_MISUSE);
    assert_int_equal(reply.status, RANKD_MISUSE);
    assert_int_equal(rankd_poll(client, 1, NULL), RANKD_MISUSE);
    assert_int_equal(rankd_poll(NULL, 1, NULL), RANKD_MISUSE);
}

static void try_wait(rankd_client *client)
{
    assert_int_equal(rankd_wait(NULL, 1, SECONDS(1), &reply), RANKD_MISUSE);
    assert_int_equal(reply.status, RANKD_MISUSE);
    assert_int_equal(rankd_wait(client, 1, SECONDS(1), NULL), RANKD_MISUSE);
    assert_int_equal(rankd_wait(NULL, 1, SECONDS(1), NULL), RANKD_MISUSE);
}

static void try_infer(rankd_client *client)
{
    assert_int_equal(rankd_infer(NULL, &example.request, &reply), RANKD_MISUSE);
    assert_int_equal(reply.status, RANKD_MISUSE);
    assert_int_equal(rankd_infer(client, NULL, &reply), RANKD_MISUSE);
    assert_int_equal(rankd_infer(client, &example.request, NULL), RANKD_MISUSE);
    assert_int_equal(rankd_infer(NULL, NULL, NULL), RANKD_MISUSE);
}

static void try_cancel(rankd_client *client)
{
    (void)client;
    assert_int_equal(rankd_cancel(NULL, 1), RANKD_MISUSE);
}

static void try_forget(rankd_client *client)
{
    (void)client;
    rankd_forget(NULL, 1);
}

static void try_reply_clear(rankd_client *client)
{
    struct rankd_reply empty = {0};
    rankd_reply_clear(NULL, &empty);
    rankd_reply_clear(client, NULL);
    rankd_reply_clear(NULL, NULL);
}

static void try_reply_number(rankd_client *client)
{
    const struct rankd_reply empty = {0};
    double value = 7;
    (void)client;
    assert_int_equal(rankd_reply_number(NULL, "pairs_jumped", &value), RANKD_MISUSE);
    assert_int_equal(rankd_reply_number(&empty, NULL, &value), RANKD_MISUSE);
    assert_int_equal(rankd_reply_number(&empty, "pairs_jumped", NULL), RANKD_MISUSE);
    assert_true(value == 7);
}

static void try_reply_chain(rankd_client *client)
{
    const struct rankd_reply empty = {0};
    char chain[RANKD_CHAIN_BYTES] = "left";
    (void)client;
    assert_int_equal(rankd_reply_chain(NULL, chain), RANKD_MISUSE);
    assert_int_equal(rankd_reply_chain(&empty, NULL), RANKD_MISUSE);
    assert_int_equal(rankd_reply_chain(&empty, chain), RANKD_NOT_FOUND);
    assert_string_equal(chain, "left");
}

static void try_call(rankd_client *client)
{
    char *answer = (char *)&error;
    assert_int_equal(rankd_call(NULL, "GET", "/v2", NULL, 0, SECONDS(1), &answer, NULL, &error),
                     RANKD_MISUSE);
    assert_null(answer);
    assert_int_equal(rankd_call(client, NULL, "/v2", NULL, 0, SECONDS(1), &answer, NULL, &error),
                     RANKD_MISUSE);
    assert_int_equal(rankd_call(client, "GET", NULL, NULL, 0, SECONDS(1), &answer, NULL, &error),
                     RANKD_MISUSE);
    assert_int_equal(rankd_call(client, "PUT", "/v2", NULL, 5, SECONDS(1), &answer, NULL, &error),
                     RANKD_MISUSE);
    assert_int_equal(rankd_call(client, "GET", "/v2", NULL, 0, SECONDS(1), NULL, NULL, &error), RANKD_MISUSE);
    assert_int_equal(rankd_call(NULL, NULL, NULL, NULL, 0, 0, NULL, NULL, NULL), RANKD_MISUSE);
}

static void try_daemon_id(rankd_client *client)
{
    (void)client;
    assert_int_equal(rankd_daemon_id(NULL), 0);
}

static void try_version(rankd_client *client)
{
    (void)client;
    assert_non_null(rankd_version());
}

static const struct {
    const char *name;
    void (*try)(rankd_client *client);
} trials[] = {
    {"rankd_open", try_open},
    {"rankd_close", try_close},
    {"rankd_reconnect", try_reconnect},
    {"rankd_alloc", try_alloc},
    {"rankd_free", try_free},
    {"rankd_arena", try_arena},
    {"rankd_submit", try_submit},
    {"rankd_poll", try_poll},
    {"rankd_wait", try_wait},
    {"rankd_infer", try_infer},
    {"rankd_cancel", try_cancel},
    {"rankd_forget", try_forget},
    {"rankd_call", try_call},
    {"rankd_reply_clear", try_reply_clear},
    {"rankd_daemon_id", try_daemon_id},
    {"rankd_version", try_version},
    {"rankd_reply_chain", try_reply_chain},
    {"rankd_reply_number", try_reply_number},
};
enum { TRIALS = sizeof trials / sizeof *trials };

/* ---- The functions of rankd.h ---- */

/* The name before the next '(' behind `at`. */
static void name_behind(const char *at, char name[64])
{
    const char *end = strchr(at, '('), *begin = end;
    assert_non_null(end);
    while (isalnum((unsigned char)begin[-1]) || begin[-1] == '_')
        begin--;
    (void)snprintf(name, 64, "%.*s", (int)(end - begin), begin);
}

static int trial_of(const char *name)
{
    for (int i = 0; i < TRIALS; i++) {
        if (strcmp(trials[i].name, name) == 0)
            return i;
    }
    fail_msg("%s() is in rankd.h, and nobody tries it with NULL", name);
    return -1;
}

static void no_function_of_the_header_minds_null(void **state)
{
    static char text[65536];
    unsigned tried = 0;
    FILE *header = fopen("clients/c/rankd.h", "r");
    assert_non_null(header);
    assert_in_range(fread(text, 1, sizeof text - 1, header), 1000, sizeof text - 2);
    (void)fclose(header);
    rankd_client *client = test_open(&test_shared, state, NULL);
    test_example(&example);
    for (const char *at = text; (at = strstr(at, "\nRANKD_API ")) != NULL; at++) {
        char name[64];
        name_behind(at, name);
        int trial = trial_of(name);
        trials[trial].try(client);
        tried |= 1u << trial;
    }
    assert_int_equal(tried, (1u << TRIALS) - 1);
    test_still_works(client);
    rankd_close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        over_both(no_function_of_the_header_minds_null),
    };
    return cmocka_run_group_tests_name("client_misuse", tests, test_shared_start, test_shared_stop);
}
