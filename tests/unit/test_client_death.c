/* librankd: forked children, daemons that are killed, and their successors. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "unit/support/client.h"

enum { SLOW = 1 << 20, THREADS = 8 };

static const char *const flags[] = {NULL};

static void takes_example(rankd_client *client, uint64_t tag)
{
    struct rankd_reply reply;
    if (rankd_wait(client, tag, SECONDS(30), &reply) != RANKD_OK || !test_is_example(&reply))
        fail_msg("%d: %s", reply.status, reply.error);
    rankd_reply_clear(client, &reply);
}

static uint64_t submitted(rankd_client *client, const struct test_request *request)
{
    struct rankd_error error = {0};
    uint64_t tag = 0;
    if (rankd_submit(client, &request->request, &tag, &error) != RANKD_OK)
        fail_msg("%s", error.text);
    return tag;
}

static void still_works(rankd_client *client)
{
    struct test_request example;
    test_example(&example);
    takes_example(client, submitted(client, &example));
}

/* ---- Fork ---- */

static int in_child(int (*child)(void *arg), void *arg)
{
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(child(arg));
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

struct family {
    rankd_client *client;
    const struct test_daemon *daemon;
    void **state;
    uint64_t tag;
    void *memory;
};

/* The number of the first call that did not fail as it should; 0: all did. */
static int calls_of_the_child(void *arg)
{
    const struct family *family = arg;
    rankd_client *client = family->client;
    struct test_request example;
    struct rankd_reply reply = {.owned = 1, .outputs = {{.data = family->memory}}};
    struct rankd_error error = {0};
    uint64_t tag = 0, bytes = 7, largest = 7;
    char *answer = (char *)1;
    test_example(&example);
    if (rankd_submit(client, &example.request, &tag, &error) != RANKD_FORKED || error.status != RANKD_FORKED)
        return 1;
    if (rankd_infer(client, &example.request, &reply) != RANKD_FORKED || reply.status != RANKD_FORKED)
        return 2;
    if (rankd_poll(client, family->tag, &reply) != RANKD_FORKED)
        return 3;
    if (rankd_wait(client, family->tag, UINT64_MAX, &reply) != RANKD_FORKED)
        return 4;
    if (rankd_cancel(client, family->tag) != RANKD_FORKED)
        return 5;
    if (rankd_reconnect(client, &error) != RANKD_FORKED)
        return 6;
    if (rankd_call(client, "GET", "/v2", NULL, 0, SECONDS(1), &answer, NULL, &error) != RANKD_FORKED ||
        answer != NULL || strstr(error.text, "parent") == NULL)
        return 7;
    if (rankd_alloc(client, 64) != NULL)
        return 8;
    rankd_arena(client, &bytes, &largest);
    if (bytes != 0 || largest != 0)
        return 9;
    if (rankd_daemon_id(client) != 0)
        return 10;
    rankd_forget(client, family->tag);
    rankd_free(client, family->memory);
    reply.owned = 1;
    rankd_reply_clear(client, &reply);
    rankd_close(client);
    return 0;
}

static void in_a_child_every_call_fails_as_forked(void **state)
{
    struct test_daemon daemon;
    struct test_request example;
    test_daemon_start(&daemon, flags);
    struct family family = {.client = test_open(&daemon, state, NULL)};
    test_example(&example);
    family.memory = rankd_alloc(family.client, 100);
    memset(family.memory, 7, 100);
    family.tag = submitted(family.client, &example);
    assert_int_equal(in_child(calls_of_the_child, &family), 0);
    takes_example(family.client, family.tag); /* the parent's is as it was */
    assert_int_equal(((char *)family.memory)[99], 7);
    still_works(family.client);
    rankd_close(family.client);
    test_daemon_stop(&daemon);
}

static int is_mapped(void *arg)
{
    unsigned char there;
    long page = sysconf(_SC_PAGESIZE);
    void *start = (void *)((uintptr_t)arg / (uintptr_t)page * (uintptr_t)page);
    return mincore(start, (size_t)page, &there) == 0 ? 1 : errno == ENOMEM ? 0 : 2;
}

static void shared_memory_is_not_mapped_in_a_child(void **state)
{
    struct test_daemon daemon;
    test_daemon_start(&daemon, flags);
    rankd_client *client = test_open(&daemon, state, NULL);
    void *memory = rankd_alloc(client, 1 << 20);
    memset(memory, 7, 1 << 20);
    assert_int_equal(is_mapped(memory), 1);
    assert_int_equal(in_child(is_mapped, memory), 0);
    still_works(client);
    rankd_close(client);
    test_daemon_stop(&daemon);
}

/* Whether some descriptor is connected to a daemon. */
static int holds_a_connection(void *arg)
{
    (void)arg;
    for (int fd = 3; fd < 256; fd++) {
        struct sockaddr_storage address = {0};
        socklen_t size = sizeof address;
        if (getpeername(fd, (struct sockaddr *)&address, &size) != 0)
            continue;
        const char *path = ((const struct sockaddr_un *)&address)->sun_path;
        if (address.ss_family == AF_INET || (address.ss_family == AF_UNIX && path[0] != '\0'))
            return 1;
    }
    return 0;
}

static void a_child_holds_no_connection_of_its_parents(void **state)
{
    struct test_daemon daemon;
    test_daemon_start(&daemon, flags);
    rankd_client *client = test_open(&daemon, state, NULL);
    still_works(client);
    assert_int_equal(holds_a_connection(NULL), 1);
    assert_int_equal(in_child(holds_a_connection, NULL), 0);
    still_works(client);
    rankd_close(client);
    assert_int_equal(holds_a_connection(NULL), 0);
    test_daemon_stop(&daemon);
}

static int opens_its_own(void *arg)
{
    const struct family *family = arg;
    struct test_request example;
    struct rankd_reply reply;
    rankd_client *client;
    test_example(&example);
    if (rankd_open(test_url(family->daemon, family->state), NULL, &client, NULL) != RANKD_OK)
        return 1;
    if (rankd_infer(client, &example.request, &reply) != RANKD_OK || !test_is_example(&reply))
        return 2;
    rankd_reply_clear(client, &reply);
    rankd_close(client);
    return calls_of_the_child(arg);
}

static void a_child_opens_a_client_of_its_own(void **state)
{
    struct test_daemon daemon;
    test_daemon_start(&daemon, flags);
    struct family family = {.client = test_open(&daemon, state, NULL), .daemon = &daemon, .state = state};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(in_child(opens_its_own, &family), 0);
        still_works(family.client);
    }
    rankd_close(family.client);
    test_daemon_stop(&daemon);
}

struct busy {
    pthread_t thread;
    rankd_client *client;
    atomic_bool *over;
    int wrong;
};

static void *infer_on_and_on(void *arg)
{
    struct busy *busy = arg;
    struct test_request example;
    struct rankd_reply reply;
    char *answer;
    test_example(&example);
    while (!atomic_load(busy->over)) {
        busy->wrong +=
            rankd_infer(busy->client, &example.request, &reply) != RANKD_OK || !test_is_example(&reply);
        rankd_reply_clear(busy->client, &reply);
        busy->wrong +=
            rankd_call(busy->client, "GET", "/v2", NULL, 0, SECONDS(30), &answer, NULL, NULL) != RANKD_OK;
        free(answer);
    }
    return NULL;
}

static void forks_amid_calls_of_other_threads_do_no_harm(void **state)
{
    struct test_daemon daemon;
    struct busy busy[3];
    atomic_bool over = false;
    test_daemon_start(&daemon, flags);
    struct family family = {.client = test_open(&daemon, state, NULL), .daemon = &daemon, .state = state};
    for (int i = 0; i < 3; i++) {
        busy[i] = (struct busy){.client = family.client, .over = &over};
        assert_int_equal(pthread_create(&busy[i].thread, NULL, infer_on_and_on, &busy[i]), 0);
    }
    int failed = 0;
    for (int i = 0; i < 20 && failed == 0; i++)
        failed = in_child(calls_of_the_child, &family);
    atomic_store(&over, true);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(busy[i].thread, NULL), 0);
        assert_int_equal(busy[i].wrong, 0);
    }
    assert_int_equal(failed, 0);
    rankd_close(family.client);
    test_daemon_stop(&daemon);
}

/* ---- A daemon that is killed ---- */

struct waiter {
    pthread_t thread;
    rankd_client *client;
    uint64_t tag; /* 0: a control call */
    int status;
    struct rankd_reply reply;
    uint64_t ended_ns;
};

static void *wait_without_limit(void *arg)
{
    struct waiter *waiter = arg;
    char *answer;
    if (waiter->tag != 0) {
        waiter->status = rankd_wait(waiter->client, waiter->tag, UINT64_MAX, &waiter->reply);
    } else {
        struct rankd_error error = {0};
        waiter->status = rankd_call(waiter->client, "GET", "/v2", NULL, 0, UINT64_MAX, &answer, NULL, &error);
        (void)snprintf(waiter->reply.error, sizeof waiter->reply.error, "%s", error.text);
    }
    waiter->ended_ns = test_now_ns();
    return NULL;
}

static void every_waiter_is_told_within_a_second_when_the_daemon_is_killed(void **state)
{
    struct test_daemon daemon;
    struct test_request slow;
    struct waiter waiters[THREADS + 1];
    test_daemon_start(&daemon, flags);
    rankd_client *client = test_open(&daemon, state, NULL);
    still_works(client);
    test_sorting(&slow, SLOW / 16);
    test_daemon_hold(&daemon);
    for (int i = 0; i <= THREADS; i++) {
        waiters[i] = (struct waiter){.client = client, .tag = i < THREADS ? submitted(client, &slow) : 0};
        assert_int_equal(pthread_create(&waiters[i].thread, NULL, wait_without_limit, &waiters[i]), 0);
    }
    (void)usleep(200000); /* all of them wait */
    uint64_t killed = test_now_ns();
    test_daemon_kill(&daemon);
    for (int i = 0; i <= THREADS; i++) {
        assert_int_equal(pthread_join(waiters[i].thread, NULL), 0);
        if (waiters[i].status != RANKD_LOST || strlen(waiters[i].reply.error) < 10)
            fail_msg("waiter %d: %d %s", i, waiters[i].status, waiters[i].reply.error);
        assert_true(waiters[i].ended_ns - killed < SECONDS(1));
        for (int port = 0; port < RANKD_OUT_COUNT && i < THREADS; port++)
            assert_null(waiters[i].reply.outputs[port].data);
        rankd_reply_clear(client, &waiters[i].reply);
    }
    test_request_free(&slow);
    rankd_close(client);
    test_daemon_stop(&daemon);
}

/* What a client says between the death of a daemon and rankd_reconnect(), to every call. */
static void is_lost(rankd_client *client, bool ring)
{
    struct test_request example;
    struct rankd_reply reply;
    struct rankd_error error = {0};
    char *answer;
    int expected = ring ? RANKD_LOST : RANKD_UNREACHABLE; /* HTTP connects anew for each request */
    test_example(&example);
    assert_int_equal(rankd_infer(client, &example.request, &reply), expected);
    assert_true(strlen(reply.error) > 10);
    assert_int_equal(rankd_call(client, "GET", "/v2", NULL, 0, SECONDS(10), &answer, NULL, &error), expected);
    assert_null(answer);
}

static void polls_and_calls_are_told_too(void **state)
{
    struct test_daemon daemon;
    struct test_request example;
    struct rankd_reply reply;
    struct rankd_error error;
    char *answer;
    test_example(&example);
    for (int first = 0; first < 2; first++) {
        test_daemon_start(&daemon, flags);
        rankd_client *client = test_open(&daemon, state, NULL);
        still_works(client);
        test_daemon_hold(&daemon);
        uint64_t tag = submitted(client, &example), until = test_now_ns() + SECONDS(10);
        assert_int_equal(rankd_poll(client, tag, &reply), RANKD_PENDING);
        test_daemon_kill(&daemon);
        if (first == 1) /* a call is the first to notice: it may find the connection open or not */
            assert_int_not_equal(
                rankd_call(client, "GET", "/v2", NULL, 0, SECONDS(10), &answer, NULL, &error), RANKD_OK);
        while (rankd_poll(client, tag, &reply) == RANKD_PENDING)
            assert_true(test_now_ns() < until);
        assert_int_equal(reply.status, RANKD_LOST);
        is_lost(client, is_ring(state));
        rankd_close(client);
        test_daemon_stop(&daemon);
    }
}

/* ---- Its successor ---- */

static int segments_mapped(void)
{
    char line[512];
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof line, maps) != NULL)
        count += strstr(line, "memfd:rankd-ring") != NULL;
    (void)fclose(maps);
    return count;
}

static void reconnected(rankd_client *client)
{
    struct rankd_error error = {0};
    if (rankd_reconnect(client, &error) != RANKD_OK)
        fail_msg("%s", error.text);
}

static void a_successor_is_found_and_memory_from_before_is_kept(void **state)
{
    struct test_daemon daemon;
    struct test_request example;
    struct rankd_reply reply, kept;
    struct rankd_error error = {0};
    bool ring = is_ring(state);
    test_daemon_start(&daemon, flags);
    rankd_client *client = test_open(&daemon, state, NULL);
    uint64_t first = rankd_daemon_id(client), bytes, largest;
    test_example(&example);
    float *scores = rankd_alloc(client, 16), *gradient = rankd_alloc(client, 16);
    memcpy(scores, example.inputs[0].data, 16);
    assert_int_equal(rankd_infer(client, &example.request, &kept), RANKD_OK);
    uint64_t tag = submitted(client, &example), other = submitted(client, &example);
    takes_example(client, tag);
    test_daemon_kill(&daemon);
    if (ring) { /* HTTP has nothing to reconnect to */
        is_lost(client,
                ring); /* the kernel closes what io_uring held some milliseconds after the process is gone */
        assert_int_equal(rankd_reconnect(client, &error), RANKD_UNREACHABLE);
        assert_true(strlen(error.text) > 10);
        is_lost(client, ring);
        rankd_free(client, rankd_alloc(client, 64));
        rankd_arena(client, &bytes, &largest);
        assert_int_equal(rankd_poll(client, other, &reply), RANKD_LOST);
        rankd_forget(client, other);
    }
    test_daemon_again(&daemon);
    reconnected(client);
    assert_true(!ring || rankd_daemon_id(client) != first);
    still_works(client);
    assert_true(test_is_example(&kept)); /* readable */
    gradient[0] = 7;                     /* and writable */
    example.inputs[0].data = scores;     /* as input, and as an output */
    example.outputs[1].data = gradient;
    example.outputs[1].bytes = 16;
    assert_int_equal(rankd_infer(client, &example.request, &reply), RANKD_OK);
    assert_true(test_is_example(&reply));
    assert_ptr_equal(reply.outputs[RANKD_OUT_GRADIENT].data, gradient);
    rankd_reply_clear(client, &reply);
    assert_int_equal(segments_mapped(), ring ? 2 : 0);
    rankd_reply_clear(client, &kept);
    rankd_free(client, scores);
    assert_int_equal(segments_mapped(), ring ? 2 : 0);
    rankd_free(client, gradient);
    assert_int_equal(segments_mapped(), ring ? 1 : 0); /* the old one goes with the last that lay in it */
    still_works(client);
    rankd_close(client);
    assert_int_equal(segments_mapped(), 0);
    test_daemon_stop(&daemon);
}

static void tags_from_before_are_over(void **state)
{
    struct test_daemon daemon;
    struct test_request example;
    struct rankd_reply reply;
    test_example(&example);
    test_daemon_start(&daemon, flags);
    rankd_client *client = test_open(&daemon, state, NULL);
    test_daemon_hold(&daemon);
    uint64_t tag = submitted(client, &example);
    test_daemon_kill(&daemon);
    test_daemon_again(&daemon);
    reconnected(client);
    for (int i = 0; i < 100; i++) { /* tags go on from there: none of these is it */
        uint64_t next = submitted(client, &example);
        assert_true(next != tag);
        takes_example(client, next);
    }
    int status = rankd_wait(client, tag, SECONDS(5), &reply);
    assert_true(status == RANKD_MISUSE);
    rankd_close(client);
    test_daemon_stop(&daemon);
}

static void *reconnect_and_infer(void *arg)
{
    struct waiter *waiter = arg;
    struct test_request example;
    test_example(&example);
    waiter->status = RANKD_OK;
    for (int i = 0; i < 20 && waiter->status == RANKD_OK; i++) {
        waiter->status = rankd_reconnect(waiter->client, NULL);
        if (waiter->status == RANKD_OK)
            waiter->status = rankd_infer(waiter->client, &example.request, &waiter->reply);
        if (waiter->status == RANKD_OK && !test_is_example(&waiter->reply))
            waiter->status = -1;
        rankd_reply_clear(waiter->client, &waiter->reply);
    }
    return NULL;
}

/* One connects for all; whoever comes later must not take the connection away from under the others. */
static void eight_threads_reconnect_at_once(void **state)
{
    struct test_daemon daemon;
    struct waiter waiters[THREADS];
    test_daemon_start(&daemon, flags);
    rankd_client *client = test_open(&daemon, state, NULL);
    for (int round = 0; round < 3; round++) {
        still_works(client);
        test_daemon_kill(&daemon);
        test_daemon_again(&daemon);
        for (int i = 0; i < THREADS; i++) {
            waiters[i] = (struct waiter){.client = client};
            assert_int_equal(pthread_create(&waiters[i].thread, NULL, reconnect_and_infer, &waiters[i]), 0);
        }
        for (int i = 0; i < THREADS; i++)
            assert_int_equal(pthread_join(waiters[i].thread, NULL), 0);
        for (int i = 0; i < THREADS; i++) {
            if (waiters[i].status != RANKD_OK)
                fail_msg("thread %d: %d %s", i, waiters[i].status, waiters[i].reply.error);
        }
    }
    rankd_close(client);
    test_daemon_stop(&daemon);
}

static void a_call_is_not_left_waiting_for_a_daemon_that_is_gone(void **state)
{
    struct test_daemon daemon;
    struct waiter waiter;
    test_daemon_start(&daemon, flags);
    rankd_client *client = test_open(&daemon, state, NULL);
    for (int round = 0; round < 5; round++) { /* another thread reconnects before it has looked */
        test_daemon_hold(&daemon);
        waiter = (struct waiter){.client = client};
        assert_int_equal(pthread_create(&waiter.thread, NULL, wait_without_limit, &waiter), 0);
        (void)usleep(50000);
        test_daemon_kill(&daemon);
        test_daemon_again(&daemon);
        reconnected(client);
        assert_int_equal(pthread_join(waiter.thread, NULL), 0);
        assert_int_equal(waiter.status, RANKD_LOST);
        still_works(client);
    }
    rankd_close(client);
    test_daemon_stop(&daemon);
}

static void a_daemon_that_stops_answers_what_it_has_taken(void **state)
{
    struct test_daemon daemon;
    struct test_request slow;
    struct rankd_reply reply;
    test_daemon_start(&daemon, flags);
    rankd_client *client = test_open(&daemon, state, NULL);
    test_sorting(&slow, SLOW);
    uint64_t tags[3];
    for (int i = 0; i < 3; i++)
        tags[i] = submitted(client, &slow);
    assert_int_equal(rankd_wait(client, tags[0], SECONDS(30), &reply), RANKD_OK); /* all were taken */
    rankd_reply_clear(client, &reply);
    assert_int_equal(kill(daemon.pid, SIGTERM), 0);
    for (int i = 1; i < 3; i++) {
        assert_int_equal(rankd_wait(client, tags[i], SECONDS(30), &reply), RANKD_OK);
        assert_int_equal(reply.outputs[RANKD_OUT_RANKS].bytes, SLOW * sizeof(int64_t));
        rankd_reply_clear(client, &reply);
    }
    test_request_free(&slow);
    rankd_close(client);
    test_daemon_ended(&daemon);
}

/* ---- What must not be sent twice ---- */

static const char reply_head[] = "{\"outputs\":[{\"name\":\"loss\",\"shape\":[1],\"datatype\":\"FP32\","
                                 "\"parameters\":{\"binary_data_size\":4}}]}";

struct server {
    int fd, requests;
    pthread_t thread;
};

/* A whole request, as far as this server wants to know: what is there within a moment. */
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
    struct server *server = arg;
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

/* curl sends again by itself where a connection that was used before is closed without an answer. That would
 * append a batch twice, so what changes something is not, and whoever sent it is told that it may have been
 * done. */
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
        struct server server = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        over_both(in_a_child_every_call_fails_as_forked),
        over_ring(shared_memory_is_not_mapped_in_a_child),
        over_both(a_child_holds_no_connection_of_its_parents),
        over_both(a_child_opens_a_client_of_its_own),
        over_both(forks_amid_calls_of_other_threads_do_no_harm),
        over_both(every_waiter_is_told_within_a_second_when_the_daemon_is_killed),
        over_both(polls_and_calls_are_told_too),
        over_both(a_successor_is_found_and_memory_from_before_is_kept),
        over_ring(tags_from_before_are_over),
        over_both(eight_threads_reconnect_at_once),
        over_ring(a_call_is_not_left_waiting_for_a_daemon_that_is_gone),
        over_both(a_daemon_that_stops_answers_what_it_has_taken),
        over_http(what_changes_something_is_not_sent_twice),
    };
    return cmocka_run_group_tests_name("client_death", tests, NULL, NULL);
}
