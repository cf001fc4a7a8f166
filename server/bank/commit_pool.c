#include "bank/commit_pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include "bank/durable_bank.h"

/* So many banks are synced side by side; the others wait for their turn, and their requests with them. They
 * are on one file system, whose journal more of them would queue up at anyway. */
enum { THREADS = 4 };

struct rk_commit {
    pthread_mutex_t lock;
    pthread_cond_t some; /* a bank was queued, or stopping */
    struct rk_named_bank *first, **last;
    bool stopping;
    unsigned count; /* threads that were started */
    pthread_t thread[THREADS];
};

static void *serve(void *arg)
{
    struct rk_commit *commit = arg;
    pthread_mutex_lock(&commit->lock);
    for (;;) {
        while (!commit->first && !commit->stopping)
            pthread_cond_wait(&commit->some, &commit->lock);
        struct rk_named_bank *bank = commit->first;
        if (!bank)
            break;
        commit->first = bank->commit_next;
        if (!commit->first)
            commit->last = &commit->first;
        pthread_mutex_unlock(&commit->lock);
        rk_named_commit(bank);
        rk_named_release(bank);
        pthread_mutex_lock(&commit->lock);
    }
    pthread_mutex_unlock(&commit->lock);
    return NULL;
}

struct rk_commit *rk_commit_start(struct rk_err *err)
{
    struct rk_commit *commit = calloc(1, sizeof *commit);
    if (!commit) {
        (void)rk_fail(err, RANKD_INTERNAL, "no memory for the threads that write banks");
        return NULL;
    }
    pthread_mutex_init(&commit->lock, NULL);
    pthread_cond_init(&commit->some, NULL);
    commit->last = &commit->first;
    sigset_t all, before; /* signals are main's business */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (commit->count < THREADS &&
           pthread_create(&commit->thread[commit->count], NULL, serve, commit) == 0)
        commit->count++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (commit->count == THREADS)
        return commit;
    (void)rk_fail(err, RANKD_INTERNAL, "could not start thread %u of %d that write banks", commit->count + 1,
                  THREADS);
    rk_commit_stop(commit);
    return NULL;
}

void rk_commit_queue(struct rk_commit *commit, struct rk_named_bank *bank)
{
    (void)rk_named_hold(bank);
    pthread_mutex_lock(&commit->lock);
    bank->commit_next = NULL;
    *commit->last = bank;
    commit->last = &bank->commit_next;
    pthread_cond_signal(&commit->some);
    pthread_mutex_unlock(&commit->lock);
}

void rk_commit_stop(struct rk_commit *commit)
{
    if (!commit)
        return;
    pthread_mutex_lock(&commit->lock);
    commit->stopping = true;
    pthread_cond_broadcast(&commit->some);
    pthread_mutex_unlock(&commit->lock);
    for (unsigned i = 0; i < commit->count; i++)
        pthread_join(commit->thread[i], NULL);
    pthread_cond_destroy(&commit->some);
    pthread_mutex_destroy(&commit->lock);
    free(commit);
}
