/* SPDX-License-Identifier: Apache-2.0 */
/* Reads sockets for libmicrohttpd: all data that it receives passes through framing.h.
 *
 * libmicrohttpd has no hook for this. Therefore rankd links a copy of the static library in which
 * the symbols `recv`, `gnutls_record_recv` and `memset` are renamed to the three functions at the
 * end (Makefile). rk_guard_verdict() refuses a request that did not pass the first two. */
#ifndef RK_HTTP_GUARD_H
#define RK_HTTP_GUARD_H

#include <gnutls/gnutls.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "http/framing.h"

struct rk_guard {
    int fd;
    struct rk_framing framing;
    char *kept; /* received while the buffer of libmicrohttpd was full; malloc'ed */
    size_t kept_at, kept_bytes;
    uint64_t received_bytes; /* from the socket; decrypted bytes of a TLS session */
    uint64_t late_ms;        /* the missed deadline, for the sentence */
    const char *late_what;   /* the part that missed it; set before `late` */
    atomic_bool late;        /* the request arrived too slowly: reported at the next read of the socket */
    bool early_reply_sent;   /* an answer was written to the socket directly */
};

/* The guard of a connection, from accept to close. All functions but rk_guard_late() run on the
 * thread of libmicrohttpd that has the connection. False: no memory. */
bool rk_guard_start(struct rk_guard *guard, int fd, size_t head_limit) __attribute__((warn_unused_result));
void rk_guard_end(struct rk_guard *guard);

/* RANKD_OK if request `number` of the connection, counted from 1, may be answered; otherwise its
 * refusal, with the HTTP status in *http_status. Call it after the head and again after the
 * body. */
enum rankd_status rk_guard_verdict(const struct rk_guard *guard, uint64_t number, int *http_status,
                                   struct rk_err *err) __attribute__((warn_unused_result));

/* From any thread: the request in arrival took longer than `limit_ms`. `what` is a literal. The
 * thread of the connection answers 408 if no answer has begun, over TLS too, and the connection
 * ends. */
void rk_guard_late(struct rk_guard *guard, const char *what, uint64_t limit_ms);

/* Replace recv() and gnutls_record_recv() in libmicrohttpd. */
ssize_t rk_guard_recv(int fd, void *to, size_t size, int flags);
ssize_t rk_guard_record_recv(gnutls_session_t session, void *to, size_t size);

/* Replaces memset() in libmicrohttpd, which zeroes the buffers of a connection after each request:
 * 192 KiB. That only empties the processor's caches, and gives each idle connection 128 KiB of
 * memory that it never used. The library does not rely on zeros: where mmap() fails it takes the
 * buffers from malloc() and clears nothing. They belong to one connection and go back to the system
 * with it. So no more than a struct is cleared. Returns `at`. */
void *rk_guard_clear(void *at, int byte, size_t bytes);

#endif
