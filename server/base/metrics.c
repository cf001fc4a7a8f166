/* SPDX-License-Identifier: Apache-2.0 */
#include "base/metrics.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/histogram.h"
#include "base/text.h"
#include "request/request.h"

enum type { COUNTER, SECONDS_COUNTER, GAUGE, HISTOGRAM };
enum label { NONE, MODEL, TRANSPORT, STATUS, STAGE, REASON, ENGINE };

static const struct metric_row {
    const char *name;
    enum type type;
    enum label a, b;
    const char *help;
} rows[RK_METRIC_COUNT] = {
#define RK_METRIC(id, name, type, a, b, help) {name, type, a, b, help},
#include "base/metrics.def"
#undef RK_METRIC
};

static const char *const transport_names[RK_TRANSPORT_COUNT] = {"http_json", "http_binary", "ring"};
static const char *const stage_names[RK_STAGE_COUNT] = {"queue", "parse", "compute", "append", "write"};
static const char *const reason_names[RK_REASON_COUNT] = {"bad_request", "access", "too_large", "timeout",
                                                          "queue_full",  "budget", "stopping"};
static const char *const engine_names[] = {"cpu", "device"};
#define ENGINES (sizeof engine_names / sizeof *engine_names)
static const int statuses[] = {200, 400, 401, 403, 404, 405, 408, 409, 413, 415, 500, 501, 503, 504, 507, 0};
#define STATUSES (sizeof statuses / sizeof *statuses) /* the last stands for any other */

#define SERIES_A 16
#define SERIES_B 16
#define COLLECTORS 8

struct rk_metrics {
    _Atomic int64_t values[RK_METRIC_COUNT][SERIES_A][SERIES_B];
    struct rk_histogram histograms[RK_METRIC_COUNT][SERIES_A];
    struct {
        rk_metrics_collector *collect;
        void *source;
    } collectors[COLLECTORS];
    size_t collector_count;
};

static unsigned label_size(enum label label)
{
    switch (label) {
    case MODEL:
        return (unsigned)rk_model_count < SERIES_A ? (unsigned)rk_model_count : SERIES_A;
    case TRANSPORT:
        return RK_TRANSPORT_COUNT;
    case STATUS:
        return STATUSES;
    case STAGE:
        return RK_STAGE_COUNT;
    case REASON:
        return RK_REASON_COUNT;
    case ENGINE:
        return ENGINES;
    case NONE:
        break;
    }
    return 1;
}

static void label_write(struct rk_text *out, enum label label, unsigned value)
{
    if (value >= label_size(label))
        return;
    switch (label) {
    case MODEL:
        rk_text_printf(out, "model=\"%s\"", rk_models[value].name);
        return;
    case TRANSPORT:
        rk_text_printf(out, "transport=\"%s\"", transport_names[value]);
        return;
    case STATUS:
        if (statuses[value])
            rk_text_printf(out, "status=\"%d\"", statuses[value]);
        else
            rk_text_puts(out, "status=\"other\"");
        return;
    case STAGE:
        rk_text_printf(out, "stage=\"%s\"", stage_names[value]);
        return;
    case REASON:
        rk_text_printf(out, "reason=\"%s\"", reason_names[value]);
        return;
    case ENGINE:
        rk_text_printf(out, "engine=\"%s\"", engine_names[value]);
        return;
    case NONE:
        return;
    }
}

unsigned rk_metric_status(int http_status)
{
    unsigned i = 0;
    while (i < STATUSES - 1 && statuses[i] != http_status)
        i++;
    return i;
}

struct rk_metrics *rk_metrics_new(void)
{
    return calloc(1, sizeof(struct rk_metrics));
}

void rk_metrics_free(struct rk_metrics *metrics)
{
    free(metrics);
}

static bool known(enum rk_metric row, unsigned a, unsigned b)
{
    return a < label_size(rows[row].a) && b < label_size(rows[row].b);
}

void rk_metric_add(struct rk_metrics *metrics, enum rk_metric row, unsigned a, unsigned b, int64_t by)
{
    if (metrics && known(row, a, b))
        atomic_fetch_add_explicit(&metrics->values[row][a][b], by, memory_order_relaxed);
}

void rk_metric_set(struct rk_metrics *metrics, enum rk_metric row, unsigned a, unsigned b, int64_t value)
{
    if (metrics && known(row, a, b))
        atomic_store_explicit(&metrics->values[row][a][b], value, memory_order_relaxed);
}

int64_t rk_metric_get(const struct rk_metrics *metrics, enum rk_metric row, unsigned a, unsigned b)
{
    return known(row, a, b) ? atomic_load_explicit(&metrics->values[row][a][b], memory_order_relaxed) : 0;
}

void rk_metric_observe(struct rk_metrics *metrics, enum rk_metric row, unsigned a, uint64_t ns)
{
    if (metrics && known(row, a, 0))
        rk_histogram_observe(&metrics->histograms[row][a], ns);
}

uint64_t rk_metric_observed(const struct rk_metrics *metrics, enum rk_metric row, unsigned a,
                            uint64_t *sum_ns)
{
    *sum_ns = 0;
    return known(row, a, 0) ? rk_histogram_observed(&metrics->histograms[row][a], sum_ns) : 0;
}

void rk_metrics_collect(struct rk_metrics *metrics, rk_metrics_collector *collect, void *source)
{
    const size_t at = metrics->collector_count;
    if (at == COLLECTORS)
        return;
    metrics->collectors[at].collect = collect;
    metrics->collectors[at].source = source;
    metrics->collector_count++;
}

void rk_metric_line(struct rk_text *out, const char *name, const char *type, const char *labels, double value,
                    const char *help)
{
    rk_text_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s%s %.15g\n", name, help, name, type, name, labels,
                   value);
}

static void write_histogram(const struct rk_metrics *metrics, enum rk_metric i, unsigned a,
                            struct rk_text *out)
{
    struct rk_text labels = {0};
    label_write(&labels, rows[i].a, a);
    size_t length;
    char *text = rk_text_take(&labels, &length);
    if (text)
        rk_histogram_write(&metrics->histograms[i][a], rows[i].name, text, out);
    out->failed |= !text;
    free(text);
}

static void write_value(const struct rk_metrics *metrics, enum rk_metric i, unsigned a, unsigned b,
                        struct rk_text *out)
{
    const struct metric_row *row = &rows[i];
    const int64_t value = rk_metric_get(metrics, i, a, b);
    if (row->b == STATUS && value == 0)
        return; /* most statuses of most transports never happen */
    rk_text_puts(out, row->name);
    if (row->a != NONE) {
        rk_text_puts(out, "{");
        label_write(out, row->a, a);
        rk_text_puts(out, row->b == NONE ? "" : ",");
        label_write(out, row->b, b);
        rk_text_puts(out, "}");
    }
    if (row->type == SECONDS_COUNTER)
        rk_text_printf(out, " %.9f\n", (double)value / 1e9);
    else
        rk_text_printf(out, " %lld\n", (long long)value);
}

void rk_metrics_write(const struct rk_metrics *metrics, struct rk_text *out)
{
    static const char *const types[] = {"counter", "counter", "gauge", "histogram"};
    for (unsigned i = 0; i < RK_METRIC_COUNT; i++) {
        const struct metric_row *row = &rows[i];
        rk_text_printf(out, "# HELP %s %s\n# TYPE %s %s\n", row->name, row->help, row->name,
                       types[row->type]);
        for (unsigned a = 0; a < label_size(row->a); a++) {
            if (row->type == HISTOGRAM) {
                write_histogram(metrics, (enum rk_metric)i, a, out);
                continue;
            }
            for (unsigned b = 0; b < label_size(row->b); b++)
                write_value(metrics, (enum rk_metric)i, a, b, out);
        }
    }
    for (size_t i = 0; i < metrics->collector_count; i++)
        metrics->collectors[i].collect(metrics->collectors[i].source, out);
}
