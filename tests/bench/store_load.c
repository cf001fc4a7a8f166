/* SPDX-License-Identifier: Apache-2.0 */
/* Trainers that append: each sends 32 embeddings of 128 numbers to one of the daemons, one after
 * the other.
 *
 *     bench-store-load BANK TRAINERS SECONDS URL…
 *
 * Prints batches per second and the median time of a request in microseconds. */
#include <stdio.h>
#include <stdlib.h>

#include "bench/store_request.h"
#include "bench/store_times.h"

static const char *bank;
static double seconds;

static void *train(void *arg)
{
    struct store_writer *trainer = arg;
    rankd_client *client = store_open(trainer->url);
    float *rows = rankd_alloc(client, sizeof(float) * STORE_ROWS * STORE_DIM);
    long long *labels = rankd_alloc(client, sizeof(long long) * STORE_ROWS);
    unsigned seed = trainer->number + 1;
    for (size_t i = 0; i < (size_t)STORE_ROWS * STORE_DIM; i++)
        rows[i] = (float)rand_r(&seed) / (float)RAND_MAX - 0.5f;
    for (size_t i = 0; i < STORE_ROWS; i++)
        labels[i] = (long long)(i / 2);
    const double end = store_now_us() + seconds * 1e6;
    for (double begun = store_now_us(); begun < end && trainer->count < STORE_TIMES_MOST;
         begun = store_now_us()) {
        char id[64];
        (void)snprintf(id, sizeof id, "%.0f-%u-%zu", end, trainer->number, trainer->count);
        rows[trainer->count % ((size_t)STORE_ROWS * STORE_DIM)] += 0.125f;
        const struct rankd_parameter parameters[] = {{.name = "bank", .type = RANKD_TEXT, .text = bank},
                                                     {.name = "batch_id", .type = RANKD_TEXT, .text = id}};
        (void)store_send(client, rows, labels, STORE_ROWS, parameters, 2);
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
