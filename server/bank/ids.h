/* SPDX-License-Identifier: Apache-2.0 */
/* The batch ids that a bank remembers, independent of eviction, so that a retried request is not
 * appended twice: the newest RK_IDS_KEPT always, and up to RK_IDS_MOST while they are younger than
 * RK_IDS_AGE_NS (the time that a client may take to try again). Finding and adding take constant
 * time, except when the room is doubled.
 *
 * Ages are differences of the bank's own clock, which follows the monotonic clock while the daemon
 * runs and stops while it does not. Each id has the clock's reading at its append, on disk too.
 * When ids are read back the clock continues from the newest one, so an id may seem younger than it
 * is, but never older, and the wall clock is not used.
 *
 * Not thread-safe: the bank's lock is held. */
#ifndef RK_BANK_IDS_H
#define RK_BANK_IDS_H

#include "store/record.h"

#define RK_IDS_KEPT 65536u
#define RK_IDS_MOST 1000000u
#define RK_IDS_AGE_NS UINT64_C(600000000000)

struct rk_ids {
    /* Oldest first, at entry[first..first+count-1], contiguous, so that they are written to a
     * journal without a copy. At the end of the room they move to its beginning. */
    struct rk_batch_id *entry;
    size_t room, first, count;
    size_t touched;  /* entries of the room that were written to; the others take no memory yet */
    uint32_t number; /* of the oldest; they are numbered modulo 2^31 */
    uint32_t *slot;  /* [slots], a hash table with linear probing: 0, or an entry's number and the top bit */
    size_t slots;    /* a power of two, RK_IDS_ROOM() of which is `room` */
    uint64_t key[2]; /* random, so that no choice of ids makes them fall into one slot */
    uint64_t origin_ns; /* the clock is the monotonic one minus this, modulo 2^64 */
};

/* False if out of memory. Room for the newest RK_IDS_KEPT is taken at once, and costs memory when
 * it is used. `now_ns` is CLOCK_MONOTONIC, here and below. */
bool rk_ids_init(struct rk_ids *ids, uint64_t now_ns) __attribute__((warn_unused_result));
void rk_ids_free(struct rk_ids *ids);
/* Forgets all, and restarts the clock at 0. */
void rk_ids_clear(struct rk_ids *ids, uint64_t now_ns);

/* The bank's clock, for an id that is about to be appended. Never behind the reading of one that is
 * there. */
uint64_t rk_ids_clock(const struct rk_ids *ids, uint64_t now_ns);

/* Adds the newest one, with the clock's reading, and drops old ones. If there is no memory for more
 * than RK_IDS_KEPT, the oldest is dropped. */
void rk_ids_add(struct rk_ids *ids, const struct rk_batch_id *id);
/* The same for one that is read back: the clock is not behind it afterwards. */
void rk_ids_read(struct rk_ids *ids, const struct rk_batch_id *id, uint64_t now_ns);

/* Drops all that are too old: rk_ids_add() drops only a few at a time. */
void rk_ids_expire(struct rk_ids *ids, uint64_t now_ns);

/* The newest of that name, or NULL. Valid until the next change. */
const struct rk_batch_id *rk_ids_find(const struct rk_ids *ids, const uint64_t name[2]);

/* All, oldest first, and how many. Valid until the next change. */
const struct rk_batch_id *rk_ids_all(const struct rk_ids *ids, size_t *count);

/* Bytes that they take; and the most that RK_IDS_KEPT of them take. */
size_t rk_ids_bytes(const struct rk_ids *ids);
size_t rk_ids_kept_bytes(void);

/* The name of a batch_id. */
void rk_ids_name(const char *batch_id, uint64_t name[2]);

#endif
