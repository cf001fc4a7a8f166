/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs in the order in which clients take turns: each client one job at a turn, its own in the order in which
 * they came. A client that has nothing waiting and comes with a job gets the last turn of the round. Not
 * thread-safe. */
#ifndef RK_EXEC_FAIR_QUEUE_H
#define RK_EXEC_FAIR_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

struct rk_job;

/* A client's jobs that wait. Zeroed at first; in the queue's hands while there are some. */
struct rk_client_queue {
    struct rk_job *head, **tail;
    size_t waiting;
    struct rk_client_queue *next; /* whose turn is after this one's */
};

struct rk_fair_queue {
    struct rk_client_queue *head, *last;
};

/* To the end of job->client_queue. */
void rk_fair_queue_push(struct rk_fair_queue *queue, struct rk_job *job);

/* Of the client whose turn it is; NULL if nothing waits. A client's queue is not touched again once it is
 * empty. */
struct rk_job *rk_fair_queue_pop(struct rk_fair_queue *queue);

#endif
