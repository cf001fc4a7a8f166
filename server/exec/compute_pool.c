/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/compute_pool.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/threads.h"

enum { LOOKS = 1000 /* 10 to 50 microseconds */ };

/* `pool` is first: run() gets a pointer to it. */
struct rk_compute_pool {
    struct rk_pool pool;
    struct rk_threads threads; /* its lock protects the following fields */
    pthread_cond_t done;       /* the last helper left the work */
    bool open;
    uint64_t number;    /* of the latest work */
    atomic_uint active; /* threads working on it; changes under the lock */
    void (*task)(void *arg, size_t i);
    void *arg;
    size_t count;
    atomic_size_t next;
    uint64_t seen[]; /* of each thread: the number of its latest work */
};

static void work(struct rk_compute_pool *compute_pool)
{
    size_t i;
    while ((i = atomic_fetch_add_explicit(&compute_pool->next, 1, memory_order_relaxed)) <
           compute_pool->count)
        compute_pool->task(compute_pool->arg, i);
}

static bool help(void *owner, unsigned thread)
{
    struct rk_compute_pool *compute_pool = owner;
    if (!compute_pool->open || compute_pool->number == compute_pool->seen[thread])
        return false;
    compute_pool->seen[thread] = compute_pool->number;
    compute_pool->active++;
    pthread_mutex_unlock(&compute_pool->threads.lock);
    work(compute_pool);
    pthread_mutex_lock(&compute_pool->threads.lock);
    if (--compute_pool->active == 0)
        pthread_cond_broadcast(&compute_pool->done);
    return true;
}

static const struct rk_threads_work helping = {"compute", help, NULL};

/* The work's number; 0 if another request has the threads. */
static uint64_t open_work(struct rk_compute_pool *compute_pool, size_t count,
                          void (*task)(void *arg, size_t i), void *arg)
{
    uint64_t number = 0;
    pthread_mutex_lock(&compute_pool->threads.lock);
    /* Closed work may still have threads, until the thread that closed it has seen the last one
     * leave. */
    if (!compute_pool->open && compute_pool->active == 0) {
        compute_pool->open = true;
        number = ++compute_pool->number;
        compute_pool->task = task;
        compute_pool->arg = arg;
        compute_pool->count = count;
        atomic_store_explicit(&compute_pool->next, 0, memory_order_relaxed);
        rk_threads_wake_all(&compute_pool->threads);
    }
    pthread_mutex_unlock(&compute_pool->threads.lock);
    return number;
}

/* A thread that was woken ends as late as it started, by some tens of microseconds, and waking the
 * waiting thread would take as long again. So spin for a while before sleeping. */
static void look_for_the_end(struct rk_compute_pool *compute_pool)
{
    for (int i = 0; i < LOOKS; i++) {
        if (atomic_load_explicit(&compute_pool->active, memory_order_relaxed) == 0)
            return;
        __builtin_ia32_pause();
    }
}

static void run(struct rk_pool *pool, size_t count, void (*task)(void *arg, size_t i), void *arg)
{
    struct rk_compute_pool *compute_pool = (struct rk_compute_pool *)(void *)pool;
    uint64_t number = count < 2 ? 0 : open_work(compute_pool, count, task, arg);
    if (number == 0) {
        for (size_t i = 0; i < count; i++)
            task(arg, i);
        return;
    }
    work(compute_pool);
    pthread_mutex_lock(&compute_pool->threads.lock);
    compute_pool->open = false; /* no thread joins any more: arg is about to become invalid */
    pthread_mutex_unlock(&compute_pool->threads.lock);
    look_for_the_end(compute_pool);
    pthread_mutex_lock(&compute_pool->threads.lock);
    /* A thread that wakes late may find the next work, open or closed, which is not its own. */
    while (compute_pool->number == number && compute_pool->active > 0)
        pthread_cond_wait(&compute_pool->done, &compute_pool->threads.lock);
    pthread_mutex_unlock(&compute_pool->threads.lock);
}

struct rk_compute_pool *rk_compute_pool_start(unsigned count, struct rk_err *err)
{
    struct rk_compute_pool *compute_pool =
        calloc(1, sizeof *compute_pool + count * sizeof *compute_pool->seen);
    if (!compute_pool) {
        (void)rk_fail(err, RANKD_INTERNAL, "no memory for %u helping threads", count);
        return NULL;
    }
    compute_pool->pool = (struct rk_pool){.width = count + 1, .run = run};
    pthread_cond_init(&compute_pool->done, NULL);
    if (rk_threads_start(&compute_pool->threads, count, &helping, compute_pool, "helping thread", err) ==
        RANKD_OK)
        return compute_pool;
    pthread_cond_destroy(&compute_pool->done);
    free(compute_pool);
    return NULL;
}

struct rk_pool *rk_compute_pool_threads(struct rk_compute_pool *compute_pool)
{
    return &compute_pool->pool;
}

void rk_compute_pool_stop(struct rk_compute_pool *compute_pool)
{
    if (!compute_pool)
        return;
    rk_threads_stop(&compute_pool->threads);
    pthread_cond_destroy(&compute_pool->done);
    free(compute_pool);
}
