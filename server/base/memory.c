/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "base/threads.h"

/* Blocks of MAPPED bytes or more are mappings of their own, and unmapped when they are freed.
 * Without this setting glibc raises the limit up to 32 MiB, and the memory that an arena keeps to
 * twice as much, when such blocks are freed. */
enum { MAPPED = 4 << 20, KEPT_BY_ARENA = 8 << 20 };

/* Memory is returned after this many bytes were freed and this time has passed: returning it takes
 * time, and the next request may need it. */
enum { ENOUGH = 32 << 20, PAUSE_S = 1 };

struct rk_memory {
    pthread_mutex_t lock;
    pthread_cond_t some;
    bool stopping;
    atomic_size_t given;
    pthread_t thread;
};

void rk_memory_given(struct rk_memory *memory, size_t bytes)
{
    const size_t before = atomic_fetch_add_explicit(&memory->given, bytes, memory_order_relaxed);
    if (before >= ENOUGH || bytes < ENOUGH - before)
        return;
    pthread_mutex_lock(&memory->lock);
    pthread_cond_signal(&memory->some);
    pthread_mutex_unlock(&memory->lock);
}

static void *give_back(void *argument)
{
    struct rk_memory *memory = argument;
    pthread_mutex_lock(&memory->lock);
    while (!memory->stopping) {
        if (atomic_load(&memory->given) < ENOUGH) {
            pthread_cond_wait(&memory->some, &memory->lock);
            continue;
        }
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += PAUSE_S;
        while (!memory->stopping &&
               pthread_cond_clockwait(&memory->some, &memory->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT)
            continue;
        atomic_store(&memory->given, 0);
        pthread_mutex_unlock(&memory->lock);
        (void)malloc_trim(0);
        pthread_mutex_lock(&memory->lock);
    }
    pthread_mutex_unlock(&memory->lock);
    return NULL;
}

struct rk_memory *rk_memory_start(struct rk_err *err)
{
    struct rk_memory *memory = calloc(1, sizeof *memory);
    if (!memory) {
        (void)rk_fail(err, RANKD_INTERNAL, "no memory");
        return NULL;
    }
    (void)mallopt(M_MMAP_THRESHOLD, MAPPED);
    (void)mallopt(M_TRIM_THRESHOLD, KEPT_BY_ARENA);
    pthread_mutex_init(&memory->lock, NULL);
    pthread_cond_init(&memory->some, NULL);
    if (!rk_thread_start(&memory->thread, "memory", give_back, memory)) {
        free(memory);
        (void)rk_fail(err, RANKD_INTERNAL, "could not start the thread that gives memory back");
        return NULL;
    }
    return memory;
}

void rk_memory_stop(struct rk_memory *memory)
{
    pthread_mutex_lock(&memory->lock);
    memory->stopping = true;
    pthread_cond_signal(&memory->some);
    pthread_mutex_unlock(&memory->lock);
    pthread_join(memory->thread, NULL);
    pthread_cond_destroy(&memory->some);
    pthread_mutex_destroy(&memory->lock);
    free(memory);
}

size_t rk_memory_held(void)
{
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}
