/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon: owns the components, starts them in order and stops them in reverse. Known to app.c
 * and main.c alone: a component is handed the parts that it uses, and does not see this.
 *
 * A component is a row in the table of app.c: a name, a start and a stop. A component may use those
 * above it in the table. Transports come last: at a stop they first stop taking requests, then the
 * work queue drains, and the banks are closed when no request can reach them any more. */
#ifndef RK_APP_H
#define RK_APP_H

#include "api/transport.h"
#include "base/err.h"
#include "base/lifecycle.h"
#include "config/config.h"
#include "exec/gauges.h"

struct rk_app {
    struct rk_config config;
    struct rk_lifecycle lifecycle;
    struct rk_gauge_sources gauges;    /* what metrics read; filled once all of its components are up */
    struct rk_transport_env transport; /* what transports work with; likewise */

    /* Each owned by the component of the same name; NULL while that component is not up, or
     * switched off. */
    struct rk_log *log;                   /* base/log.h */
    struct rk_metrics *metrics;           /* base/metrics.h */
    struct rk_memory *memory;             /* base/memory.h */
    struct rk_budget *budget;             /* base/budget.h */
    struct rk_device *device;             /* exec/device.h; NULL without a device */
    struct rk_access *access;             /* access/access.h: tokens and their scopes */
    struct rk_banks *banks;               /* bank/banks.h */
    struct rk_regions *regions;           /* regions/regions.h; NULL unless --allow-shm-regions */
    struct rk_compute_pool *compute_pool; /* exec/compute_pool.h; NULL with one worker */
    struct rk_worker_pool *workers;       /* exec/worker_pool.h: computes */
    struct rk_worker_pool
        *admin_queue;     /* exec/worker_pool.h: for operations that wait for the disk or the store */
    struct rk_http *http; /* http/front.h */
    struct rk_ring *ring; /* ring/front.h */
};

struct rk_component {
    const char *name;
    /* Sets its pointer in *app; on failure it leaves nothing behind and *err has the sentence. */
    enum rankd_status (*start)(struct rk_app *app, struct rk_err *err);
    /* Called only after a successful start. May wait, unless lifecycle.force_shutdown. */
    void (*stop)(struct rk_app *app);
};

/* Starts every component in order; on failure stops those that are up. app->config is set; the rest
 * is zero. */
enum rankd_status rk_app_start(struct rk_app *app, struct rk_err *err) __attribute__((warn_unused_result));

/* From here on /v2/health/ready says no; requests are taken as before. */
void rk_app_leave(struct rk_app *app);

/* From here on new requests are refused; those taken before continue. */
void rk_app_refuse(struct rk_app *app);

/* Refuses, then stops every component in reverse order: drains, then frees. */
void rk_app_stop(struct rk_app *app);

/* From another thread, while rk_app_stop() waits: makes it stop waiting. */
void rk_app_force_shutdown(struct rk_app *app);

#endif
