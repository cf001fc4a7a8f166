/* Stands between libmicrohttpd and its sockets: what libmicrohttpd receives has gone through framing.h.
 *
 * libmicrohttpd has no hook for this, so the library that rankd is linked with is a copy of the static one in
 * which the names `recv` and `gnutls_record_recv` are those of the two functions at the end (Makefile). A
 * request that came past them is refused by rk_guard_verdict(): it can't say that the request was looked at.
 */
#ifndef RK_HTTP_GUARD_H
#define RK_HTTP_GUARD_H

#include <gnutls/gnutls.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "http/framing.h"

struct rk_guard {
    int fd;
    struct rk_framing framing;
    char *kept; /* received, but libmicrohttpd's buffer was full; malloc'ed */
    size_t kept_at, kept_bytes;
    uint64_t late_ms;      /* the deadline that was missed, for the sentence */
    const char *late_what; /* what missed it: set before `late` */
    atomic_bool late;      /* the request came too slowly: told with the next look at the socket */
    bool early_reply_sent; /* an answer was written past libmicrohttpd */
};

/* The guard of a connection, from accept to close. All calls but rk_guard_late() on libmicrohttpd's thread.
 * False: no memory. */
bool rk_guard_start(struct rk_guard *guard, int fd, size_t head_limit) __attribute__((warn_unused_result));
void rk_guard_end(struct rk_guard *guard);

/* RANKD_OK if request `number` of the connection, counted from 1, may be answered; otherwise its refusal,
 * with the HTTP status in *http_status. To be asked when the head is there and again when the body is. */
enum rankd_status rk_guard_verdict(const struct rk_guard *guard, uint64_t number, int *http_status,
                                   struct rk_err *err) __attribute__((warn_unused_result));

/* From any thread: the request that is being received took longer than `limit_ms`. `what` is a literal. The
 * connection's thread answers 408 where no answer has begun, over TLS too, and the connection ends. */
void rk_guard_late(struct rk_guard *guard, const char *what, uint64_t limit_ms);

/* In the place of libmicrohttpd's recv() and gnutls_record_recv(). */
ssize_t rk_guard_recv(int fd, void *to, size_t size, int flags);
ssize_t rk_guard_record_recv(gnutls_session_t session, void *to, size_t size);

#endif
