/* SPDX-License-Identifier: Apache-2.0 */
#include "bank/ids.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

/* At most five eighths of the slots are taken, and at least a fifth of the room is free when the
 * ids move to its beginning. So a move of all ids happens once per as many adds as a quarter of the
 * ids. */
#define RK_IDS_ROOM(slots) ((slots) / 8 * 5)
#define NUMBERS 0x7fffffffu
#define TAKEN 0x80000000u
enum { SLOTS = 131072, DROPS = 4 };
_Static_assert(RK_IDS_ROOM(SLOTS) / 5 * 4 >= RK_IDS_KEPT, "the room that is always there is for these");

/* --- the table --- */

static size_t home_of(const struct rk_ids *ids, const uint64_t name[2])
{
    unsigned __int128 product =
        (unsigned __int128)(name[0] ^ ids->key[0]) * (unsigned __int128)(name[1] ^ ids->key[1]);
    return (size_t)((uint64_t)product ^ (uint64_t)(product >> 64)) & (ids->slots - 1);
}

static struct rk_batch_id *entry_at(const struct rk_ids *ids, uint32_t taken)
{
    return &ids->entry[ids->first + ((taken - ids->number) & NUMBERS)];
}

static bool has_name(const struct rk_batch_id *id, const uint64_t name[2])
{
    return id->name[0] == name[0] && id->name[1] == name[1];
}

/* The slot of that name, or the empty one where it would be. */
static size_t slot_of(const struct rk_ids *ids, const uint64_t name[2])
{
    size_t at = home_of(ids, name);
    while (ids->slot[at] && !has_name(entry_at(ids, ids->slot[at]), name))
        at = (at + 1) & (ids->slots - 1);
    return at;
}

/* Empties a slot; entries that were displaced past it move up, so that no search ends at the
 * gap. */
static void empty_slot(struct rk_ids *ids, size_t gap)
{
    const size_t mask = ids->slots - 1;
    for (size_t at = (gap + 1) & mask; ids->slot[at]; at = (at + 1) & mask) {
        size_t home = home_of(ids, entry_at(ids, ids->slot[at])->name);
        if (((at - home) & mask) < ((at - gap) & mask))
            continue; /* its own slot is behind the gap */
        ids->slot[gap] = ids->slot[at];
        gap = at;
    }
    ids->slot[gap] = 0;
}

static uint32_t number_at(const struct rk_ids *ids, size_t i)
{
    return ((ids->number + (uint32_t)i) & NUMBERS) | TAKEN;
}

/* A name that occurs twice (it was forgotten in between) is found at the newer entry. */
static void enter(struct rk_ids *ids, size_t i)
{
    ids->slot[slot_of(ids, ids->entry[ids->first + i].name)] = number_at(ids, i);
}

static void drop_oldest(struct rk_ids *ids)
{
    size_t at = slot_of(ids, ids->entry[ids->first].name);
    if (ids->slot[at] == number_at(ids, 0))
        empty_slot(ids, at);
    ids->first++;
    ids->count--;
    ids->number = (ids->number + 1) & NUMBERS;
}

/* --- room --- */

static void move_down(struct rk_ids *ids)
{
    memmove(ids->entry, ids->entry + ids->first, ids->count * sizeof *ids->entry);
    ids->first = 0;
}

/* Rebuilds the table with that many slots. False if out of memory: nothing happened. */
static bool resize(struct rk_ids *ids, size_t slots)
{
    struct rk_batch_id *entry = malloc(RK_IDS_ROOM(slots) * sizeof *entry);
    uint32_t *slot = calloc(slots, sizeof *slot);
    if (!entry || !slot) {
        free(entry);
        free(slot);
        return false;
    }
    if (ids->count)
        memcpy(entry, ids->entry + ids->first, ids->count * sizeof *entry);
    free(ids->entry);
    free(ids->slot);
    ids->entry = entry;
    ids->slot = slot;
    ids->slots = slots;
    ids->room = RK_IDS_ROOM(slots);
    ids->first = 0;
    ids->touched = ids->count;
    for (size_t i = 0; i < ids->count; i++)
        enter(ids, i);
    return true;
}

/* Makes room for one more entry; the room is at most four times what is used, or the minimum. */
static void make_room(struct rk_ids *ids)
{
    const bool full = ids->first + ids->count == ids->room;
    if (!full && (ids->slots == SLOTS || ids->count > RK_IDS_ROOM(ids->slots / 4)))
        return;
    size_t slots = ids->slots;
    while (slots > SLOTS && ids->count <= RK_IDS_ROOM(slots / 2) / 5 * 4)
        slots /= 2;
    if (slots == ids->slots && ids->first < ids->room / 5)
        slots *= 2;
    if ((slots != ids->slots && resize(ids, slots)) || !full)
        return;
    while (ids->first < ids->room / 5) /* there is no memory */
        drop_oldest(ids);
    move_down(ids);
}

/* --- what is kept --- */

static bool oldest_is_over(const struct rk_ids *ids, size_t newer, uint64_t clock_ns)
{
    return newer >= RK_IDS_MOST ||
           (newer >= RK_IDS_KEPT && clock_ns - ids->entry[ids->first].stamp_ns >= RK_IDS_AGE_NS);
}

void rk_ids_add(struct rk_ids *ids, const struct rk_batch_id *id)
{
    /* More than one, or a million ids of a busy time would stay for a million adds; only a few, or
     * one add would take the time of all. */
    for (int i = 0; i < DROPS && ids->count && oldest_is_over(ids, ids->count, id->stamp_ns); i++)
        drop_oldest(ids);
    make_room(ids);
    ids->entry[ids->first + ids->count] = *id;
    enter(ids, ids->count++);
    if (ids->touched < ids->first + ids->count)
        ids->touched = ids->first + ids->count;
}

void rk_ids_read(struct rk_ids *ids, const struct rk_batch_id *id, uint64_t now_ns)
{
    if (rk_ids_clock(ids, now_ns) < id->stamp_ns)
        ids->origin_ns = now_ns - id->stamp_ns;
    rk_ids_add(ids, id);
}

void rk_ids_expire(struct rk_ids *ids, uint64_t now_ns)
{
    const uint64_t clock_ns = rk_ids_clock(ids, now_ns);
    while (ids->count && oldest_is_over(ids, ids->count - 1, clock_ns))
        drop_oldest(ids);
}

uint64_t rk_ids_clock(const struct rk_ids *ids, uint64_t now_ns)
{
    return now_ns - ids->origin_ns;
}

const struct rk_batch_id *rk_ids_find(const struct rk_ids *ids, const uint64_t name[2])
{
    const uint32_t taken = ids->slot[slot_of(ids, name)];
    return taken ? entry_at(ids, taken) : NULL;
}

const struct rk_batch_id *rk_ids_all(const struct rk_ids *ids, size_t *count)
{
    *count = ids->count;
    return ids->entry + ids->first;
}

/* --- life --- */

bool rk_ids_init(struct rk_ids *ids, uint64_t now_ns)
{
    *ids = (struct rk_ids){.origin_ns = now_ns};
    if (getrandom(ids->key, sizeof ids->key, GRND_NONBLOCK) != (ssize_t)sizeof ids->key)
        ids->key[0] = (uint64_t)(uintptr_t)ids; /* early at boot; any value will do */
    return resize(ids, SLOTS);
}

void rk_ids_free(struct rk_ids *ids)
{
    free(ids->entry);
    free(ids->slot);
    *ids = (struct rk_ids){0};
}

void rk_ids_clear(struct rk_ids *ids, uint64_t now_ns)
{
    if (ids->count) /* otherwise every slot is empty, and may never have been touched */
        memset(ids->slot, 0, ids->slots * sizeof *ids->slot);
    ids->first = ids->count = 0;
    ids->origin_ns = now_ns;
}

size_t rk_ids_bytes(const struct rk_ids *ids)
{
    return ids->touched * sizeof *ids->entry + ids->slots * sizeof *ids->slot;
}

size_t rk_ids_kept_bytes(void)
{
    return RK_IDS_ROOM(SLOTS) * sizeof(struct rk_batch_id) + SLOTS * sizeof(uint32_t);
}

void rk_ids_name(const char *batch_id, uint64_t name[2])
{
    XXH128_hash_t hash = XXH3_128bits(batch_id, strlen(batch_id));
    name[0] = hash.low64;
    name[1] = hash.high64 | 1; /* all zero is "none" */
}
