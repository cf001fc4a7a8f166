/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics of the banks, with the bank's name as label. */
#include <math.h>
#include <stdio.h>

#include "bank/kind.h"
#include "bank/registry.h"
#include "bank/replica.h"
#include "base/clock.h"
#include "base/text.h"

/* The lock, because a restore exchanges the memory. */
static double items_of(struct rk_durable_bank *bank)
{
    pthread_mutex_lock(&bank->lock);
    size_t items = rk_bank_items(bank->memory);
    pthread_mutex_unlock(&bank->lock);
    return (double)items;
}
static struct rk_bank_position now_of(struct rk_durable_bank *bank)
{
    pthread_mutex_lock(&bank->lock);
    struct rk_bank_position now = rk_bank_now(bank->memory);
    pthread_mutex_unlock(&bank->lock);
    return now;
}
static double version_of(struct rk_durable_bank *bank)
{
    return (double)now_of(bank).version;
}
static double generation_of(struct rk_durable_bank *bank)
{
    return (double)now_of(bank).generation;
}
static double bytes_of(struct rk_durable_bank *bank)
{
    pthread_mutex_lock(&bank->lock);
    size_t bytes = rk_durable_bank_bytes(bank);
    pthread_mutex_unlock(&bank->lock);
    return (double)bytes;
}
static double last_append_of(struct rk_durable_bank *bank)
{
    return (double)atomic_load(&bank->last_append_s);
}
static double read_only_of(struct rk_durable_bank *bank)
{
    pthread_mutex_lock(&bank->lock);
    bool refused = bank->refused[0] != '\0';
    pthread_mutex_unlock(&bank->lock);
    return refused;
}
static double undurable_of(struct rk_durable_bank *bank)
{
    pthread_mutex_lock(&bank->lock);
    bool undurable = bank->undurable;
    pthread_mutex_unlock(&bank->lock);
    return undurable;
}
static double lost_of(struct rk_durable_bank *bank)
{
    return (double)bank->loss.bytes;
}
static double batches_of(struct rk_durable_bank *bank)
{
    return (double)atomic_load(&bank->appended_batches);
}

/* For banks of scores; NAN for others. */
static double per_scores(const struct rk_durable_bank *bank, double value)
{
    return bank->config.shape.kind->holds == RK_BANK_HOLDS_SCORES ? value : (double)NAN;
}
static double gradients_of(struct rk_durable_bank *bank)
{
    return per_scores(bank, (double)atomic_load(&bank->gradients));
}
static double dropped_of(struct rk_durable_bank *bank)
{
    return per_scores(bank, (double)atomic_load(&bank->dropped_e9) / 1e9);
}
static const struct rk_histogram *syncs_of(struct rk_durable_bank *bank)
{
    return &bank->syncs;
}

/* For banks in a store; NAN for others. */
static double of_replica(struct rk_durable_bank *bank, double (*value)(const struct rk_durable_bank *bank))
{
    if (!bank->replica)
        return (double)NAN;
    pthread_mutex_lock(&bank->lock);
    const double found = value(bank);
    pthread_mutex_unlock(&bank->lock);
    return found;
}
static double state_now(const struct rk_durable_bank *bank)
{
    return (double)rk_replica_state_of(bank->replica, bank->next.version, rk_now_ns());
}
static double behind_now(const struct rk_durable_bank *bank)
{
    const uint64_t known = bank->replica->known, version = bank->next.version;
    return known > version ? (double)(known - version) : 0;
}
static double stale_now(const struct rk_durable_bank *bank)
{
    const uint64_t now = rk_now_ns(), audited = bank->replica->audited_ns;
    return now > audited ? (double)(now - audited) / 1e9 : 0;
}
static double forks_now(const struct rk_durable_bank *bank)
{
    return (double)atomic_load(&bank->replica->forks);
}
static double joins_now(const struct rk_durable_bank *bank)
{
    return (double)atomic_load(&bank->replica->joins);
}
static double store_state_of(struct rk_durable_bank *bank)
{
    return of_replica(bank, state_now);
}
static double store_behind_of(struct rk_durable_bank *bank)
{
    return of_replica(bank, behind_now);
}
static double store_stale_of(struct rk_durable_bank *bank)
{
    return of_replica(bank, stale_now);
}
static double store_forks_of(struct rk_durable_bank *bank)
{
    return of_replica(bank, forks_now);
}
static double store_joins_of(struct rk_durable_bank *bank)
{
    return of_replica(bank, joins_now);
}
static const struct rk_histogram *store_appends_of(struct rk_durable_bank *bank)
{
    return bank->replica ? &bank->replica->waits : NULL;
}

struct bank_metric_row {
    const char *name, *help, *type;
    double (*number)(struct rk_durable_bank *);
    const struct rk_histogram *(*histogram)(struct rk_durable_bank *); /* where there is no number */
};
#define COUNTER(id) "counter", id##_of, NULL
#define GAUGE(id) "gauge", id##_of, NULL
#define HISTOGRAM(id) "histogram", NULL, id##_of

static const struct bank_metric_row rows[] = {
#define RK_BANK_METRIC(id, name, type, help) {name, help, type(id)},
#include "bank/gauges.def"
};

static void write_sample(struct rk_text *out, const struct bank_metric_row *row, struct rk_durable_bank *bank)
{
    char label[RK_BANK_NAME_BYTES + 8];
    (void)snprintf(label, sizeof label, "bank=\"%s\"", bank->name);
    if (row->histogram) {
        const struct rk_histogram *histogram = row->histogram(bank);
        if (histogram)
            rk_histogram_write(histogram, row->name, label, out);
        return;
    }
    const double value = row->number(bank);
    if (!isnan(value))
        rk_text_printf(out, "%s{%s} %.17g\n", row->name, label, value);
}

void rk_banks_gauges(void *banks, struct rk_text *out)
{
    size_t count;
    struct rk_durable_bank **all = rk_banks_hold_all(banks, &count);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct bank_metric_row *row = &rows[i];
        rk_text_printf(out, "# HELP %s %s\n# TYPE %s %s\n", row->name, row->help, row->name, row->type);
        for (size_t b = 0; b < count; b++)
            write_sample(out, row, all[b]);
    }
    rk_banks_release_all(all, count);
}
