/* SPDX-License-Identifier: Apache-2.0 */
/* librankd: refusals of the library and of the daemon, and replies. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "unit/support/client.h"

enum { SLOW = 1 << 20 };

/* ---- Wrong arguments ---- */

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
    rankd_client *client = test_open(&test_shared, state, NULL);
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
    test_still_works(client);
    rankd_close(client);
}

/* The daemon refuses with the same words over both transports. */
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
        break; /* from the library, and bounded */
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

static void a_refusal_is_the_same_over_both_transports(void **state)
{
    (void)state;
    static const int statuses[] = {404, 404, 400, 400, 400, 400, 400, 400, 400, 400, 404, 400, 400, 400, 400};
    void *transports[] = {(void *)(uintptr_t)&test_over_ring, (void *)(uintptr_t)&test_over_http};
    rankd_client *ring = test_open(&test_shared, &transports[0], NULL),
                 *http = test_open(&test_shared, &transports[1], NULL);
    for (int wrong = 0; wrong < (int)(sizeof statuses / sizeof *statuses); wrong++) {
        struct refusal here = refusal_of(ring, wrong), there = refusal_of(http, wrong);
        if (here.status != statuses[wrong] || there.status != statuses[wrong] ||
            (wrong != 1 && wrong != 3 && wrong < 13 && strcmp(here.text, there.text) != 0) ||
            strlen(here.text) < 10)
            fail_msg("%d: %d '%s' over the ring, %d '%s' over HTTP", wrong, here.status, here.text,
                     there.status, there.text);
    }
    test_still_works(ring);
    test_still_works(http);
    rankd_close(ring);
    rankd_close(http);
}

static void texts_that_fill_the_descriptor_are_refused(void **state)
{
    static char text[5000];
    struct test_request r;
    struct rankd_reply reply;
    memset(text, 't', sizeof text - 1);
    rankd_client *client = test_open(&test_shared, state, NULL);
    test_example(&r);
    r.parameters[0] = (struct rankd_parameter){"bank", RANKD_TEXT, 0, text};
    int status = rankd_infer(client, &r.request, &reply);
    assert_int_equal(status, is_ring(state) ? RANKD_MISUSE : RANKD_INVALID);
    assert_true(strlen(reply.error) > 10);
    test_still_works(client);
    rankd_close(client);
}

/* ---- Answers ---- */

static void every_output_comes_back_the_same(void **state)
{
    struct test_request r;
    struct rankd_reply reply;
    rankd_client *client = test_open(&test_shared, state, NULL);
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
    rankd_client *client = test_open(&test_shared, state, NULL);
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

static void a_banks_numbers_come_back(void **state)
{
    struct test_request r;
    struct rankd_reply reply;
    rankd_client *client = test_open(&test_shared, state, NULL);
    test_call(client, "PUT", "/v2/banks/numbers",
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
    test_call(client, "DELETE", "/v2/banks/numbers", NULL, RANKD_OK);
    rankd_close(client);
}

/* By name, also of a copy of the struct; the worked example makes two items pass one each. */
static void numbers_without_a_member_have_names(void **state)
{
    struct test_request r;
    struct rankd_reply reply;
    double value = 7;
    rankd_client *client = test_open(&test_shared, state, NULL);
    test_example(&r);
    assert_int_equal(rankd_infer(client, &r.request, &reply), RANKD_OK);
    const struct rankd_reply copy = reply;
    rankd_reply_clear(client, &reply);
    assert_int_equal(rankd_reply_number(&copy, "pairs_jumped", &value), RANKD_OK);
    assert_true(value == 1);
    value = 7;
    assert_int_equal(rankd_reply_number(&copy, "bank_drift_1", &value), RANKD_NOT_FOUND);
    assert_int_equal(rankd_reply_number(&copy, "loss", &value), RANKD_NOT_FOUND);
    assert_int_equal(rankd_reply_number(NULL, "pairs_jumped", &value), RANKD_MISUSE);
    assert_int_equal(rankd_reply_number(&copy, NULL, &value), RANKD_MISUSE);
    assert_int_equal(rankd_reply_number(&copy, "pairs_jumped", NULL), RANKD_MISUSE);
    r.request.outputs = &(struct rankd_tensor){.port = RANKD_OUT_LOSS};
    r.request.output_count = 1;
    assert_int_equal(rankd_infer(client, &r.request, &reply), RANKD_OK);
    assert_int_equal(rankd_reply_number(&reply, "pairs_jumped", &value), RANKD_NOT_FOUND);
    rankd_reply_clear(client, &reply);
    r.request.model = "none";
    assert_int_equal(rankd_infer(client, &r.request, &reply), RANKD_NOT_FOUND);
    assert_int_equal(rankd_reply_number(&reply, "pairs_jumped", &value), RANKD_NOT_FOUND);
    assert_true(value == 7);
    rankd_reply_clear(client, &reply);
    rankd_close(client);
}

static void the_daemon_tells_how_long_it_took_over_the_ring(void **state)
{
    struct test_request slow;
    struct rankd_reply reply;
    rankd_client *client = test_open(&test_shared, state, NULL);
    test_sorting(&slow, SLOW);
    assert_int_equal(rankd_infer(client, &slow.request, &reply), RANKD_OK);
    assert_true((reply.compute_ns > 0) == is_ring(state));
    rankd_reply_clear(client, &reply);
    test_request_free(&slow);
    rankd_close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        over_both(a_wrong_argument_is_misuse_and_nothing_is_sent),
        cmocka_unit_test(a_refusal_is_the_same_over_both_transports),
        over_both(texts_that_fill_the_descriptor_are_refused),
        over_both(every_output_comes_back_the_same),
        over_both(a_request_without_outputs_gets_its_numbers),
        over_both(a_banks_numbers_come_back),
        over_both(numbers_without_a_member_have_names),
        over_both(the_daemon_tells_how_long_it_took_over_the_ring),
    };
    return cmocka_run_group_tests_name("client_answers", tests, test_shared_start, test_shared_stop);
}
