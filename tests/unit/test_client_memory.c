/* librankd: the arena, where outputs go, and a process that runs out of memory at every allocation in turn.
 */
#include <curl/curl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "unit/support/client.h"

/* ---- Allocations that fail on purpose ---- */

/* The allocation of that number fails, counted from 1; 0 = none. Jansson's have a count of their own.
 * `living`: allocated and not freed. */
static atomic_size_t fail_at, allocations, json_fail_at, json_allocations; /* curl has threads */
static atomic_long living;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *at, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
char *__real_strdup(const char *text);
void __real_free(void *at);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *at, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
char *__wrap_strdup(const char *text);
void __wrap_free(void *at);

static void *counted(void *memory)
{
    living += memory != NULL;
    return memory;
}

void *__wrap_malloc(size_t size)
{
    return ++allocations == fail_at ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return ++allocations == fail_at ? NULL : counted(__real_calloc(count, size));
}

void *__wrap_realloc(void *at, size_t size)
{
    if (++allocations == fail_at)
        return NULL;
    void *memory = __real_realloc(at, size);
    living += at == NULL && memory != NULL;
    return memory;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return ++allocations == fail_at ? NULL : counted(__real_aligned_alloc(alignment, size));
}

char *__wrap_strdup(const char *text)
{
    return ++allocations == fail_at ? NULL : counted(__real_strdup(text));
}

void __wrap_free(void *at)
{
    living -= at != NULL;
    __real_free(at);
}

static void make_fail(size_t n)
{
    allocations = 0;
    fail_at = n;
}

static void make_json_fail(size_t n)
{
    json_allocations = 0;
    json_fail_at = n;
}

static bool has_failed(void)
{
    return (fail_at != 0 && allocations >= fail_at) ||
           (json_fail_at != 0 && json_allocations >= json_fail_at);
}

/* Jansson's memory, in the way of a program that has set an allocator of its own: it is not free()'s.
 */
static void *json_malloc(size_t size)
{
    char *memory = ++json_allocations == json_fail_at ? NULL : counted(__real_malloc(size + 16));
    return memory != NULL ? memory + 16 : NULL;
}

static void json_free(void *at)
{
    if (at != NULL)
        __wrap_free((char *)at - 16);
}

/* ---- The daemon ---- */

static const char *const flags[] = {NULL};
static struct test_daemon daemon_;

static int start(void **state)
{
    (void)state;
    json_set_alloc_funcs(json_malloc, json_free);
    (void)curl_global_init_mem(CURL_GLOBAL_DEFAULT, __wrap_malloc, __wrap_free, __wrap_realloc, __wrap_strdup,
                               __wrap_calloc);
    test_daemon_start(&daemon_, flags);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    test_daemon_stop(&daemon_);
    return 0;
}

static uint64_t largest_free(rankd_client *client)
{
    uint64_t bytes, largest;
    rankd_arena(client, &bytes, &largest);
    assert_true(largest <= bytes);
    return largest;
}

/* ---- The arena ---- */

static void memory_is_aligned_and_apart(void **state)
{
    enum { COUNT = 200 };
    unsigned char *piece[COUNT];
    rankd_client *client = test_open(&daemon_, state, NULL);
    for (size_t i = 0; i < COUNT; i++) {
        piece[i] = rankd_alloc(client, i);
        assert_non_null(piece[i]);
        assert_int_equal((uintptr_t)piece[i] % 64, 0);
        memset(piece[i], (int)i, i);
    }
    for (size_t i = 0; i < COUNT; i++) {
        for (size_t k = 0; k < i; k++)
            assert_int_equal(piece[i][k], i);
        rankd_free(client, piece[i]);
    }
    rankd_free(client, NULL);
    assert_null(rankd_alloc(client, UINT64_MAX));
    assert_null(rankd_alloc(client, UINT64_MAX - 63));
    if (is_ring(state)) /* a sanitizer takes such a malloc() for a fault of the program's */
        assert_null(rankd_alloc(client, UINT64_C(1) << 60));
    rankd_close(client);
}

static void what_was_cut_up_comes_back_whole(void **state)
{
    enum { MOST = 4096 };
    static void *piece[MOST];
    size_t count = 0;
    rankd_client *client = test_open(&daemon_, state, &(struct rankd_options){.arena_bytes = 8 << 20});
    uint64_t whole = largest_free(client);
    while (count < MOST && (piece[count] = rankd_alloc(client, 4000)) != NULL)
        count++;
    assert_in_range(count, whole / 4096, whole / 4032 + 1);
    assert_null(rankd_alloc(client, 4000));
    for (size_t i = 0; i < count; i += 2) /* every second one: room, in pieces */
        rankd_free(client, piece[i]);
    assert_true(largest_free(client) < 8192);
    assert_null(rankd_alloc(client, 8192));
    piece[0] = rankd_alloc(client, 4000);
    assert_non_null(piece[0]);
    rankd_free(client, piece[0]);
    for (size_t i = 1; i < count; i += 2)
        rankd_free(client, piece[i]);
    assert_int_equal(largest_free(client), whole);
    void *all = rankd_alloc(client, whole);
    assert_non_null(all);
    assert_int_equal(largest_free(client), 0);
    assert_null(rankd_alloc(client, 1));
    rankd_free(client, all);
    rankd_free(client, all); /* not one of its pieces any more: nothing happens */
    rankd_free(client, &count);
    assert_int_equal(largest_free(client), whole);
    rankd_close(client);
}

static void random_pieces_never_overlap_and_all_come_back(void **state)
{
    enum { HELD = 64, ROUNDS = 20000 };
    struct {
        unsigned char *at;
        size_t bytes;
    } held[HELD] = {0};
    uint32_t x = 1;
    rankd_client *client = test_open(&daemon_, state, &(struct rankd_options){.arena_bytes = 2 << 20});
    uint64_t whole = largest_free(client);
    for (int round = 0; round < ROUNDS; round++) {
        x = x * 1664525u + 1013904223u;
        size_t i = x >> 16 & (HELD - 1), bytes = x >> 8 & 0xffff;
        if (held[i].at != NULL) {
            assert_int_equal(held[i].at[0], i);
            assert_int_equal(held[i].at[held[i].bytes - 1], i);
            rankd_free(client, held[i].at);
            held[i].at = NULL;
            continue;
        }
        held[i].bytes = bytes + 1;
        held[i].at = rankd_alloc(client, bytes + 1);
        if (held[i].at != NULL)
            memset(held[i].at, (int)i, bytes + 1);
    }
    for (size_t i = 0; i < HELD; i++)
        rankd_free(client, held[i].at);
    assert_int_equal(largest_free(client), whole);
    rankd_close(client);
}

static void a_request_that_finds_no_room_says_so_and_is_not_sent(void **state)
{
    struct test_request example;
    struct rankd_error error = {0};
    struct rankd_reply reply;
    uint64_t tag = 0;
    rankd_client *client = test_open(&daemon_, state, NULL);
    uint64_t whole = largest_free(client);
    test_example(&example);
    /* Room for none, and then for the inputs alone: what was taken on the way is given back. */
    for (uint64_t left = 0; left <= 192; left += 64) {
        void *most = rankd_alloc(client, whole - left);
        assert_int_equal(rankd_submit(client, &example.request, &tag, &error), RANKD_NO_MEMORY);
        assert_non_null(strstr(error.text, "arena"));
        assert_int_equal(rankd_infer(client, &example.request, &reply), RANKD_NO_MEMORY);
        assert_int_equal(largest_free(client), left);
        rankd_free(client, most);
        assert_int_equal(rankd_infer(client, &example.request, &reply), RANKD_OK);
        assert_true(test_is_example(&reply));
        rankd_reply_clear(client, &reply);
        assert_int_equal(largest_free(client), whole);
    }
    rankd_close(client);
}

/* ---- Where outputs go ---- */

enum place { OWN, ARENA, LIBRARY };

static void infers_to(rankd_client *client, enum place where, bool exact)
{
    float own[64];
    struct test_request example;
    struct rankd_reply reply;
    uint64_t before = largest_free(client);
    test_example(&example);
    float *to = where == OWN ? own : where == ARENA ? rankd_alloc(client, sizeof own) : NULL;
    for (int i = 0; to != NULL && i < 64; i++)
        to[i] = 7;
    example.outputs[1].data = to;
    example.outputs[1].bytes = where == LIBRARY && exact ? 16
                               : where == LIBRARY        ? 0
                               : exact                   ? 16
                                                         : sizeof own;
    assert_int_equal(rankd_infer(client, &example.request, &reply), RANKD_OK);
    assert_true(test_is_example(&reply));
    if (to != NULL)
        assert_ptr_equal(reply.outputs[RANKD_OUT_GRADIENT].data, to);
    for (int i = 4; to != NULL && i < 64; i++)
        assert_true(to[i] == 7); /* nothing behind it was touched */
    assert_int_equal(reply.owned, 1u << RANKD_OUT_LOSS | (where == LIBRARY ? 1u << RANKD_OUT_GRADIENT : 0));
    rankd_reply_clear(client, &reply);
    rankd_reply_clear(client, &reply); /* twice is fine */
    assert_int_equal(reply.owned, 0);
    if (where == ARENA)
        rankd_free(client, to);
    assert_int_equal(largest_free(client), before);
}

static void outputs_go_to_own_memory_to_the_arena_or_to_the_librarys(void **state)
{
    rankd_client *client = test_open(&daemon_, state, NULL);
    for (enum place where = OWN; where <= LIBRARY; where++) {
        infers_to(client, where, true);
        infers_to(client, where, false);
    }
    rankd_reply_clear(client, &(struct rankd_reply){0});
    rankd_close(client);
}

static void a_room_that_is_too_small_tells_what_is_needed(void **state)
{
    float own[4] = {7, 7, 7, 7};
    struct test_request example;
    struct rankd_reply reply;
    rankd_client *client = test_open(&daemon_, state, NULL);
    uint64_t whole = largest_free(client);
    float *shared = rankd_alloc(client, 16);
    memcpy(shared, own, sizeof own);
    uint64_t before = largest_free(client);
    for (enum place where = OWN; where <= LIBRARY; where++) {
        test_example(&example);
        example.outputs[1].data = where == OWN ? own : where == ARENA ? shared : NULL;
        for (uint64_t room = where == LIBRARY ? 1 : 0; room < 16; room += 5) {
            example.outputs[1].bytes = room;
            assert_int_equal(rankd_infer(client, &example.request, &reply), RANKD_INVALID);
            assert_int_equal(reply.status, RANKD_INVALID);
            assert_non_null(strstr(reply.error, "gradient"));
            assert_int_equal(reply.outputs[RANKD_OUT_GRADIENT].bytes, 16);
            for (int port = 0; port < RANKD_OUT_COUNT; port++)
                assert_null(reply.outputs[port].data);
            assert_int_equal(reply.owned, 0);
            assert_true(own[0] == 7 && own[3] == 7);
            assert_int_equal(largest_free(client), before);
        }
    }
    rankd_free(client, shared);
    assert_int_equal(largest_free(client), whole);
    rankd_close(client);
}

static void inputs_may_lie_in_the_arena_or_anywhere(void **state)
{
    struct test_request example;
    struct rankd_reply reply;
    rankd_client *client = test_open(&daemon_, state, NULL);
    uint64_t whole = largest_free(client);
    for (unsigned where = 0; where < 4; where++) {
        void *scores = where & 1 ? rankd_alloc(client, 16) : NULL,
             *targets = where & 2 ? rankd_alloc(client, 4) : NULL;
        test_example(&example);
        if (scores != NULL)
            example.inputs[0].data = memcpy(scores, example.inputs[0].data, 16);
        if (targets != NULL)
            example.inputs[1].data = memcpy(targets, example.inputs[1].data, 4);
        assert_int_equal(rankd_infer(client, &example.request, &reply), RANKD_OK);
        assert_true(test_is_example(&reply));
        rankd_reply_clear(client, &reply);
        rankd_free(client, scores);
        rankd_free(client, targets);
        assert_int_equal(largest_free(client), whole);
    }
    rankd_close(client);
}

static void what_a_request_points_to_may_go_once_it_is_sent(void **state)
{
    struct rankd_reply reply;
    uint64_t tag;
    rankd_client *client = test_open(&daemon_, state, NULL);
    struct test_request *example = malloc(sizeof *example);
    test_example(example);
    char *name = strdup("ap"), *lambda = strdup("lambda");
    float *scores = malloc(16);
    example->inputs[0].data = memcpy(scores, example->inputs[0].data, 16);
    example->request.model = name;
    example->parameters[0].name = lambda;
    test_daemon_hold(&daemon_);
    assert_int_equal(rankd_submit(client, &example->request, &tag, NULL), RANKD_OK);
    memset(scores, 0xff, 16);
    free(scores);
    free(name);
    free(lambda);
    memset(example, 0xff, sizeof *example);
    free(example);
    test_daemon_go(&daemon_);
    assert_int_equal(rankd_wait(client, tag, SECONDS(20), &reply), RANKD_OK);
    assert_true(test_is_example(&reply));
    rankd_reply_clear(client, &reply);
    rankd_close(client);
}

static void to_close_with_everything_outstanding_leaks_nothing(void **state)
{
    struct test_request example;
    struct rankd_reply reply;
    char *answer;
    long before = living;
    uint64_t tag;
    rankd_client *client = test_open(&daemon_, state, NULL);
    test_example(&example);
    assert_non_null(rankd_alloc(client, 1000));
    test_daemon_hold(&daemon_);
    for (int i = 0; i < 10; i++)
        assert_int_equal(rankd_submit(client, &example.request, &tag, NULL), RANKD_OK);
    rankd_forget(client, tag);
    assert_int_equal(rankd_call(client, "GET", "/v2", NULL, 0, 1000000, &answer, NULL, NULL), RANKD_TIMEOUT);
    test_daemon_go(&daemon_);
    assert_int_equal(rankd_infer(client, &example.request, &reply), RANKD_OK);
    rankd_close(client); /* and with it the piece of 1,000 bytes, and the reply's outputs */
    assert_int_equal(living, before);
}

/* ---- Memory of the process ---- */

/* A step that failed for want of memory, and for nothing else, is done again: it must not have broken
 * anything. */
static int *failures_seen;
static bool by_http;

static bool again(int status, const char *what)
{
    /* Some of its own failures curl tells as a host that was not found, and Jansson as bad syntax. */
    bool told =
        status == RANKD_NO_MEMORY || (by_http && (status == RANKD_UNREACHABLE || status == RANKD_LOST));
    if (has_failed() && told) {
        ++*failures_seen;
        return true;
    }
    if (status != RANKD_OK)
        fail_msg("%s, allocation %zu: status %d", what, fail_at, status);
    return false;
}

static rankd_client *opened(void **state)
{
    struct rankd_error error;
    struct rankd_options options = {.token = "a-token", .arena_bytes = 1 << 20};
    rankd_client *client;
    while (again(rankd_open(test_url(&daemon_, state), &options, &client, &error), "open"))
        assert_true(client == NULL && error.status == RANKD_NO_MEMORY && strlen(error.text) > 10);
    return client;
}

static void *allocated(rankd_client *client, size_t bytes)
{
    void *memory = rankd_alloc(client, bytes);
    return memory != NULL ? memory : rankd_alloc(client, bytes);
}

static void infers(rankd_client *client, struct test_request *example)
{
    struct rankd_reply reply = {0};
    while (again(rankd_infer(client, &example->request, &reply), "infer"))
        assert_true(reply.owned == 0 && strlen(reply.error) > 10);
    /* Jansson 2.14 loses a letter of a key where it can't make a buffer larger, and says nothing. */
    assert_true(test_is_example(&reply) || json_fail_at != 0);
    rankd_reply_clear(client, &reply);
}

static void calls(rankd_client *client)
{
    struct rankd_error error;
    char *answer;
    size_t bytes;
    int status;
    while (again(rankd_call(client, "GET", "/v2/models/ap", NULL, 0, SECONDS(20), &answer, &bytes, &error),
                 "call"))
        assert_true(answer == NULL && strlen(error.text) > 10);
    assert_non_null(strstr(answer, "\"ap\""));
    assert_int_equal(strlen(answer), bytes);
    free(answer);
    do
        status = rankd_call(client, "PUT", "/v2/banks/x", "{", 1, SECONDS(20), &answer, NULL, &error);
    while (status != RANKD_INVALID && again(status, "call"));
    assert_int_equal(status, RANKD_INVALID);
    assert_true(answer == NULL && strlen(error.text) > 10);
}

static bool is_as_before(void *arg)
{
    return living == *(const long *)arg;
}

/* All that a program does, while some allocation fails. Returns how many steps failed. */
static int run_short_of_memory(void **state)
{
    int failures = 0;
    struct test_request example;
    static float gradient[4];
    test_example(&example);
    failures_seen = &failures;
    by_http = !is_ring(state);
    long before = living;
    rankd_client *client = opened(state);
    float *shared = allocated(client, 16);
    assert_non_null(shared);
    infers(client, &example);
    example.request.id = "short of memory";
    example.inputs[0].data = memcpy(shared, example.inputs[0].data, 16);
    example.outputs[1].data = gradient;
    example.outputs[1].bytes = sizeof gradient;
    infers(client, &example);
    calls(client);
    rankd_free(client, shared);
    rankd_close(client);
    if (!test_eventually(is_as_before, &before)) /* a thread of curl's may have something to free yet */
        fail_msg("allocations %zu, %zu: %ld were not freed", fail_at, json_fail_at, living - before);
    return failures;
}

static void each_allocation_may_fail_in_turn(void **state)
{
    size_t n = 0;
    int failures = 0;
    (void)run_short_of_memory(state); /* what is made once for the process */
    do {
        make_fail(++n);
        failures += run_short_of_memory(state);
    } while (has_failed() && n < 5000);
    make_fail(0);
    assert_in_range(n, 10, 4999);
    print_message("%zu allocations, %d of them were missed\n", n - 1, failures);
    assert_true(failures > 5);
    n = 0;
    do {
        make_json_fail(++n);
        failures += run_short_of_memory(state);
    } while (has_failed() && n < 5000);
    make_json_fail(0);
    assert_in_range(n, 3, 4999);
    print_message("and %zu of Jansson's\n", n - 1);
}

/* A reconnect that finds no memory leaves a client that is lost and says so, and can try again. */
static void to_reconnect_may_fail_for_want_of_memory(void **state)
{
    struct test_daemon daemon;
    struct test_request example;
    struct rankd_reply reply;
    struct rankd_error error;
    test_example(&example);
    test_daemon_start(&daemon, flags);
    rankd_client *client = test_open(&daemon, state, NULL);
    for (size_t n = 1; n < 100; n++) {
        uint64_t tag;
        char *answer;
        void *kept = rankd_alloc(client, 64);
        assert_int_equal(rankd_submit(client, &example.request, &tag, NULL), RANKD_OK);
        test_daemon_kill(&daemon);
        test_daemon_again(&daemon);
        make_fail(n);
        int status = rankd_reconnect(client, &error);
        bool failed = has_failed();
        make_fail(0);
        assert_int_equal(status, failed ? RANKD_NO_MEMORY : RANKD_OK);
        if (failed) {
            assert_int_equal(rankd_wait(client, tag, SECONDS(1), &reply), RANKD_LOST);
            assert_int_equal(rankd_infer(client, &example.request, &reply), RANKD_LOST);
            assert_int_equal(rankd_call(client, "GET", "/v2", NULL, 0, SECONDS(1), &answer, NULL, NULL),
                             RANKD_LOST);
            rankd_forget(client, tag);
            assert_int_equal(rankd_reconnect(client, &error), RANKD_OK);
        }
        assert_int_equal(rankd_infer(client, &example.request, &reply), RANKD_OK);
        assert_true(test_is_example(&reply));
        rankd_reply_clear(client, &reply);
        rankd_free(client, kept);
        if (!failed)
            break;
    }
    rankd_close(client);
    test_daemon_stop(&daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        over_both(memory_is_aligned_and_apart),
        over_ring(what_was_cut_up_comes_back_whole),
        over_ring(random_pieces_never_overlap_and_all_come_back),
        over_ring(a_request_that_finds_no_room_says_so_and_is_not_sent),
        over_both(outputs_go_to_own_memory_to_the_arena_or_to_the_librarys),
        over_both(a_room_that_is_too_small_tells_what_is_needed),
        over_both(inputs_may_lie_in_the_arena_or_anywhere),
        over_both(what_a_request_points_to_may_go_once_it_is_sent),
        over_both(to_close_with_everything_outstanding_leaks_nothing),
        over_both(each_allocation_may_fail_in_turn),
        over_ring(to_reconnect_may_fail_for_want_of_memory),
    };
    return cmocka_run_group_tests_name("client_memory", tests, start, stop);
}
