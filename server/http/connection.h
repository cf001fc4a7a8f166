/* SPDX-License-Identifier: Apache-2.0 */
/* Connections, and the deadlines that libmicrohttpd lacks: its timeout ends only silent
 * connections, so a client that sends one byte per second would keep a connection open
 * indefinitely. While there are connections, a thread checks them a few times per second, and ends
 * those whose header, body or reply takes too long. */
#ifndef RK_HTTP_CONNECTION_H
#define RK_HTTP_CONNECTION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/metrics.h"
#include "codec/repeat.h"
#include "config/config.h"
#include "http/guard.h"

enum rk_phase {
    RK_PHASE_IDLE,   /* between requests */
    RK_PHASE_HEADER, /* a part of a header has arrived */
    RK_PHASE_BODY,
    RK_PHASE_RUN, /* waits for a worker, or for its result */
    RK_PHASE_WRITE,
    RK_PHASE_ENDED /* closed by the daemon */
};

struct rk_conn {
    struct rk_conn *next, **link;
    int fd;
    enum rk_phase phase;
    struct rk_guard guard;   /* filters the data for libmicrohttpd */
    struct rk_repeat repeat; /* of its last request; belongs to the exchange that runs */
    uint64_t requests;       /* that libmicrohttpd has parsed */
    bool cut;                /* the client had closed its side at the last check */
    bool spare;              /* beyond --connections (places.h) */
    uint64_t since_ns;       /* start of the phase */
    uint64_t received_bytes; /* bytes received on the socket when the connection became idle */
};

struct rk_conns {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    struct rk_conn *first;
    size_t open, limit; /* connections that are open; the most that are served (places.h) */
    const struct rk_config *config;
    struct rk_metrics *metrics;
    bool stop, plain; /* plain: not TLS, so that an answer can be written to the socket */
};

/* Starts the thread. False if that fails. */
bool rk_conns_start(struct rk_conns *conns, const struct rk_config *config, struct rk_metrics *metrics,
                    bool plain, size_t limit) __attribute__((warn_unused_result));
void rk_conns_stop(struct rk_conns *conns);

/* A connection from accept to close; NULL if out of memory. `fd` stays open until the free. */
struct rk_conn *rk_conn_new(struct rk_conns *conns, int fd);
void rk_conn_free(struct rk_conns *conns, struct rk_conn *conn); /* NULL is fine */

/* Writes an answer to the socket directly, because libmicrohttpd can't answer during an upload. No
 * answer may have begun. `status` is as in "408 Request Timeout"; the sentence contains nothing
 * that JSON escapes. */
void rk_conn_say(const struct rk_conn *conn, const char *status, const char *sentence);

/* Closes the connection; libmicrohttpd notices and cleans up. The lock is held, also for the next
 * function. */
void rk_conn_end(struct rk_conns *conns, struct rk_conn *conn);

/* True if a part of a request has arrived on an idle connection, which is then no longer idle. */
bool rk_conn_has_begun(struct rk_conn *conn);

/* True if the client has ended its side and everything that it sent was read, but that was no
 * complete request. libmicrohttpd 0.9.75 does not detect this if the end arrives together with
 * data: it waits for another edge of epoll that never comes. */
bool rk_conn_cut_short(const struct rk_conn *conn);

/* The connection is no longer counted; its socket is still open. The lock is held. */
void rk_conn_leave(struct rk_conns *conns, struct rk_conn *conn);

/* Begins a phase. */
void rk_conn_phase(struct rk_conns *conns, struct rk_conn *conn, enum rk_phase phase);

#endif
