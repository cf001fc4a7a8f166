/* SPDX-License-Identifier: Apache-2.0 */
/* Counters for operators, one table (metrics.def), in Prometheus' text format. Updates are atomic
 * and take some nanoseconds; any thread may update or read at any time. */
#ifndef RK_BASE_METRICS_H
#define RK_BASE_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct rk_text; /* base/text.h */
struct rk_metrics;

enum rk_metric {
#define RK_METRIC(id, ...) RK_METRIC_##id,
#include "base/metrics.def"
#undef RK_METRIC
    RK_METRIC_COUNT
};

/* Values of the label TRANSPORT. */
enum rk_transport { RK_TRANSPORT_HTTP_JSON, RK_TRANSPORT_HTTP_BINARY, RK_TRANSPORT_RING, RK_TRANSPORT_COUNT };

/* Values of the label STAGE. */
enum rk_stage {
    RK_STAGE_QUEUE,
    RK_STAGE_PARSE,
    RK_STAGE_COMPUTE,
    RK_STAGE_APPEND,
    RK_STAGE_WRITE,
    RK_STAGE_COUNT
};

/* Values of the label REASON: why a request was refused before it was computed. */
enum rk_reason {
    RK_REASON_BAD_REQUEST,
    RK_REASON_ACCESS,
    RK_REASON_TOO_LARGE,
    RK_REASON_TIMEOUT,
    RK_REASON_QUEUE_FULL,
    RK_REASON_BUDGET,
    RK_REASON_STOPPING,
    RK_REASON_COUNT
};

/* Values of the label ENGINE: 0 the CPU, 1 the device.
 *
 * Values of the label MODEL are the positions in rk_models; of TRANSPORT, enum rk_transport; of
 * STATUS, this. */
unsigned rk_metric_status(int http_status);

struct rk_metrics *rk_metrics_new(void); /* NULL if out of memory */
void rk_metrics_free(struct rk_metrics *metrics);

/* Counters and gauges: adds `by` (a gauge may go down with a negative one). `a` and `b` are
 * positions in the row's label sets, 0 for NONE; out of range is ignored. `metrics` NULL is fine
 * (unit tests). */
void rk_metric_add(struct rk_metrics *metrics, enum rk_metric row, unsigned a, unsigned b, int64_t by);
void rk_metric_set(struct rk_metrics *metrics, enum rk_metric row, unsigned a, unsigned b, int64_t value);
int64_t rk_metric_get(const struct rk_metrics *metrics, enum rk_metric row, unsigned a, unsigned b);

/* Histograms: one observation of a duration. */
void rk_metric_observe(struct rk_metrics *metrics, enum rk_metric row, unsigned a, uint64_t ns);
/* Number of observations and their sum. */
uint64_t rk_metric_observed(const struct rk_metrics *metrics, enum rk_metric row, unsigned a,
                            uint64_t *sum_ns);

/* A component whose metrics have labels known only at run time writes them itself, after those of
 * the table: `collect` appends complete lines (HELP and TYPE too) from `source`, which outlives the
 * last call. Register before the transports open; at most 8. */
typedef void rk_metrics_collector(void *source, struct rk_text *out);
void rk_metrics_collect(struct rk_metrics *metrics, rk_metrics_collector *collect, void *source);

/* For collectors: appends HELP, TYPE and the one value of a metric. `labels` is "" or
 * `{name="value"}`. */
void rk_metric_line(struct rk_text *out, const char *name, const char *type, const char *labels, double value,
                    const char *help);

/* Appends everything in Prometheus' text format 0.0.4. */
void rk_metrics_write(const struct rk_metrics *metrics, struct rk_text *out);

#endif
