/* SPDX-License-Identifier: Apache-2.0 */
/* Crossovers and sizes that depend on the machine: caches, instruction set, cost of waking a
 * thread. The defaults are what was measured while the kernels were written
 * (docs/performance-notes.md). */
#ifndef RK_KERNELS_TUNING_H
#define RK_KERNELS_TUNING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rk_tuning {
#define RK_TUNING(field, name, value, min, max, help) uint32_t field;
#include "kernels/tuning.def"
#undef RK_TUNING
};

/* The rows of tuning.def as data. */
struct rk_tuning_row {
    const char *name;
    size_t offset; /* of the field, a uint32_t */
    uint32_t value, min, max;
    const char *help;
};
extern const struct rk_tuning_row rk_tuning_rows[];
extern const size_t rk_tuning_row_count;

/* Every row at its default. */
extern const struct rk_tuning rk_tuning_default;

/* In use. Written by rk_tuning_use() alone. */
extern struct rk_tuning rk_tuning;

/* A value that the row may have: its default, or a power of two within its bounds. (Powers of two,
 * because the memory of a list is planned for those, blackbox/most.c.) */
bool rk_tuning_may_be(const struct rk_tuning_row *row, uint64_t value);

/* From now on. While nothing is computed or measured: a request in progress would be confused. */
void rk_tuning_use(const struct rk_tuning *tuning);

#endif
