/* SPDX-License-Identifier: Apache-2.0 */
/* Counts targets by value, and finds the relevant ones. */
#include "kernels/kernels_internal.h"

struct rk_scan rk_scan_scalar(const void *targets, size_t items, int8_t most, bool is_signed)
{
    const unsigned char *t = targets;
    struct rk_scan scan = {0};
    size_t known = 0;
    for (size_t i = 0; i < items; i++) {
        scan.relevant += t[i] != 0 && t[i] <= most;
        scan.ignored += t[i] == 0xff;
        known += t[i] <= most;
    }
    if (is_signed)
        known += scan.ignored;
    else
        scan.ignored = 0;
    scan.bad = known != items;
    return scan;
}

size_t rk_positions_scalar(const int8_t *targets, uint32_t items, uint32_t base, uint32_t *position,
                           size_t room)
{
    size_t found = 0;
    for (uint32_t i = 0; i < items && found < room; i++) {
        /* Written always and kept if relevant: no branch to mispredict. */
        position[found] = base + i;
        found += targets[i] > 0;
    }
    return found;
}
