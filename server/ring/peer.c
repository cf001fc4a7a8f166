/* SPDX-License-Identifier: Apache-2.0 */
/* A client's connection: references, release, closing. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/uids.h"
#include "ring/ring_internal.h"

enum { COMPLAINT_PAUSE_NS = 1000000000 };

void rk_peer_hold(struct rk_peer *peer)
{
    (void)atomic_fetch_add_explicit(&peer->references, 1, memory_order_relaxed);
}

void rk_ring_call_clear(struct rk_ring_call *call)
{
    free(call->request);
    free(call->answer.body);
    free(call->page);
    call->request = call->page = NULL;
    call->answer = (struct rk_answer){0};
}

static void destroy(struct rk_peer *peer)
{
    struct rk_front *front = peer->front;
    rk_ring_call_clear(&peer->call);
    if (front->env->infer.device != NULL)
        rk_device_unpin(front->env->infer.device, &peer->memory);
    rk_shm_segment_close(&peer->segment);
    if (peer->fd >= 0)
        (void)close(peer->fd);
    if (peer->pid_fd >= 0)
        (void)close(peer->pid_fd);
    (void)pthread_mutex_destroy(&peer->completing);
    rk_quota_disconnect(front->quota, peer->uid);
    free(peer->jobs);
    free(peer->packet);
    free(peer);
    /* With the last peer the loop ends and the front is freed, but not before this thread is done
     * with it. */
    (void)pthread_mutex_lock(&front->ending);
    (void)atomic_fetch_sub_explicit(&front->living, 1, memory_order_release);
    if (atomic_load(&front->stop))
        rk_loop_wake(front->loop);
    (void)pthread_mutex_unlock(&front->ending);
}

void rk_peer_release(struct rk_peer *peer)
{
    if (atomic_fetch_sub_explicit(&peer->references, 1, memory_order_acq_rel) == 1)
        destroy(peer);
}

void rk_peer_ring(struct rk_peer *peer)
{
    if (rk_shm_segment_client_sleeps(&peer->segment)) {
        /* EAGAIN: it has unread doorbells. Anything else: the connection ends, and the loop learns
         * of it. */
        (void)send(peer->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
}

static void complain(struct rk_peer *peer, const char *why)
{
    struct rk_front *front = peer->front;
    uint64_t now = rk_now_ns();
    if (front->complaint_ns != 0 && now - front->complaint_ns < COMPLAINT_PAUSE_NS)
        return;
    front->complaint_ns = now;
    rk_log_say(front->env->log, RK_LOG_WARN, "ring", "%s was hung up on: %s", peer->who.name, why);
}

static void give_memory_back(struct rk_peer *peer)
{
    if (peer->quota_bytes == 0)
        return;
    struct rk_front *front = peer->front;
    rk_shm_segment_abandon(&peer->segment);
    rk_quota_give(front->quota, peer->uid, peer->quota_bytes);
    rk_metric_add(front->env->metrics, RK_METRIC_ring_segments, 0, 0, -1);
    rk_metric_add(front->env->metrics, RK_METRIC_ring_bytes, 0, 0, -(int64_t)peer->quota_bytes);
    peer->quota_bytes = 0;
}

void rk_peer_hang_up(struct rk_peer *peer, const char *why)
{
    if (atomic_load(&peer->state) == RK_PEER_GONE)
        return;
    struct rk_front *front = peer->front;
    if (why != NULL)
        complain(peer, why);
    atomic_store(&peer->state, RK_PEER_GONE);
    rk_spin_leave(peer);
    if (peer->previous != NULL)
        peer->previous->next = peer->next;
    else
        front->peers = peer->next;
    if (peer->next != NULL)
        peer->next->previous = peer->previous;
    /* Ends the receive, and a send that waits; the client sees the end of file. */
    (void)shutdown(peer->fd, SHUT_RDWR);
    rk_loop_cancel(front->loop, &peer->watch);
    give_memory_back(peer);
}
