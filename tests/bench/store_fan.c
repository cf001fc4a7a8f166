/* SPDX-License-Identifier: Apache-2.0 */
/* How long after its acknowledgement a batch is there on other daemons, at a given rate.
 *
 *     bench-store-fan BANK RATE SECONDS WRITER_URL READER_URL…
 *
 * Four writers append 32 embeddings of 128 numbers each through one daemon, RATE a second in all.
 * At each reader's daemon a request waits for a version that is to come in some 50 ms
 * (bank_version); when it is answered, the version is there. Prints the rate that was reached, and
 * the median, the 99th percentile and the largest of these times in microseconds, answer
 * included. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "bench/store_request.h"
#include "bench/store_times.h"

enum { WRITERS = 4, MOST = 1 << 20, AHEAD_PER_S = 20 };

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

static uint64_t append(rankd_client *client, float *rows, long long *labels, const char *id)
{
    const struct rankd_parameter parameters[] = {{.name = "bank", .type = RANKD_TEXT, .text = bank},
                                                 {.name = "batch_id", .type = RANKD_TEXT, .text = id},
                                                 {.name = "enqueue", .type = RANKD_FLAG, .number = 1},
                                                 {.name = "bank_read", .type = RANKD_FLAG, .number = 0}};
    return store_send(client, rows, labels, STORE_ROWS, parameters, 4);
}

/* Waits until the daemon has that version. None of its items is ranked. */
static void await_version(rankd_client *client, float *rows, long long *labels, uint64_t version)
{
    const struct rankd_parameter parameters[] = {
        {.name = "bank", .type = RANKD_TEXT, .text = bank},
        {.name = "bank_version", .type = RANKD_NUMBER, .number = (double)version},
        {.name = "enqueue", .type = RANKD_FLAG, .number = 0},
        {.name = "bank_read", .type = RANKD_FLAG, .number = 0}};
    (void)store_send(client, rows, labels, 2, parameters, 4);
}

static void wait_until(double at_us)
{
    const double left = at_us - store_now_us();
    const struct timespec pause = {(time_t)(left / 1e6), (long)(fmod(left, 1e6) * 1e3)};
    if (left > 0)
        (void)nanosleep(&pause, NULL);
}

static void *write_on(void *arg)
{
    struct fan_thread *writer = arg;
    rankd_client *client = store_open(writer->url);
    float *rows = calloc((size_t)STORE_ROWS * STORE_DIM, sizeof *rows);
    long long labels[STORE_ROWS];
    for (int i = 0; i < STORE_ROWS * STORE_DIM; i++)
        rows[i] = (float)((i * 7919 + (int)writer->number) % 1000) / 500.0f - 1;
    for (int i = 0; i < STORE_ROWS; i++)
        labels[i] = i / 2;
    for (double at = store_now_us(); store_now_us() < end_us; at += 1e6 * WRITERS / rate) {
        char id[64];
        wait_until(at);
        rows[writer->count % ((size_t)STORE_ROWS * STORE_DIM)] += 0.125f;
        (void)snprintf(id, sizeof id, "%.0f-%u-%zu", end_us, writer->number, writer->count++);
        const uint64_t version = append(client, rows, labels, id);
        if (version < MOST)
            atomic_store(&acked_us[version], store_now_us());
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
    rankd_client *client = store_open(reader->url);
    float rows[2 * STORE_DIM] = {[0] = 1, [STORE_DIM] = 1}; /* none is the zero vector */
    long long labels[2] = {1, 1};
    while (store_now_us() < end_us - 200000 && reader->count < sizeof reader->seen / sizeof *reader->seen) {
        const uint64_t version = atomic_load(&newest) + 1 + (uint64_t)(rate / AHEAD_PER_S);
        await_version(client, rows, labels, version);
        reader->seen[reader->count].version = version;
        reader->seen[reader->count++].at_us = store_now_us();
    }
    return NULL;
}

/* The times between the acknowledgement of a version and its arrival, [returned count], in
 * microseconds. */
static size_t lags_of(const struct fan_thread *reader, double *lag)
{
    size_t count = 0;
    for (size_t k = 0; k < reader->count; k++) {
        const uint64_t version = reader->seen[k].version;
        const double acked = version < MOST ? atomic_load(&acked_us[version]) : 0;
        if (acked > 0)
            lag[count++] = reader->seen[k].at_us - acked;
    }
    return count;
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
    end_us = store_now_us() + seconds * 1e6;
    for (int i = 0; i < WRITERS + readers; i++) {
        all[i].url = i < WRITERS ? argv[4] : argv[5 + i - WRITERS];
        all[i].number = (unsigned)i;
        pthread_create(&all[i].thread, NULL, i < WRITERS ? write_on : read_on, &all[i]);
        while (i == WRITERS - 1 && !atomic_load(&newest))
            wait_until(store_now_us() + 1000);
    }
    for (int i = 0; i < WRITERS + readers; i++) {
        pthread_join(all[i].thread, NULL);
        if (i >= WRITERS)
            count += lags_of(&all[i], lag + count);
    }
    qsort(lag, count, sizeof *lag, store_by_size);
    if (!count)
        return 1;
    printf("%.0f %.0f %.0f %.0f\n", (double)atomic_load(&appended) / seconds, lag[count / 2],
           lag[count * 99 / 100], lag[count - 1]);
    return 0;
}
