/* SPDX-License-Identifier: Apache-2.0 */
/* From a histogram of items by the number of thresholds above them to counts per threshold. */
#ifndef RK_KERNELS_TALLY_H
#define RK_KERNELS_TALLY_H

#include <stdint.h>

/* An item with b thresholds above it is at or above the b-th threshold and all after it: adds to
 * irrelevant_above[k] the items at or above threshold k, of tally[0..p]. Counts may be differences,
 * modulo 2^32. */
static inline void rk_tally_sum(const uint32_t *tally, uint32_t p, uint32_t *irrelevant_above)
{
    uint32_t sum = 0;
    for (uint32_t k = 0; k < p; k++) {
        sum += tally[k];
        irrelevant_above[k] += sum;
    }
}

#endif
