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

/* The guards by socket, in pages that are made as they are needed and stay. */
enum { PAGE_FDS = 1024, PAGES = 1024 };
struct guards {
    struct rk_guard *_Atomic guard[PAGE_FDS];
};
static struct guards *_Atomic pages[PAGES];

static _Thread_local char scratch[SCRATCH]; /* a place to receive at */

/* The source and destination of bytes: a socket, or a TLS session over it. */
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

/* A client with Nagle's algorithm holds the last piece of an upload back until the pieces before it
 * are acknowledged, which a receiver delays by 40 ms. So received data is acknowledged at once
 * while the rest of a message is missing; the answer acknowledges a whole message. The kernel drops
 * the setting after a while, so it is set again with every piece. */
static void acknowledge_at_once(const struct rk_guard *guard)
{
    const int on = 1;
    if (!rk_framing_is_idle(&guard->framing))
        (void)setsockopt(guard->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

/* The page of a descriptor; NULL: no memory, or a descriptor beyond all pages. */
static struct guards *page_of(int fd)
{
    const size_t index = (size_t)fd / PAGE_FDS;
    struct guards *page = NULL, *made;
    if (fd < 0 || index >= PAGES || (page = atomic_load(&pages[index])))
        return page;
    made = calloc(1, sizeof *made);
    if (made && atomic_compare_exchange_strong(&pages[index], &page, made))
        return made;
    free(made);
    return page;
}

bool rk_guard_start(struct rk_guard *guard, int fd, size_t head_limit)
{
    struct guards *page = page_of(fd);
    memset(guard, 0, sizeof *guard);
    if (!page)
        return false;
    guard->fd = fd;
    rk_framing_start(&guard->framing, head_limit);
    atomic_store(&page->guard[fd % PAGE_FDS], guard);
    return true;
}

void rk_guard_end(struct rk_guard *guard)
{
    atomic_store(&page_of(guard->fd)->guard[guard->fd % PAGE_FDS], NULL);
    rk_framing_end(&guard->framing);
    free(guard->kept);
}

static struct rk_guard *find(int fd)
{
    struct guards *page = fd >= 0 && fd / PAGE_FDS < PAGES ? atomic_load(&pages[fd / PAGE_FDS]) : NULL;
    return page ? atomic_load(&page->guard[fd % PAGE_FDS]) : NULL;
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
    (void)shutdown(guard->fd, SHUT_RD); /* wakes libmicrohttpd, which then reads */
}

/* libmicrohttpd can't answer in the middle of an upload. No answer has begun, so one is written to
 * the socket directly. Bytes that the client had sent are read from the socket afterwards: closing
 * it with unread bytes would destroy the answer on its way. */
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

/* Passes on the kept bytes. False: there is no room for more. */
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

/* Keeps the bytes for which there was no room. False: no memory. */
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

/* Receives once: a body at its final place, everything else through the scratch. Returns the result
 * of pull(). */
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

/* There are bytes to pass on: true if they may be passed on before the rest is read. */
static bool enough(const struct rk_guard *guard, const struct wire *wire, bool drained)
{
    return drained || wire->session || guard->framing.refused;
}

/* If libmicrohttpd gets less than it asked for, it takes the socket for drained and waits for the
 * next edge of epoll. So room is left only if the socket is drained (plain), or if libmicrohttpd
 * asks again anyway (TLS). */
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
    if (got > 0) { /* an incomplete head */
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
