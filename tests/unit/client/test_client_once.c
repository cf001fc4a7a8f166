/* SPDX-License-Identifier: Apache-2.0 */
/* librankd over HTTP: a request that changes state is sent once, and any request at most twice. The
 * servers are part of the test, and hang up. */
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "unit/support/client.h"

static const char reply_head[] = "{\"outputs\":[{\"name\":\"loss\",\"shape\":[1],\"datatype\":\"FP32\","
                                 "\"parameters\":{\"binary_data_size\":4}}]}";

struct once_server {
    int fd, requests;
    pthread_t thread;
};

/* Reads a request: the bytes that arrive within a moment. */
static bool reads_request(int fd)
{
    char text[8192];
    ssize_t n = recv(fd, text, sizeof text, 0);
    while (n > 0 && poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 50) > 0)
        n = recv(fd, text, sizeof text, 0) > 0 ? n : 0;
    return n > 0;
}

/* Answers the first request of each connection, hangs up on the second. */
static void *serve(void *arg)
{
    struct once_server *server = arg;
    for (int fd; (fd = accept(server->fd, NULL, NULL)) >= 0; close(fd)) {
        if (!reads_request(fd))
            continue;
        server->requests++;
        (void)dprintf(
            fd, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nInference-Header-Content-Length: %zu\r\n\r\n%s",
            sizeof reply_head - 1 + 4, sizeof reply_head - 1, reply_head);
        (void)send(fd, "\0\0\0\0", 4, MSG_NOSIGNAL);
        server->requests += reads_request(fd);
    }
    return NULL;
}

/* curl sends again by itself where a connection that was used before is closed without an answer.
 * That would append a batch twice, so a request that changes something is not sent again, and its
 * caller learns that it may have been carried out. */
static void what_changes_something_is_not_sent_twice(void **state)
{
    (void)state;
    const struct {
        const char *method, *bank, *batch;
        int sent, status;
    } cases[] = {{NULL, NULL, NULL, 3, RANKD_OK},     {NULL, "b", NULL, 2, RANKD_LOST},
                 {NULL, "b", "batch-1", 3, RANKD_OK}, {"GET", NULL, NULL, 3, RANKD_OK},
                 {"POST", NULL, NULL, 2, RANKD_LOST}, {"DELETE", NULL, NULL, 2, RANKD_LOST}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct once_server server = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        socklen_t size = sizeof address;
        struct rankd_parameter parameters[] = {{"bank", RANKD_TEXT, 0, cases[i].bank},
                                               {"batch_id", RANKD_TEXT, 0, cases[i].batch}};
        struct test_request example;
        struct rankd_error error;
        rankd_client *client;
        char url[64], *answer;
        assert_int_equal(bind(server.fd, (struct sockaddr *)&address, size), 0);
        assert_int_equal(listen(server.fd, 8), 0);
        assert_int_equal(getsockname(server.fd, (struct sockaddr *)&address, &size), 0);
        (void)snprintf(url, sizeof url, "http://127.0.0.1:%d", ntohs(address.sin_port));
        assert_int_equal(pthread_create(&server.thread, NULL, serve, &server), 0);
        assert_int_equal(rankd_open(url, NULL, &client, &error), RANKD_OK);
        test_example(&example);
        example.request.parameters = parameters;
        example.request.parameter_count = cases[i].batch ? 2 : cases[i].bank ? 1 : 0;
        example.request.output_count = 1;
        for (int request = 0; request < 2; request++) {
            struct rankd_reply reply = {0};
            int expected = request == 0 ? RANKD_OK : cases[i].status, status;
            if (cases[i].method != NULL) {
                status =
                    rankd_call(client, cases[i].method, "/v2/x", NULL, 0, SECONDS(20), &answer, NULL, &error);
                free(answer);
            } else {
                status = rankd_infer(client, &example.request, &reply);
            }
            rankd_reply_clear(client, &reply);
            if (status != expected)
                fail_msg("case %zu, request %d: %d", i, request, status);
        }
        rankd_close(client);
        (void)shutdown(server.fd, SHUT_RDWR);
        assert_int_equal(pthread_join(server.thread, NULL), 0);
        assert_int_equal(server.requests, cases[i].sent);
        (void)close(server.fd);
    }
}

enum { KEPT = 3 }; /* connections that the client keeps */

/* A server that answers one request on each of its first connections, together, and then hangs up
 * on everything: like a daemon that dies under the next request and is started again. */
struct dying {
    int fd, requests;
};

static void answer(int fd)
{
    (void)dprintf(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
}

static void *die(void *arg)
{
    struct dying *server = arg;
    struct pollfd kept[KEPT + 1] = {0};
    for (int i = 0; i < KEPT; i++)
        kept[i] = (struct pollfd){.fd = accept(server->fd, NULL, NULL), .events = POLLIN};
    for (int i = 0; i < KEPT; i++) {
        if (reads_request(kept[i].fd))
            answer(kept[i].fd);
    }
    kept[KEPT] = (struct pollfd){.fd = server->fd, .events = POLLIN};
    while (poll(kept, KEPT + 1, -1) > 0) {
        for (int i = 0; i < KEPT; i++) {
            if (kept[i].fd < 0 || kept[i].revents == 0)
                continue;
            server->requests += reads_request(kept[i].fd);
            (void)close(kept[i].fd);
            kept[i].fd = -1;
        }
        if (kept[KEPT].revents == 0)
            continue;
        int fd = accept(server->fd, NULL, NULL);
        if (fd < 0)
            break;
        server->requests += reads_request(fd);
        (void)close(fd);
    }
    return NULL;
}

/* curl sends again for each connection that it had kept; a request that ends the daemon would end
 * one daemon each time. */
static void nothing_is_sent_a_third_time(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct dying server = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    socklen_t size = sizeof address;
    struct test_request example;
    struct rankd_reply reply = {0};
    rankd_client *client;
    pthread_t thread;
    uint64_t tags[KEPT];
    char url[64];
    assert_int_equal(bind(server.fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(server.fd, 8), 0);
    assert_int_equal(getsockname(server.fd, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d", ntohs(address.sin_port));
    assert_int_equal(pthread_create(&thread, NULL, die, &server), 0);
    assert_int_equal(rankd_open(url, NULL, &client, NULL), RANKD_OK);
    test_example(&example);
    for (int i = 0; i < KEPT; i++)
        assert_int_equal(rankd_submit(client, &example.request, &tags[i], NULL), RANKD_OK);
    for (int i = 0; i < KEPT; i++)
        assert_int_equal(rankd_wait(client, tags[i], SECONDS(20), &reply),
                         RANKD_PROTOCOL); /* {} is not a reply */
    assert_int_equal(rankd_infer(client, &example.request, &reply), RANKD_LOST);
    assert_non_null(strstr(reply.error, "broke"));
    rankd_close(client);
    (void)shutdown(server.fd, SHUT_RDWR);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(server.requests, 2);
    (void)close(server.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        over_http(what_changes_something_is_not_sent_twice),
        over_http(nothing_is_sent_a_third_time),
    };
    return cmocka_run_group_tests_name("client_once", tests, NULL, NULL);
}
