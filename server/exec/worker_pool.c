/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/worker_pool.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/threads.h"

enum { RESERVED_SHARE = 8 };

struct rk_worker_pool {
    struct rk_threads_work kind;
    struct rk_threads threads; /* its lock protects the queue and the following fields */
    struct rk_fair_queue queue;
    struct rk_job *resumed; /* resumed jobs, which go before all others; last in, first out */
    size_t waiting, running, parked, limit;
    bool abandoned;
    unsigned count;
    struct rk_worker worker[]; /* one a thread */
};

/* NULL: none waits. With the lock held. */
static struct rk_job *next_job(struct rk_worker_pool *work)
{
    struct rk_job *job = work->resumed;
    if (job)
        work->resumed = job->next;
    else
        job = rk_fair_queue_pop(&work->queue);
    if (!job)
        return NULL;
    work->waiting--;
    work->running++;
    return job;
}

static void handle(struct rk_job *job, struct rk_worker *worker, bool abandoned)
{
    if (job->resumed) {
        job->resumed = false;
        job->resume(job, worker);
    } else if (abandoned) {
        job->drop(job, RANKD_OVERLOADED);
    } else if (job->deadline_ns && rk_now_ns() > job->deadline_ns) {
        job->drop(job, RANKD_DEADLINE);
    } else {
        job->run(job, worker);
    }
}

static bool serve_job(void *owner, unsigned thread)
{
    struct rk_worker_pool *work = owner;
    struct rk_job *job = next_job(work);
    if (!job)
        return false;
    bool abandoned = work->abandoned;
    pthread_mutex_unlock(&work->threads.lock);
    handle(job, &work->worker[thread], abandoned);
    pthread_mutex_lock(&work->threads.lock);
    work->running--;
    return true;
}

static bool has_parked(void *owner)
{
    const struct rk_worker_pool *work = owner;
    return work->parked > 0;
}

static void free_pool(struct rk_worker_pool *work)
{
    for (unsigned i = 0; i < work->count; i++)
        rk_scratch_free(work->worker[i].scratch);
    free(work);
}

static bool make_workers(struct rk_worker_pool *work, unsigned workers, size_t scratch_limit)
{
    for (; work->count < workers; work->count++) {
        struct rk_scratch *scratch = rk_scratch_new(scratch_limit);
        if (!scratch)
            return false;
        work->worker[work->count] = (struct rk_worker){scratch, NULL, work->count};
    }
    return true;
}

struct rk_worker_pool *rk_worker_pool_start(const char *name, unsigned workers, size_t queue_limit,
                                            size_t scratch_limit, struct rk_err *err)
{
    struct rk_worker_pool *work = calloc(1, sizeof *work + workers * sizeof *work->worker);
    if (!work || !make_workers(work, workers, scratch_limit)) {
        if (work)
            free_pool(work);
        (void)rk_fail(err, RANKD_INTERNAL, "no memory for %u workers", workers);
        return NULL;
    }
    work->limit = queue_limit;
    work->kind = (struct rk_threads_work){name, serve_job, has_parked};
    if (rk_threads_start(&work->threads, workers, &work->kind, work, "worker", err) == RANKD_OK)
        return work;
    free_pool(work);
    return NULL;
}

void rk_worker_pool_lend(struct rk_worker_pool *work, struct rk_pool *pool)
{
    pthread_mutex_lock(&work->threads.lock);
    for (unsigned i = 0; i < work->count; i++)
        work->worker[i].pool = pool;
    pthread_mutex_unlock(&work->threads.lock);
}

/* How many jobs may wait beside one more of this lane. A job that a free worker takes at once does
 * not wait, so it does not count. */
static size_t places(const struct rk_worker_pool *work, const struct rk_client_queue *client_queue)
{
    size_t free_workers = work->count - (work->running < work->count ? work->running : work->count);
    return work->limit + free_workers - (client_queue->waiting > 0 ? work->limit / RESERVED_SHARE : 0);
}

enum rankd_status rk_worker_pool_submit(struct rk_worker_pool *work, struct rk_job *job)
{
    job->resumed = false;
    job->alone = (struct rk_client_queue){0};
    if (!job->client_queue)
        job->client_queue = &job->alone;
    job->queued_ns = rk_now_ns();
    pthread_mutex_lock(&work->threads.lock);
    if (work->threads.stopping || work->waiting >= places(work, job->client_queue)) {
        pthread_mutex_unlock(&work->threads.lock);
        return RANKD_OVERLOADED;
    }
    rk_fair_queue_push(&work->queue, job);
    work->waiting++;
    rk_threads_wake(&work->threads);
    pthread_mutex_unlock(&work->threads.lock);
    return RANKD_OK;
}

void rk_worker_pool_park(struct rk_worker_pool *work)
{
    pthread_mutex_lock(&work->threads.lock);
    work->parked++;
    pthread_mutex_unlock(&work->threads.lock);
}

void rk_worker_pool_resume(struct rk_worker_pool *work, struct rk_job *job)
{
    pthread_mutex_lock(&work->threads.lock);
    job->resumed = true;
    job->next = work->resumed;
    work->resumed = job;
    work->waiting++;
    work->parked--;
    if (work->threads.stopping) /* so that the others see that there is nothing to wait for */
        rk_threads_wake_all(&work->threads);
    else
        rk_threads_wake(&work->threads);
    pthread_mutex_unlock(&work->threads.lock);
}

void rk_worker_pool_finish(struct rk_worker_pool *work, struct rk_job *job)
{
    job->resume(job, NULL);
    pthread_mutex_lock(&work->threads.lock);
    work->parked--; /* until here the pool does not stop */
    if (work->threads.stopping)
        rk_threads_wake_all(&work->threads);
    pthread_mutex_unlock(&work->threads.lock);
}

static size_t read_count(struct rk_worker_pool *work, const size_t *count)
{
    pthread_mutex_lock(&work->threads.lock);
    size_t value = *count;
    pthread_mutex_unlock(&work->threads.lock);
    return value;
}

size_t rk_worker_pool_waiting(struct rk_worker_pool *work)
{
    return read_count(work, &work->waiting);
}

size_t rk_worker_pool_running(struct rk_worker_pool *work)
{
    return read_count(work, &work->running);
}

size_t rk_worker_pool_parked(struct rk_worker_pool *work)
{
    return read_count(work, &work->parked);
}

bool rk_worker_pool_idle(struct rk_worker_pool *work)
{
    pthread_mutex_lock(&work->threads.lock);
    bool idle = work->waiting + work->running + work->parked == 0;
    pthread_mutex_unlock(&work->threads.lock);
    return idle;
}

void rk_worker_pool_abandon(struct rk_worker_pool *work)
{
    pthread_mutex_lock(&work->threads.lock);
    work->abandoned = true;
    pthread_mutex_unlock(&work->threads.lock);
}

void rk_worker_pool_stop(struct rk_worker_pool *work)
{
    if (!work)
        return;
    rk_threads_stop(&work->threads);
    free_pool(work);
}
