/* librankd: requests and control calls. Nearly every test runs over both doors, and must not see which. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "unit/support/client.h"

enum { ENTRIES = 64, SLOW = 1 << 20 };

static const char *const flags[] = {NULL};
static struct test_daemon daemon_;

static int start(void **state)
{
    (void)state;
    test_daemon_start(&daemon_, flags);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    test_daemon_stop(&daemon_);
    return 0;
}

static uint64_t submitted(rankd_client *client, const struct test_request *request)
{
    struct rankd_error error = {0};
    uint64_t tag = 0;
    if (rankd_submit(client, &request->request, &tag, &error) != RANKD_OK)
        fail_msg("%s", error.text);
    assert_true(tag != 0);
    return tag;
}

static void takes_example(rankd_client *client, uint64_t tag)
{
    struct rankd_reply reply;
    if (rankd_wait(client, tag, SECONDS(30), &reply) != RANKD_OK || !test_is_example(&reply))
        fail_msg("%d: %s", reply.status, reply.error);
    rankd_reply_clear(client, &reply);
}

static void still_works(rankd_client *client)
{
    struct test_request example;
    test_example(&example);
    takes_example(client, submitted(client, &example));
}

/* ---- Submit, poll, wait ---- */

static void infer_answers_the_worked_example(void **state)
{
    struct test_request example;
    struct rankd_reply reply;
    rankd_client *client = test_open(&daemon_, state, NULL);
    test_example(&example);
    for (int i = 0; i < 200; i++) { /* more often than there are entries */
        assert_int_equal(rankd_infer(client, &example.request, &reply), RANKD_OK);
        assert_true(test_is_example(&reply));
        rankd_reply_clear(client, &reply);
    }
    rankd_close(client);
}

static void a_request_is_pending_and_times_out_until_it_is_answered(void **state)
{
    struct test_request example;
    struct rankd_reply reply;
    rankd_client *client = test_open(&daemon_, state, NULL);
    test_example(&example);
    test_daemon_hold(&daemon_);
    uint64_t tag = submitted(client, &example), begun = test_now_ns();
    assert_int_equal(rankd_poll(client, tag, &reply), RANKD_PENDING);
    assert_int_equal(reply.status, RANKD_PENDING);
    assert_int_equal(rankd_wait(client, tag, 0, &reply), RANKD_TIMEOUT);
    assert_int_equal(rankd_wait(client, tag, SECONDS(0.05), &reply), RANKD_TIMEOUT);
    assert_true(test_now_ns() - begun >= SECONDS(0.05));
    assert_true(strlen(reply.error) > 10);
    test_daemon_go(&daemon_);
    takes_example(client, tag);
    assert_int_equal(rankd_wait(client, tag, SECONDS(1), &reply), RANKD_MISUSE); /* it was taken */
    assert_int_equal(rankd_poll(client, tag, &reply), RANKD_MISUSE);
    rankd_close(client);
}

struct poll {
    rankd_client *client;
    uint64_t tag;
    struct rankd_reply reply;
};

static bool is_answered(void *arg)
{
    struct poll *poll = arg;
    return rankd_poll(poll->client, poll->tag, &poll->reply) != RANKD_PENDING;
}

static void to_poll_is_enough_to_get_an_answer(void **state)
{
    struct test_request example;
    struct poll poll = {.client = test_open(&daemon_, state, NULL)};
    test_example(&example);
    poll.tag = submitted(poll.client, &example);
    assert_true(test_eventually(is_answered, &poll));
    assert_true(test_is_example(&poll.reply));
    rankd_reply_clear(poll.client, &poll.reply);
    rankd_close(poll.client);
}

static void as_many_as_there_are_entries_are_outstanding_and_one_more_is_overloaded(void **state)
{
    struct test_request example;
    struct rankd_error error = {0};
    uint64_t tags[ENTRIES], more = 7;
    rankd_client *client = test_open(&daemon_, state, NULL);
    test_example(&example);
    for (int round = 0; round < 2; round++) {
        test_daemon_hold(&daemon_);
        for (int i = 0; i < ENTRIES; i++) {
            tags[i] = submitted(client, &example);
            for (int j = 0; j < i; j++)
                assert_true(tags[j] != tags[i]);
        }
        assert_int_equal(rankd_submit(client, &example.request, &more, &error), RANKD_OVERLOADED);
        assert_non_null(strstr(error.text, "64"));
        test_daemon_go(&daemon_);
        for (int i = ENTRIES; i-- > 0;) /* in any order: here from the last */
            takes_example(client, tags[i]);
    }
    rankd_close(client);
}

static void an_answer_that_is_not_taken_keeps_its_entry(void **state)
{
    struct test_request example;
    rankd_client *client = test_open(&daemon_, state, &(struct rankd_options){.entries = 4});
    test_example(&example);
    uint64_t tags[4];
    for (int i = 0; i < 4; i++)
        tags[i] = submitted(client, &example);
    for (int i = 0; i < 3; i++)
        takes_example(client, tags[i]);
    for (int i = 0; i < 20; i++) /* beside the one that stays */
        takes_example(client, submitted(client, &example));
    takes_example(client, tags[3]);
    rankd_close(client);
}

static void a_small_request_overtakes_a_slow_one(void **state)
{
    struct test_request example, slow;
    struct rankd_reply reply;
    rankd_client *client = test_open(&daemon_, state, NULL);
    test_example(&example);
    test_sorting(&slow, SLOW);
    bool overtaken = false;
    for (int i = 0; i < 20 && !overtaken;
         i++) { /* a machine that is busy elsewhere may be slow with the small one */
        uint64_t first = submitted(client, &slow);
        takes_example(client, submitted(client, &example));
        overtaken = rankd_poll(client, first, &reply) == RANKD_PENDING;
        assert_int_equal(overtaken ? rankd_wait(client, first, SECONDS(30), &reply) : reply.status, RANKD_OK);
        assert_int_equal(reply.outputs[RANKD_OUT_RANKS].bytes, SLOW * sizeof(int64_t));
        rankd_reply_clear(client, &reply);
    }
    assert_true(overtaken);
    test_request_free(&slow);
    rankd_close(client);
}

static void a_deadline_that_passes_is_told_as_such(void **state)
{
    struct test_request slow;
    struct rankd_reply reply;
    rankd_client *client = test_open(&daemon_, state, NULL);
    test_sorting(&slow, SLOW);
    slow.request.timeout_ns = 1;
    assert_int_equal(rankd_infer(client, &slow.request, &reply), RANKD_DEADLINE);
    assert_int_equal(reply.status, RANKD_DEADLINE);
    assert_non_null(strstr(reply.error, "deadline"));
    assert_null(reply.outputs[RANKD_OUT_RANKS].data);
    rankd_reply_clear(client, &reply);
    slow.request.timeout_ns = UINT64_MAX;
    assert_int_equal(rankd_infer(client, &slow.request, &reply), RANKD_OK);
    rankd_reply_clear(client, &reply);
    still_works(client);
    test_request_free(&slow);
    rankd_close(client);
}

/* ---- Cancel, forget ---- */

static void what_was_not_started_is_taken_back(void **state)
{
    struct test_request slow;
    struct rankd_reply reply;
    rankd_client *client = test_open(&daemon_, state, NULL);
    test_sorting(&slow, SLOW);
    uint64_t first = submitted(client, &slow), second = submitted(client, &slow); /* there is one worker */
    assert_int_equal(rankd_cancel(client, second), RANKD_OK);
    int status = rankd_wait(client, second, SECONDS(30), &reply);
    if (is_ring(state)) {
        assert_int_equal(status, RANKD_CANCELLED);
        assert_non_null(strstr(reply.error, "taken back"));
    } else {
        assert_int_equal(status, RANKD_OK); /* HTTP has no way to take one back */
    }
    rankd_reply_clear(client, &reply);
    assert_int_equal(rankd_wait(client, first, SECONDS(30), &reply), RANKD_OK);
    rankd_reply_clear(client, &reply);
    assert_int_equal(rankd_cancel(client, first), RANKD_MISUSE);
    assert_int_equal(rankd_cancel(client, 123456), RANKD_MISUSE);
    assert_int_equal(rankd_cancel(client, 0), RANKD_MISUSE);
    test_request_free(&slow);
    rankd_close(client);
}

static void what_is_answered_already_is_not_taken_back(void **state)
{
    struct test_request example;
    struct poll poll = {.client = test_open(&daemon_, state, NULL)};
    test_example(&example);
    uint64_t first = submitted(poll.client, &example);
    poll.tag = submitted(poll.client, &example);
    assert_true(test_eventually(is_answered, &poll)); /* and so the one before */
    rankd_reply_clear(poll.client, &poll.reply);
    assert_int_equal(rankd_cancel(poll.client, first), RANKD_OK);
    takes_example(poll.client, first);
    rankd_close(poll.client);
}

enum { FEW = 4 };

struct room {
    rankd_client *client;
    uint64_t free;
};

static bool all_is_free(void *arg)
{
    struct room *room = arg;
    uint64_t bytes, largest, tags[FEW];
    struct test_request example;
    int count = 0;
    test_example(&example);
    /* Those that are forgotten take room until they are answered. */
    while (count < FEW && rankd_submit(room->client, &example.request, &tags[count], NULL) == RANKD_OK)
        count++;
    for (int i = 0; i < count; i++)
        takes_example(room->client, tags[i]);
    if (count < FEW)
        return false;
    rankd_arena(room->client, &bytes, &largest);
    return largest == room->free;
}

static void what_is_forgotten_leaves_nothing_behind(void **state)
{
    struct test_request example;
    struct rankd_reply reply;
    uint64_t bytes, tags[FEW];
    struct room room = {.client = test_open(&daemon_, state, &(struct rankd_options){.entries = FEW})};
    rankd_client *client = room.client;
    rankd_arena(client, &bytes, &room.free);
    test_example(&example);
    for (int round = 0; round < 30; round++) {
        if (round % 3 == 0)
            test_daemon_hold(&daemon_);
        for (int i = 0; i < FEW - 1; i++)
            tags[i] = submitted(client, &example);
        if (round % 3 == 1)
            still_works(client); /* so that they are answered already */
        for (int i = 0; i < FEW - 1; i++) {
            rankd_forget(client, tags[i]);
            assert_int_equal(rankd_poll(client, tags[i], &reply), RANKD_MISUSE);
            assert_int_equal(rankd_wait(client, tags[i], SECONDS(5), &reply), RANKD_MISUSE);
            assert_int_equal(rankd_cancel(client, tags[i]), RANKD_MISUSE);
            rankd_forget(client, tags[i]);
        }
        if (round % 3 == 0)
            test_daemon_go(&daemon_);
        assert_true(test_eventually(all_is_free, &room));
    }
    rankd_forget(client, 987654321);
    rankd_forget(client, 0);
    rankd_close(client);
}

/* ---- What is wrong ---- */

static int refused(rankd_client *client, const struct rankd_request *request)
{
    struct rankd_error error = {0};
    struct rankd_reply reply;
    uint64_t tag = 0;
    int status = rankd_submit(client, request, &tag, &error);
    if (status == RANKD_OK) {
        (void)rankd_wait(client, tag, SECONDS(20), &reply);
        rankd_reply_clear(client, &reply);
        return RANKD_OK;
    }
    assert_int_equal(tag, 0);
    assert_int_equal(error.status, status);
    assert_true(strlen(error.text) > 10);
    assert_int_equal(rankd_infer(client, request, &reply), status);
    assert_int_equal(reply.status, status);
    assert_string_equal(reply.error, error.text);
    assert_int_equal(rankd_submit(client, request, &tag, NULL), status);
    return status;
}

static void a_wrong_argument_is_misuse_and_nothing_is_sent(void **state)
{
    static char long_id[65], long_text[5000];
    memset(long_id, 'i', sizeof long_id - 1);
    memset(long_text, 't', sizeof long_text - 1);
    rankd_client *client = test_open(&daemon_, state, NULL);
    for (int wrong = 0; wrong < 26; wrong++) {
        struct test_request r;
        test_example(&r);
        switch (wrong) {
        case 0:
            r.request.model = NULL;
            break;
        case 1:
            r.inputs[0].port = -1;
            break;
        case 2:
            r.inputs[0].port = RANKD_IN_COUNT;
            break;
        case 3:
            r.inputs[0].dtype = -1;
            break;
        case 4:
            r.inputs[0].dtype = RANKD_DTYPE_COUNT;
            break;
        case 5:
            r.inputs[0].rank = 0;
            break;
        case 6:
            r.inputs[0].rank = 3;
            break;
        case 7:
            r.inputs[0].bytes--;
            break;
        case 8:
            r.inputs[0].shape[0] = UINT64_MAX;
            break;
        case 9:
            r.inputs[0].shape[0] = UINT64_C(1) << 62;
            break; /* times 4, times 4 bytes: 0 */
        case 10:
            r.inputs[0].data = NULL;
            break;
        case 11:
            r.inputs[1].port = RANKD_IN_SCORES;
            break; /* twice */
        case 12:
            r.outputs[0].port = -1;
            break;
        case 13:
            r.outputs[0].port = RANKD_OUT_COUNT;
            break;
        case 14:
            r.outputs[0].port = RANKD_OUT_GRADIENT;
            break; /* twice */
        case 15:
            r.parameters[0].name = NULL;
            break;
        case 16:
            r.parameters[0].type = 0;
            break;
        case 17:
            r.parameters[0].type = 4;
            break;
        case 18:
            r.parameters[0].type = RANKD_TEXT;
            break; /* without text */
        case 19:
            r.parameters[0].number = NAN;
            break;
        case 20:
            r.parameters[0].number = INFINITY;
            break;
        case 21:
            r.parameters[0].type = RANKD_FLAG, r.parameters[0].number = 0.5;
            break;
        case 22:
            r.request.id = long_id;
            break;
        case 23:
            r.request.input_count = RANKD_IN_COUNT + 1;
            break;
        case 24:
            r.request.output_count = RANKD_OUT_COUNT + 1;
            break;
        case 25:
            r.parameters[0].type = RANKD_TEXT, r.parameters[0].text = "not \xff UTF-8";
            break;
        default:
            break;
        }
        int status = refused(client, &r.request);
        if (status != RANKD_MISUSE)
            fail_msg("wrong argument %d: status %d", wrong, status);
    }
    struct test_request r;
    test_example(&r);
    r.request.inputs = NULL;
    assert_int_equal(refused(client, &r.request), RANKD_MISUSE);
    test_example(&r);
    r.request.outputs = NULL;
    assert_int_equal(refused(client, &r.request), RANKD_MISUSE);
    test_example(&r);
    r.request.parameters = NULL;
    assert_int_equal(refused(client, &r.request), RANKD_MISUSE);
    still_works(client);
    rankd_close(client);
}

/* What the daemon refuses it refuses in the same words at both doors. */
struct refusal {
    int status;
    char text[512];
};

static struct refusal refusal_of(rankd_client *client, int wrong)
{
    static float nan_scores[4] = {0.9f, NAN, 0.7f, 0.6f};
    static int8_t bad_targets[4] = {0, 1, 7, 1};
    static float small[4];
    struct test_request r;
    struct rankd_reply reply;
    struct refusal refusal;
    test_example(&r);
    switch (wrong) {
    case 0:
        r.request.model = "app";
        break;
    case 1:
        r.request.model = "a_model_whose_name_is_longer_than_names_are";
        break;
    case 2:
        r.parameters[0].name = "lamda";
        break;
    case 3:
        r.parameters[0].name = "a_parameter_whose_name_is_longer_than_names_are";
        break;
    case 4:
        r.parameters[0].number = -1;
        break;
    case 5:
        r.request.input_count = 1;
        break;
    case 6:
        r.inputs[0].data = nan_scores;
        break;
    case 7:
        r.inputs[1].data = bad_targets;
        break;
    case 8:
        r.outputs[0].port = RANKD_OUT_RANKS;
        break;
    case 9:
        r.inputs[1].shape[0] = 4, r.inputs[1].shape[1] = 1;
        break;
    case 10:
        r.parameters[0] = (struct rankd_parameter){"bank", RANKD_TEXT, 0, "nobody"};
        break;
    case 11:
        r.parameters[0] = (struct rankd_parameter){"lambda", RANKD_TEXT, 0, "much"};
        break;
    case 12:
        r.parameters[0] = (struct rankd_parameter){"average", RANKD_TEXT, 0, "medium"};
        break;
    case 13:
        r.outputs[1].data = small, r.outputs[1].bytes = 8;
        break;
    case 14:
        r.outputs[1].bytes = 8;
        break; /* the library's, and bounded */
    default:
        break;
    }
    refusal.status = rankd_infer(client, &r.request, &reply);
    (void)snprintf(refusal.text, sizeof refusal.text, "%s", reply.error);
    if (wrong >= 13) {
        assert_int_equal(reply.outputs[RANKD_OUT_GRADIENT].bytes, 16);
        assert_null(reply.outputs[RANKD_OUT_GRADIENT].data);
    }
    for (int port = 0; port < RANKD_OUT_COUNT; port++)
        assert_null(reply.outputs[port].data);
    assert_int_equal(reply.owned, 0);
    rankd_reply_clear(client, &reply);
    return refusal;
}

static void a_refusal_is_the_same_over_both_doors(void **state)
{
    (void)state;
    static const int statuses[] = {404, 404, 400, 400, 400, 400, 400, 400, 400, 400, 404, 400, 400, 400, 400};
    void *doors[] = {(void *)(uintptr_t)&test_over_ring, (void *)(uintptr_t)&test_over_http};
    rankd_client *ring = test_open(&daemon_, &doors[0], NULL), *http = test_open(&daemon_, &doors[1], NULL);
    for (int wrong = 0; wrong < (int)(sizeof statuses / sizeof *statuses); wrong++) {
        struct refusal here = refusal_of(ring, wrong), there = refusal_of(http, wrong);
        if (here.status != statuses[wrong] || there.status != statuses[wrong] ||
            (wrong != 1 && wrong != 3 && wrong < 13 && strcmp(here.text, there.text) != 0) ||
            strlen(here.text) < 10)
            fail_msg("%d: %d '%s' over the ring, %d '%s' over HTTP", wrong, here.status, here.text,
                     there.status, there.text);
    }
    still_works(ring);
    still_works(http);
    rankd_close(ring);
    rankd_close(http);
}

static void texts_that_fill_the_descriptor_are_refused(void **state)
{
    static char text[5000];
    struct test_request r;
    struct rankd_reply reply;
    memset(text, 't', sizeof text - 1);
    rankd_client *client = test_open(&daemon_, state, NULL);
    test_example(&r);
    r.parameters[0] = (struct rankd_parameter){"bank", RANKD_TEXT, 0, text};
    int status = rankd_infer(client, &r.request, &reply);
    assert_int_equal(status, is_ring(state) ? RANKD_MISUSE : RANKD_INVALID);
    assert_true(strlen(reply.error) > 10);
    still_works(client);
    rankd_close(client);
}

/* ---- Answers ---- */

static void every_output_comes_back_the_same(void **state)
{
    struct test_request r;
    struct rankd_reply reply;
    rankd_client *client = test_open(&daemon_, state, NULL);
    test_example(&r);
    r.outputs[0].port = RANKD_OUT_GRADIENT_INDICES;
    r.outputs[1].port = RANKD_OUT_GRADIENT_VALUES;
    assert_int_equal(rankd_infer(client, &r.request, &reply), RANKD_OK);
    const struct rankd_tensor *indices = &reply.outputs[RANKD_OUT_GRADIENT_INDICES];
    const struct rankd_tensor *values = &reply.outputs[RANKD_OUT_GRADIENT_VALUES];
    assert_int_equal(indices->dtype, RANKD_INT64);
    assert_int_equal(indices->rank, 1);
    assert_int_equal(indices->shape[0], 4);
    assert_memory_equal(indices->data, ((const int64_t[]){0, 1, 2, 3}), 32);
    assert_memory_equal(values->data, test_example_gradient, sizeof test_example_gradient);
    assert_true(is_ring(state) ? reply.loss == 0.5
                               : isnan(reply.loss)); /* HTTP: the output was not asked for */
    assert_int_equal(reply.owned, 1u << RANKD_OUT_GRADIENT_INDICES | 1u << RANKD_OUT_GRADIENT_VALUES);
    rankd_reply_clear(client, &reply);
    test_example(&r);
    r.outputs[0].port = RANKD_OUT_LIST_LOSS;
    r.request.output_count = 1;
    assert_int_equal(rankd_infer(client, &r.request, &reply), RANKD_OK);
    assert_false(reply.has_gradient);
    assert_int_equal(reply.outputs[RANKD_OUT_LIST_LOSS].bytes, 4);
    assert_true(*(float *)reply.outputs[RANKD_OUT_LIST_LOSS].data == 0.5f);
    rankd_reply_clear(client, &reply);
    r = (struct test_request){0};
    test_example(&r);
    r.request.model = "rank";
    r.request.input_count = r.request.output_count = 1;
    r.request.parameter_count = 0;
    r.outputs[0].port = RANKD_OUT_RANKS;
    assert_int_equal(rankd_infer(client, &r.request, &reply), RANKD_OK);
    assert_memory_equal(reply.outputs[RANKD_OUT_RANKS].data, ((const int64_t[]){1, 2, 3, 4}), 32);
    rankd_reply_clear(client, &reply);
    rankd_close(client);
}

static void a_request_without_outputs_gets_its_numbers(void **state)
{
    struct test_request r;
    struct rankd_reply reply;
    rankd_client *client = test_open(&daemon_, state, NULL);
    test_example(&r);
    r.request.outputs = NULL;
    r.request.output_count = 0;
    if (rankd_infer(client, &r.request, &reply) != RANKD_OK)
        fail_msg("%s", reply.error);
    assert_true(reply.loss == 0.5 && reply.lists == 1 && reply.has_gradient && reply.gradient_nonzero == 4);
    assert_int_equal(reply.owned, 0);
    for (int port = 0; port < RANKD_OUT_COUNT; port++)
        assert_null(reply.outputs[port].data);
    rankd_reply_clear(client, &reply);
    rankd_close(client);
}

static void call(rankd_client *client, const char *method, const char *path, const char *body, int status)
{
    char *answer;
    size_t bytes = 0;
    struct rankd_error error = {0};
    int got = rankd_call(client, method, path, body, body != NULL ? strlen(body) : 0, SECONDS(30), &answer,
                         &bytes, &error);
    if (got != status)
        fail_msg("%s %s: %d %s", method, path, got, error.text);
    assert_true((answer != NULL) == (status == RANKD_OK));
    assert_true(answer == NULL || strlen(answer) == bytes);
    free(answer);
}

static void a_banks_numbers_come_back(void **state)
{
    struct test_request r;
    struct rankd_reply reply;
    rankd_client *client = test_open(&daemon_, state, NULL);
    call(client, "PUT", "/v2/banks/numbers",
         "{\"kind\":\"scores\",\"lists\":1,\"capacity\":100,\"durability\":\"none\"}", RANKD_OK);
    for (unsigned i = 0; i < 3; i++) {
        test_example(&r);
        struct rankd_parameter parameters[] = {{"lambda", RANKD_NUMBER, 1, NULL},
                                               {"bank", RANKD_TEXT, 0, "numbers"},
                                               {"enqueue", RANKD_FLAG, i < 2, NULL}};
        r.request.parameters = parameters;
        r.request.parameter_count = 3;
        r.request.id = "bank";
        if (rankd_infer(client, &r.request, &reply) != RANKD_OK)
            fail_msg("%s", reply.error);
        assert_true(reply.has_bank);
        assert_int_equal(reply.bank_items, 4 * i);
        assert_int_equal(reply.bank_version, i);
        assert_int_equal(reply.bank_version_appended, i < 2 ? i + 1 : 0);
        assert_true(i == 0 ? reply.gradient_dropped == 0
                           : reply.gradient_dropped > 0 && reply.gradient_dropped < 1);
        rankd_reply_clear(client, &reply);
    }
    call(client, "DELETE", "/v2/banks/numbers", NULL, RANKD_OK);
    rankd_close(client);
}

static void the_daemon_tells_how_long_it_took_over_the_ring(void **state)
{
    struct test_request slow;
    struct rankd_reply reply;
    rankd_client *client = test_open(&daemon_, state, NULL);
    test_sorting(&slow, SLOW);
    assert_int_equal(rankd_infer(client, &slow.request, &reply), RANKD_OK);
    assert_true((reply.compute_ns > 0) == is_ring(state));
    rankd_reply_clear(client, &reply);
    test_request_free(&slow);
    rankd_close(client);
}

/* ---- Control calls ---- */

static void a_call_is_answered_as_over_http(void **state)
{
    char *answer = NULL;
    struct rankd_error error = {0};
    rankd_client *client = test_open(&daemon_, state, NULL);
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
    call(client, "DELETE", "/v2", NULL, RANKD_WRONG_VERB);
    call(client, "PUT", "/v2/banks/x", "{", RANKD_INVALID);
    call(client, "GET", "/v2/nothing/of/the/kind", NULL, RANKD_NOT_FOUND);
    call(client, "GET", "/v2/health/live", NULL, RANKD_OK); /* an empty answer */
    rankd_close(client);
}

static void a_call_that_is_no_line_is_misuse(void **state)
{
    const char *const wrong[][2] = {{"GET", "v2"},         {"GET", ""},   {"GET", "/a b"},
                                    {"GET", "/a\r\nX: y"}, {"", "/v2"},   {"GE T", "/v2"},
                                    {"GET\n", "/v2"},      {NULL, "/v2"}, {"GET", NULL}};
    rankd_client *client = test_open(&daemon_, state, NULL);
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
    still_works(client);
    rankd_close(client);
}

static void long_answers_come_whole(void **state)
{
    enum { BANKS = 250 };
    char path[128], *answer;
    size_t bytes;
    rankd_client *client = test_open(&daemon_, state, NULL);
    for (int i = 0; i < BANKS; i++) {
        (void)snprintf(path, sizeof path, "/v2/banks/one-of-many-%050d", i);
        call(client, "PUT", path, "{\"kind\":\"scores\",\"lists\":1,\"capacity\":1,\"durability\":\"none\"}",
             RANKD_OK);
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
        call(client, "DELETE", path, NULL, RANKD_OK);
    }
    rankd_close(client);
}

static void a_body_beyond_the_bound_is_too_large(void **state)
{
    static char body[70000];
    struct rankd_error error = {0};
    char *answer;
    memset(body, ' ', sizeof body);
    rankd_client *client = test_open(&daemon_, state, NULL);
    int status =
        rankd_call(client, "PUT", "/v2/banks/x", body, sizeof body, SECONDS(20), &answer, NULL, &error);
    assert_int_equal(status, RANKD_TOO_LARGE);
    still_works(client);
    rankd_close(client);
}

/* The daemon takes one call of a connection at a time; the next waits for the end of the one that was given
 * up. */
static void a_call_that_was_given_up_costs_nobody_the_connection(void **state)
{
    struct test_request example;
    struct rankd_error error = {0};
    char *answer = (char *)1;
    rankd_client *client = test_open(&daemon_, state, NULL);
    test_example(&example);
    test_daemon_hold(&daemon_);
    uint64_t tag = submitted(client, &example);
    for (int i = 0; i < 3; i++) {
        uint64_t begun = test_now_ns();
        assert_int_equal(rankd_call(client, "GET", "/metrics", NULL, 0, SECONDS(0.05), &answer, NULL, &error),
                         RANKD_TIMEOUT);
        assert_true(test_now_ns() - begun >= SECONDS(0.05));
        assert_null(answer);
    }
    test_daemon_go(&daemon_);
    takes_example(client, tag);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(
            rankd_call(client, "GET", "/v2/models/ap", NULL, 0, SECONDS(20), &answer, NULL, &error),
            RANKD_OK);
        assert_non_null(strstr(answer, "\"ap\"")); /* and not what was asked for before */
        free(answer);
    }
    still_works(client);
    rankd_close(client);
}

/* ---- Threads ---- */

enum { THREADS = 8, ROUNDS = 100 };

struct worker {
    pthread_t thread;
    rankd_client *client;
    int number, wrong;
};

/* A request whose loss says whose it is: thread k's relevant item has k + 1 others before it. */
static int one_round(const struct worker *worker)
{
    float scores[THREADS + 2];
    int8_t targets[THREADS + 2] = {0};
    struct test_request r;
    struct rankd_reply reply;
    char *answer;
    uint64_t tag;
    int status;
    for (int i = 0; i < THREADS + 2; i++)
        scores[i] = (float)-i;
    targets[worker->number + 1] = 1;
    test_example(&r);
    r.inputs[0] =
        (struct rankd_tensor){RANKD_IN_SCORES, RANKD_FP32, 2, {1, THREADS + 2}, scores, sizeof scores};
    r.inputs[1] =
        (struct rankd_tensor){RANKD_IN_TARGETS, RANKD_INT8, 2, {1, THREADS + 2}, targets, sizeof targets};
    if (worker->number % 4 == 3) {
        status =
            rankd_call(worker->client, "GET", "/v2/models/ap", NULL, 0, SECONDS(30), &answer, NULL, NULL);
        free(answer);
        if (status != RANKD_OK)
            return 1;
    }
    if (rankd_submit(worker->client, &r.request, &tag, NULL) != RANKD_OK)
        return 1;
    do
        status = rankd_wait(worker->client, tag, worker->number % 2 ? UINT64_MAX : 100000, &reply);
    while (status == RANKD_TIMEOUT);
    double precision = 1.0 / (worker->number + 2);
    bool right = status == RANKD_OK && fabs(reply.loss - (1 - precision)) < 1e-6;
    rankd_reply_clear(worker->client, &reply);
    return !right;
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    for (int i = 0; i < ROUNDS; i++)
        worker->wrong += one_round(worker);
    return NULL;
}

static void eight_threads_wait_on_one_client_each_for_its_own(void **state)
{
    struct worker workers[THREADS];
    rankd_client *client =
        test_open(&daemon_, state, &(struct rankd_options){.spin_us = is_ring(state) ? 20 : 0});
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.client = client, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(workers[i].wrong, 0);
    still_works(client);
    rankd_close(client);
}

struct poller {
    rankd_client *client;
    uint64_t tag;
    atomic_bool over;
    int status;
};

static void *poll_on_and_on(void *arg)
{
    struct poller *poller = arg;
    struct rankd_reply reply;
    while ((poller->status = rankd_poll(poller->client, poller->tag, &reply)) == RANKD_PENDING)
        continue;
    rankd_reply_clear(poller->client, &reply);
    atomic_store(&poller->over, true);
    return NULL;
}

/* Whoever looks for his own answer may find another's, for whom somebody sleeps who was not rung for it. */
static void a_thread_that_polls_does_not_keep_one_that_waits_from_its_answer(void **state)
{
    pthread_t thread;
    struct test_request slow;
    struct poller poller = {.client = test_open(&daemon_, state, &(struct rankd_options){.spin_us = 500})};
    int served = 0;
    test_sorting(&slow, 4 * SLOW);
    poller.tag = submitted(poller.client, &slow);
    assert_int_equal(pthread_create(&thread, NULL, poll_on_and_on, &poller), 0);
    for (; !atomic_load(&poller.over); served++)
        still_works(poller.client);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(poller.status, RANKD_OK);
    assert_true(served > 50);
    test_request_free(&slow);
    rankd_close(poller.client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        over_both(infer_answers_the_worked_example),
        over_both(a_request_is_pending_and_times_out_until_it_is_answered),
        over_both(to_poll_is_enough_to_get_an_answer),
        over_both(as_many_as_there_are_entries_are_outstanding_and_one_more_is_overloaded),
        over_both(an_answer_that_is_not_taken_keeps_its_entry),
        over_both(a_small_request_overtakes_a_slow_one),
        over_both(a_deadline_that_passes_is_told_as_such),
        over_both(what_was_not_started_is_taken_back),
        over_both(what_is_answered_already_is_not_taken_back),
        over_both(what_is_forgotten_leaves_nothing_behind),
        over_both(a_wrong_argument_is_misuse_and_nothing_is_sent),
        cmocka_unit_test(a_refusal_is_the_same_over_both_doors),
        over_both(texts_that_fill_the_descriptor_are_refused),
        over_both(every_output_comes_back_the_same),
        over_both(a_request_without_outputs_gets_its_numbers),
        over_both(a_banks_numbers_come_back),
        over_both(the_daemon_tells_how_long_it_took_over_the_ring),
        over_both(a_call_is_answered_as_over_http),
        over_both(a_call_that_is_no_line_is_misuse),
        over_both(long_answers_come_whole),
        over_both(a_body_beyond_the_bound_is_too_large),
        over_both(a_call_that_was_given_up_costs_nobody_the_connection),
        over_both(eight_threads_wait_on_one_client_each_for_its_own),
        over_ring(a_thread_that_polls_does_not_keep_one_that_waits_from_its_answer),
    };
    return cmocka_run_group_tests_name("client_calls", tests, start, stop);
}
