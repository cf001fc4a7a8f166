/* SPDX-License-Identifier: Apache-2.0 */
/* Time limits, by CLOCK_MONOTONIC. */
#ifndef RANKD_CLOCK_H
#define RANKD_CLOCK_H

#include <stdint.h>

/* CLOCK_MONOTONIC, ns; and a moment `timeout_ns` from now that saturates at UINT64_MAX. */
uint64_t rankd_now_ns(void);
uint64_t rankd_until(uint64_t timeout_ns);

/* Milliseconds from now until `until_ns`, rounded up; at most an hour, so that callers ask again.
 * 0: past. */
int rankd_milliseconds(uint64_t until_ns);

#endif
