#include "bank/commit_pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include "bank/durable_bank.h"

/* So many banks are synced side by side; the others wait for their turn, and their requests with them. They
 * are on one file system, whose journal more of them would queue up at anyway. */
enum { THREADS = 4 };

struct rk_commit_pool {
    pthread_mutex_t lock;
    pthread_cond_t some; /* a bank was queued, or stopping */
    struct rk_durable_bank *first, **last;
    bool stopping;
    unsigned count; /* threads that were started */
    pthread_t thread[THREADS];
};

static void *serve(void *arg)
{
    struct rk_commit_pool *pool = arg;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (!pool->first && !pool->stopping)
            pthread_cond_wait(&pool->some, &pool->lock);
        struct rk_durable_bank *bank = pool->first;
        if (!bank)
            break;
        pool->first = bank->commit_next;
        if (!pool->first)
            pool->last = &pool->first;
        pthread_mutex_unlock(&pool->lock);
        rk_durable_bank_commit(bank);
        rk_durable_bank_release(bank);
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

struct rk_commit_pool *rk_commit_pool_start(struct rk_err *err)
{
    struct rk_commit_pool *pool = calloc(1, sizeof *pool);
    if (!pool) {
        (void)rk_fail(err, RANKD_INTERNAL, "no memory for the threads that write banks");
        return NULL;
    }
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->some, NULL);
    pool->last = &pool->first;
    sigset_t all, before; /* signals are main's business */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool->count < THREADS && pthread_create(&pool->thread[pool->count], NULL, serve, pool) == 0)
        pool->count++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pool->count == THREADS)
        return pool;
    (void)rk_fail(err, RANKD_INTERNAL, "could not start thread %u of %d that write banks", pool->count + 1,
                  THREADS);
    rk_commit_pool_stop(pool);
    return NULL;
}

void rk_commit_pool_add(struct rk_commit_pool *pool, struct rk_durable_bank *bank)
{
    (void)rk_durable_bank_hold(bank);
    pthread_mutex_lock(&pool->lock);
    bank->commit_next = NULL;
    *pool->last = bank;
    pool->last = &bank->commit_next;
    pthread_cond_signal(&pool->some);
    pthread_mutex_unlock(&pool->lock);
}

void rk_commit_pool_stop(struct rk_commit_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->some);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->count; i++)
        pthread_join(pool->thread[i], NULL);
    pthread_cond_destroy(&pool->some);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
