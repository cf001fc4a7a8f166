/* SPDX-License-Identifier: Apache-2.0 */
#include "http/inline.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/exec.h"

struct rk_inline {
    pthread_mutex_t lock;
    unsigned free; /* the first so many of `stack`, the one that was given back last on top: it is warm */
    struct rk_worker **stack;
    unsigned count;
    struct rk_worker workers[];
};

struct rk_inline *rk_inline_new(unsigned threads)
{
    struct rk_inline *inlines = calloc(1, sizeof *inlines + threads * sizeof *inlines->workers);
    if (!inlines)
        return NULL;
    pthread_mutex_init(&inlines->lock, NULL);
    inlines->count = threads;
    inlines->stack = calloc(threads, sizeof *inlines->stack);
    for (unsigned i = 0; i < threads && inlines->stack; i++) {
        inlines->workers[i].index = i;
        inlines->workers[i].scratch = rk_scratch_new(0);
        if (!inlines->workers[i].scratch)
            break;
        inlines->stack[inlines->free++] = &inlines->workers[i];
    }
    if (inlines->free == threads)
        return inlines;
    rk_inline_free(inlines);
    return NULL;
}

void rk_inline_free(struct rk_inline *inlines)
{
    if (!inlines)
        return;
    for (unsigned i = 0; i < inlines->count; i++)
        rk_scratch_free(inlines->workers[i].scratch);
    pthread_mutex_destroy(&inlines->lock);
    free(inlines->stack);
    free(inlines);
}

struct rk_worker *rk_inline_take(struct rk_inline *inlines)
{
    pthread_mutex_lock(&inlines->lock);
    struct rk_worker *worker = inlines->stack[--inlines->free];
    pthread_mutex_unlock(&inlines->lock);
    return worker;
}

void rk_inline_give(struct rk_inline *inlines, struct rk_worker *worker)
{
    pthread_mutex_lock(&inlines->lock);
    inlines->stack[inlines->free++] = worker;
    pthread_mutex_unlock(&inlines->lock);
}
