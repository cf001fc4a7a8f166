/* SPDX-License-Identifier: Apache-2.0 */
/* A bank in memory: a FIFO of items, and views of it as of one version.
 *
 * Items have sequence numbers, from 0 on, that are never used twice. They are stored in chunks with
 * counted references; a chunk is only ever appended to. A version is a window of sequence numbers,
 * so a reader takes one in the time of a reference count, nothing in it changes while it is held,
 * and no reader waits for a writer or a disk.
 *
 * Some items beyond the capacity are kept for a while (the slack): a retried request can then be
 * computed against the version that its original read. */
#ifndef RK_BANK_H
#define RK_BANK_H

#include "bank/batch.h"
#include "bank/versions.h"
#include "request/bank_view.h"

struct rk_bank;

/* Empty, version 0, generation 1. NULL if out of memory. The shape has been checked
 * (rk_bank_shape_check). */
struct rk_bank *rk_bank_new(const struct rk_bank_shape *shape);
/* Views that are held stay until they are released. NULL is fine. */
void rk_bank_free(struct rk_bank *bank);

/* RANKD_INVALID with a sentence if there can be no bank of that shape: dimensions, capacity, type,
 * or too many bytes. */
enum rankd_status rk_bank_shape_check(const struct rk_bank_shape *shape, struct rk_err *err)
    __attribute__((warn_unused_result));
/* Bytes that a full bank of that shape takes at most. */
size_t rk_bank_shape_bytes(const struct rk_bank_shape *shape);

const struct rk_bank_shape *rk_bank_shape_of(const struct rk_bank *bank);

/* A point in the bank's history; a view shows the bank at one. */
struct rk_bank_position {
    uint64_t generation, version;
    uint64_t end; /* sequence number behind the newest item */
};
struct rk_bank_position rk_bank_now(struct rk_bank *bank);

/* The newest version, held until it is released. Never NULL. Any thread. */
const struct rk_bank_snapshot *rk_bank_hold(struct rk_bank *bank);

/* The version of an earlier point of the same generation, or NULL where some of its items are gone
 * or memory is short. Any thread. */
const struct rk_bank_snapshot *rk_bank_hold_at(struct rk_bank *bank, struct rk_bank_position point);
/* A version of the present generation by its number, or NULL as above; *oldest_of is then the
 * oldest one available. Any thread. */
const struct rk_bank_snapshot *rk_bank_hold_version(struct rk_bank *bank, uint64_t version,
                                                    uint64_t *oldest_of);
void rk_bank_release(const struct rk_bank_snapshot *view);
struct rk_bank_position rk_bank_snapshot_position(const struct rk_bank_snapshot *view);

/* Of a view that is held, the items of its newest `versions` versions (at most RK_VERSIONS_MOST /
 * 2), as a view of its own under the same version, to be released as well. 0: none of them. An item
 * that came back in a journal that was written anew counts as of the version at which that
 * happened. NULL: out of memory, or those versions are not known any more. Any thread. */
const struct rk_bank_snapshot *rk_bank_hold_newer(struct rk_bank *bank, const struct rk_bank_snapshot *view,
                                                  uint64_t versions);

/* A view that is held, in pieces, oldest first: how many there are, and a copy of one (none is
 * empty), which is the caller's: rk_batch_free(). `shape` is the bank's. RANKD_OVERLOADED: out of
 * memory. */
size_t rk_bank_snapshot_chunks(const struct rk_bank_snapshot *view);
enum rankd_status rk_bank_snapshot_batch(const struct rk_bank_shape *shape,
                                         const struct rk_bank_snapshot *view, size_t c,
                                         struct rk_batch *batch, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Appends and makes it version `version`, which is the one before plus 1, or the same where a
 * version comes back from disk in parts; all or nothing. RANKD_OVERLOADED: out of memory, nothing
 * happened. One writer at a time. */
enum rankd_status rk_bank_append(struct rk_bank *bank, const struct rk_batch *batch, uint64_t version,
                                 struct rk_err *err) __attribute__((warn_unused_result));

/* Memory for a batch, taken before it is written to disk: its append can't fail then. Several may
 * be taken; they are used or given back before a reset. NULL with RANKD_OVERLOADED if out of
 * memory: nothing happened. One writer at a time. */
struct rk_bank_reservation;
struct rk_bank_reservation *rk_bank_reserve(struct rk_bank *bank, size_t items, struct rk_err *err)
    __attribute__((warn_unused_result));
void rk_bank_unreserve(struct rk_bank *bank, struct rk_bank_reservation *room); /* NULL is fine */
/* As rk_bank_append(), with the room of a batch of that size, which it takes over. In the order of
 * reservation. */
void rk_bank_append_reserved(struct rk_bank *bank, const struct rk_batch *batch, uint64_t version,
                             struct rk_bank_reservation *room);

/* Empties it and sets the point from which it goes on: for clear, restore and start. `whole`:
 * nothing before the point belongs to later versions (a clear). Otherwise versions whose window
 * begins before the point are no longer available. Views that are held stay. One writer. */
enum rankd_status rk_bank_reset(struct rk_bank *bank, struct rk_bank_position point, bool whole,
                                struct rk_err *err) __attribute__((warn_unused_result));

/* The same with the room of 0 items, which it takes over: it can't fail, so it may follow a step
 * that can't be undone. No other room may be taken at that time. */
void rk_bank_reset_reserved(struct rk_bank *bank, struct rk_bank_position point, bool whole,
                            struct rk_bank_reservation *room);

/* Raises the generation and leaves the items: the last step of a restore. One writer. */
enum rankd_status rk_bank_set_generation(struct rk_bank *bank, uint64_t generation, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Sets a tag, chosen by the owner, on the newest version; reads the tag of a version. False if the
 * version is not known any more. Any thread. */
void rk_bank_set_tag(struct rk_bank *bank, const unsigned char tag[RK_VERSION_TAG_BYTES]);
bool rk_bank_tag_of(struct rk_bank *bank, uint64_t version, unsigned char tag[RK_VERSION_TAG_BYTES]);
/* The oldest version that brought an item which is still there; 0 where that is not known or there
 * is none. */
uint64_t rk_bank_oldest_version(struct rk_bank *bank);

/* The oldest sequence number that is still there, for the owner of the same items on disk. */
uint64_t rk_bank_oldest(struct rk_bank *bank);
size_t rk_bank_items(struct rk_bank *bank);
size_t rk_bank_bytes(struct rk_bank *bank); /* held now */

#endif
