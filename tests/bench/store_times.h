/* SPDX-License-Identifier: Apache-2.0 */
/* Times of the writers of a bench of stores. */
#ifndef TESTS_BENCH_STORE_TIMES_H
#define TESTS_BENCH_STORE_TIMES_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { STORE_TIMES_MOST = 1 << 20 };

/* A thread that appends, and how long each of its appends took. */
struct store_writer {
    pthread_t thread;
    const char *url; /* of its daemon; NULL without one */
    unsigned number;
    size_t count;
    double *time_us; /* [STORE_TIMES_MOST] */
};

static inline double store_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static inline int store_by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Runs `count` writers, numbered from 0, with the `urls` by turns (0: none), and prints appends per
 * second and the median time of one in microseconds. */
static inline void store_write(int count, char *const *url, int urls, void *(*write)(void *writer),
                               double seconds)
{
    struct store_writer *writer = calloc((size_t)count, sizeof *writer);
    double *all = malloc(sizeof *all * STORE_TIMES_MOST);
    size_t total = 0;
    for (int i = 0; i < count; i++) {
        writer[i].url = urls ? url[i % urls] : NULL;
        writer[i].number = (unsigned)i;
        writer[i].time_us = malloc(sizeof *all * STORE_TIMES_MOST);
        pthread_create(&writer[i].thread, NULL, write, &writer[i]);
    }
    for (int i = 0; i < count; i++) {
        pthread_join(writer[i].thread, NULL);
        for (size_t k = 0; k < writer[i].count && total < STORE_TIMES_MOST; k++)
            all[total++] = writer[i].time_us[k];
    }
    qsort(all, total, sizeof *all, store_by_size);
    printf("%.0f %.0f\n", (double)total / seconds, total ? all[total / 2] : 0);
}

#endif
