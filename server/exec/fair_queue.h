/* SPDX-License-Identifier: Apache-2.0 */
/* A queue in which clients take turns, one job at a turn; a client's own jobs keep their order. A
 * client without waiting jobs that adds one gets the last turn of the round. Not thread-safe. */
#ifndef RK_EXEC_FAIR_QUEUE_H
#define RK_EXEC_FAIR_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

struct rk_job;

/* A client's waiting jobs. Zeroed at first; owned by the queue while there are some. */
struct rk_client_queue {
    struct rk_job *head, **tail;
    size_t waiting;
    struct rk_client_queue *next; /* the client with the next turn */
};

struct rk_fair_queue {
    struct rk_client_queue *head, *last;
};

/* To the end of job->client_queue. */
void rk_fair_queue_push(struct rk_fair_queue *queue, struct rk_job *job);

/* The next job of the client whose turn it is; NULL if no job waits. A client's queue is not
 * touched again once it is empty. */
struct rk_job *rk_fair_queue_pop(struct rk_fair_queue *queue);

#endif
