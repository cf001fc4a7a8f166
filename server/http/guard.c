/* SPDX-License-Identifier: Apache-2.0 */
#include "http/guard.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    SCRATCH = 65536,
    DRAIN_PIECES = 16,
    STRUCT_MOST = 4096 /* bytes of a struct of libmicrohttpd; its buffers have more */
};

/* The guards by socket, and a place to receive at: of libmicrohttpd's thread alone. */
static struct rk_guard **by_fd;
static size_t fds;
static char scratch[SCRATCH];

/* Where bytes come from and go to: a socket, or a TLS session over it. */
struct wire {
    int fd;
    gnutls_session_t session; /* NULL: plain */
};

static ssize_t pull(const struct wire *wire, void *to, size_t size)
{
    return wire->session ? gnutls_record_recv(wire->session, to, size) : recv(wire->fd, to, size, 0);
}

static void push(const struct wire *wire, const char *bytes, size_t count)
{
    if (wire->session)
        (void)gnutls_record_send(wire->session, bytes, count);
    else
        (void)send(wire->fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* A client that leaves Nagle's algorithm on holds the last piece of an upload back until what it sent is
 * acknowledged, which a receiver puts off by 40 ms. So where a message waits for its next piece, what has
 * come is acknowledged now; a message that is whole is acknowledged by its answer. The kernel forgets the
 * setting after a while: it is set again with every piece. */
static void acknowledge_at_once(const struct rk_guard *guard)
{
    const int on = 1;
    if (!rk_framing_is_idle(&guard->framing))
        (void)setsockopt(guard->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

bool rk_guard_start(struct rk_guard *guard, int fd, size_t head_limit)
{
    const size_t index = (size_t)fd;
    memset(guard, 0, sizeof *guard);
    if (index >= fds) {
        const size_t count = 2 * index + 64;
        struct rk_guard **more = realloc(by_fd, count * sizeof(struct rk_guard *));
        if (!more)
            return false;
        memset(more + fds, 0, (count - fds) * sizeof(struct rk_guard *));
        by_fd = more;
        fds = count;
    }
    guard->fd = fd;
    rk_framing_start(&guard->framing, head_limit);
    by_fd[index] = guard;
    return true;
}

void rk_guard_end(struct rk_guard *guard)
{
    by_fd[guard->fd] = NULL;
    rk_framing_end(&guard->framing);
    free(guard->kept);
}

static struct rk_guard *find(int fd)
{
    return fd >= 0 && (size_t)fd < fds ? by_fd[fd] : NULL;
}

enum rankd_status rk_guard_verdict(const struct rk_guard *guard, uint64_t number, int *http_status,
                                   struct rk_err *err)
{
    const struct rk_framing *framing = &guard->framing;
    if (number == framing->refused) {
        *http_status = framing->http_status;
        return rk_fail(err, RANKD_INVALID, "%s", framing->err.text);
    }
    if (number <= framing->requests)
        return RANKD_OK;
    *http_status = RANKD_INVALID;
    return rk_fail(err, RANKD_INVALID,
                   "the framing of the request could not be checked; such a request is refused");
}

void rk_guard_late(struct rk_guard *guard, const char *what, uint64_t limit_ms)
{
    guard->late_what = what;
    guard->late_ms = limit_ms;
    atomic_store(&guard->late, true);
    (void)shutdown(guard->fd, SHUT_RD); /* wakes libmicrohttpd, which comes to read */
}

/* libmicrohttpd has no call to answer in the middle of an upload. No answer has begun, so one can be written
 * past it. What the client had sent is read afterwards, as it lies in the socket: closing with bytes unread
 * would destroy the answer on its way. */
static void tell_late(struct rk_guard *guard, const struct wire *wire)
{
    char body[160], answer[384];
    if (guard->early_reply_sent || rk_framing_is_idle(&guard->framing))
        return;
    guard->early_reply_sent = true;
    int length =
        snprintf(body, sizeof body,
                 "{\"error\":\"the %s of the request took longer than %llu ms to arrive, the most it may "
                 "take\"}",
                 guard->late_what, (unsigned long long)guard->late_ms);
    length =
        snprintf(answer, sizeof answer,
                 "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Type: application/json\r\n"
                 "Content-Length: %d\r\n\r\n%s",
                 length, body);
    push(wire, answer, (size_t)length);
    for (int i = 0; i < DRAIN_PIECES && recv(wire->fd, scratch, sizeof scratch, 0) > 0; i++)
        continue;
}

/* Passes on what was kept. False: there is no room for more. */
static bool pass_kept(struct rk_guard *guard, struct rk_room *room)
{
    struct rk_in in = {guard->kept ? guard->kept + guard->kept_at : NULL, guard->kept_bytes - guard->kept_at};
    rk_framing_move(&guard->framing, &in, room);
    if (in.left == 0) {
        free(guard->kept);
        guard->kept = NULL;
        guard->kept_at = guard->kept_bytes = 0;
    } else {
        guard->kept_at = guard->kept_bytes - in.left;
    }
    return room->left != 0;
}

/* Keeps what found no room. False: no memory. */
static bool keep(struct rk_guard *guard, const struct rk_in *in)
{
    if (in->left == 0)
        return true;
    guard->kept = malloc(in->left);
    if (!guard->kept)
        return false;
    memcpy(guard->kept, in->at, in->left);
    guard->kept_bytes = in->left;
    return true;
}

/* Receives once: a body where it is to lie, all else by way of the scratch. Returns what pull() did. */
static ssize_t receive(struct rk_guard *guard, const struct wire *wire, struct rk_room *room, bool *drained)
{
    const size_t plain = rk_framing_plain(&guard->framing);
    const size_t size = plain ? (plain < room->left ? plain : room->left) : sizeof scratch;
    const ssize_t got = pull(wire, plain ? room->at : scratch, size);
    *drained = got > 0 && (size_t)got < size;
    if (got <= 0)
        return got;
    guard->received_bytes += (size_t)got;
    if (plain) {
        room->at += got;
        room->left -= (size_t)got;
        rk_framing_passed(&guard->framing, (size_t)got);
        return got;
    }
    struct rk_in in = {scratch, (size_t)got};
    rk_framing_move(&guard->framing, &in, room);
    if (keep(guard, &in))
        return got;
    errno = ENOMEM;
    return wire->session ? GNUTLS_E_MEMORY_ERROR : -1;
}

/* Something is there to be passed on: does it have to be all that there is? */
static bool enough(const struct rk_guard *guard, const struct wire *wire, bool drained)
{
    return drained || wire->session || guard->framing.refused;
}

/* libmicrohttpd takes less than it asked for as a sign that the socket is drained, and then waits for the
 * next edge of epoll. So room is left only where that is true (plain), or where libmicrohttpd asks again
 * anyway (TLS). */
static ssize_t read_through(struct rk_guard *guard, const struct wire *wire, void *to, size_t size)
{
    struct rk_room room = {to, size};
    ssize_t got = 1;
    bool drained = false;
    if (atomic_load(&guard->late)) {
        tell_late(guard, wire);
        return 0;
    }
    while (got > 0 && pass_kept(guard, &room) && (room.left == size || !enough(guard, wire, drained)))
        got = receive(guard, wire, &room, &drained);
    if (drained)
        acknowledge_at_once(guard);
    if (room.left < size)
        return (ssize_t)(size - room.left);
    if (got > 0) { /* a head that is not whole yet */
        errno = EAGAIN;
        return wire->session ? GNUTLS_E_AGAIN : -1;
    }
    return got;
}

ssize_t rk_guard_recv(int fd, void *to, size_t size, int flags)
{
    struct rk_guard *guard = find(fd);
    const struct wire wire = {fd, NULL};
    return guard ? read_through(guard, &wire, to, size) : recv(fd, to, size, flags);
}

ssize_t rk_guard_record_recv(gnutls_session_t session, void *to, size_t size)
{
    const struct wire wire = {gnutls_transport_get_int(session), session};
    struct rk_guard *guard = find(wire.fd);
    return guard ? read_through(guard, &wire, to, size) : gnutls_record_recv(session, to, size);
}

void *rk_guard_clear(void *at, int byte, size_t bytes)
{
    return bytes <= STRUCT_MOST ? memset(at, byte, bytes) : at;
}
