/* SPDX-License-Identifier: Apache-2.0 */
/* librankd: the arena, and where inputs and outputs lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "unit/support/client.h"

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
    rankd_client *client = test_open(&test_shared, state, NULL);
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
    if (is_ring(state)) /* a sanitizer reports such a malloc() as a fault of the program */
        assert_null(rankd_alloc(client, UINT64_C(1) << 60));
    rankd_close(client);
}

static void what_was_cut_up_comes_back_whole(void **state)
{
    enum { MOST = 4096 };
    static void *piece[MOST];
    size_t count = 0;
    rankd_client *client = test_open(&test_shared, state, &(struct rankd_options){.arena_bytes = 8 << 20});
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
    rankd_free(client, all); /* no longer one of its pieces: nothing happens */
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
    rankd_client *client = test_open(&test_shared, state, &(struct rankd_options){.arena_bytes = 2 << 20});
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
    rankd_client *client = test_open(&test_shared, state, NULL);
    uint64_t whole = largest_free(client);
    test_example(&example);
    /* Room for nothing, and then only for the inputs: pieces that were taken before the failure are
     * freed. */
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
    rankd_client *client = test_open(&test_shared, state, NULL);
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
    rankd_client *client = test_open(&test_shared, state, NULL);
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
    rankd_client *client = test_open(&test_shared, state, NULL);
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
    rankd_client *client = test_open(&test_shared, state, NULL);
    struct test_request *example = malloc(sizeof *example);
    test_example(example);
    char *name = strdup("ap"), *lambda = strdup("lambda");
    float *scores = malloc(16);
    example->inputs[0].data = memcpy(scores, example->inputs[0].data, 16);
    example->request.model = name;
    example->parameters[0].name = lambda;
    test_daemon_hold(&test_shared);
    assert_int_equal(rankd_submit(client, &example->request, &tag, NULL), RANKD_OK);
    memset(scores, 0xff, 16);
    free(scores);
    free(name);
    free(lambda);
    memset(example, 0xff, sizeof *example);
    free(example);
    test_daemon_go(&test_shared);
    assert_int_equal(rankd_wait(client, tag, SECONDS(20), &reply), RANKD_OK);
    assert_true(test_is_example(&reply));
    rankd_reply_clear(client, &reply);
    rankd_close(client);
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
    };
    return cmocka_run_group_tests_name("client_arena", tests, test_shared_start, test_shared_stop);
}
