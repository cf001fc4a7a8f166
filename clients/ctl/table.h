/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers for people: bytes, seconds, rates, and a histogram of latencies. */
#ifndef RANKD_CTL_TABLE_H
#define RANKD_CTL_TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* At most 15 characters and the NUL, as "1.50 GiB", "12.3 ms", "4.20k", "3". NaN becomes "-". */
void rankd_ctl_bytes(char text[16], double bytes);
void rankd_ctl_seconds(char text[16], double seconds);
void rankd_ctl_count(char text[16], double count);

/* Latencies in buckets that are 1/16 of a power of two wide: every quantile is right to about 4
 * %. */
enum { CTL_BUCKETS = 64 * 16 };
struct ctl_histogram {
    uint64_t count[CTL_BUCKETS];
    uint64_t total;
    double sum_s, max_s;
};

void rankd_ctl_histogram_add(struct ctl_histogram *histogram, double seconds);
void rankd_ctl_histogram_merge(struct ctl_histogram *into, const struct ctl_histogram *from);

/* The upper edge of the bucket of the quantile q in [0, 1], in seconds; NaN if nothing was
 * added. */
double rankd_ctl_histogram_quantile(const struct ctl_histogram *histogram, double q);

/* One line with a bar for each power of two with at least one value. */
void rankd_ctl_histogram_print(const struct ctl_histogram *histogram, FILE *out);

#endif
