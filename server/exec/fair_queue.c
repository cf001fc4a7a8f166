#include "exec/fair_queue.h"

#include "exec/worker_pool.h"

static void append(struct rk_turns *turns, struct rk_lane *lane)
{
    lane->next = NULL;
    if (turns->head)
        turns->last->next = lane;
    else
        turns->head = lane;
    turns->last = lane;
}

void rk_turns_push(struct rk_turns *turns, struct rk_job *job)
{
    struct rk_lane *lane = job->lane;
    job->next = NULL;
    if (!lane->head) {
        lane->tail = &lane->head;
        append(turns, lane);
    }
    *lane->tail = job;
    lane->tail = &job->next;
    lane->waiting++;
}

struct rk_job *rk_turns_pop(struct rk_turns *turns)
{
    struct rk_lane *lane = turns->head;
    if (!lane)
        return NULL;
    turns->head = lane->next;
    struct rk_job *job = lane->head;
    lane->head = job->next;
    lane->waiting--;
    if (lane->head)
        append(turns, lane);
    return job;
}
