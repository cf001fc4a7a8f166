/* SPDX-License-Identifier: Apache-2.0 */
#include "base/threads.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 16 /* the kernel's limit, with the NUL */ };

struct rk_thread {
    pthread_t id;
    struct rk_threads *threads;
    unsigned number;
};

bool rk_thread_start(pthread_t *thread, const char *name, void *(*run)(void *arg), void *arg)
{
    char cut[NAME_BYTES] = "";
    sigset_t all, before;
    strncpy(cut, name, sizeof cut - 1);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        errno = failed;
    else
        (void)pthread_setname_np(*thread, cut);
    return !failed;
}

/* The next task in the order in which they were queued. */
static bool serve_task(struct rk_threads *threads)
{
    struct rk_task *task = threads->first;
    if (!task)
        return false;
    threads->first = task->next;
    if (!threads->first)
        threads->last = &threads->first;
    pthread_mutex_unlock(&threads->lock);
    task->run(task);
    pthread_mutex_lock(&threads->lock);
    return true;
}

static bool serve_one(struct rk_threads *threads, unsigned number)
{
    return threads->work->serve ? threads->work->serve(threads->owner, number) : serve_task(threads);
}

static bool is_over(const struct rk_threads *threads)
{
    const struct rk_threads_work *work = threads->work;
    return threads->stopping && !(work->is_unfinished && work->is_unfinished(threads->owner));
}

static void *serve_all(void *arg)
{
    const struct rk_thread *thread = arg;
    struct rk_threads *threads = thread->threads;
    pthread_mutex_lock(&threads->lock);
    for (;;) {
        if (serve_one(threads, thread->number))
            continue;
        if (is_over(threads))
            break;
        pthread_cond_wait(&threads->some, &threads->lock);
    }
    pthread_mutex_unlock(&threads->lock);
    return NULL;
}

enum rankd_status rk_threads_start(struct rk_threads *threads, unsigned count,
                                   const struct rk_threads_work *work, void *owner, const char *what,
                                   struct rk_err *err)
{
    *threads = (struct rk_threads){.work = work, .owner = owner};
    threads->thread = calloc(count, sizeof *threads->thread);
    if (!threads->thread)
        return rk_fail(err, RANKD_INTERNAL, "no memory for %u %ss", count, what);
    threads->last = &threads->first;
    pthread_mutex_init(&threads->lock, NULL);
    pthread_cond_init(&threads->some, NULL);
    /* No thread reads `count` before this function returns: threads know their own number. */
    for (unsigned i = 0; i < count; i++) {
        struct rk_thread *thread = &threads->thread[i];
        *thread = (struct rk_thread){.threads = threads, .number = i};
        if (!rk_thread_start(&thread->id, work->name, serve_all, thread)) {
            rk_threads_stop(threads);
            return rk_fail(err, RANKD_INTERNAL, "could not start %s %u of %u", what, i + 1, count);
        }
        threads->count++;
    }
    return RANKD_OK;
}

void rk_threads_wake(struct rk_threads *threads)
{
    pthread_cond_signal(&threads->some);
}

void rk_threads_wake_all(struct rk_threads *threads)
{
    pthread_cond_broadcast(&threads->some);
}

void rk_threads_add(struct rk_threads *threads, struct rk_task *task)
{
    pthread_mutex_lock(&threads->lock);
    task->next = NULL;
    *threads->last = task;
    threads->last = &task->next;
    rk_threads_wake(threads);
    pthread_mutex_unlock(&threads->lock);
}

void rk_threads_stop(struct rk_threads *threads)
{
    pthread_mutex_lock(&threads->lock);
    threads->stopping = true;
    rk_threads_wake_all(threads);
    pthread_mutex_unlock(&threads->lock);
    for (unsigned i = 0; i < threads->count; i++)
        pthread_join(threads->thread[i].id, NULL);
    pthread_cond_destroy(&threads->some);
    pthread_mutex_destroy(&threads->lock);
    free(threads->thread);
}
