/* SPDX-License-Identifier: Apache-2.0 */
/* The control channel: the API's calls in packets. A call runs on a worker, or on this thread if it
 * takes only microseconds. Its answer is kept and sent page by page, each at the client's request,
 * so that a client that does not read takes one page and one answer. */
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "api/route.h"
#include "ring/ring_internal.h"

enum { PAGE_BODY = RANKD_PACKET_MAX - sizeof(struct rankd_control) };

static struct rk_peer *peer_of(struct rk_ring_call *call)
{
    return (struct rk_peer *)((char *)call - offsetof(struct rk_peer, call));
}

/* A client may answer a page before its send has completed here: such a packet waits. */
static void sent(struct rk_op *op, int result)
{
    struct rk_ring_call *call = (struct rk_ring_call *)((char *)op - offsetof(struct rk_ring_call, send));
    struct rk_peer *peer = peer_of(call);
    size_t waited = call->waiting_bytes;
    (void)result; /* a client that is gone is noticed by the receive */
    call->waiting_bytes = 0;
    if (waited != 0) {
        if (rk_peer_open(peer))
            (void)rk_control_packet(peer, waited);
        rk_loop_receive(peer->front->loop, &peer->receive);
    }
    rk_peer_release(peer);
}

static void send_page(struct rk_peer *peer, uint64_t offset)
{
    struct rk_ring_call *call = &peer->call;
    size_t total = call->answer.body_bytes, bytes = total - (size_t)offset;
    if (bytes > PAGE_BODY)
        bytes = PAGE_BODY;
    struct rankd_control head = {.kind = RANKD_PACKET_ANSWER,
                                 .tag = call->tag,
                                 .http_status = (uint32_t)call->answer.http_status,
                                 .total_bytes = total,
                                 .offset = offset};
    memcpy(call->page, &head, sizeof head);
    if (bytes != 0)
        memcpy(call->page + sizeof head, call->answer.body + offset, bytes);
    call->send =
        (struct rk_op){.fd = peer->fd, .data = call->page, .bytes = sizeof head + bytes, .done = sent};
    atomic_store(&call->busy, false);
    rk_peer_hold(peer);
    rk_loop_send(peer->front->loop, &call->send);
}

/* Passes a worker's answer to the loop's thread, with the job's reference. */
static void answered(struct rk_ring_call *call)
{
    struct rk_front *front = peer_of(call)->front;
    (void)pthread_mutex_lock(&front->answering);
    call->next = front->answered;
    front->answered = call;
    (void)pthread_mutex_unlock(&front->answering);
    rk_loop_wake(front->loop);
}

void rk_control_answers(struct rk_front *front)
{
    (void)pthread_mutex_lock(&front->answering);
    struct rk_ring_call *call = front->answered;
    front->answered = NULL;
    (void)pthread_mutex_unlock(&front->answering);
    while (call != NULL) {
        struct rk_ring_call *next = call->next;
        struct rk_peer *peer = peer_of(call);
        if (rk_peer_open(peer))
            send_page(peer, 0);
        atomic_store(&call->busy, false);
        rk_peer_release(peer);
        call = next;
    }
}

static void answer_text(struct rk_ring_call *call, int status, const char *json)
{
    call->answer = (struct rk_answer){.http_status = status, .body = strdup(json)};
    call->answer.body_bytes = call->answer.body != NULL ? strlen(json) : 0;
}

static void ask(struct rk_peer *peer)
{
    struct rk_ring_call *call = &peer->call;
    struct rk_call api = {.method = call->request,
                          .path = call->path,
                          .query = call->query,
                          .body = call->body,
                          .body_bytes = call->body_bytes,
                          .who = &peer->who};
    rk_api_call(&peer->front->env->api, &api, &call->answer);
}

static void run_call(struct rk_job *job, struct rk_worker *worker)
{
    (void)worker;
    struct rk_ring_call *call = (struct rk_ring_call *)((char *)job - offsetof(struct rk_ring_call, job));
    ask(peer_of(call));
    answered(call);
}

static void drop_call(struct rk_job *job, enum rankd_status why)
{
    struct rk_ring_call *call = (struct rk_ring_call *)((char *)job - offsetof(struct rk_ring_call, job));
    answer_text(call, (int)why, "{\"error\":\"rankd is shutting down\"}");
    answered(call);
}

/* "METHOD /path", NUL, body. */
static bool well_formed(const char *line, size_t bytes)
{
    const char *end = memchr(line, '\0', bytes);
    const char *space = end != NULL ? memchr(line, ' ', (size_t)(end - line)) : NULL;
    return space != NULL && space != line && space[1] == '/';
}

/* Cuts the well-formed line. */
static void split(struct rk_ring_call *call, size_t bytes)
{
    char *end = call->request + strlen(call->request), *path = strchr(call->request, ' ');
    *path++ = '\0';
    char *query = strchr(path, '?');
    if (query != NULL)
        *query++ = '\0';
    call->path = path;
    call->query = query != NULL ? query : "";
    call->body = end + 1;
    call->body_bytes = bytes - (size_t)(call->body - call->request);
}

static const struct rk_route *route_of(const struct rk_ring_call *call)
{
    struct rk_match match;
    char allow[64];
    struct rk_err err = {0};
    return rk_route_find(call->request, call->path, &match, allow, &err);
}

static void begin_control(struct rk_peer *peer, uint32_t tag, const char *line, size_t bytes)
{
    struct rk_ring_call *call = &peer->call;
    rk_ring_call_clear(call);
    call->tag = tag;
    call->request = malloc(bytes);
    call->page = malloc(RANKD_PACKET_MAX);
    if (call->request == NULL || call->page == NULL) {
        rk_peer_hang_up(peer, "rankd is out of memory");
        return;
    }
    memcpy(call->request, line, bytes);
    split(call, bytes);
    const struct rk_route *route = route_of(call);
    if (route != NULL && route->kind == RK_ROUTE_LIGHT) {
        ask(peer);
        send_page(peer, 0);
        return;
    }
    call->job = (struct rk_job){.run = run_call, .drop = drop_call};
    atomic_store(&call->busy, true);
    if (rk_worker_pool_submit(rk_route_queue(&peer->front->env->api, route), &call->job) == RANKD_OK) {
        rk_peer_hold(peer);
        return;
    }
    answer_text(call, RANKD_OVERLOADED, "{\"error\":\"the work queue is full; try again\"}");
    send_page(peer, 0);
}

bool rk_control_packet(struct rk_peer *peer, size_t bytes)
{
    struct rankd_control head;
    struct rk_ring_call *call = &peer->call;
    if (call->send.pending) {
        call->waiting_bytes = bytes;
        return false;
    }
    if (bytes < sizeof head || bytes > RANKD_PACKET_MAX) {
        rk_peer_hang_up(peer, "a packet is neither a doorbell nor of the control channel");
        return true;
    }
    memcpy(&head, peer->packet, sizeof head);
    const char *line = peer->packet + sizeof head;
    bool is_call = head.kind == RANKD_PACKET_CALL && well_formed(line, bytes - sizeof head);
    bool is_page = head.kind == RANKD_PACKET_PAGE && bytes == sizeof head && call->page != NULL &&
                   head.tag == call->tag && head.offset <= call->answer.body_bytes;
    if (!is_call && !is_page)
        rk_peer_hang_up(peer, "a packet of the control channel is malformed");
    else if (atomic_load(&call->busy))
        rk_peer_hang_up(peer, "a call came before the answer to the one before");
    else if (is_call)
        begin_control(peer, head.tag, line, bytes - sizeof head);
    else
        send_page(peer, head.offset);
    return true;
}
