/* SPDX-License-Identifier: Apache-2.0 */
/* librankd: forked children. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "unit/support/client.h"

static const char *const flags[] = {NULL};

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
    family.tag = test_submitted(family.client, &example);
    assert_int_equal(in_child(calls_of_the_child, &family), 0);
    test_takes_example(family.client, family.tag); /* the parent's is as it was */
    assert_int_equal(((char *)family.memory)[99], 7);
    test_still_works(family.client);
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
    test_still_works(client);
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
    test_still_works(client);
    assert_int_equal(holds_a_connection(NULL), 1);
    assert_int_equal(in_child(holds_a_connection, NULL), 0);
    test_still_works(client);
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
        test_still_works(family.client);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        over_both(in_a_child_every_call_fails_as_forked),
        over_ring(shared_memory_is_not_mapped_in_a_child),
        over_both(a_child_holds_no_connection_of_its_parents),
        over_both(a_child_opens_a_client_of_its_own),
        over_both(forks_amid_calls_of_other_threads_do_no_harm),
    };
    return cmocka_run_group_tests_name("client_fork", tests, NULL, NULL);
}
