/* SPDX-License-Identifier: Apache-2.0 */
/* One request over HTTP and its answer.
 *
 * Steps, on the thread of libmicrohttpd unless noted:
 *
 *   1. begun when the request line is read
 *   2. the header is checked, the body collected
 *   3. a small request is done at once (4); otherwise the connection is suspended, the job goes to
 *      a worker
 *   4. worker: parse, compute, write the reply into memory; parked while a bank waits for the disk
 *   5. the connection is resumed, the answer sent, the exchange ended
 *
 * One thread has it at any time. */
#ifndef RK_HTTP_EXCHANGE_H
#define RK_HTTP_EXCHANGE_H

#include <microhttpd.h>
#include <stdatomic.h>

#include "api/api.h"
#include "api/route.h"
#include "api/transport.h"
#include "codec/infer_reply.h"
#include "codec/infer_request.h"
#include "codec/inflate.h"
#include "exec/infer.h"
#include "exec/worker_pool.h"
#include "http/body.h"
#include "http/connection.h"
#include "http/inline.h"
#include "http/listen.h"
#include "http/tls.h"
#include "regions/regions.h"

struct rk_http {
    const struct rk_transport_env *env;
    struct MHD_Daemon *daemon;
    struct rk_conns conns;
    atomic_size_t
        in_flight; /* exchanges that are received completely, or being answered: a stop waits for them */
    char url[RK_URL_TEXT];
    struct rk_tls *tls;        /* NULL: plain */
    unsigned threads;          /* of libmicrohttpd, with the connections */
    struct rk_inline *inlines; /* one for each of them, for small requests */
};

enum rk_step {
    RK_STEP_BEGUN,   /* the header is not checked yet */
    RK_STEP_READING, /* the body arrives */
    RK_STEP_RUNNING, /* a worker has it */
    RK_STEP_ANSWERED /* the answer is complete */
};

struct rk_exchange {
    struct rk_job job; /* first: the worker gets this */
    struct rk_http *http;
    struct MHD_Connection *connection;
    struct rk_conn *conn;
    enum rk_step step;
    uint64_t number; /* of the request on its connection, from 1 */

    char *uri; /* as sent */
    char path[1024];
    char method[16];
    const char *query;
    const struct rk_route *route; /* NULL: none, see err */
    struct rk_match match;
    struct rk_principal who;
    enum rk_encoding encoding, accepted; /* of the body; of the reply */
    const char *json_length;             /* Inference-Header-Content-Length; NULL = absent */
    bool is_infer, counted, close_after;
    bool parsed;            /* `wire` is filled */
    bool awaited;           /* counted in http->in_flight */
    bool spare;             /* in a spare place (places.h) */
    bool options;           /* the verb is OPTIONS: the answer is answer.allow */
    bool counted_in_flight; /* counted as in flight in the metrics; light requests are not, or reading the
                               metrics would change them */
    bool early_reply_sent;  /* the answer was sent during the upload: nothing follows it */

    struct rk_body body;
    struct rk_err err;
    int http_status; /* HTTP status of an error answer; 0 = the status of the error */
    uint64_t begun_ns, received_ns, written_ns;
    uint64_t write_ns; /* time spent writing the reply before written_ns */

    struct rk_answer answer; /* for everything but a successful inference */

    struct rk_wire_request wire;
    struct rk_region_bindings bindings; /* of shared memory that the request names */
    struct rk_reply reply;
    struct rk_wire_reply out;
    struct rk_infer_meta meta;
    void *packed; /* the compressed body of the reply */
    size_t packed_bytes;
    size_t sent_bytes;
};

/* Checks the header. On failure exchange->err is set and the body, if any, is read and dropped.
 * True if the answer must be sent at once and the connection closed, because further data of the
 * client is meaningless. */
bool rk_exchange_header(struct rk_exchange *exchange, const char *method);

/* Called when the body is complete: answers at once or submits the job to the workers. True:
 * submitted, and the connection is suspended. */
bool rk_exchange_run(struct rk_exchange *exchange);

/* Parses the request, its deadline and the form of the reply from the body, on the calling thread.
 * False: exchange->err has the reason. */
bool rk_exchange_parse(struct rk_exchange *exchange) __attribute__((warn_unused_result));

/* The part of an inference on a worker, after rk_exchange_parse() if that was called.
 * RK_INFER_DONE: out or err is filled. RK_INFER_PARKED: the request waits for a bank and must not
 * be touched any more; rk_exchange_infer_on() continues when its job is resumed, with the same
 * result. */
enum rk_infer_state rk_exchange_infer(struct rk_exchange *exchange, struct rk_worker *worker)
    __attribute__((warn_unused_result));
enum rk_infer_state rk_exchange_infer_on(struct rk_exchange *exchange, struct rk_worker *worker)
    __attribute__((warn_unused_result));

/* The response to queue: `computed` ? the reply of an inference : exchange->answer. Its body is
 * borrowed from *exchange until rk_exchange_end(). NULL: out of memory. The caller destroys it. */
struct MHD_Response *rk_exchange_response(struct rk_exchange *exchange, bool computed)
    __attribute__((warn_unused_result));

/* Queues the answer: result or error. */
enum MHD_Result rk_exchange_answer(struct rk_exchange *exchange);

/* Refuses a body over the limit during the upload, by writing to the socket directly. A client that
 * waits for the answer gets it. A client that continues is not reset, which would destroy the
 * answer; its data is dropped until the end. No effect over TLS: there the answer comes at the
 * end. */
void rk_exchange_tell(struct rk_exchange *exchange);

/* Counts, logs and frees the exchange. */
void rk_exchange_end(struct rk_exchange *exchange);

#endif
