/* SPDX-License-Identifier: Apache-2.0 */
/* Trainers that append: each sends 32 embeddings of 128 numbers to one of the daemons, one after the other.
 *
 *     bench-store-load BANK TRAINERS SECONDS URL…
 *
 * Prints batches per second and the median time of a request in microseconds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rankd.h>

#include "bench/store_times.h"

enum { ROWS = 32, DIM = 128 };

static const char *bank;
static double seconds;

static void send_one(rankd_client *client, float *rows, long long *labels, const char *id)
{
    struct rankd_tensor inputs[] = {
        {RANKD_IN_EMBEDDINGS, RANKD_FP32, 2, {ROWS, DIM}, rows, sizeof(float) * ROWS * DIM},
        {RANKD_IN_LABELS, RANKD_INT64, 1, {ROWS, 0}, labels, sizeof(long long) * ROWS}};
    struct rankd_tensor outputs[] = {{.port = RANKD_OUT_LOSS}};
    struct rankd_parameter parameters[] = {{.name = "bank", .type = RANKD_TEXT, .text = bank},
                                           {.name = "batch_id", .type = RANKD_TEXT, .text = id}};
    struct rankd_request request = {.model = "ap",
                                    .inputs = inputs,
                                    .input_count = 2,
                                    .outputs = outputs,
                                    .output_count = 1,
                                    .parameters = parameters,
                                    .parameter_count = 2};
    struct rankd_reply reply;
    if (rankd_infer(client, &request, &reply) != RANKD_OK) {
        fprintf(stderr, "load: %s\n", reply.error);
        exit(1);
    }
    rankd_reply_clear(client, &reply);
}

static void *train(void *arg)
{
    struct store_writer *trainer = arg;
    struct rankd_error error;
    rankd_client *client;
    if (rankd_open(trainer->url, NULL, &client, &error) != RANKD_OK) {
        fprintf(stderr, "load: %s\n", error.text);
        exit(1);
    }
    float *rows = rankd_alloc(client, sizeof(float) * ROWS * DIM);
    long long *labels = rankd_alloc(client, sizeof(long long) * ROWS);
    unsigned seed = trainer->number + 1;
    for (size_t i = 0; i < (size_t)ROWS * DIM; i++)
        rows[i] = (float)rand_r(&seed) / (float)RAND_MAX - 0.5f;
    for (size_t i = 0; i < ROWS; i++)
        labels[i] = (long long)(i / 2);
    const double end = store_now_us() + seconds * 1e6;
    for (double begun = store_now_us(); begun < end && trainer->count < STORE_TIMES_MOST;
         begun = store_now_us()) {
        char id[64];
        (void)snprintf(id, sizeof id, "%.0f-%u-%zu", end, trainer->number, trainer->count);
        rows[trainer->count % ((size_t)ROWS * DIM)] += 0.125f;
        send_one(client, rows, labels, id);
        trainer->time_us[trainer->count++] = store_now_us() - begun;
    }
    rankd_close(client);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    bank = argv[1];
    seconds = atof(argv[3]);
    store_write(atoi(argv[2]), argv + 4, argc - 4, train, seconds);
    return 0;
}
