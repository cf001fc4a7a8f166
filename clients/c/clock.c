/* SPDX-License-Identifier: Apache-2.0 */
#include "clock.h"

#include <time.h>

uint64_t rankd_now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t rankd_until(uint64_t timeout_ns)
{
    uint64_t now = rankd_now_ns();
    return timeout_ns > UINT64_MAX - now ? UINT64_MAX : now + timeout_ns;
}

int rankd_milliseconds(uint64_t until_ns)
{
    const uint64_t hour = 3600000;
    uint64_t now = rankd_now_ns(), left = until_ns > now ? (until_ns - now - 1) / 1000000 + 1 : 0;
    return (int)(left < hour ? left : hour);
}
