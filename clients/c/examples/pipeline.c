/* SPDX-License-Identifier: Apache-2.0 */
/* Many requests in flight: eight batches are submitted, and their losses taken in the order of
 * completion.
 *
 *     pipeline unix:/tmp/rankd.sock */
#include <stdio.h>
#include <stdlib.h>

#include <rankd.h>

enum { BATCHES = 8, QUERIES = 64, ITEMS = 256 };

static float scores[BATCHES][QUERIES * ITEMS];
static signed char targets[QUERIES * ITEMS];

static int submit(rankd_client *client, int batch, uint64_t *tag)
{
    struct rankd_error error;
    struct rankd_tensor inputs[] = {
        {RANKD_IN_SCORES, RANKD_FP32, 2, {QUERIES, ITEMS}, scores[batch], sizeof scores[batch]},
        {RANKD_IN_TARGETS, RANKD_INT8, 2, {QUERIES, ITEMS}, targets, sizeof targets},
    };
    struct rankd_tensor outputs[] = {{.port = RANKD_OUT_LOSS}}; /* the library allocates the room */
    struct rankd_request request = {
        .model = "recall", .inputs = inputs, .input_count = 2, .outputs = outputs, .output_count = 1};
    int status = rankd_submit(client, &request, tag, &error);
    if (status != RANKD_OK)
        fprintf(stderr, "batch %d: %s\n", batch, error.text);
    return status;
}

int main(int count, char **arguments)
{
    struct rankd_error error;
    rankd_client *client;
    uint64_t tags[BATCHES];
    const char *url = count > 1 ? arguments[1] : "http://127.0.0.1:8080";
    if (rankd_open(url, NULL, &client, &error) != RANKD_OK) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    for (int i = 0; i < QUERIES * ITEMS; i++)
        targets[i] = i % 17 == 0;
    for (int batch = 0; batch < BATCHES; batch++) {
        for (int i = 0; i < QUERIES * ITEMS; i++)
            scores[batch][i] = (float)(i * (batch + 1) % 1009) / 1009.0f;
        if (submit(client, batch, &tags[batch]) != RANKD_OK)
            return 1;
    }
    for (int left = BATCHES, batch = 0; left > 0; batch = (batch + 1) % BATCHES) {
        struct rankd_reply reply;
        if (tags[batch] == 0)
            continue;
        int status = rankd_wait(client, tags[batch], 1000000, &reply);
        if (status == RANKD_TIMEOUT)
            continue; /* continue with the next one */
        if (status != RANKD_OK) {
            fprintf(stderr, "batch %d: %s\n", batch, reply.error);
            return 1;
        }
        printf("batch %d: loss %.6f\n", batch, (double)*(float *)reply.outputs[RANKD_OUT_LOSS].data);
        rankd_reply_clear(client, &reply);
        tags[batch] = 0;
        left--;
    }
    rankd_close(client);
    return 0;
}
