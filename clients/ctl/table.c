/* SPDX-License-Identifier: Apache-2.0 */
#include "table.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* A bucket's lower edge is UNIT_S · 2^(bucket/16). */
#define UNIT_S 1e-9
enum { STEPS = 16 };

static void scaled(char text[16], double value, double base, const char *const *units, size_t count,
                   double first)
{
    if (isnan(value)) {
        snprintf(text, 16, "-");
        return;
    }
    size_t unit = 0;
    value /= first;
    while (unit + 1 < count && fabs(value) >= base * (1 - 5e-5)) { /* what would be printed as the base */
        value /= base;
        unit++;
    }
    const bool whole = unit == 0 && value == floor(value);
    snprintf(text, 16, whole ? "%.0f%s" : fabs(value) < 10 ? "%.2f%s" : "%.4g%s", value, units[unit]);
}

void rankd_ctl_bytes(char text[16], double bytes)
{
    static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB"};
    scaled(text, bytes, 1024, units, 5, 1);
}

void rankd_ctl_seconds(char text[16], double seconds)
{
    static const char *const units[] = {" ns", " us", " ms", " s"};
    scaled(text, seconds, 1000, units, 4, 1e-9);
}

void rankd_ctl_count(char text[16], double count)
{
    static const char *const units[] = {"", "k", "M", "G"};
    scaled(text, count, 1000, units, 4, 1);
}

void rankd_ctl_histogram_add(struct ctl_histogram *histogram, double seconds)
{
    double at = floor(log2(fmax(seconds, UNIT_S) / UNIT_S) * STEPS);
    size_t bucket = at >= CTL_BUCKETS ? CTL_BUCKETS - 1 : (size_t)at;
    histogram->count[bucket]++;
    histogram->total++;
    histogram->sum_s += seconds;
    histogram->max_s = fmax(histogram->max_s, seconds);
}

void rankd_ctl_histogram_merge(struct ctl_histogram *into, const struct ctl_histogram *from)
{
    for (size_t i = 0; i < CTL_BUCKETS; i++)
        into->count[i] += from->count[i];
    into->total += from->total;
    into->sum_s += from->sum_s;
    into->max_s = fmax(into->max_s, from->max_s);
}

double rankd_ctl_histogram_quantile(const struct ctl_histogram *histogram, double q)
{
    if (!histogram->total)
        return (double)NAN;
    uint64_t wanted = (uint64_t)ceil(q * (double)histogram->total), seen = 0;
    for (size_t i = 0; i < CTL_BUCKETS; i++) {
        seen += histogram->count[i];
        if (seen >= wanted && seen)
            return fmin(UNIT_S * exp2((double)(i + 1) / STEPS), histogram->max_s);
    }
    return histogram->max_s;
}

void rankd_ctl_histogram_print(const struct ctl_histogram *histogram, FILE *out)
{
    enum { WIDTH = 50 };
    uint64_t row[CTL_BUCKETS / STEPS] = {0}, most = 0;
    size_t first = CTL_BUCKETS / STEPS, last = 0;
    for (size_t i = 0; i < CTL_BUCKETS; i++)
        row[i / STEPS] += histogram->count[i];
    for (size_t i = 0; i < CTL_BUCKETS / STEPS; i++) {
        if (!row[i])
            continue;
        first = first < i ? first : i;
        last = i;
        most = most > row[i] ? most : row[i];
    }
    for (size_t i = first; i <= last && most; i++) {
        char edge[16];
        rankd_ctl_seconds(edge, UNIT_S * exp2((double)i + 1));
        fprintf(out, "  < %-10s %9llu  ", edge, (unsigned long long)row[i]);
        uint64_t bar = (row[i] * WIDTH + most - 1) / most;
        for (uint64_t k = 0; k < bar; k++)
            fputc('#', out);
        fputc('\n', out);
    }
}
