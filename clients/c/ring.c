/* SPDX-License-Identifier: Apache-2.0 */
/* The ring transport: connecting, and the calls of rankd.h that need no more than memory. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "error.h"
#include "request.h"
#include "ring.h"
#include "ring_internal.h"

static const uint64_t CONNECT_TIMEOUT_NS = UINT64_C(10000000000);

/* ---- Handshake ---- */

/* A signal of the program does not end the attempt. */
static bool wait_readable(int fd, uint64_t until_ns)
{
    for (;;) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        int limit = rankd_milliseconds(until_ns), n = poll(&poll_fd, 1, limit);
        if (n > 0 || (n < 0 && errno != EINTR) || limit == 0)
            return n > 0;
    }
}

/* If the daemon does not accept and its queue is full, connect() waits up to the send timeout. */
static bool connect_until(int fd, const struct sockaddr_un *address, uint64_t until_ns)
{
    const struct timeval without_end = {0};
    int rc;
    do {
        int limit = rankd_milliseconds(until_ns);
        struct timeval left = {limit / 1000, limit % 1000 * 1000};
        if (limit == 0) {
            errno = ETIMEDOUT;
            return false;
        }
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof left);
        rc = connect(fd, (const struct sockaddr *)address, sizeof *address);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0 && errno == EAGAIN)
        errno = ETIMEDOUT;
    int why = errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &without_end, sizeof without_end);
    errno = why;
    return rc == 0;
}

static int connect_socket(const struct rankd_ring *ring, uint64_t until_ns, struct rankd_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, ring->path, sizeof address.sun_path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || !connect_until(fd, &address, until_ns)) {
        (void)rankd_fail(error, RANKD_UNREACHABLE, "no connection to unix:%s: %s", ring->path,
                         strerror(errno));
        if (fd >= 0)
            (void)close(fd);
        return -1;
    }
    return fd;
}

/* Receives the welcome and the segment's fd, if one came; -1 in *segment_fd otherwise. */
static bool receive_welcome(int fd, struct rankd_welcome *welcome, int *segment_fd)
{
    struct iovec part = {welcome, sizeof *welcome};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    *segment_fd = -1;
    ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT); /* it is there */
    struct cmsghdr *rights = n >= 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (rights != NULL && rights->cmsg_type == SCM_RIGHTS && rights->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(segment_fd, CMSG_DATA(rights), sizeof *segment_fd);
    return n == (ssize_t)sizeof *welcome && welcome->kind == RANKD_PACKET_WELCOME;
}

static int greet(struct rankd_ring *ring, int fd, uint64_t until_ns, struct rankd_welcome *welcome,
                 int *segment_fd, struct rankd_error *error)
{
    const struct rankd_options *options = &ring->options;
    struct rankd_hello hello = {.kind = RANKD_PACKET_HELLO,
                                .version_min = RANKD_SHM_VERSION,
                                .version_max = RANKD_SHM_VERSION,
                                .entries = options->entries,
                                .arena_bytes = options->arena_bytes,
                                .spin_us = options->spin_us};
    *segment_fd = -1;
    /* A daemon that refuses this uid has closed the connection, but its reason can still be
     * read. */
    (void)send(fd, &hello, sizeof hello, MSG_NOSIGNAL);
    if (!wait_readable(fd, until_ns))
        return rankd_fail(error, RANKD_UNREACHABLE, "unix:%s took the connection and says nothing",
                          ring->path);
    if (!receive_welcome(fd, welcome, segment_fd))
        return rankd_fail(error, RANKD_UNREACHABLE, "unix:%s hung up during the handshake", ring->path);
    welcome->text[sizeof welcome->text - 1] = '\0';
    if (!rankd_is_status((long)welcome->status))
        return rankd_fail(error, RANKD_PROTOCOL, "unix:%s greets with status %u, which rankd never gives",
                          ring->path, welcome->status);
    if (welcome->status != RANKD_OK)
        return rankd_fail(error, (int)welcome->status, "%s", welcome->text);
    if (*segment_fd < 0)
        return rankd_fail(error, RANKD_UNREACHABLE, "unix:%s sent no segment", ring->path);
    return RANKD_OK;
}

static int prepare_slots(struct rankd_ring *ring, struct rankd_error *error)
{
    const struct rankd_mapping *mapping = ring->mapping;
    ring->entries = mapping->layout.entries;
    ring->submissions = (void *)((char *)mapping->shared + mapping->layout.submissions_offset);
    ring->completions = (void *)((char *)mapping->shared + mapping->layout.completions_offset);
    ring->submit_tail = ring->complete_head = 0;
    ring->first_tag = ring->next_tag;
    ring->slot_memory = rankd_arena_take(&ring->mapping->arena, (uint64_t)ring->entries * RANKD_SLOT_BYTES);
    ring->slots = calloc(ring->entries, sizeof *ring->slots);
    if (ring->slots != NULL && ring->slot_memory != NULL)
        return RANKD_OK;
    int status = rankd_fail(error, RANKD_NO_MEMORY,
                            "the arena has no room for the descriptors of %u requests", ring->entries);
    free(ring->slots);
    ring->slots = NULL;
    ring->slot_memory = NULL; /* the mapping is freed with all of its pieces */
    ring->entries = 0;
    return status;
}

/* With the lock. Leaves `lost` as it was on failure. */
static int connect_ring(struct rankd_ring *ring, struct rankd_error *error)
{
    struct rankd_welcome welcome = {0};
    uint64_t until_ns = rankd_until(ring->options.connect_timeout_ns);
    int segment_fd, fd = connect_socket(ring, until_ns, error);
    if (fd < 0)
        return RANKD_UNREACHABLE;
    int status = greet(ring, fd, until_ns, &welcome, &segment_fd, error);
    if (status == RANKD_OK)
        status = rankd_ring_map(ring, segment_fd, welcome.segment_bytes, error);
    if (segment_fd >= 0)
        (void)close(segment_fd); /* the mapping is enough */
    if (status == RANKD_OK && (status = prepare_slots(ring, error)) != RANKD_OK) {
        struct rankd_mapping *mapping = ring->mapping;
        ring->mapping = mapping->next;
        rankd_ring_unmap(mapping);
    }
    if (status != RANKD_OK) {
        (void)close(fd);
        return status;
    }
    ring->daemon_id = welcome.daemon_id;
    ring->lost = false;
    atomic_store(&ring->fd, fd);
    rankd_ring_drop_retired(ring);
    return RANKD_OK;
}

/* Frees what the lost connection held, except memory that the caller has from it. */
static void retire(struct rankd_ring *ring)
{
    int fd = atomic_exchange(&ring->fd, -1);
    if (fd >= 0)
        (void)close(fd);
    for (uint32_t i = 0; i < ring->entries && ring->slots != NULL; i++)
        rankd_ring_free_slot(ring, &ring->slots[i], false);
    free(ring->slots);
    ring->slots = NULL;
    ring->entries = 0;
    rankd_ring_call_over(ring);
    rankd_ring_give(ring, ring->slot_memory);
    ring->slot_memory = NULL;
}

/* Also if no thread has waited since the daemon went, and so none has noticed. */
static bool has_ended(const struct rankd_ring *ring)
{
    char byte;
    ssize_t n = recv(atomic_load(&ring->fd), &byte, sizeof byte, MSG_PEEK | MSG_DONTWAIT);
    return ring->lost || n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

static int reconnect(rankd_client *client, struct rankd_error *error)
{
    struct rankd_ring *ring = rankd_ring_of(client);
    int status = RANKD_OK;
    (void)pthread_mutex_lock(&ring->lock);
    /* Of several threads that lost the connection, one connects for all; the others find the new
     * one. */
    while (ring->reading && has_ended(ring))
        (void)rankd_ring_wait_change(ring, UINT64_MAX);
    if (has_ended(ring)) {
        ring->lost = true;
        retire(ring);
        status = connect_ring(ring, error);
        (void)pthread_cond_broadcast(&ring->changed);
    }
    (void)pthread_mutex_unlock(&ring->lock);
    return status;
}

/* ---- The transport's small calls ---- */

static void *ring_alloc(rankd_client *client, uint64_t bytes)
{
    struct rankd_ring *ring = rankd_ring_of(client);
    (void)pthread_mutex_lock(&ring->lock);
    void *memory = ring->mapping != NULL ? rankd_arena_take(&ring->mapping->arena, bytes) : NULL;
    (void)pthread_mutex_unlock(&ring->lock);
    return memory;
}

static void ring_release(rankd_client *client, void *memory)
{
    struct rankd_ring *ring = rankd_ring_of(client);
    (void)pthread_mutex_lock(&ring->lock);
    rankd_ring_give(ring, memory);
    (void)pthread_mutex_unlock(&ring->lock);
}

static void ring_arena(rankd_client *client, uint64_t *bytes, uint64_t *largest_free)
{
    struct rankd_ring *ring = rankd_ring_of(client);
    (void)pthread_mutex_lock(&ring->lock);
    if (ring->mapping != NULL) {
        *bytes = ring->mapping->arena.bytes;
        *largest_free = rankd_arena_largest(&ring->mapping->arena);
    }
    (void)pthread_mutex_unlock(&ring->lock);
}

static uint64_t ring_daemon_id(rankd_client *client)
{
    struct rankd_ring *ring = rankd_ring_of(client);
    (void)pthread_mutex_lock(&ring->lock);
    uint64_t id = ring->daemon_id;
    (void)pthread_mutex_unlock(&ring->lock);
    return id;
}

/* The parent's connection must end with the parent. */
static void ring_forked(rankd_client *client)
{
    int fd = atomic_load(&rankd_ring_of(client)->fd);
    if (fd >= 0)
        (void)close(fd);
}

static void ring_close(rankd_client *client)
{
    struct rankd_ring *ring = rankd_ring_of(client);
    int fd = atomic_load(&ring->fd);
    if (fd >= 0)
        (void)close(fd);
    while (ring->mapping != NULL) {
        struct rankd_mapping *next = ring->mapping->next;
        rankd_ring_unmap(ring->mapping);
        ring->mapping = next;
    }
    (void)pthread_cond_destroy(&ring->changed);
    (void)pthread_mutex_destroy(&ring->lock);
    free(ring->answer.body);
    free(ring->slots);
    free(ring->packet);
    free(ring);
}

static const struct rankd_transport transport = {
    .close = ring_close,
    .forked = ring_forked,
    .reconnect = reconnect,
    .alloc = ring_alloc,
    .release = ring_release,
    .arena = ring_arena,
    .submit = rankd_ring_submit,
    .wait = rankd_ring_wait,
    .cancel = rankd_ring_cancel,
    .call = rankd_ring_call,
    .daemon_id = ring_daemon_id,
};

static void init_locks(struct rankd_ring *ring)
{
    (void)pthread_cond_init(&ring->changed, NULL);
    (void)pthread_mutex_init(&ring->lock, NULL);
}

int rankd_ring_open(const char *url, const struct rankd_options *options, rankd_client **client,
                    struct rankd_error *error)
{
    const char *path = url + (strncmp(url, "unix://", 7) == 0 ? 7 : 5);
    size_t length = strlen(path);
    struct rankd_ring *ring = calloc(1, sizeof *ring);
    char *packet = malloc(RANKD_PACKET_MAX);
    if (ring == NULL || packet == NULL || length == 0 || length >= sizeof ring->path) {
        bool wrong = length == 0 || length >= sizeof ring->path;
        int status = wrong
                         ? rankd_fail(error, RANKD_MISUSE, "a socket's path has 1 to %zu bytes; '%s' has %zu",
                                      sizeof ring->path - 1, path, length)
                         : rankd_fail(error, RANKD_NO_MEMORY, "out of memory");
        free(ring);
        free(packet);
        return status;
    }
    memcpy(ring->path, path, length + 1);
    ring->base.transport = &transport;
    ring->packet = packet;
    ring->options = *options;
    ring->options.token = NULL;
    if (ring->options.connect_timeout_ns == 0)
        ring->options.connect_timeout_ns = CONNECT_TIMEOUT_NS;
    atomic_store(&ring->fd, -1);
    init_locks(ring);
    int status = connect_ring(ring, error);
    if (status != RANKD_OK) {
        ring_close(&ring->base);
        return status;
    }
    *client = &ring->base;
    return RANKD_OK;
}
