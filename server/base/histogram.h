/* SPDX-License-Identifier: Apache-2.0 */
/* A histogram of durations, in Prometheus' text format. Updates are atomic; any thread may update
 * or read. */
#ifndef RK_BASE_HISTOGRAM_H
#define RK_BASE_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

struct rk_text; /* base/text.h */

#define RK_HISTOGRAM_BOUNDS 18

/* Zeroed: nothing observed. */
struct rk_histogram {
    _Atomic uint64_t buckets[RK_HISTOGRAM_BOUNDS + 1]; /* the last one: beyond all bounds */
    _Atomic uint64_t sum_ns;
};

void rk_histogram_observe(struct rk_histogram *histogram, uint64_t ns);

/* Number of observations and their sum. */
uint64_t rk_histogram_observed(const struct rk_histogram *histogram, uint64_t *sum_ns);

/* Appends the samples, not HELP and TYPE. `labels`: the text between the braces, "" for none. */
void rk_histogram_write(const struct rk_histogram *histogram, const char *name, const char *labels,
                        struct rk_text *out);

#endif
