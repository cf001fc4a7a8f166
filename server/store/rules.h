/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of a bank's files: kept by the writer (journal.c) and checked by the reader (survey.c,
 * recover.c). Both use the functions below, so that neither has rules of its own.
 *
 * Window. Items have sequence numbers that are never used twice. A bank that ends at `end` holds
 * the items of rk_window_start(base, capacity, end) up to end (bank/window.h). `base` is written
 * into every segment; it is never derived from the segments that exist.
 *
 * Segments of a journal, in a folder of its own
 *
 *  S1  A segment is START (shape, origin, the point where it begins), IDS, and versions.
 *
 *  S2  It begins at the point where the one before ends; a restore raises the generation there. Its
 *      number is the next one. The origin is the same in all of them.
 *
 *  S3  A version's record is the next version, or goes on with the one that the record before left
 *      open. The record of an empty batch is there for its id: it has no items and repeats the
 *      version before it.
 *
 *  S4  Only the last segment gets records. Before another is begun, all of it is on disk; before
 *      the other gets its first version, its START, IDS and name are. So only the last one may end
 *      in a torn record, and one without a whole START and IDS holds no version.
 *
 *  S5  A version's record says how much of its segment was on disk when it was written. A broken
 *      record before that offset is damage. One behind it was lost with the power, as is all that
 *      follows it.
 *
 *  S6  A file with a second name belongs to a checkpoint too: it gets no more records and is never
 *      cut.
 *
 * Journal
 *
 *  J1  Its first segment begins at or before the start of its window.
 *
 *  J2  A segment is removed when none of its items is in the window of the end *that is on disk*,
 *      nor in memory.
 *
 *  J3  Removals may be lost with the power, one by one. Files before a gap in the numbers are
 *      removals that were lost; J1 holds without them.
 *
 * Manifests and names
 *
 *  M1  The bank's manifest names one journal, which is whole and on disk, name included, before the
 *      manifest is replaced. The journal before is removed after the manifest, name included, is on
 *      disk.
 *
 *  M2  A checkpoint is whole and on disk before it gets its tag as its name. It loses the name, on
 *      disk, before it loses a file. It consists of sealed segments, and of a copy of the open one.
 *
 *  M3  A folder whose name begins with ~ is being made or removed; the next start removes it.
 *  M4  A start syncs the names that it finds before it acts on them: they may be those of a
 *      daemon that was killed between a rename and the sync of the folder.
 */
#ifndef RK_STORE_RULES_H
#define RK_STORE_RULES_H

#include "store/record.h"

/* Where the present contents of a bank began. */
struct rk_origin {
    uint64_t base;    /* the sequence number at which it was empty last */
    uint64_t cleared; /* the generation that began there: batches of earlier generations were cleared */
};

/* The end of a journal, in memory or on disk. */
struct rk_mark {
    uint64_t number, offset; /* of the last segment, and its length */
    uint64_t end;            /* sequence number behind the newest item */
};

/* S2: a segment may begin at `next` where the one before ends at `end`. */
bool rk_rule_segment_follows(struct rk_bank_position end, struct rk_bank_position next);

/* S3: a record with this head may follow. `open`: the version of `end` is not complete. */
bool rk_rule_record_follows(struct rk_bank_position end, bool open, const struct rk_record_head *head);

/* J1, for a journal whose first segment begins with item `first`. */
bool rk_rule_whole(struct rk_origin origin, uint64_t capacity, uint64_t first, uint64_t end);

/* J2: the segments before number `next`, which begins with item `first`, may be removed. `oldest`
 * is the oldest item in memory. */
bool rk_rule_may_go(struct rk_origin origin, uint64_t capacity, uint64_t next, uint64_t first,
                    uint64_t oldest, struct rk_mark synced);

/* Bytes of versions from which on another segment is begun. */
size_t rk_rule_segment_bytes(const struct rk_bank_shape *shape);

#endif
