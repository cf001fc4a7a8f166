/* Jobs in the order in which clients take turns: each client one job at a turn, its own in the order in which
 * they came. Whoever has nothing waiting and comes with a job gets the last turn of the round. Not
 * thread-safe. */
#ifndef RK_EXEC_FAIR_QUEUE_H
#define RK_EXEC_FAIR_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

struct rk_job;

/* A client's jobs that wait. Zeroed at first; in the queue's hands while there are some. */
struct rk_lane {
    struct rk_job *head, **tail;
    size_t waiting;
    struct rk_lane *next; /* whose turn is after this one's */
};

struct rk_turns {
    struct rk_lane *head, *last;
};

/* To the end of job->lane. */
void rk_turns_push(struct rk_turns *turns, struct rk_job *job);

/* Of the lane whose turn it is; NULL if nothing waits. The job's lane is not looked at again once it is
 * empty. */
struct rk_job *rk_turns_pop(struct rk_turns *turns);

#endif
