/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/disk/seen.h"

#include <stdlib.h>

struct slot {
    XXH128_hash_t state;
    int left; /* plus one; 0: free */
};

static struct slot *table;
static size_t slots, used;

void seen_reset(void)
{
    free(table);
    table = NULL;
    slots = used = 0;
}

size_t seen_count(void)
{
    return used;
}

/* The state's slot, or the free one where it belongs. */
static struct slot *find(XXH128_hash_t state)
{
    size_t at = (size_t)state.low64 & (slots - 1);
    while (table[at].left && !XXH128_isEqual(table[at].state, state))
        at = (at + 1) & (slots - 1);
    return &table[at];
}

static void grow(void)
{
    struct slot *old = table;
    const size_t before = slots;
    slots = slots ? 2 * slots : 1024;
    table = calloc(slots, sizeof *table);
    if (!table)
        abort();
    for (size_t i = 0; i < before; i++) {
        if (old[i].left)
            *find(old[i].state) = old[i];
    }
    free(old);
}

int seen_left(XXH128_hash_t state)
{
    return slots ? find(state)->left - 1 : -1;
}

void seen_note(XXH128_hash_t state, int left)
{
    if (2 * (used + 1) > slots)
        grow();
    struct slot *slot = find(state);
    used += slot->left == 0;
    *slot = (struct slot){state, left + 1};
}
