/* SPDX-License-Identifier: Apache-2.0 */
/* One training step's loss: scores and targets in, loss and gradient out, without copies.
 *
 *     step unix:/tmp/rankd.sock
 *     step http://127.0.0.1:8080 */
#include <stdio.h>
#include <stdlib.h>

#include <rankd.h>

enum { QUERIES = 2, ITEMS = 4 };

/* Fills the matrices, as a model and its labels would. */
static void make_batch(float *scores, signed char *targets)
{
    static const float score[QUERIES][ITEMS] = {{0.9f, 0.8f, 0.7f, 0.6f}, {0.1f, 0.2f, 0.3f, 0.4f}};
    static const signed char target[QUERIES][ITEMS] = {{0, 1, 0, 1}, {0, 0, 1, 1}};
    for (int i = 0; i < QUERIES * ITEMS; i++) {
        scores[i] = score[i / ITEMS][i % ITEMS];
        targets[i] = target[i / ITEMS][i % ITEMS];
    }
}

static int step(rankd_client *client)
{
    uint64_t count = (uint64_t)QUERIES * ITEMS;
    float *scores = rankd_alloc(client, count * sizeof *scores);
    float *gradient = rankd_alloc(client, count * sizeof *gradient);
    signed char *targets = rankd_alloc(client, count);
    if (scores == NULL || gradient == NULL || targets == NULL) {
        fprintf(stderr, "the arena is too small\n");
        return 1;
    }
    make_batch(scores, targets);

    struct rankd_tensor inputs[] = {
        {RANKD_IN_SCORES, RANKD_FP32, 2, {QUERIES, ITEMS}, scores, count * sizeof *scores},
        {RANKD_IN_TARGETS, RANKD_INT8, 2, {QUERIES, ITEMS}, targets, count},
    };
    struct rankd_tensor outputs[] = {
        {.port = RANKD_OUT_GRADIENT, .data = gradient, .bytes = count * sizeof *gradient},
    };
    struct rankd_parameter parameters[] = {
        {.name = "lambda", .type = RANKD_NUMBER, .number = 1.0},
    };
    struct rankd_request request = {.model = "ap",
                                    .inputs = inputs,
                                    .input_count = 2,
                                    .outputs = outputs,
                                    .output_count = 1,
                                    .parameters = parameters,
                                    .parameter_count = 1};
    struct rankd_reply reply;
    int status = rankd_infer(client, &request, &reply);
    if (status != RANKD_OK) {
        fprintf(stderr, "%d: %s\n", status, reply.error);
        return 1;
    }
    printf("lists %llu, gradient\n", (unsigned long long)reply.lists);
    for (int i = 0; i < QUERIES * ITEMS; i++)
        printf("%g%c", (double)gradient[i], i % ITEMS == ITEMS - 1 ? '\n' : ' ');
    rankd_reply_clear(client, &reply);
    return 0;
}

int main(int count, char **arguments)
{
    struct rankd_error error;
    rankd_client *client;
    const char *url = count > 1 ? arguments[1] : "http://127.0.0.1:8080";
    if (rankd_open(url, NULL, &client, &error) != RANKD_OK) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    int status = step(client);
    rankd_close(client);
    return status;
}
