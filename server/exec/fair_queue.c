/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/fair_queue.h"

#include "exec/worker_pool.h"

static void append(struct rk_fair_queue *queue, struct rk_client_queue *client)
{
    client->next = NULL;
    if (queue->head)
        queue->last->next = client;
    else
        queue->head = client;
    queue->last = client;
}

void rk_fair_queue_push(struct rk_fair_queue *queue, struct rk_job *job)
{
    struct rk_client_queue *client = job->client_queue;
    job->next = NULL;
    if (!client->head) {
        client->tail = &client->head;
        append(queue, client);
    }
    *client->tail = job;
    client->tail = &job->next;
    client->waiting++;
}

struct rk_job *rk_fair_queue_pop(struct rk_fair_queue *queue)
{
    struct rk_client_queue *client = queue->head;
    if (!client)
        return NULL;
    queue->head = client->next;
    struct rk_job *job = client->head;
    client->head = job->next;
    client->waiting--;
    if (client->head)
        append(queue, client);
    return job;
}
