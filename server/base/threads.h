/* SPDX-License-Identifier: Apache-2.0 */
/* Threads of the daemon. Each blocks all signals, which main handles, and has a name for debuggers.
 *
 * struct rk_threads is the pool behind every group of them. Its owner defines the work: a queue of
 * tasks (bank commits), a fair queue of jobs (exec/worker_pool.h), a divided loop
 * (exec/compute_pool.h). Each kind of work has its own instance, so that work that waits for a disk
 * never takes a thread that computes. */
#ifndef RK_BASE_THREADS_H
#define RK_BASE_THREADS_H

#include <pthread.h>
#include <stdbool.h>

#include "base/err.h"

/* Starts one thread that blocks all signals. `name` is cut to 15 bytes. False: it could not be
 * started, see errno. */
bool rk_thread_start(pthread_t *thread, const char *name, void *(*run)(void *arg), void *arg)
    __attribute__((warn_unused_result));

/* A piece of work in the pool's own queue; embedded in its owner's structure. */
struct rk_task {
    void (*run)(struct rk_task *task); /* on a thread of the pool, without its lock; may free the task */
    struct rk_task *next;              /* the queue's */
};

/* What the threads of a pool do. */
struct rk_threads_work {
    const char *name; /* of the threads, cut to 15 bytes */
    /* Serves one piece of work and returns true; false: there is nothing to do now. Called with the
     * lock held, and returns with it held; long work is done without it. NULL: runs the tasks of
     * rk_threads_add(), in order. */
    bool (*serve)(void *owner, unsigned thread);
    /* True while a stop must wait although there is nothing to do now. With the lock held. NULL: a
     * stop never has to. */
    bool (*is_unfinished)(void *owner);
};

struct rk_threads {
    pthread_mutex_t lock; /* protects the following fields, and the owner's work */
    pthread_cond_t some;  /* there may be work, or stopping */
    bool stopping;
    unsigned count; /* threads that were started */
    struct rk_thread *thread;
    const struct rk_threads_work *work;
    void *owner;
    struct rk_task *first, **last; /* where `serve` is NULL */
};

/* Starts `count` threads, at least one. `what` names one of them in the sentence of a failure:
 * "worker". `work` and `owner` outlive the threads. On failure nothing is left behind. */
enum rankd_status rk_threads_start(struct rk_threads *threads, unsigned count,
                                   const struct rk_threads_work *work, void *owner, const char *what,
                                   struct rk_err *err) __attribute__((warn_unused_result));

/* Tells that there is one more piece of work, or work for all threads. With the lock held. */
void rk_threads_wake(struct rk_threads *threads);
void rk_threads_wake_all(struct rk_threads *threads);

/* Queues a task, which is the pool's until it runs. Any thread, without the lock; never waits. */
void rk_threads_add(struct rk_threads *threads, struct rk_task *task);

/* Serves all remaining work, also that of `is_unfinished`; ends and joins the threads. */
void rk_threads_stop(struct rk_threads *threads);

#endif
