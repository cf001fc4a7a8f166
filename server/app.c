/* SPDX-License-Identifier: Apache-2.0 */
#include "app.h"

#include <stdlib.h>
#include <sys/sysinfo.h>

#include "access/access.h"
#include "bank/banks.h"
#include "base/budget.h"
#include "base/descriptors.h"
#include "base/json_heap.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/metrics.h"
#include "exec/compute_pool.h"
#include "exec/device.h"
#include "exec/gauges.h"
#include "exec/tuning_file.h"
#include "exec/worker_pool.h"
#include "http/front.h"
#include "kernels/kernel.h"
#include "regions/regions.h"
#include "ring/front.h"

static enum rankd_status no_memory(struct rk_err *err)
{
    return rk_fail(err, RANKD_INTERNAL, "no memory");
}

static enum rankd_status start_log(struct rk_app *app, struct rk_err *err)
{
    app->log = rk_log_new(app->config.log_level, app->config.log_format, app->config.log_buffer);
    return app->log ? RANKD_OK : rk_fail(err, RANKD_INTERNAL, "no memory or no thread for the log");
}

static void stop_log(struct rk_app *app)
{
    rk_log_free(app->log);
    app->log = NULL;
}

static enum rankd_status start_metrics(struct rk_app *app, struct rk_err *err)
{
    app->metrics = rk_metrics_new();
    if (!app->metrics)
        return no_memory(err);
    rk_metrics_collect(app->metrics, rk_gauges_write, &app->gauges);
    return RANKD_OK;
}

static void stop_metrics(struct rk_app *app)
{
    rk_metrics_free(app->metrics);
    app->metrics = NULL;
}

static enum rankd_status start_memory(struct rk_app *app, struct rk_err *err)
{
    rk_json_heap_install();
    app->memory = rk_memory_start(err);
    return app->memory ? RANKD_OK : err->status;
}

static void stop_memory(struct rk_app *app)
{
    rk_memory_stop(app->memory);
    app->memory = NULL;
}

static enum rankd_status start_budget(struct rk_app *app, struct rk_err *err)
{
    app->budget = rk_budget_new(app->config.budget_bytes, app->metrics, app->memory);
    return app->budget ? RANKD_OK : no_memory(err);
}

static void stop_budget(struct rk_app *app)
{
    rk_budget_free(app->budget);
    app->budget = NULL;
}

static enum rankd_status start_device(struct rk_app *app, struct rk_err *err)
{
    if (rk_device_start(&app->config, app->log, &app->device, err) == RANKD_OK && app->device)
        rk_metrics_collect(app->metrics, rk_device_metrics_write, app->device);
    return err->status;
}

static void stop_device(struct rk_app *app)
{
    rk_device_stop(app->device);
    app->device = NULL;
}

static enum rankd_status start_access(struct rk_app *app, struct rk_err *err)
{
    app->access = rk_access_new(&app->config, err);
    return app->access ? RANKD_OK : err->status;
}

static void stop_access(struct rk_app *app)
{
    rk_access_free(app->access);
    app->access = NULL;
}

/* A large request's lists are spread over as many threads as there are workers. */
static enum rankd_status start_compute_pool(struct rk_app *app, struct rk_err *err)
{
    if (app->config.workers ==
        0) /* one per CPU; the effective number is what --check-config and metrics tell */
        app->config.workers = (uint64_t)get_nprocs();
    if (app->config.workers < 2)
        return RANKD_OK;
    app->compute_pool = rk_compute_pool_start((unsigned)app->config.workers - 1, err);
    return app->compute_pool ? RANKD_OK : err->status;
}

static void stop_compute_pool(struct rk_app *app)
{
    rk_compute_pool_stop(app->compute_pool);
    app->compute_pool = NULL;
}

static enum rankd_status start_banks(struct rk_app *app, struct rk_err *err)
{
    app->banks = rk_banks_start(&app->config, app->log, err);
    if (!app->banks)
        return err->status;
    rk_metrics_collect(app->metrics, rk_banks_gauges, app->banks);
    return RANKD_OK;
}

static void stop_banks(struct rk_app *app)
{
    rk_banks_stop(app->banks);
    app->banks = NULL;
}

static enum rankd_status start_regions(struct rk_app *app, struct rk_err *err)
{
    return rk_regions_start(&app->config, app->access, &app->regions, err);
}

static void stop_regions(struct rk_app *app)
{
    rk_regions_stop(app->regions);
    app->regions = NULL;
}

static enum rankd_status start_workers(struct rk_app *app, struct rk_err *err)
{
    app->workers = rk_worker_pool_start("worker", (unsigned)app->config.workers, app->config.queue_requests,
                                        app->config.budget_bytes, err);
    if (app->workers && app->compute_pool)
        rk_worker_pool_lend(app->workers, rk_compute_pool_threads(app->compute_pool));
    return app->workers ? RANKD_OK : err->status;
}

static void stop_workers(struct rk_app *app)
{
    rk_worker_pool_stop(app->workers);
    app->workers = NULL;
}

/* With a store: operations on one bank that wait for it must leave threads to those on others. */
enum { STORE_ADMIN_THREADS = 16 };

static enum rankd_status start_admin_queue(struct rk_app *app, struct rk_err *err)
{
    const unsigned threads = app->config.bank_store[0] ? STORE_ADMIN_THREADS : 1;
    app->admin_queue = rk_worker_pool_start("admin", threads, app->config.queue_requests, 0, err);
    return app->admin_queue ? RANKD_OK : err->status;
}

static void stop_admin_queue(struct rk_app *app)
{
    rk_worker_pool_stop(app->admin_queue);
    app->admin_queue = NULL;
}

/* Before anything is computed. */
static enum rankd_status use_tuning(const char *path, struct rk_err *err)
{
    struct rk_tuning tuning;
    if (*path == '\0')
        return RANKD_OK;
    if (rk_tuning_read(path, &tuning, err) != RANKD_OK)
        return err->status;
    rk_tuning_use(&tuning);
    return RANKD_OK;
}

/* A misspelt RANKD_CPU must not silently select other code. */
static enum rankd_status start_kernels(struct rk_app *app, struct rk_err *err)
{
    const char *forced = getenv("RANKD_CPU");
    if (!forced || rk_kernels_named(forced))
        return use_tuning(app->config.tuning, err);
    return rk_fail(
        err, RANKD_INVALID,
        "RANKD_CPU is \"%.32s\"; it may be reference, scalar, avx2 or avx512, the last two where the "
        "machine has them",
        forced);
}

static void stop_kernels(struct rk_app *app)
{
    (void)app;
}

/* Passes the started components to transports and metrics. */
static enum rankd_status start_wiring(struct rk_app *app, struct rk_err *err)
{
    (void)err;
    app->gauges = (struct rk_gauge_sources){.config = &app->config,
                                            .lifecycle = &app->lifecycle,
                                            .workers = app->workers,
                                            .budget = app->budget,
                                            .log = app->log};
    app->transport = (struct rk_transport_env){.config = &app->config,
                                               .lifecycle = &app->lifecycle,
                                               .access = app->access,
                                               .log = app->log,
                                               .metrics = app->metrics,
                                               .budget = app->budget};
    app->transport.infer = (struct rk_infer_env){.workers = app->workers,
                                                 .banks = app->banks,
                                                 .budget = app->budget,
                                                 .device = app->device,
                                                 .metrics = app->metrics,
                                                 .log = app->log};
    app->transport.api = (struct rk_api_env){.config = &app->config,
                                             .lifecycle = &app->lifecycle,
                                             .metrics = app->metrics,
                                             .budget = app->budget,
                                             .banks = app->banks,
                                             .regions = app->regions,
                                             .device = app->device,
                                             .workers = app->workers,
                                             .admin_queue = app->admin_queue};
    return RANKD_OK;
}

static void stop_wiring(struct rk_app *app)
{
    (void)app;
}

static enum rankd_status start_http(struct rk_app *app, struct rk_err *err)
{
    return rk_http_start(&app->transport, &app->http, err);
}

static void stop_http(struct rk_app *app)
{
    rk_http_stop(app->http);
    app->http = NULL;
}

static enum rankd_status start_ring(struct rk_app *app, struct rk_err *err)
{
    return rk_ring_start(&app->transport, &app->ring, err);
}

static void stop_ring(struct rk_app *app)
{
    rk_ring_stop(app->ring);
    app->ring = NULL;
}

static const struct rk_component components[] = {
    {"kernels", start_kernels, stop_kernels}, {"log", start_log, stop_log},
    {"metrics", start_metrics, stop_metrics}, {"memory", start_memory, stop_memory},
    {"budget", start_budget, stop_budget},    {"device", start_device, stop_device},
    {"access", start_access, stop_access},    {"compute_pool", start_compute_pool, stop_compute_pool},
    {"banks", start_banks, stop_banks},       {"regions", start_regions, stop_regions},
    {"workers", start_workers, stop_workers}, {"admin_queue", start_admin_queue, stop_admin_queue},
    {"wiring", start_wiring, stop_wiring},    {"http", start_http, stop_http},
    {"ring", start_ring, stop_ring},
};
#define COMPONENTS (sizeof components / sizeof *components)

static void stop_first(struct rk_app *app, size_t count)
{
    while (count-- > 0)
        components[count].stop(app);
}

enum rankd_status rk_app_start(struct rk_app *app, struct rk_err *err)
{
    rk_lifecycle_begin(&app->lifecycle);
    rk_descriptors_raise();
    for (size_t i = 0; i < COMPONENTS; i++) {
        if (components[i].start(app, err) != RANKD_OK) {
            stop_first(app, i);
            return err->status;
        }
    }
    atomic_store(&app->lifecycle.ready, true);
    return RANKD_OK;
}

void rk_app_leave(struct rk_app *app)
{
    atomic_store(&app->lifecycle.leaving, true);
}

void rk_app_refuse(struct rk_app *app)
{
    atomic_store(&app->lifecycle.stopping, true);
    atomic_store(&app->lifecycle.ready, false);
    if (app->banks)
        rk_banks_refuse(app->banks);
}

void rk_app_stop(struct rk_app *app)
{
    rk_app_refuse(app);
    stop_first(app, COMPONENTS);
}

void rk_app_force_shutdown(struct rk_app *app)
{
    atomic_store(&app->lifecycle.force_shutdown, true);
    if (app->workers)
        rk_worker_pool_abandon(app->workers);
    if (app->admin_queue)
        rk_worker_pool_abandon(app->admin_queue);
}
