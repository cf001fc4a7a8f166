/* SPDX-License-Identifier: Apache-2.0 */
#include "base/histogram.h"

#include <stddef.h>

#include "base/text.h"

/* Upper bounds of the buckets: from the wake-up of a thread to a long computation. */
static const uint64_t bounds_ns[RK_HISTOGRAM_BOUNDS] = {
    10000,    25000,    50000,    100000,    250000,    500000,    1000000,    2500000,    5000000,
    10000000, 25000000, 50000000, 100000000, 250000000, 500000000, 1000000000, 2500000000, 10000000000};

void rk_histogram_observe(struct rk_histogram *histogram, uint64_t ns)
{
    size_t bucket = 0;
    while (bucket < RK_HISTOGRAM_BOUNDS && ns > bounds_ns[bucket])
        bucket++;
    atomic_fetch_add_explicit(&histogram->buckets[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&histogram->sum_ns, ns, memory_order_relaxed);
}

uint64_t rk_histogram_observed(const struct rk_histogram *histogram, uint64_t *sum_ns)
{
    uint64_t count = 0;
    for (size_t i = 0; i <= RK_HISTOGRAM_BOUNDS; i++)
        count += atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
    *sum_ns = atomic_load_explicit(&histogram->sum_ns, memory_order_relaxed);
    return count;
}

void rk_histogram_write(const struct rk_histogram *histogram, const char *name, const char *labels,
                        struct rk_text *out)
{
    const char *comma = *labels ? "," : "", *open = *labels ? "{" : "", *close = *labels ? "}" : "";
    uint64_t below = 0;
    for (size_t i = 0; i <= RK_HISTOGRAM_BOUNDS; i++) {
        below += atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
        rk_text_printf(out, "%s_bucket{%s%s", name, labels, comma);
        if (i < RK_HISTOGRAM_BOUNDS)
            rk_text_printf(out, "le=\"%g\"} %llu\n", (double)bounds_ns[i] / 1e9, (unsigned long long)below);
        else
            rk_text_printf(out, "le=\"+Inf\"} %llu\n", (unsigned long long)below);
    }
    const double sum = (double)atomic_load_explicit(&histogram->sum_ns, memory_order_relaxed) / 1e9;
    rk_text_printf(out, "%s_sum%s%s%s %.9f\n", name, open, labels, close, sum);
    rk_text_printf(out, "%s_count%s%s%s %llu\n", name, open, labels, close, (unsigned long long)below);
}
