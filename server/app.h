/* The daemon: owns the parts, starts them in order and stops them in reverse.
 *
 * A part is a row in the table of app.c: a name, a start and a stop. What a part may use of others is what
 * stands above it in the table. Doors come last: when a stop is asked for they stop taking requests first,
 * the work queue drains behind them, and the banks are closed when nobody can reach them any more. */
#ifndef RK_APP_H
#define RK_APP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "config/config.h"

struct rk_app {
    struct rk_config config;
    uint64_t started_ns;  /* CLOCK_MONOTONIC */
    double started_unix;  /* the same moment, seconds since 1970 */
    atomic_bool ready;    /* all parts are up and no stop was asked for: /v2/health/ready */
    atomic_bool stopping; /* a stop was asked for */
    atomic_bool hurry;    /* a second SIGTERM: nobody waits for running requests any more */

    /* Each owned by the part of the same name; NULL while that part is not up, or switched off. */
    struct rk_log *log;         /* log.h */
    struct rk_metrics *metrics; /* metrics.h */
    struct rk_memory *memory;   /* memory.h */
    struct rk_budget *budget;   /* budget.h */
    struct rk_device *device;   /* card.h; NULL without an accelerator */
    struct rk_access *access;   /* access.h: tokens and their scopes */
    struct rk_banks *banks;     /* banks.h */
    struct rk_regions *regions; /* regions.h; NULL unless --allow-shm-regions */
    struct rk_helpers *helpers; /* exec/compute_pool.h; NULL with one worker */
    struct rk_work *work;       /* exec/worker_pool.h: computes */
    struct rk_work
        *errands; /* exec/worker_pool.h: one thread, for operations on banks, which wait for the disk */
    struct rk_http *http; /* http/front.h */
    struct rk_ring *ring; /* ring/front.h */
};

struct rk_part {
    const char *name;
    /* Sets its pointer in *app; on failure it leaves nothing behind and *err has the sentence. */
    enum rankd_status (*start)(struct rk_app *app, struct rk_err *err);
    /* Called only after a successful start. May wait, unless app->hurry. */
    void (*stop)(struct rk_app *app);
};

/* Starts every part in order; on failure stops those that are up. app->config is set; the rest is zero. */
enum rankd_status rk_app_start(struct rk_app *app, struct rk_err *err) __attribute__((warn_unused_result));

/* From here on new requests are refused; what was taken goes on. */
void rk_app_refuse(struct rk_app *app);

/* Refuses, then stops every part in reverse order: drains, then frees. */
void rk_app_stop(struct rk_app *app);

/* From another thread while rk_app_stop() waits: do not wait any longer. */
void rk_app_hurry(struct rk_app *app);

/* Why no requests are taken: "starting" or "shutting down"; NULL while they are. */
const char *rk_app_unready(const struct rk_app *app);

#endif
