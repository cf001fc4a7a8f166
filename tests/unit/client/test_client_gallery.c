/* SPDX-License-Identifier: Apache-2.0 */
/* librankd: queries that rank documents, with labels and with pairs in their place, and a
 * metric. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/support/client.h"

static float queries[4] = {1, 0, 0.999f, 0.045f};
static float documents[4] = {0.9f, -0.43f, 0.9f, 0.43f};
static int64_t labels[2] = {0, 1};
static int8_t own_document[4] = {1, 0, 0, 1};

/* The loss of the two queries, each of which should find its own document; with room for its
 * gradients. */
static void ask(rankd_client *client, const char *model, bool pairs, bool gradients,
                struct rankd_reply *reply)
{
    const struct rankd_tensor inputs[] = {
        {RANKD_IN_EMBEDDINGS, RANKD_FP32, 2, {2, 2}, queries, sizeof queries},
        {RANKD_IN_REF_EMBEDDINGS, RANKD_FP32, 2, {2, 2}, documents, sizeof documents},
        pairs ? (struct rankd_tensor){RANKD_IN_RELEVANCE, RANKD_INT8, 2, {2, 2}, own_document, 4}
              : (struct rankd_tensor){RANKD_IN_LABELS, RANKD_INT64, 1, {2}, labels, sizeof labels},
        {RANKD_IN_REF_LABELS, RANKD_INT64, 1, {2}, labels, sizeof labels}};
    const struct rankd_tensor outputs[] = {
        {.port = RANKD_OUT_LIST_LOSS}, {.port = RANKD_OUT_GRADIENT}, {.port = RANKD_OUT_REF_GRADIENT}};
    const struct rankd_parameter parameters[] = {
        {.name = "margin", .type = RANKD_NUMBER},
        {.name = "gallery", .type = RANKD_TEXT, .text = "references"}};
    const struct rankd_request request = {.model = model,
                                          .inputs = inputs,
                                          .input_count = pairs ? 3 : 4,
                                          .outputs = outputs,
                                          .output_count = gradients ? 3 : 1,
                                          .parameters = parameters,
                                          .parameter_count = 2};
    if (rankd_infer(client, &request, reply) != RANKD_OK)
        fail_msg("%s", reply->error);
}

static void documents_are_ranked_and_queries_are_not(void **state)
{
    rankd_client *client = test_open(&test_shared, state, NULL);
    for (int pairs = 0; pairs < 2; pairs++) {
        struct rankd_reply reply;
        ask(client, "ap", pairs, true, &reply);
        const float *each = reply.outputs[RANKD_OUT_LIST_LOSS].data;
        assert_true(each[0] == 0.5f && each[1] == 0.0f);
        for (int port = RANKD_OUT_GRADIENT; port <= RANKD_OUT_REF_GRADIENT;
             port += RANKD_OUT_REF_GRADIENT - RANKD_OUT_GRADIENT) {
            const float *gradient = reply.outputs[port].data;
            assert_int_equal(reply.outputs[port].bytes, sizeof queries);
            assert_true(gradient[0] != 0 || gradient[1] != 0);
        }
        rankd_reply_clear(client, &reply);
    }
    rankd_close(client);
}

static void a_metric_has_list_losses_alone(void **state)
{
    rankd_client *client = test_open(&test_shared, state, NULL);
    struct rankd_reply reply;
    ask(client, "hits", false, false, &reply);
    const float *each = reply.outputs[RANKD_OUT_LIST_LOSS].data;
    assert_true(each[0] == 1.0f && each[1] == 0.0f);
    assert_int_equal(reply.has_gradient, 0);
    rankd_reply_clear(client, &reply);
    rankd_close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        over_both(documents_are_ranked_and_queries_are_not),
        over_both(a_metric_has_list_losses_alone),
    };
    return cmocka_run_group_tests(tests, test_shared_start, test_shared_stop);
}
