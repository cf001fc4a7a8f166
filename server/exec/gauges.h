/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics that are not counted but computed at each request of /metrics: queue, workers, byte
 * budget, the process itself. */
#ifndef RK_EXEC_GAUGES_H
#define RK_EXEC_GAUGES_H

#include "base/lifecycle.h"
#include "base/metrics.h"
#include "config/config.h"

/* Their sources. Set before the first request. */
struct rk_gauge_sources {
    const struct rk_config *config;
    const struct rk_lifecycle *lifecycle;
    struct rk_worker_pool *workers;
    struct rk_budget *budget;
    struct rk_log *log;
};

/* A rk_metrics_collector over a struct rk_gauge_sources. */
rk_metrics_collector rk_gauges_write;

#endif
