/* SPDX-License-Identifier: Apache-2.0 */
/* librankd over HTTP: invalid answers, and servers that never end one. The server is part of the
 * test. */
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "unit/support/client.h"

struct server {
    int fd;
    pthread_t thread;
    void (*answer)(struct server *server, int fd);
    const char *bytes; /* of one answer */
    size_t size;
    atomic_int hung_up; /* connections that ended before their answer did */
};

/* One request for each connection. Its body comes with its head or soon after, and is ignored. */
static void *serve(void *arg)
{
    struct server *server = arg;
    for (int fd; (fd = accept(server->fd, NULL, NULL)) >= 0; close(fd)) {
        char text[8192];
        if (recv(fd, text, sizeof text, 0) > 0)
            server->answer(server, fd);
        (void)shutdown(fd, SHUT_WR);
        while (recv(fd, text, sizeof text, 0) > 0)
            continue; /* a reset would take the answer with it */
    }
    return NULL;
}

static rankd_client *serving(struct server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    rankd_client *client;
    char url[64];
    server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(server->fd, 8), 0);
    assert_int_equal(getsockname(server->fd, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d", ntohs(address.sin_port));
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
    assert_int_equal(rankd_open(url, NULL, &client, NULL), RANKD_OK);
    return client;
}

static void stop(struct server *server, rankd_client *client)
{
    rankd_close(client);
    (void)shutdown(server->fd, SHUT_RDWR);
    assert_int_equal(pthread_join(server->thread, NULL), 0);
    (void)close(server->fd);
}

static void send_bytes(struct server *server, int fd)
{
    (void)send(fd, server->bytes, server->size, MSG_NOSIGNAL);
}

/* ---- Invalid answers ---- */

#define OUTPUT(name, shape, type, size)                                                                      \
    "{\"name\":\"" name "\",\"shape\":" shape ",\"datatype\":\"" type                                        \
    "\",\"parameters\":{\"binary_data_size\":" size "}}"
#define LOSS OUTPUT("loss", "[1]", "FP32", "4")
#define GRADIENT OUTPUT("gradient", "[1,4]", "FP32", "16")
#define OUTPUTS(list) "{\"outputs\":[" list "]}"
#define NUMBERS(list) "{\"parameters\":{" list "},\"outputs\":[" LOSS "," GRADIENT "]}"

static const struct {
    const char *head;
    size_t binary;      /* bytes behind it */
    const char *length; /* the header's value; NULL: as it is */
    int status;
} replies[] = {
    {OUTPUTS(LOSS "," GRADIENT), 20, NULL, RANKD_OK},
    {OUTPUTS(GRADIENT "," LOSS), 20, NULL, RANKD_OK},
    {NUMBERS("\"lists\":1,\"gradient_dropped\":0.5"), 20, NULL, RANKD_OK},
    {NUMBERS("\"pairs_jumped\":0.25,\"bank_drift_1\":null,\"bank_drift_items\":3"), 20, NULL, RANKD_OK},
    /* lengths */
    {OUTPUTS(LOSS "," GRADIENT), 20, "abc", RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," GRADIENT), 20, "-5", RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," GRADIENT), 20, "\xc2\xb2", RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," GRADIENT), 20, "", RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," GRADIENT), 20, "12 3", RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," GRADIENT), 20, "+9", RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," GRADIENT), 20, "0x10", RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," GRADIENT), 20, "99999999999999999999999", RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," GRADIENT), 20, "5000", RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," GRADIENT), 20, "3\r\nInference-Header-Content-Length: 3", RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," GRADIENT), 19, NULL, RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," GRADIENT), 21, NULL, RANKD_PROTOCOL},
    /* documents */
    {"", 0, NULL, RANKD_PROTOCOL},
    {"<html>hello</html>", 0, NULL, RANKD_PROTOCOL},
    {"null", 0, NULL, RANKD_PROTOCOL},
    {"[]", 0, NULL, RANKD_PROTOCOL},
    {"{}", 0, NULL, RANKD_PROTOCOL},
    {"{\"outputs\":{}}", 0, NULL, RANKD_PROTOCOL},
    {"{\"outputs\":[", 0, NULL, RANKD_PROTOCOL},
    {OUTPUTS(""), 0, NULL, RANKD_PROTOCOL},
    {OUTPUTS("\"a\""), 0, NULL, RANKD_PROTOCOL},
    {OUTPUTS("null," LOSS "," GRADIENT), 20, NULL, RANKD_PROTOCOL},
    {"{\"a\":\"\xff\","
     "\"outputs\":[" LOSS "," GRADIENT "]}",
     20, NULL, RANKD_PROTOCOL},
    {"{\"a\":1e999,\"outputs\":[" LOSS "," GRADIENT "]}", 20, NULL, RANKD_PROTOCOL},
    {"{\"parameters\":[],\"outputs\":[" LOSS "," GRADIENT "]}", 20, NULL, RANKD_PROTOCOL},
    {NUMBERS("\"lists\":-1"), 20, NULL, RANKD_PROTOCOL},
    {NUMBERS("\"lists\":\"1\""), 20, NULL, RANKD_PROTOCOL},
    {NUMBERS("\"gradient_nonzero\":null"), 20, NULL, RANKD_PROTOCOL},
    {NUMBERS("\"bank_version\":1.5"), 20, NULL, RANKD_PROTOCOL},
    {NUMBERS("\"gradient_dropped\":\"much\""), 20, NULL, RANKD_PROTOCOL},
    {NUMBERS("\"pairs_jumped\":\"many\""), 20, NULL, RANKD_PROTOCOL},
    {NUMBERS("\"bank_drift_2\":[1]"), 20, NULL, RANKD_PROTOCOL},
    /* outputs */
    {OUTPUTS(LOSS), 4, NULL, RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," LOSS "," GRADIENT), 24, NULL, RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," OUTPUT("gradients", "[1,4]", "FP32", "16")), 20, NULL, RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," OUTPUT("gradient", "[1,4]", "FP33", "16")), 20, NULL, RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," OUTPUT("gradient", "[1,4]", "INT32", "16")), 20, NULL, RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," OUTPUT("gradient", "[1,2]", "FP64", "16")), 20, NULL, RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," OUTPUT("gradient", "[1,5]", "FP32", "16")), 20, NULL, RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," OUTPUT("gradient", "[1,4,1]", "FP32", "16")), 20, NULL, RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," OUTPUT("gradient", "[]", "FP32", "16")), 20, NULL, RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," OUTPUT("gradient", "4", "FP32", "16")), 20, NULL, RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," OUTPUT("gradient", "[NaN,4]", "FP32", "16")), 20, NULL, RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," OUTPUT("gradient", "[null,4]", "FP32", "16")), 20, NULL, RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," OUTPUT("gradient", "[-1,-4]", "FP32", "16")), 20, NULL, RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," OUTPUT("gradient", "[1.0,4]", "FP32", "16")), 20, NULL, RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," OUTPUT("gradient", "[4294967296,4294967296]", "FP32", "0")), 4, NULL, RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," OUTPUT("gradient", "[1,4000000]", "FP32", "16000000")), 20, NULL, RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," OUTPUT("gradient", "[1,4]", "FP32", "-16")), 20, NULL, RANKD_PROTOCOL},
    {OUTPUTS(LOSS "," OUTPUT("gradient", "[1,4]", "FP32", "\"16\"")), 20, NULL, RANKD_PROTOCOL},
    {OUTPUTS(LOSS ",{\"name\":\"gradient\",\"shape\":[1,4],\"datatype\":\"FP32\",\"data\":[1,2,3,4]}"), 4,
     NULL, RANKD_PROTOCOL},
    {OUTPUTS(OUTPUT("loss", "[2]", "FP32", "8") "," GRADIENT), 24, NULL, RANKD_PROTOCOL},
};

static int answered_with(const char *bytes, size_t size, struct rankd_reply *reply)
{
    struct server server = {.answer = send_bytes, .bytes = bytes, .size = size};
    struct test_request example;
    rankd_client *client = serving(&server);
    test_example(&example);
    int status = rankd_infer(client, &example.request, reply);
    for (int port = 0; port < RANKD_OUT_COUNT && status != RANKD_OK; port++)
        assert_null(reply->outputs[port].data);
    assert_true(status == RANKD_OK || (reply->owned == 0 && strlen(reply->error) > 10));
    rankd_reply_clear(client, reply);
    stop(&server, client);
    return status;
}

static void a_reply_that_is_none_is_called_that(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++) {
        char bytes[2048], length[32];
        struct rankd_reply reply;
        size_t head = strlen(replies[i].head);
        (void)snprintf(length, sizeof length, "%zu", head);
        int lead = snprintf(bytes, sizeof bytes,
                            "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nInference-Header-Content-Length: "
                            "%s\r\nConnection: close\r\n\r\n%s",
                            head + replies[i].binary, replies[i].length ? replies[i].length : length,
                            replies[i].head);
        memset(bytes + lead, 0, replies[i].binary);
        int status = answered_with(bytes, (size_t)lead + replies[i].binary, &reply);
        if (status != replies[i].status)
            fail_msg("'%s', length %s: %d %s", replies[i].head, replies[i].length, status, reply.error);
    }
}

static void deep_json_is_no_reply(void **state)
{
    (void)state;
    enum { DEEP = 200000 };
    struct rankd_reply reply;
    char *bytes = malloc(DEEP + 128);
    int lead = sprintf(bytes, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", DEEP);
    memset(bytes + lead, '[', DEEP);
    assert_int_equal(answered_with(bytes, (size_t)lead + DEEP, &reply), RANKD_PROTOCOL);
    free(bytes);
}

/* curl reads the framing: it decides whether that is a broken connection or not HTTP, but the
 * request ends. */
static void an_answer_that_is_no_http_is_an_error(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n{}",
        "HTTP/1.1 002 Two\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 204 No\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 302 Moved\r\nLocation: /\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 700 What\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct rankd_reply reply;
        int status = answered_with(answers[i], strlen(answers[i]), &reply);
        if (status != RANKD_PROTOCOL && status != RANKD_LOST)
            fail_msg("'%s': %d %s", answers[i], status, reply.error);
    }
}

/* ---- Answers without end ---- */

static void send_without_end(struct server *server, int fd)
{
    static const char zeros[65536];
    (void)dprintf(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n");
    while (send(fd, zeros, sizeof zeros, MSG_NOSIGNAL) > 0)
        continue;
    atomic_fetch_add(&server->hung_up, 1);
}

static void no_more_is_taken_than_the_answer_may_need(void **state)
{
    (void)state;
    struct server server = {.answer = send_without_end};
    struct test_request example;
    struct rankd_reply reply;
    rankd_client *client = serving(&server);
    test_example(&example);
    assert_int_equal(rankd_infer(client, &example.request, &reply), RANKD_PROTOCOL);
    assert_non_null(strstr(reply.error, "more than the"));
    stop(&server, client);
    assert_int_equal(atomic_load(&server.hung_up), 1);
}

/* A byte at a time, each long before any limit on a single read, until the client has hung up. */
static void send_slowly(struct server *server, int fd)
{
    (void)dprintf(fd, "HTTP/1.1 200 OK\r\nX-Slow: ");
    for (int i = 0; i < 2000; i++) {
        if (send(fd, "x", 1, MSG_NOSIGNAL) != 1) {
            atomic_fetch_add(&server->hung_up, 1);
            return;
        }
        (void)usleep(20000);
    }
}

static bool two_hung_up(void *arg)
{
    return atomic_load((atomic_int *)arg) == 2;
}

static void a_limit_holds_for_the_request_and_not_for_a_read(void **state)
{
    (void)state;
    struct server server = {.answer = send_slowly};
    struct test_request example;
    struct rankd_reply reply;
    struct rankd_error error;
    uint64_t tag;
    char *answer;
    rankd_client *client = serving(&server);
    test_example(&example);
    assert_int_equal(rankd_submit(client, &example.request, &tag, &error), RANKD_OK);
    assert_int_equal(rankd_wait(client, tag, SECONDS(1) / 4, &reply), RANKD_TIMEOUT);
    rankd_forget(client, tag); /* and the connection goes: the server serves one at a time */
    assert_int_equal(rankd_call(client, "GET", "/v2", NULL, 0, SECONDS(1) / 4, &answer, NULL, &error),
                     RANKD_TIMEOUT);
    assert_true(test_eventually(two_hung_up, &server.hung_up));
    stop(&server, client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reply_that_is_none_is_called_that),
        cmocka_unit_test(deep_json_is_no_reply),
        cmocka_unit_test(an_answer_that_is_no_http_is_an_error),
        cmocka_unit_test(no_more_is_taken_than_the_answer_may_need),
        cmocka_unit_test(a_limit_holds_for_the_request_and_not_for_a_read),
    };
    return cmocka_run_group_tests_name("client_replies", tests, NULL, NULL);
}
