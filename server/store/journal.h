/* A bank's journal: a folder of segments, each a file of records (record.h). The FIFO is its own journal:
 * what leaves the window is dropped by whole segments, nothing is ever rewritten.
 *
 * Any write or sync that fails for another reason than a full disk breaks the journal for good: after a
 * failed fsync the next one may succeed though the data is lost, so nothing after it can be believed. */
#ifndef RK_STORE_JOURNAL_H
#define RK_STORE_JOURNAL_H

#include "store/io.h"
#include "store/record.h"

struct rk_journal;

/* What is read back, in the order in which it was written. A callback that fails stops the reading. */
struct rk_journal_reader {
    void *context;
    enum rankd_status (*start)(void *context, struct rk_bank_point point, struct rk_err *err);
    enum rankd_status (*id)(void *context, const struct rk_batch_id *id, struct rk_err *err);
    /* `id` NULL: none. */
    enum rankd_status (*batch)(void *context, const struct rk_batch *batch, uint64_t version,
                               const struct rk_batch_id *id, struct rk_err *err);
};

/* Begins a journal at `point` in the empty folder `path`, which exists. `io` is borrowed and outlives it. */
enum rankd_status rk_journal_create(const char *path, const struct rk_bank_shape *shape, struct rk_io *io,
                                    struct rk_bank_point point, const struct rk_batch_id *ids,
                                    size_t id_count, struct rk_journal **out, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Reads a journal back and goes on at its end, which is *point. A torn tail (the last record incomplete,
 * nothing valid behind it) is cut off. Damage elsewhere is RANKD_INTERNAL with the file, the offset and the
 * way out in the sentence; the files are left as they are. */
enum rankd_status rk_journal_open(const char *path, const struct rk_bank_shape *shape, struct rk_io *io,
                                  const struct rk_journal_reader *reader, struct rk_bank_point *point,
                                  struct rk_journal **out, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Closes the files; what is not synced is not. NULL is fine. */
void rk_journal_close(struct rk_journal *journal);

/* Writes a version's record; on disk only after a sync. RANKD_NO_SPACE: the disk is full, nothing was
 * written, later appends may succeed. RANKD_INTERNAL: broken for good. One writer at a time (append, rotate,
 * drop). `first`: sequence number of the batch's first item. `more`: the version goes on in the next record.
 */
enum rankd_status rk_journal_append(struct rk_journal *journal, const struct rk_batch *batch,
                                    struct rk_bank_point after, uint64_t first, bool more,
                                    const struct rk_batch_id *id, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Everything appended before the call is on disk when it returns RANKD_OK. One at a time, beside a writer. */
enum rankd_status rk_journal_sync(struct rk_journal *journal, struct rk_err *err)
    __attribute__((warn_unused_result));

/* True when the open segment is large enough to begin another. */
bool rk_journal_is_long(const struct rk_journal *journal);

/* Begins a new segment, which knows the ids; the one before gets no more records. Errors as append. */
enum rankd_status rk_journal_rotate(struct rk_journal *journal, struct rk_bank_point point,
                                    const struct rk_batch_id *ids, size_t id_count, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Removes the segments whose items all come before `oldest`. */
void rk_journal_drop(struct rk_journal *journal, uint64_t oldest);

/* Hard-links every segment but the open one into the folder `path`: with a rotation and a sync before, a
 * snapshot. The writer must stand still meanwhile only against drop. */
enum rankd_status rk_journal_link(struct rk_journal *journal, const char *path, struct rk_err *err)
    __attribute__((warn_unused_result));

uint64_t rk_journal_bytes(const struct rk_journal *journal);

/* Makes the entries of a folder durable: fsync of the folder itself. */
enum rankd_status rk_sync_folder(const char *path, struct rk_err *err) __attribute__((warn_unused_result));

#endif
