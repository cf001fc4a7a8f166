/* SPDX-License-Identifier: Apache-2.0 */
/* How long after its acknowledgement a batch is there on other daemons, at a given rate.
 *
 *     bench-store-fan BANK RATE SECONDS WRITER_URL READER_URL…
 *
 * Four writers append 32 embeddings of 128 numbers each through one daemon, RATE a second in all. At each
 * reader's daemon a request waits for a version that is to come in some 50 ms (bank_version); when it is
 * answered, the version is there. Prints the rate that was reached, and the median, the 99th percentile and
 * the largest of these times in microseconds, answer included. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rankd.h>

enum { ROWS = 32, DIM = 128, WRITERS = 4, MOST = 1 << 20, AHEAD_PER_S = 20 };

static const char *bank;
static double rate, end_us;
static _Atomic double acked_us[MOST];
static atomic_ullong newest;
static atomic_size_t appended;

struct fan_thread {
    pthread_t thread;
    const char *url;
    unsigned number;
    size_t count;
    struct {
        uint64_t version;
        double at_us;
    } seen[1 << 16];
};

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static rankd_client *open_client(const char *url)
{
    struct rankd_error error;
    rankd_client *client;
    if (rankd_open(url, NULL, &client, &error) != RANKD_OK) {
        fprintf(stderr, "fan: %s\n", error.text);
        exit(1);
    }
    return client;
}

/* Version 0: appends. Otherwise reads that version, of which nothing is ranked. The version that it became or
 * that was read. */
static uint64_t send_one(rankd_client *client, float *rows, long long *labels, const char *id,
                         uint64_t version)
{
    struct rankd_tensor inputs[] = {{RANKD_IN_EMBEDDINGS,
                                     RANKD_FP32,
                                     2,
                                     {version ? 2 : ROWS, DIM},
                                     rows,
                                     sizeof(float) * (version ? 2 : ROWS) * DIM},
                                    {RANKD_IN_LABELS,
                                     RANKD_INT64,
                                     1,
                                     {version ? 2 : ROWS, 0},
                                     labels,
                                     sizeof(long long) * (version ? 2 : ROWS)}};
    struct rankd_tensor outputs[] = {{.port = RANKD_OUT_LOSS}};
    struct rankd_parameter parameters[] = {
        {.name = "bank", .type = RANKD_TEXT, .text = bank},
        version ? (struct rankd_parameter){.name = "bank_version",
                                           .type = RANKD_NUMBER,
                                           .number = (double)version}
                : (struct rankd_parameter){.name = "batch_id", .type = RANKD_TEXT, .text = id},
        {.name = "enqueue", .type = RANKD_FLAG, .number = !version},
        {.name = "bank_read", .type = RANKD_FLAG, .number = 0}};
    struct rankd_request request = {.model = "ap",
                                    .inputs = inputs,
                                    .input_count = 2,
                                    .outputs = outputs,
                                    .output_count = 1,
                                    .parameters = parameters,
                                    .parameter_count = 4};
    struct rankd_reply reply;
    if (rankd_infer(client, &request, &reply) != RANKD_OK) {
        fprintf(stderr, "fan: %s\n", reply.error);
        exit(1);
    }
    const uint64_t found = version ? reply.bank_version : reply.bank_version_appended;
    rankd_reply_clear(client, &reply);
    return found;
}

static void wait_until(double at_us)
{
    const double left = at_us - now_us();
    const struct timespec pause = {(time_t)(left / 1e6), (long)(fmod(left, 1e6) * 1e3)};
    if (left > 0)
        (void)nanosleep(&pause, NULL);
}

static void *write_on(void *arg)
{
    struct fan_thread *writer = arg;
    rankd_client *client = open_client(writer->url);
    float *rows = calloc((size_t)ROWS * DIM, sizeof *rows);
    long long labels[ROWS];
    for (int i = 0; i < ROWS * DIM; i++)
        rows[i] = (float)((i * 7919 + (int)writer->number) % 1000) / 500.0f - 1;
    for (int i = 0; i < ROWS; i++)
        labels[i] = i / 2;
    for (double at = now_us(); now_us() < end_us; at += 1e6 * WRITERS / rate) {
        char id[64];
        wait_until(at);
        rows[writer->count % ((size_t)ROWS * DIM)] += 0.125f;
        (void)snprintf(id, sizeof id, "%.0f-%u-%zu", end_us, writer->number, writer->count++);
        const uint64_t version = send_one(client, rows, labels, id, 0);
        if (version < MOST)
            atomic_store(&acked_us[version], now_us());
        unsigned long long known = atomic_load(&newest);
        while (known < version && !atomic_compare_exchange_weak(&newest, &known, version))
            ;
        atomic_fetch_add(&appended, 1);
    }
    return NULL;
}

static void *read_on(void *arg)
{
    struct fan_thread *reader = arg;
    rankd_client *client = open_client(reader->url);
    float rows[2 * DIM] = {[0] = 1, [DIM] = 1}; /* none is the zero vector */
    long long labels[2] = {1, 1};
    while (now_us() < end_us - 200000 && reader->count < sizeof reader->seen / sizeof *reader->seen) {
        const uint64_t version = atomic_load(&newest) + 1 + (uint64_t)(rate / AHEAD_PER_S);
        (void)send_one(client, rows, labels, NULL, version);
        reader->seen[reader->count].version = version;
        reader->seen[reader->count++].at_us = now_us();
    }
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    if (argc < 6)
        return 2;
    bank = argv[1];
    rate = atof(argv[2]);
    const double seconds = atof(argv[3]);
    const int readers = argc - 5;
    struct fan_thread *all = calloc((size_t)(WRITERS + readers), sizeof *all);
    double *lag = calloc((size_t)readers << 16, sizeof *lag);
    size_t count = 0;
    end_us = now_us() + seconds * 1e6;
    for (int i = 0; i < WRITERS + readers; i++) {
        all[i].url = i < WRITERS ? argv[4] : argv[5 + i - WRITERS];
        all[i].number = (unsigned)i;
        pthread_create(&all[i].thread, NULL, i < WRITERS ? write_on : read_on, &all[i]);
        while (i == WRITERS - 1 && !atomic_load(&newest))
            wait_until(now_us() + 1000);
    }
    for (int i = 0; i < WRITERS + readers; i++) {
        pthread_join(all[i].thread, NULL);
        for (size_t k = 0; k < all[i].count && i >= WRITERS; k++) {
            const uint64_t version = all[i].seen[k].version;
            const double acked = version < MOST ? atomic_load(&acked_us[version]) : 0;
            if (acked > 0)
                lag[count++] = all[i].seen[k].at_us - acked;
        }
    }
    qsort(lag, count, sizeof *lag, by_size);
    if (!count)
        return 1;
    printf("%.0f %.0f %.0f %.0f\n", (double)atomic_load(&appended) / seconds, lag[count / 2],
           lag[count * 99 / 100], lag[count - 1]);
    return 0;
}
