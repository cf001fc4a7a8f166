/* Connections, and the deadlines that libmicrohttpd does not keep: its own timeout ends only silence, so a
 * client that drips a byte a second would hold a connection for ever. A thread looks at all connections a few
 * times a second while there are any, and ends those whose header, body or reply takes too long. */
#ifndef RK_HTTP_CONNECTION_H
#define RK_HTTP_CONNECTION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/metrics.h"
#include "config/config.h"
#include "http/guard.h"

enum rk_phase {
    RK_PHASE_IDLE,   /* between requests */
    RK_PHASE_HEADER, /* some of a header has arrived */
    RK_PHASE_BODY,
    RK_PHASE_RUN, /* waits for a worker, or for its result */
    RK_PHASE_WRITE,
    RK_PHASE_ENDED /* hung up on */
};

struct rk_conn {
    struct rk_conn *next, **link;
    int fd;
    enum rk_phase phase;
    struct rk_guard guard;   /* of what libmicrohttpd receives */
    uint64_t requests;       /* that libmicrohttpd found */
    bool cut;                /* the client had ended its side at the last look */
    bool spare;              /* beyond --connections (places.h) */
    uint64_t since_ns;       /* when the phase began */
    uint64_t received_bytes; /* of the socket when it fell idle */
};

struct rk_conns {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    struct rk_conn *first;
    size_t open, limit; /* not hung up on; of those the most that are served (places.h) */
    const struct rk_config *config;
    struct rk_metrics *metrics;
    bool stop, plain; /* plain: not TLS, so that an answer can be written to the socket */
};

/* Starts the thread. False: no thread could be started. */
bool rk_conns_start(struct rk_conns *conns, const struct rk_config *config, struct rk_metrics *metrics,
                    bool plain, size_t limit) __attribute__((warn_unused_result));
void rk_conns_stop(struct rk_conns *conns);

/* A connection from accept to close; NULL if out of memory. `fd` stays open until the free. */
struct rk_conn *rk_conn_new(struct rk_conns *conns, int fd);
void rk_conn_free(struct rk_conns *conns, struct rk_conn *conn); /* NULL is fine */

/* Answers past libmicrohttpd, which has no call to answer in the middle of an upload: no answer has begun.
 * `status` as in "408 Request Timeout"; the sentence has nothing that JSON would escape. */
void rk_conn_say(const struct rk_conn *conn, const char *status, const char *sentence);

/* Hangs up; libmicrohttpd sees it and cleans up. The lock is held, and so for the next. */
void rk_conn_end(struct rk_conns *conns, struct rk_conn *conn);

/* Of an idle one: some of a request has arrived, and it is idle no longer. */
bool rk_conn_has_begun(struct rk_conn *conn);

/* The next phase begins. */
void rk_conn_phase(struct rk_conns *conns, struct rk_conn *conn, enum rk_phase phase);

#endif
