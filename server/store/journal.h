/* SPDX-License-Identifier: Apache-2.0 */
/* A bank's journal: a folder of segments, each a file of records (record.h), according to rules.h.
 * The FIFO is its own journal: items that leave the window are dropped by whole segments, and
 * nothing is ever rewritten.
 *
 * Any write or sync that fails for another reason than a full disk breaks the journal for good:
 * after a failed fsync the next one may succeed although the data is lost, so later results can't
 * be trusted. */
#ifndef RK_STORE_JOURNAL_H
#define RK_STORE_JOURNAL_H

#include "store/files.h"
#include "store/io.h"
#include "store/record.h"
#include "store/rules.h"

struct rk_journal;

/* Called for what is read back, in the order in which it was written. A callback that fails stops
 * the reading. */
struct rk_journal_reader {
    void *context;
    /* `whole`: nothing before the point belongs to later versions. */
    enum rankd_status (*start)(void *context, struct rk_bank_position point, struct rk_origin origin,
                               bool whole, struct rk_err *err);
    enum rankd_status (*id)(void *context, const struct rk_batch_id *id, struct rk_err *err);
    /* `id` NULL: none. */
    enum rankd_status (*batch)(void *context, const struct rk_batch *batch, uint64_t version,
                               const struct rk_batch_id *id, struct rk_err *err);
};

/* Begins a journal at `point` in the empty folder `path`, which exists. `io` is borrowed and
 * outlives it. */
enum rankd_status rk_journal_create(const char *path, const struct rk_bank_shape *shape, struct rk_io *io,
                                    struct rk_origin origin, struct rk_bank_position point,
                                    const struct rk_batch_id *ids, size_t id_count, struct rk_journal **out,
                                    struct rk_err *err) __attribute__((warn_unused_result));

/* Reads a journal back and continues at its end, which is *point. An end that a crash or a power
 * loss left incomplete is cut off (see rk_journal_loss_of()). Damage elsewhere is RANKD_INTERNAL
 * with the file, the offset and the remedy in the sentence; the files are left as they are. */
enum rankd_status rk_journal_open(const char *path, const struct rk_bank_shape *shape, struct rk_io *io,
                                  const struct rk_journal_reader *reader, struct rk_bank_position *point,
                                  struct rk_journal **out, struct rk_err *err)
    __attribute__((warn_unused_result));

/* What was cut off when it was opened. */
struct rk_journal_loss {
    uint64_t bytes;          /* 0: nothing */
    uint64_t number, offset; /* of the segment, and their offset in it */
};
struct rk_journal_loss rk_journal_loss_of(const struct rk_journal *journal);

/* True if the last segment is a checkpoint's too: a rotation must come before the first append. */
bool rk_journal_is_shared(const struct rk_journal *journal);

/* Closes the files; what is not synced is not. NULL is fine. */
void rk_journal_close(struct rk_journal *journal);

/* Writes a version's record; on disk only after a sync. RANKD_NO_SPACE: the disk is full, nothing
 * was written, later appends may succeed. RANKD_INTERNAL: broken for good. One writer at a time
 * (append, rotate, drop). `first`: sequence number of the batch's first item. `more`: the version
 * goes on in the next record. */
enum rankd_status rk_journal_append(struct rk_journal *journal, const struct rk_batch *batch,
                                    struct rk_bank_position after, uint64_t first, bool more,
                                    const struct rk_batch_id *id, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Everything appended before the call is on disk when it returns RANKD_OK. One at a time, beside a
 * writer that appends or drops. */
enum rankd_status rk_journal_sync(struct rk_journal *journal, struct rk_err *err)
    __attribute__((warn_unused_result));

/* True when the open segment is large enough to begin another. */
bool rk_journal_is_long(const struct rk_journal *journal);

/* Writes everything to disk and begins a new segment, which holds the ids and is on disk too. The
 * one before gets no more records. Errors as append. */
enum rankd_status rk_journal_rotate(struct rk_journal *journal, struct rk_bank_position point,
                                    const struct rk_batch_id *ids, size_t id_count, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Removes segments, as J2 allows; `oldest` is the oldest item in memory. */
void rk_journal_drop(struct rk_journal *journal, uint64_t oldest);

/* --- snapshots --- */

/* The part that a snapshot still lacks: the open segment at that time. */
struct rk_snapshot {
    int fd; /* -1: nothing */
    uint64_t number, bytes;
};

/* True if the open segment is so long that a snapshot should begin a new one rather than copy
 * it. */
bool rk_journal_is_half_long(const struct rk_journal *journal);

/* Gives every segment but the open one a second name in the folder `path`. No append may run
 * meanwhile; a sync may. rk_snapshot_end() must follow. */
enum rankd_status rk_snapshot_begin(struct rk_journal *journal, const char *path,
                                    struct rk_snapshot *snapshot, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Copies the part that the snapshot lacks; appends may run meanwhile. All files are on disk then,
 * but not yet their names in the folder. With copy false it only closes. */
enum rankd_status rk_snapshot_end(struct rk_snapshot *snapshot, const char *path, bool copy,
                                  struct rk_err *err);

uint64_t rk_journal_bytes(const struct rk_journal *journal);
size_t rk_journal_segments(const struct rk_journal *journal);

#endif
