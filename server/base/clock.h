/* SPDX-License-Identifier: Apache-2.0 */
/* The clock that durations and deadlines come from. */
#ifndef RK_CLOCK_H
#define RK_CLOCK_H

#include <stdint.h>

/* Now, CLOCK_MONOTONIC in ns. */
uint64_t rk_now_ns(void);

#endif
