/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the part of Prometheus' text format that the daemon's own page uses. */
#ifndef RANKD_CTL_METRICS_H
#define RANKD_CTL_METRICS_H

#include <stddef.h>

struct ctl_sample {
    const char *name;
    const char *labels; /* between the braces, "" = none */
    double value;
};

struct ctl_metrics {
    char *text; /* owned; the samples point into it */
    struct ctl_sample *samples;
    size_t count;
    double at_s; /* when it was read, CLOCK_MONOTONIC */
};

/* Takes ownership of `text` (malloc'ed) in any case. Lines that are not samples are skipped. */
void rankd_ctl_metrics_parse(struct ctl_metrics *metrics, char *text);
void rankd_ctl_metrics_free(struct ctl_metrics *metrics);

/* Copies the label's value (escapes undone) and returns `room`; "" if the sample has no such
 * label. */
const char *rankd_ctl_label(const struct ctl_sample *sample, const char *label, char *room, size_t size);

/* The sum over the samples `name` whose `label` is `value` (label NULL = all); 0 if there are
 * none. */
double rankd_ctl_sum(const struct ctl_metrics *metrics, const char *name, const char *label,
                     const char *value);

/* Quantile q of the histogram `name` between two readings, over the samples whose `label` is
 * `value` (NULL = all), linear inside its bucket as Prometheus' histogram_quantile() has it; NaN if
 * nothing was counted between them. */
double rankd_ctl_quantile(const struct ctl_metrics *before, const struct ctl_metrics *now, const char *name,
                          const char *label, const char *value, double q);

#endif
