/* Metrics that are not counted but looked up when somebody asks: queue, workers, byte budget, the process
 * itself. */
#ifndef RK_EXEC_GAUGES_H
#define RK_EXEC_GAUGES_H

#include "base/metrics.h"

/* For rk_metrics_collect(). */
rk_metrics_collector rk_gauges_write;

#endif
