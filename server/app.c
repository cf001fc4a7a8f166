#include "app.h"

#include <stdlib.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "access/access.h"
#include "bank/banks.h"
#include "base/budget.h"
#include "base/clock.h"
#include "base/descriptors.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/metrics.h"
#include "exec/compute_pool.h"
#include "exec/device.h"
#include "exec/gauges.h"
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
    rk_metrics_collect(app->metrics, rk_gauges_write);
    rk_metrics_collect(app->metrics, rk_card_gauges);
    return RANKD_OK;
}

static void stop_metrics(struct rk_app *app)
{
    rk_metrics_free(app->metrics);
    app->metrics = NULL;
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
static enum rankd_status start_helpers(struct rk_app *app, struct rk_err *err)
{
    if (app->config.workers ==
        0) /* one per CPU; the effective number is what --check-config and metrics tell */
        app->config.workers = (uint64_t)get_nprocs();
    if (app->config.workers < 2)
        return RANKD_OK;
    app->helpers = rk_helpers_start((unsigned)app->config.workers - 1, err);
    return app->helpers ? RANKD_OK : err->status;
}

static void stop_helpers(struct rk_app *app)
{
    rk_helpers_stop(app->helpers);
    app->helpers = NULL;
}

static enum rankd_status start_work(struct rk_app *app, struct rk_err *err)
{
    app->work = rk_work_start((unsigned)app->config.workers, app->config.queue_requests,
                              app->config.budget_bytes, err);
    if (app->work && app->helpers)
        rk_work_lend(app->work, rk_helpers_pool(app->helpers));
    return app->work ? RANKD_OK : err->status;
}

static void stop_work(struct rk_app *app)
{
    rk_work_stop(app->work);
    app->work = NULL;
}

static enum rankd_status start_errands(struct rk_app *app, struct rk_err *err)
{
    app->errands = rk_work_start(1, app->config.queue_requests, 0, err);
    return app->errands ? RANKD_OK : err->status;
}

static void stop_errands(struct rk_app *app)
{
    rk_work_stop(app->errands);
    app->errands = NULL;
}

/* A misspelt RANKD_CPU must not silently measure something else. */
static enum rankd_status start_kernels(struct rk_app *app, struct rk_err *err)
{
    (void)app;
    const char *forced = getenv("RANKD_CPU");
    if (!forced || rk_kernels_named(forced))
        return RANKD_OK;
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

static const struct rk_part parts[] = {
    {"kernels", start_kernels, stop_kernels}, {"log", start_log, stop_log},
    {"metrics", start_metrics, stop_metrics}, {"memory", rk_memory_start, rk_memory_stop},
    {"budget", start_budget, stop_budget},    {"card", rk_card_start, rk_card_stop},
    {"access", start_access, stop_access},    {"helpers", start_helpers, stop_helpers},
    {"banks", rk_banks_start, rk_banks_stop}, {"regions", rk_regions_start, rk_regions_stop},
    {"work", start_work, stop_work},          {"errands", start_errands, stop_errands},
    {"http", rk_http_start, rk_http_stop},    {"ring", rk_ring_start, rk_ring_stop},
};
#define PARTS (sizeof parts / sizeof *parts)

static void stop_first(struct rk_app *app, size_t count)
{
    while (count-- > 0)
        parts[count].stop(app);
}

enum rankd_status rk_app_start(struct rk_app *app, struct rk_err *err)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    app->started_unix = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    app->started_ns = rk_now_ns();
    rk_descriptors_raise();
    for (size_t i = 0; i < PARTS; i++) {
        if (parts[i].start(app, err) != RANKD_OK) {
            stop_first(app, i);
            return err->status;
        }
    }
    atomic_store(&app->ready, true);
    return RANKD_OK;
}

void rk_app_refuse(struct rk_app *app)
{
    atomic_store(&app->stopping, true);
    atomic_store(&app->ready, false);
}

const char *rk_app_unready(const struct rk_app *app)
{
    if (atomic_load(&app->ready))
        return NULL;
    return atomic_load(&app->stopping) ? "shutting down" : "starting";
}

void rk_app_stop(struct rk_app *app)
{
    rk_app_refuse(app);
    stop_first(app, PARTS);
}

void rk_app_hurry(struct rk_app *app)
{
    atomic_store(&app->hurry, true);
    if (app->work)
        rk_work_abandon(app->work);
    if (app->errands)
        rk_work_abandon(app->errands);
}
