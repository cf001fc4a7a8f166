#include "exec/worker_pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RESERVED_SHARE = 8 };

struct thread {
    pthread_t id;
    struct rk_worker_pool *work;
    struct rk_worker worker;
};

struct rk_worker_pool {
    pthread_mutex_t lock;
    pthread_cond_t some; /* a job was queued, or stopping */
    struct rk_fair_queue queue;
    struct rk_job *resumed; /* before all others; the last one first */
    size_t waiting, running, parked, limit;
    bool stopping, abandoned;
    unsigned count; /* threads that were started */
    struct thread *threads;
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The next job, or NULL when it is time to end; waits with the lock held. */
static struct rk_job *next_job(struct rk_worker_pool *work)
{
    while (work->waiting == 0 && (!work->stopping || work->parked))
        pthread_cond_wait(&work->some, &work->lock);
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
    } else if (job->deadline_ns && now_ns() > job->deadline_ns) {
        job->drop(job, RANKD_DEADLINE);
    } else {
        job->run(job, worker);
    }
}

static void *serve(void *argument)
{
    struct thread *thread = argument;
    struct rk_worker_pool *work = thread->work;
    pthread_mutex_lock(&work->lock);
    for (struct rk_job *job; (job = next_job(work)) != NULL;) {
        bool abandoned = work->abandoned;
        pthread_mutex_unlock(&work->lock);
        handle(job, &thread->worker, abandoned);
        pthread_mutex_lock(&work->lock);
        work->running--;
    }
    pthread_mutex_unlock(&work->lock);
    return NULL;
}

static void join_and_free(struct rk_worker_pool *work)
{
    pthread_mutex_lock(&work->lock);
    work->stopping = true;
    pthread_cond_broadcast(&work->some);
    pthread_mutex_unlock(&work->lock);
    for (unsigned i = 0; i < work->count; i++) {
        pthread_join(work->threads[i].id, NULL);
        rk_scratch_free(work->threads[i].worker.scratch);
    }
    pthread_cond_destroy(&work->some);
    pthread_mutex_destroy(&work->lock);
    free(work->threads);
    free(work);
}

/* Starts worker number work->count. Signals are main's business: workers block them all. */
static bool start_one(struct rk_worker_pool *work, size_t scratch_limit)
{
    struct thread *thread = &work->threads[work->count];
    thread->work = work;
    thread->worker = (struct rk_worker){rk_scratch_new(scratch_limit), NULL, work->count};
    if (!thread->worker.scratch)
        return false;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&thread->id, NULL, serve, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        rk_scratch_free(thread->worker.scratch);
        return false;
    }
    work->count++;
    return true;
}

struct rk_worker_pool *rk_worker_pool_start(unsigned workers, size_t queue_limit, size_t scratch_limit,
                                            struct rk_err *err)
{
    struct rk_worker_pool *work = calloc(1, sizeof *work);
    struct thread *threads = calloc(workers, sizeof *threads);
    if (!work || !threads) {
        free(work);
        free(threads);
        (void)rk_fail(err, RANKD_INTERNAL, "no memory for %u workers", workers);
        return NULL;
    }
    pthread_mutex_init(&work->lock, NULL);
    pthread_cond_init(&work->some, NULL);
    work->limit = queue_limit;
    work->threads = threads;
    while (work->count < workers) {
        if (!start_one(work, scratch_limit)) {
            (void)rk_fail(err, RANKD_INTERNAL, "could not start worker %u of %u", work->count + 1, workers);
            join_and_free(work);
            return NULL;
        }
    }
    return work;
}

void rk_worker_pool_lend(struct rk_worker_pool *work, struct rk_pool *pool)
{
    pthread_mutex_lock(&work->lock);
    for (unsigned i = 0; i < work->count; i++)
        work->threads[i].worker.pool = pool;
    pthread_mutex_unlock(&work->lock);
}

/* How many jobs may wait beside one more of this lane. A job that a free worker takes at once does not wait,
 * so it does not count. */
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
    job->queued_ns = now_ns();
    pthread_mutex_lock(&work->lock);
    if (work->stopping || work->waiting >= places(work, job->client_queue)) {
        pthread_mutex_unlock(&work->lock);
        return RANKD_OVERLOADED;
    }
    rk_fair_queue_push(&work->queue, job);
    work->waiting++;
    pthread_cond_signal(&work->some);
    pthread_mutex_unlock(&work->lock);
    return RANKD_OK;
}

void rk_worker_pool_park(struct rk_worker_pool *work)
{
    pthread_mutex_lock(&work->lock);
    work->parked++;
    pthread_mutex_unlock(&work->lock);
}

void rk_worker_pool_resume(struct rk_worker_pool *work, struct rk_job *job)
{
    pthread_mutex_lock(&work->lock);
    job->resumed = true;
    job->next = work->resumed;
    work->resumed = job;
    work->waiting++;
    work->parked--;
    if (work->stopping) /* and the others see that there is nothing more to wait for */
        pthread_cond_broadcast(&work->some);
    else
        pthread_cond_signal(&work->some);
    pthread_mutex_unlock(&work->lock);
}

static size_t read_count(struct rk_worker_pool *work, const size_t *count)
{
    pthread_mutex_lock(&work->lock);
    size_t value = *count;
    pthread_mutex_unlock(&work->lock);
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
    pthread_mutex_lock(&work->lock);
    bool idle = work->waiting + work->running + work->parked == 0;
    pthread_mutex_unlock(&work->lock);
    return idle;
}

void rk_worker_pool_abandon(struct rk_worker_pool *work)
{
    pthread_mutex_lock(&work->lock);
    work->abandoned = true;
    pthread_mutex_unlock(&work->lock);
}

void rk_worker_pool_stop(struct rk_worker_pool *work)
{
    if (work)
        join_and_free(work);
}
