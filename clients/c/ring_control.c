/* SPDX-License-Identifier: Apache-2.0 */
/* Control requests over the ring's socket. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"
#include "error.h"
#include "error_body.h"
#include "ring_internal.h"

static bool has_page(struct rankd_ring *ring, uint64_t unused)
{
    (void)unused;
    return ring->answer.state != RANKD_ANSWER_AWAITED;
}

/* The daemon closes the connection on a call before the former one is answered. */
static bool owes_nothing(struct rankd_ring *ring, uint64_t unused)
{
    (void)unused;
    return !ring->answer.owed;
}

/* The socket's buffer may be full of doorbells that a stopped daemon did not read. */
static int send_packet(int fd, const void *packet, size_t bytes, uint64_t until_ns, struct rankd_error *error)
{
    while (send(fd, packet, bytes, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        uint64_t now = rankd_now_ns();
        if (errno != EAGAIN && errno != EINTR)
            return rankd_fail(error, RANKD_LOST, "the connection to the daemon broke: %s", strerror(errno));
        if (now >= until_ns)
            return rankd_fail(error, RANKD_TIMEOUT, "the daemon takes no packets");
        uint64_t left = (until_ns - now) / 1000000 + 1;
        struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
        (void)poll(&poll_fd, 1, left > 1000 ? 1000 : (int)left);
    }
    return RANKD_OK;
}

/* The packet, malloc'ed, without its tag. */
static int make_call(const char *method, const char *path, const void *body, size_t body_bytes, char **packet,
                     size_t *bytes, struct rankd_error *error)
{
    struct rankd_control head = {.kind = RANKD_PACKET_CALL};
    size_t line = strlen(method) + 1 + strlen(path) + 1;
    *bytes = sizeof head + line + body_bytes;
    if (body_bytes > RANKD_PACKET_MAX || *bytes > RANKD_PACKET_MAX)
        return rankd_fail(error, RANKD_TOO_LARGE,
                          "a call has at most %d bytes with its body; this one has %zu", RANKD_PACKET_MAX,
                          *bytes);
    *packet = malloc(*bytes);
    if (*packet == NULL)
        return rankd_fail(error, RANKD_NO_MEMORY, "out of memory");
    memcpy(*packet, &head, sizeof head);
    (void)snprintf(*packet + sizeof head, line, "%s %s", method, path);
    if (body_bytes != 0)
        memcpy(*packet + sizeof head + line, body, body_bytes);
    return RANKD_OK;
}

static const char lost_text[] = "the connection to the daemon broke; reconnect and send again";

/* Sends, and waits for the next page; with the lock. */
static int next_page(struct rankd_ring *ring, const void *packet, size_t bytes, uint64_t until_ns,
                     struct rankd_error *error)
{
    int fd = atomic_load(&ring->fd);
    if (ring->lost || fd < 0 || ring->answer.state == RANKD_ANSWER_LOST)
        return rankd_fail(error, RANKD_LOST, lost_text);
    ring->answer.state = RANKD_ANSWER_AWAITED;
    int status = send_packet(fd, packet, bytes, until_ns, error);
    if (status == RANKD_LOST)
        rankd_ring_lose(ring);
    if (status != RANKD_OK)
        return status;
    ring->answer.owed |= ring->answer.got == 0;
    status = rankd_ring_wait_for(ring, has_page, 0, until_ns);
    if (status == RANKD_TIMEOUT)
        return rankd_fail(error, status, "no answer from the daemon in time");
    if (status == RANKD_LOST || ring->answer.state == RANKD_ANSWER_LOST)
        return rankd_fail(error, RANKD_LOST, lost_text);
    if (ring->answer.state == RANKD_ANSWER_TOO_LARGE)
        return rankd_fail(error, RANKD_NO_MEMORY, "out of memory for the answer");
    if (ring->answer.state == RANKD_ANSWER_WRONG)
        return rankd_fail(error, RANKD_PROTOCOL, "the daemon's packet is not an answer to this call");
    return RANKD_OK;
}

/* With the lock, during this thread's call. Fills ring->answer. */
static int exchange(struct rankd_ring *ring, const char *packet, size_t bytes, uint64_t until_ns,
                    struct rankd_error *error)
{
    int status = next_page(ring, packet, bytes, until_ns, error);
    while (status == RANKD_OK && ring->answer.got < ring->answer.bytes) {
        struct rankd_control more = {
            .kind = RANKD_PACKET_PAGE, .tag = ring->answer.tag, .offset = ring->answer.got};
        status = next_page(ring, &more, sizeof more, until_ns, error);
    }
    return status;
}

static int hand_over(struct rankd_ring *ring, char **answer, size_t *answer_bytes, struct rankd_error *error)
{
    char *body = ring->answer.body;
    uint64_t bytes = ring->answer.bytes;
    ring->answer.body = NULL;
    body[bytes] = '\0';
    if (ring->answer.http_status != 200) {
        int status = rankd_fail_json(error, ring->answer.http_status, body, bytes);
        free(body);
        return status;
    }
    *answer = body;
    *answer_bytes = bytes;
    return RANKD_OK;
}

/* Waits until this thread may begin a call, and begins it. A running call ends without a packet, so
 * the waiting thread must not be the one that reads the socket. */
static int begin_call(struct rankd_ring *ring, uint64_t until_ns, struct rankd_error *error)
{
    int status = RANKD_OK;
    while (status == RANKD_OK && (ring->answer.busy || ring->answer.owed)) {
        if (!ring->answer.busy)
            status = rankd_ring_wait_for(ring, owes_nothing, 0, until_ns);
        else if (!rankd_ring_wait_change(ring, until_ns))
            status = RANKD_TIMEOUT;
    }
    if (status == RANKD_TIMEOUT)
        return rankd_fail(error, status, "an earlier call of this client was not answered in time");
    if (status != RANKD_OK)
        return rankd_fail(error, status, lost_text);
    ring->answer.busy = true;
    ring->answer.tag++;
    ring->answer.got = ring->answer.bytes = ring->answer.room = 0;
    ring->answer.state = RANKD_ANSWER_AWAITED;
    return RANKD_OK;
}

/* Later packets for it are dropped. */
static void end(struct rankd_ring *ring)
{
    free(ring->answer.body);
    ring->answer.body = NULL;
    ring->answer.state = RANKD_ANSWER_UNWANTED;
    ring->answer.busy = false;
    (void)pthread_cond_broadcast(&ring->changed);
}

int rankd_ring_call(rankd_client *client, const char *method, const char *path, const void *body,
                    size_t body_bytes, uint64_t timeout_ns, char **answer, size_t *answer_bytes,
                    struct rankd_error *error)
{
    struct rankd_ring *ring = rankd_ring_of(client);
    uint64_t until_ns = rankd_until(timeout_ns);
    char *packet = NULL;
    size_t bytes;
    int status = make_call(method, path, body, body_bytes, &packet, &bytes, error);
    if (status != RANKD_OK)
        return status;
    (void)pthread_mutex_lock(&ring->lock);
    status = begin_call(ring, until_ns, error);
    if (status == RANKD_OK) {
        memcpy(packet + offsetof(struct rankd_control, tag), &ring->answer.tag, sizeof ring->answer.tag);
        status = exchange(ring, packet, bytes, until_ns, error);
        if (status == RANKD_OK)
            status = hand_over(ring, answer, answer_bytes, error);
        end(ring);
    }
    (void)pthread_mutex_unlock(&ring->lock);
    free(packet);
    return status;
}
