/* The daemon: owns the components, starts them in order and stops them in reverse.
 *
 * A component is a row in the table of app.c: a name, a start and a stop. What a component may use of others
 * is what stands above it in the table. Transports come last: when a stop is asked for they stop taking
 * requests first, the work queue drains behind them, and the banks are closed when nobody can reach them any
 * more. */
#ifndef RK_APP_H
#define RK_APP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "config/config.h"

struct rk_app {
    struct rk_config config;
    uint64_t started_ns;        /* CLOCK_MONOTONIC */
    double started_unix;        /* the same moment, seconds since 1970 */
    atomic_bool ready;          /* all components are up and no stop was asked for: /v2/health/ready */
    atomic_bool stopping;       /* a stop was asked for */
    atomic_bool force_shutdown; /* a second SIGTERM: nobody waits for running requests any more */

    /* Each owned by the component of the same name; NULL while that component is not up, or switched off. */
    struct rk_log *log;                   /* log.h */
    struct rk_metrics *metrics;           /* metrics.h */
    struct rk_memory *memory;             /* memory.h */
    struct rk_budget *budget;             /* budget.h */
    struct rk_device *device;             /* device.h; NULL without a device */
    struct rk_access *access;             /* access.h: tokens and their scopes */
    struct rk_banks *banks;               /* banks.h */
    struct rk_regions *regions;           /* regions.h; NULL unless --allow-shm-regions */
    struct rk_compute_pool *compute_pool; /* exec/compute_pool.h; NULL with one worker */
    struct rk_worker_pool *workers;       /* exec/worker_pool.h: computes */
    struct rk_worker_pool
        *admin_queue;     /* exec/worker_pool.h: one thread, for operations that wait for the disk */
    struct rk_http *http; /* http/front.h */
    struct rk_ring *ring; /* ring/front.h */
};

struct rk_component {
    const char *name;
    /* Sets its pointer in *app; on failure it leaves nothing behind and *err has the sentence. */
    enum rankd_status (*start)(struct rk_app *app, struct rk_err *err);
    /* Called only after a successful start. May wait, unless app->force_shutdown. */
    void (*stop)(struct rk_app *app);
};

/* Starts every component in order; on failure stops those that are up. app->config is set; the rest is zero.
 */
enum rankd_status rk_app_start(struct rk_app *app, struct rk_err *err) __attribute__((warn_unused_result));

/* From here on new requests are refused; what was taken goes on. */
void rk_app_refuse(struct rk_app *app);

/* Refuses, then stops every component in reverse order: drains, then frees. */
void rk_app_stop(struct rk_app *app);

/* From another thread while rk_app_stop() waits: do not wait any longer. */
void rk_app_force_shutdown(struct rk_app *app);

/* Why no requests are taken: "starting" or "shutting down"; NULL while they are. */
const char *rk_app_unready(const struct rk_app *app);

#endif
