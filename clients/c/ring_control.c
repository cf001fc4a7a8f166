/* The control channel over the ring's socket. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "ring_internal.h"

void rankd_ring_answer(struct rankd_ring *ring, const char *packet, size_t bytes)
{
    struct rankd_control head;
    if (bytes < sizeof head || !ring->answer.waiting)
        return;
    memcpy(&head, packet, sizeof head);
    size_t page = bytes - sizeof head;
    if (head.kind != RANKD_PACKET_ANSWER || head.tag != ring->answer.tag || head.offset != ring->answer.got ||
        page > head.total_bytes - head.offset)
        return; /* of a call that nobody waits for any more */
    if (ring->answer.body == NULL) {
        ring->answer.body = malloc(head.total_bytes + 1);
        ring->answer.bytes = head.total_bytes;
    }
    if (ring->answer.body == NULL || ring->answer.bytes != head.total_bytes)
        return;
    memcpy(ring->answer.body + head.offset, packet + sizeof head, page);
    ring->answer.got += page;
    ring->answer.http_status = (int)head.http_status;
    ring->answer.there = true;
    (void)pthread_cond_broadcast(&ring->changed);
}

static bool has_page(struct rankd_ring *ring, uint64_t unused)
{
    (void)unused;
    return ring->answer.there;
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

static char *make_call(uint32_t tag, const char *method, const char *path, const void *body,
                       size_t body_bytes, size_t *bytes)
{
    struct rankd_control head = {.kind = RANKD_PACKET_CALL, .tag = tag};
    size_t line = strlen(method) + 1 + strlen(path) + 1;
    *bytes = sizeof head + line + body_bytes;
    char *packet = body_bytes <= RANKD_PACKET_MAX && *bytes <= RANKD_PACKET_MAX ? malloc(*bytes) : NULL;
    if (packet == NULL)
        return NULL;
    memcpy(packet, &head, sizeof head);
    (void)snprintf(packet + sizeof head, line, "%s %s", method, path);
    if (body_bytes != 0)
        memcpy(packet + sizeof head + line, body, body_bytes);
    return packet;
}

/* Waits for the next page; with the lock. */
static int next_page(struct rankd_ring *ring, uint64_t until_ns, struct rankd_error *error)
{
    int status = rankd_ring_wait_for(ring, has_page, 0, until_ns);
    ring->answer.there = false;
    if (status == RANKD_TIMEOUT)
        return rankd_fail(error, status, "no answer from the daemon in time");
    if (status == RANKD_LOST)
        return rankd_fail(error, status, "the connection to the daemon broke; reconnect and send again");
    return status;
}

/* With `lock` and `calling`. Fills ring->answer. */
static int exchange(struct rankd_ring *ring, const char *packet, size_t bytes, uint64_t until_ns,
                    struct rankd_error *error)
{
    int fd = atomic_load(&ring->fd);
    if (ring->lost || fd < 0)
        return rankd_fail(error, RANKD_LOST, "the connection to the daemon broke; reconnect and send again");
    int status = send_packet(fd, packet, bytes, until_ns, error);
    if (status == RANKD_OK)
        status = next_page(ring, until_ns, error);
    while (status == RANKD_OK && ring->answer.got < ring->answer.bytes) {
        struct rankd_control more = {
            .kind = RANKD_PACKET_PAGE, .tag = ring->answer.tag, .offset = ring->answer.got};
        status = send_packet(fd, &more, sizeof more, until_ns, error);
        if (status == RANKD_OK)
            status = next_page(ring, until_ns, error);
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

int rankd_ring_call(rankd_client *client, const char *method, const char *path, const void *body,
                    size_t body_bytes, uint64_t timeout_ns, char **answer, size_t *answer_bytes,
                    struct rankd_error *error)
{
    struct rankd_ring *ring = rankd_ring_of(client);
    uint64_t until_ns = rankd_until(timeout_ns);
    size_t bytes;
    (void)pthread_mutex_lock(&ring->calling);
    (void)pthread_mutex_lock(&ring->lock);
    uint32_t tag = ring->answer.tag + 1;
    free(ring->answer.body);
    memset(&ring->answer, 0, sizeof ring->answer);
    ring->answer.waiting = true;
    ring->answer.tag = tag;
    char *packet = make_call(tag, method, path, body, body_bytes, &bytes);
    int status = packet != NULL ? exchange(ring, packet, bytes, until_ns, error)
                                : rankd_fail(error, RANKD_TOO_LARGE,
                                             "a call has at most %d bytes with its body; this one has %zu",
                                             RANKD_PACKET_MAX, bytes);
    /* The daemon takes no second call while one is under way; whoever gave up starts over on a new
     * connection. */
    if (status == RANKD_TIMEOUT)
        rankd_ring_lose(ring);
    if (status == RANKD_OK)
        status = hand_over(ring, answer, answer_bytes, error);
    ring->answer.waiting = false;
    (void)pthread_mutex_unlock(&ring->lock);
    (void)pthread_mutex_unlock(&ring->calling);
    free(packet);
    return status;
}
