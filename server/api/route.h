/* SPDX-License-Identifier: Apache-2.0 */
/* The routes of the API. Adding one is a row in route.def and a handler; HTTP and the ring's
 * control channel both use them. */
#ifndef RK_API_ROUTE_H
#define RK_API_ROUTE_H

#include "api/api.h"

#define RK_ROUTE_NAMES 2
#define RK_ROUTE_NAME_BYTES 129

struct rk_match {
    char names[RK_ROUTE_NAMES][RK_ROUTE_NAME_BYTES];
};

/* Fills *answer with a 200 and returns RANKD_OK, or returns an error with the sentence in *err;
 * rk_api_call() then makes it the answer. *answer is an empty 200 of type application/json before
 * the call. */
typedef enum rankd_status rk_handler(const struct rk_api_env *env, const struct rk_call *call,
                                     const struct rk_match *match, struct rk_answer *answer,
                                     struct rk_err *err);

/* The beginning of a handler's definition. */
#define RK_HANDLER(name)                                                                                     \
    enum rankd_status name(const struct rk_api_env *env, const struct rk_call *call,                         \
                           const struct rk_match *match, struct rk_answer *answer, struct rk_err *err)

enum rk_route_kind {
    RK_ROUTE_WORKER, /* runs on a worker: may work, or block for moments */
    RK_ROUTE_DISK,   /* waits for a disk or a store: runs on a thread for such operations */
    RK_ROUTE_LIGHT,  /* microseconds, never blocks: on the transport's own thread, also under overload */
    RK_ROUTE_INFER   /* the transport handles it itself (infer.h) */
};

struct rk_route {
    const char *verb;
    const char *pattern;
    unsigned scope; /* RK_SCOPE_* */
    enum rk_route_kind kind;
    rk_handler *handler; /* NULL with RK_ROUTE_INFER */
};

extern const struct rk_route rk_routes[];
extern const size_t rk_route_count;

/* Finds the row. NULL with RANKD_NOT_FOUND (no such path; the sentence names it), or
 * RANKD_WRONG_VERB with the verbs that the path has in `allow` ("GET, PUT"). */
const struct rk_route *rk_route_find(const char *verb, const char *path, struct rk_match *match,
                                     char allow[64], struct rk_err *err) __attribute__((warn_unused_result));

/* The queue for a request on that row, which is not light. NULL (no row was found) is answered by a
 * worker.  */
struct rk_worker_pool *rk_route_queue(const struct rk_api_env *env, const struct rk_route *route);

/* The handlers, one for each row. */
#define RK_DECLARE_INFER(handler)
#define RK_DECLARE_WORKER(handler) rk_handler handler;
#define RK_DECLARE_DISK(handler) rk_handler handler;
#define RK_DECLARE_LIGHT(handler) rk_handler handler;
#define RK_ROUTE(verb, pattern, scope, kind, handler) RK_DECLARE_##kind(handler)
#include "api/route.def"
#undef RK_ROUTE
#undef RK_DECLARE_LIGHT
#undef RK_DECLARE_DISK
#undef RK_DECLARE_WORKER
#undef RK_DECLARE_INFER

#endif
