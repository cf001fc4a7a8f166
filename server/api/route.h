/* The routes of the API. Adding one is a row in route.def and a handler; HTTP and the ring's control channel
 * both go by them. */
#ifndef RK_API_ROUTE_H
#define RK_API_ROUTE_H

#include "api/api.h"

#define RK_ROUTE_NAMES 2
#define RK_ROUTE_NAME_BYTES 129

struct rk_match {
    char names[RK_ROUTE_NAMES][RK_ROUTE_NAME_BYTES];
};

/* Fills *answer with a 200 and returns RANKD_OK, or returns an error with the sentence in *err; rk_api_call()
 * then makes the answer of it. *answer arrives as an empty 200 of type application/json. */
typedef enum rankd_status rk_handler(struct rk_app *app, const struct rk_call *call,
                                     const struct rk_match *match, struct rk_answer *answer,
                                     struct rk_err *err);

/* Begins the definition of one. */
#define RK_HANDLER(name)                                                                                     \
    enum rankd_status name(struct rk_app *app, const struct rk_call *call, const struct rk_match *match,     \
                           struct rk_answer *answer, struct rk_err *err)

enum rk_route_kind {
    RK_ROUTE_WORKER, /* runs on a worker: may work, or block for moments */
    RK_ROUTE_DISK,   /* waits for a disk: runs on the thread that does so for all of these, one by one */
    RK_ROUTE_LIGHT,  /* a few microseconds, never blocks: runs on the transport's own thread, also while
                      * overloaded
                      */
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

/* Finds the row. NULL with RANKD_NOT_FOUND (no such path; the sentence names it), or RANKD_WRONG_VERB with
 * the verbs that the path has in `allow` ("GET, PUT"). */
const struct rk_route *rk_route_find(const char *verb, const char *path, struct rk_match *match,
                                     char allow[64], struct rk_err *err) __attribute__((warn_unused_result));

/* The queue for a request on that row, which is not light; NULL (nothing found) is answered by a worker. */
struct rk_worker_pool *rk_route_queue(const struct rk_app *app, const struct rk_route *route);

/* Handlers of the models' part (api/models.c) and the daemon's own (api/server.c). */
rk_handler rk_api_live, rk_api_ready, rk_api_server, rk_api_index, rk_api_metrics, rk_api_page;
rk_handler rk_api_model, rk_api_model_ready, rk_api_model_config, rk_api_model_stats, rk_api_all_stats;
rk_handler rk_api_regions, rk_api_region, rk_api_region_register, rk_api_region_unregister,
    rk_api_regions_unregister, rk_api_device_regions, rk_api_device_region, rk_api_device_region_register,
    rk_api_device_region_unregister, rk_api_device_regions_unregister;
/* api/banks.c */
rk_handler rk_api_banks, rk_api_bank, rk_api_bank_put, rk_api_bank_delete, rk_api_bank_clear;
rk_handler rk_api_checkpoints, rk_api_checkpoint_put, rk_api_checkpoint_restore, rk_api_checkpoint_delete;

#endif
