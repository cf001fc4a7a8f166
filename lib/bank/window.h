/* SPDX-License-Identifier: Apache-2.0 */
/* Which items a bank holds: one definition for the memory, for dropping items from the disk and for
 * finding them there again. */
#ifndef RK_BANK_WINDOW_H
#define RK_BANK_WINDOW_H

#include <stdint.h>

/* The bank whose newest item comes before `end` holds the items start..end-1. `base` is the
 * sequence number at which it was empty last: its creation (0) or a clear. */
static inline uint64_t rk_window_start(uint64_t base, uint64_t capacity, uint64_t end)
{
    const uint64_t start = end > capacity ? end - capacity : 0;
    return start > base ? start : base;
}

#endif
