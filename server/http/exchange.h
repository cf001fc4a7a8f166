/* One request over HTTP and its answer.
 *
 * Its life: begun when the request line is read (on libmicrohttpd's thread, like all that follows unless it
 * says otherwise); its header checked; its body collected; handed to a worker, the connection suspended;
 * computed and written into memory by the worker, with a rest on the way where its bank waits for the disk;
 * the connection resumed; sent; ended. One thread has it at any time. */
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
#include "http/listen.h"
#include "http/tls.h"
#include "regions/regions.h"

struct rk_http {
    const struct rk_transport_env *env;
    struct MHD_Daemon *daemon;
    struct rk_conns conns;
    atomic_size_t in_flight; /* exchanges that were received whole, or are answered: a stop waits for them */
    char url[RK_URL_TEXT];
    struct rk_tls *tls; /* NULL: plain */
};

enum rk_step {
    RK_STEP_BEGUN,   /* the header is not looked at yet */
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
    enum rk_encoding encoding, accepted; /* of the body; for the reply */
    const char *json_length;             /* Inference-Header-Content-Length, NULL = not there */
    bool is_infer, counted, close_after;
    bool awaited; /* counts in http->in_flight */
    bool spare;   /* in a spare place (places.h) */
    bool options; /* the verb is OPTIONS: the answer is answer.allow */
    bool
        counted_in_flight; /* counts as in flight for metrics: not the light ones, or looking would be seen */
    bool early_reply_sent; /* the answer was sent while the body still came: nothing follows it */

    struct rk_body body;
    struct rk_err err;
    int http_status; /* of the answer to an error, where it is not the error's own; 0 = it is */
    uint64_t begun_ns, received_ns, written_ns;
    uint64_t write_ns; /* time of writing the reply that lies before written_ns */

    struct rk_answer answer; /* of everything but a successful inference */

    struct rk_wire_request wire;
    struct rk_region_bindings bindings; /* of shared memory that the request names */
    struct rk_reply reply;
    struct rk_wire_reply out;
    struct rk_infer_meta meta;
    void *packed; /* the reply's body, compressed */
    size_t packed_bytes;
    size_t sent_bytes;
};

/* Looks at the header. On failure exchange->err is set and the body, if any, is read and dropped. True if the
 * answer must go out at once and the connection be closed: the rest of what the client sends can't be
 * understood, or is not worth reading. */
bool rk_exchange_header(struct rk_exchange *exchange, const char *method);

/* The whole body is there: answers at once or submits to the workers. True: submitted, the connection is
 * suspended. */
bool rk_exchange_run(struct rk_exchange *exchange);

/* Worker's side of an inference. RK_INFER_DONE: out or err is filled. RK_INFER_PARKED: it must not be touched
 * any more; rk_exchange_infer_on() is called when its job is resumed, and the same holds of that. */
enum rk_infer_state rk_exchange_infer(struct rk_exchange *exchange, struct rk_worker *worker)
    __attribute__((warn_unused_result));
enum rk_infer_state rk_exchange_infer_on(struct rk_exchange *exchange, struct rk_worker *worker)
    __attribute__((warn_unused_result));

/* Queues the answer, whatever it is. */
enum MHD_Result rk_exchange_answer(struct rk_exchange *exchange);

/* A body over the limit is refused while it still comes, past libmicrohttpd, which can't do that: a client
 * that waits for the answer gets it, and one that goes on sending is not cut off with a reset that destroys
 * the answer; what it sends is dropped until it ends. Without effect over TLS: there the answer comes at the
 * end. */
void rk_exchange_tell(struct rk_exchange *exchange);

/* Counts, logs and frees. */
void rk_exchange_end(struct rk_exchange *exchange);

#endif
