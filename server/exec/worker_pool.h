/* SPDX-License-Identifier: Apache-2.0 */
/* The work queue: bounded, many producers (transports), a fixed number of workers. Clients with
 * several jobs take turns (exec/fair_queue.h), so that a client with many jobs does not keep others
 * waiting.
 *
 * A job is embedded in its owner's struct for a request; the queue owns it from a successful submit
 * until it calls exactly one of `run` and `drop`, once, on a worker thread.
 *
 * A job that has to wait for a disk releases its worker: `run` parks it and returns, and the thread
 * with the awaited result resumes it, which calls `resume` on some worker. */
#ifndef RK_EXEC_WORKER_POOL_H
#define RK_EXEC_WORKER_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/exec.h"
#include "exec/fair_queue.h"

struct rk_worker {
    struct rk_scratch *scratch; /* this worker's, kept between jobs */
    struct rk_pool *pool;       /* threads a large request may borrow; NULL = none */
    unsigned index;             /* 0..workers-1 */
};

struct rk_job {
    void (*run)(struct rk_job *job, struct rk_worker *worker);
    /* Called instead of run: RANKD_DEADLINE (passed while queued) or RANKD_OVERLOADED (shutting
     * down at once). */
    void (*drop)(struct rk_job *job, enum rankd_status why);
    /* Called once for each rk_worker_pool_resume(), never dropped: work that was begun is
     * completed. NULL if the job never parks. `worker` is NULL in rk_worker_pool_finish(). */
    void (*resume)(struct rk_job *job, struct rk_worker *worker);
    uint64_t deadline_ns; /* CLOCK_MONOTONIC; 0 = none */
    /* Per-client FIFO. Must outlive its queued jobs; belongs to one pool. NULL: the job has
     * none. */
    struct rk_client_queue *client_queue;
    uint64_t queued_ns;           /* set by submit: when it was queued, CLOCK_MONOTONIC */
    struct rk_job *next;          /* the queue's, and so are the rest */
    bool resumed;                 /* `resume` is due */
    struct rk_client_queue alone; /* where it has none */
};

struct rk_worker_pool;

/* NULL and *err on failure. `name` is that of the threads and outlives them; `scratch_limit` bounds
 * each worker's scratch memory in bytes (0 = none). */
struct rk_worker_pool *rk_worker_pool_start(const char *name, unsigned workers, size_t queue_limit,
                                            size_t scratch_limit, struct rk_err *err);

/* Threads for every worker to borrow. Before the first submit; `pool` outlives the workers. */
void rk_worker_pool_lend(struct rk_worker_pool *work, struct rk_pool *pool);

/* RANKD_OK, or RANKD_OVERLOADED if the queue is full or stopping: the job is then still the
 * caller's and neither run nor drop is called. The last eighth of the queue is for jobs of clients
 * that have none in it. */
enum rankd_status rk_worker_pool_submit(struct rk_worker_pool *work, struct rk_job *job)
    __attribute__((warn_unused_result));

/* Called within `run` or `resume`, before any thread can resume the job: it will be resumed. Until
 * then the pool does not stop. */
void rk_worker_pool_park(struct rk_worker_pool *work);
/* Queues a parked job before the waiting ones, because it has been computed and holds memory. Any
 * thread; the job may be over before this returns. */
void rk_worker_pool_resume(struct rk_worker_pool *work, struct rk_job *job);
/* Instead of it: calls `resume` of a parked job without a worker, on the calling thread. For one
 * that has nothing to compute any more; it does not park again. */
void rk_worker_pool_finish(struct rk_worker_pool *work, struct rk_job *job);

/* Waiting jobs, jobs that run now, parked jobs: for metrics and for Retry-After. */
size_t rk_worker_pool_waiting(struct rk_worker_pool *work);
size_t rk_worker_pool_running(struct rk_worker_pool *work);
size_t rk_worker_pool_parked(struct rk_worker_pool *work);
/* True when nothing waits, runs or is parked. */
bool rk_worker_pool_idle(struct rk_worker_pool *work);

/* Stops taking jobs and runs what is queued or parked (drains); with rk_worker_pool_abandon()
 * meanwhile called from another thread the rest is dropped. Then joins the workers and frees. NULL
 * is fine. */
void rk_worker_pool_stop(struct rk_worker_pool *work);
void rk_worker_pool_abandon(struct rk_worker_pool *work);

#endif
