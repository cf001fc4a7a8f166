#include "exec/compute_pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { LOOKS = 1000 /* 10 to 50 microseconds */ };

/* `pool` is first: run() gets a pointer to it. */
struct rk_helpers {
    struct rk_pool pool;
    pthread_mutex_t lock;
    pthread_cond_t some; /* there is work, or stopping */
    pthread_cond_t done; /* the last helper left the work */
    bool open, stopping;
    uint64_t number;    /* of the work that is or was open last */
    atomic_uint active; /* helpers at it; changes under the lock */
    void (*task)(void *arg, size_t i);
    void *arg;
    size_t count;
    atomic_size_t next;
    unsigned threads;
    pthread_t thread[];
};

static void work(struct rk_helpers *helpers)
{
    size_t i;
    while ((i = atomic_fetch_add_explicit(&helpers->next, 1, memory_order_relaxed)) < helpers->count)
        helpers->task(helpers->arg, i);
}

static void *help(void *argument)
{
    struct rk_helpers *helpers = argument;
    uint64_t seen = 0;
    pthread_mutex_lock(&helpers->lock);
    while (!helpers->stopping) {
        if (!helpers->open || helpers->number == seen) {
            pthread_cond_wait(&helpers->some, &helpers->lock);
            continue;
        }
        seen = helpers->number;
        helpers->active++;
        pthread_mutex_unlock(&helpers->lock);
        work(helpers);
        pthread_mutex_lock(&helpers->lock);
        if (--helpers->active == 0)
            pthread_cond_broadcast(&helpers->done);
    }
    pthread_mutex_unlock(&helpers->lock);
    return NULL;
}

/* The work's number; 0 if another request has the helpers. */
static uint64_t open_work(struct rk_helpers *helpers, size_t count, void (*task)(void *arg, size_t i),
                          void *arg)
{
    uint64_t number = 0;
    pthread_mutex_lock(&helpers->lock);
    /* Closed work may have helpers in it still, until whoever closed it has seen the last one go. */
    if (!helpers->open && helpers->active == 0) {
        helpers->open = true;
        number = ++helpers->number;
        helpers->task = task;
        helpers->arg = arg;
        helpers->count = count;
        atomic_store_explicit(&helpers->next, 0, memory_order_relaxed);
        pthread_cond_broadcast(&helpers->some);
    }
    pthread_mutex_unlock(&helpers->lock);
    return number;
}

/* A helper that was woken is as late in ending as it was in starting, some tens of microseconds, and that
 * long again it would take to wake who waits for it: so look for a while before going to sleep. */
static void look_for_the_end(struct rk_helpers *helpers)
{
    for (int i = 0; i < LOOKS; i++) {
        if (atomic_load_explicit(&helpers->active, memory_order_relaxed) == 0)
            return;
        __builtin_ia32_pause();
    }
}

static void run(struct rk_pool *pool, size_t count, void (*task)(void *arg, size_t i), void *arg)
{
    struct rk_helpers *helpers = (struct rk_helpers *)(void *)pool;
    uint64_t number = count < 2 ? 0 : open_work(helpers, count, task, arg);
    if (number == 0) {
        for (size_t i = 0; i < count; i++)
            task(arg, i);
        return;
    }
    work(helpers);
    pthread_mutex_lock(&helpers->lock);
    helpers->open = false; /* nobody joins any more: arg is about to go */
    pthread_mutex_unlock(&helpers->lock);
    look_for_the_end(helpers);
    pthread_mutex_lock(&helpers->lock);
    /* Whoever wakes late may find the next work open, or closed and waited for by another: that is not its
     * own. */
    while (helpers->number == number && helpers->active > 0)
        pthread_cond_wait(&helpers->done, &helpers->lock);
    pthread_mutex_unlock(&helpers->lock);
}

/* Signals are main's business: helpers block them all. */
static bool start_one(struct rk_helpers *helpers)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&helpers->thread[helpers->threads], NULL, help, helpers);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    helpers->threads += !failed;
    return !failed;
}

struct rk_helpers *rk_helpers_start(unsigned count, struct rk_err *err)
{
    struct rk_helpers *helpers = calloc(1, sizeof *helpers + count * sizeof *helpers->thread);
    if (!helpers) {
        (void)rk_fail(err, RANKD_INTERNAL, "no memory for %u helping threads", count);
        return NULL;
    }
    helpers->pool = (struct rk_pool){.width = count + 1, .run = run};
    pthread_mutex_init(&helpers->lock, NULL);
    pthread_cond_init(&helpers->some, NULL);
    pthread_cond_init(&helpers->done, NULL);
    while (helpers->threads < count) {
        if (start_one(helpers))
            continue;
        (void)rk_fail(err, RANKD_INTERNAL, "could not start helping thread %u of %u", helpers->threads + 1,
                      count);
        rk_helpers_stop(helpers);
        return NULL;
    }
    return helpers;
}

struct rk_pool *rk_helpers_pool(struct rk_helpers *helpers)
{
    return &helpers->pool;
}

void rk_helpers_stop(struct rk_helpers *helpers)
{
    if (!helpers)
        return;
    pthread_mutex_lock(&helpers->lock);
    helpers->stopping = true;
    pthread_cond_broadcast(&helpers->some);
    pthread_mutex_unlock(&helpers->lock);
    for (unsigned i = 0; i < helpers->threads; i++)
        pthread_join(helpers->thread[i], NULL);
    pthread_cond_destroy(&helpers->done);
    pthread_cond_destroy(&helpers->some);
    pthread_mutex_destroy(&helpers->lock);
    free(helpers);
}
