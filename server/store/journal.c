/* SPDX-License-Identifier: Apache-2.0 */
#include "store/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/journal_internal.h"

enum rankd_status rk_journal_break(struct rk_journal *journal, const char *what, int code, struct rk_err *err)
{
    atomic_store(&journal->broken, true);
    return rk_fail(err, RANKD_INTERNAL,
                   "%s of %s failed: %s; what is on disk is read back when the daemon is started again", what,
                   journal->path, strerror(code));
}

static enum rankd_status check_unbroken(struct rk_journal *journal, struct rk_err *err)
{
    if (atomic_load(&journal->broken))
        return rk_fail(err, RANKD_INTERNAL, "the journal %s is broken since an earlier error", journal->path);
    return RANKD_OK;
}

/* --- writing --- */

/* The target of a record: the open segment, or a new one. */
struct journal_place {
    int fd;
    uint64_t offset;
};

/* Head and pieces in one buffer, so that a record is one write. -errno. */
static int write_buffered(struct rk_journal *journal, struct journal_place place,
                          const struct rk_record_head *head, const struct rk_record_piece *piece,
                          size_t pieces, size_t bytes)
{
    memcpy(journal->buffer, head, sizeof *head);
    for (size_t i = 0, at = sizeof *head; i < pieces; at += piece[i++].bytes) {
        if (piece[i].bytes > 0) /* an empty piece may be NULL */
            memcpy(journal->buffer + at, piece[i].data, piece[i].bytes);
    }
    return journal->io->write(journal->io, place.fd, journal->buffer, bytes, place.offset);
}

/* Writes the pieces one after the other without a copy: a buffer for a million batch ids would
 * never be freed. */
static int write_pieces(struct rk_journal *journal, struct journal_place place,
                        const struct rk_record_head *head, const struct rk_record_piece *piece, size_t pieces)
{
    struct rk_io *io = journal->io;
    uint64_t at = place.offset + sizeof *head;
    int code = io->write(io, place.fd, head, sizeof *head, place.offset);
    for (size_t i = 0; code == 0 && i < pieces; at += piece[i++].bytes) {
        if (piece[i].bytes > 0)
            code = io->write(io, place.fd, piece[i].data, piece[i].bytes, at);
    }
    return code;
}

static enum rankd_status write_record(struct rk_journal *journal, struct journal_place *place,
                                      struct rk_record_head *head, const struct rk_record_piece *piece,
                                      size_t pieces, struct rk_err *err)
{
    rk_record_seal(head, piece, pieces);
    size_t bytes = sizeof *head + head->payload_bytes;
    const bool buffered = bytes <= RK_RECORD_BUFFERED;
    if (buffered && bytes > journal->buffer_room) {
        char *grown = realloc(journal->buffer, bytes);
        if (!grown)
            return rk_fail(err, RANKD_OVERLOADED, "no memory to write a record of %zu bytes", bytes);
        journal->buffer = grown;
        journal->buffer_room = bytes;
    }
    int code = buffered ? write_buffered(journal, *place, head, piece, pieces, bytes)
                        : write_pieces(journal, *place, head, piece, pieces);
    if (code == -ENOSPC || code == -EDQUOT) {
        /* Half a record at the end would later be taken for a torn tail, so it is cut now. */
        if (ftruncate(place->fd, (off_t)place->offset) != 0)
            return rk_journal_break(journal, "cutting back", errno, err);
        return rk_fail(err, RANKD_NO_SPACE, "no room on disk for %zu bytes in %s", bytes, journal->path);
    }
    if (code < 0)
        return rk_journal_break(journal, "writing", -code, err);
    place->offset += bytes;
    return RANKD_OK;
}

static bool remember_segment(struct rk_journal *journal, const struct rk_journal_segment *entry)
{
    struct rk_journal_segment *grown = realloc(journal->segment, (journal->segments + 1) * sizeof *grown);
    if (!grown)
        return false;
    journal->segment = grown;
    journal->segment[journal->segments++] = *entry;
    return true;
}

/* START and IDS, and both on disk with the segment's name: S4. */
static enum rankd_status write_beginning(struct rk_journal *journal, struct journal_place *place,
                                         struct rk_bank_position point, const struct rk_batch_id *ids,
                                         size_t id_count, struct rk_err *err)
{
    struct rk_record_start start = rk_record_start_of(&journal->shape);
    struct rk_record_head head = {.kind = RK_RECORD_START,
                                  .version = point.version,
                                  .generation = point.generation,
                                  .first = point.end};
    start.base = journal->origin.base;
    start.cleared = journal->origin.cleared;
    if (write_record(journal, place, &head, &(struct rk_record_piece){&start, sizeof start}, 1, err) !=
        RANKD_OK)
        return err->status;
    head.kind = RK_RECORD_IDS;
    if (write_record(journal, place, &head, &(struct rk_record_piece){ids, id_count * sizeof *ids}, 1, err) !=
        RANKD_OK)
        return err->status;
    int code = journal->io->sync(journal->io, place->fd);
    if (code < 0)
        return rk_journal_break(journal, "fdatasync", -code, err);
    enum rankd_status status = rk_sync_folder(journal->path, err);
    if (status != RANKD_OK)
        atomic_store(&journal->broken, true);
    return status;
}

/* Records go to `place` from now on. What was written before is on disk. */
static void open_segment(struct rk_journal *journal, struct journal_place place,
                         struct rk_bank_position point)
{
    const struct rk_journal_segment *entry = &journal->segment[journal->segments - 1];
    int old = journal->fd;
    journal->fd = place.fd;
    journal->offset = journal->head_bytes = place.offset;
    journal->segment[journal->segments - 1].bytes = place.offset;
    journal->point = point;
    journal->within = journal->shared = false;
    pthread_mutex_lock(&journal->sync_lock);
    pthread_mutex_lock(&journal->lock);
    journal->current = place.fd;
    journal->written = journal->synced = (struct rk_mark){entry->number, place.offset, point.end};
    journal->folder_dirty = false;
    pthread_mutex_unlock(&journal->lock);
    pthread_mutex_unlock(&journal->sync_lock);
    if (old >= 0)
        (void)close(old);
}

static enum rankd_status begin_segment(struct rk_journal *journal, struct rk_bank_position point,
                                       const struct rk_batch_id *ids, size_t id_count, struct rk_err *err)
{
    char path[PATH_MAX];
    struct rk_journal_segment entry = {
        .number = journal->segments ? journal->segment[journal->segments - 1].number + 1 : 1,
        .first = point.end};
    if (journal->segments && !rk_rule_segment_follows(journal->point, point))
        return rk_journal_break(journal, "going on where a segment does not end", EINVAL, err);
    if (!remember_segment(journal, &entry))
        return rk_fail(err, RANKD_OVERLOADED, "no memory for another segment");
    rk_journal_segment_path(journal, entry.number, path, sizeof path);
    struct journal_place place = {open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), 0};
    if (place.fd < 0)
        (void)(errno == ENOSPC || errno == EDQUOT
                   ? rk_fail(err, RANKD_NO_SPACE, "no room on disk for another segment in %s", journal->path)
                   : rk_journal_break(journal, "creating a segment", errno, err));
    else if (write_beginning(journal, &place, point, ids, id_count, err) != RANKD_OK) {
        (void)close(place.fd);
        (void)unlink(path);
    }
    if (err->status != RANKD_OK)
        journal->segments--;
    else
        open_segment(journal, place, point);
    return err->status;
}

/* The bytes of the open segment that are on disk, for a record of it (S5). */
static uint32_t synced_bytes(struct rk_journal *journal)
{
    pthread_mutex_lock(&journal->lock);
    uint64_t bytes = journal->synced.number == journal->written.number ? journal->synced.offset : 0;
    pthread_mutex_unlock(&journal->lock);
    return bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
}

enum rankd_status rk_journal_append(struct rk_journal *journal, const struct rk_batch *batch,
                                    struct rk_bank_position after, uint64_t first, bool more,
                                    const struct rk_batch_id *id, struct rk_err *err)
{
    static const struct rk_batch_id none;
    struct rk_record_head head = {.kind = more ? RK_RECORD_CONTINUED : RK_RECORD_BATCH,
                                  .version = after.version,
                                  .generation = after.generation,
                                  .first = first,
                                  .items = (uint32_t)batch->items,
                                  .synced = synced_bytes(journal)};
    const struct rk_record_piece piece[] = {{id ? id : &none, sizeof none}, {batch->block, batch->bytes}};
    struct journal_place place = {journal->fd, journal->offset};
    if (check_unbroken(journal, err) != RANKD_OK)
        return err->status;
    if (journal->shared || !rk_rule_record_follows(journal->point, journal->within, &head))
        return rk_journal_break(journal, "appending what is not the next version", EINVAL, err);
    if (write_record(journal, &place, &head, piece, 2, err) != RANKD_OK)
        return err->status;
    journal->offset = journal->segment[journal->segments - 1].bytes = place.offset;
    journal->point = (struct rk_bank_position){after.generation, after.version, first + batch->items};
    journal->within = more;
    pthread_mutex_lock(&journal->lock);
    journal->written.offset = place.offset;
    journal->written.end = journal->point.end;
    pthread_mutex_unlock(&journal->lock);
    return RANKD_OK;
}

/* IDS may be longer than the versions of a whole segment, but must not be most of the written
 * bytes. */
static bool is_at_least(const struct rk_journal *journal, size_t divisor)
{
    uint64_t want =
        journal->segment_bytes > journal->head_bytes ? journal->segment_bytes : journal->head_bytes;
    return journal->offset - journal->head_bytes >= (want + divisor - 1) / divisor;
}

/* At least as many bytes of batches as of START and IDS: so with any number of ids they are less
 * than half of the written bytes. */
bool rk_journal_is_long(const struct rk_journal *journal)
{
    return is_at_least(journal, 1);
}

bool rk_journal_is_half_long(const struct rk_journal *journal)
{
    return is_at_least(journal, 2);
}

static bool is_synced(struct rk_journal *journal)
{
    pthread_mutex_lock(&journal->lock);
    bool synced = journal->synced.number == journal->written.number &&
                  journal->synced.offset == journal->written.offset && !journal->folder_dirty;
    pthread_mutex_unlock(&journal->lock);
    return synced;
}

enum rankd_status rk_journal_rotate(struct rk_journal *journal, struct rk_bank_position point,
                                    const struct rk_batch_id *ids, size_t id_count, struct rk_err *err)
{
    if (check_unbroken(journal, err) != RANKD_OK ||
        (!is_synced(journal) && rk_journal_sync(journal, err) != RANKD_OK))
        return err->status;
    return begin_segment(journal, point, ids, id_count, err);
}

/* --- syncing --- */

enum rankd_status rk_journal_sync(struct rk_journal *journal, struct rk_err *err)
{
    pthread_mutex_lock(&journal->sync_lock);
    pthread_mutex_lock(&journal->lock);
    const struct rk_mark mark = journal->written;
    int fd = journal->current;
    bool folder = journal->folder_dirty;
    pthread_mutex_unlock(&journal->lock);
    int code = atomic_load(&journal->broken) ? -EIO : journal->io->sync(journal->io, fd);
    enum rankd_status status = RANKD_OK;
    if (code < 0)
        status = rk_journal_break(journal, "fdatasync", -code, err);
    else if (folder && (status = rk_sync_folder(journal->path, err)) != RANKD_OK)
        atomic_store(&journal->broken, true);
    if (status == RANKD_OK) {
        pthread_mutex_lock(&journal->lock);
        journal->synced = mark;
        journal->folder_dirty = false;
        pthread_mutex_unlock(&journal->lock);
    }
    pthread_mutex_unlock(&journal->sync_lock);
    return status;
}

/* --- segments as files --- */

void rk_journal_segment_path(const struct rk_journal *journal, uint64_t number, char *path, size_t size)
{
    (void)snprintf(path, size, "%s/%016llx.seg", journal->path, (unsigned long long)number);
}

void rk_journal_drop(struct rk_journal *journal, uint64_t oldest)
{
    char path[PATH_MAX];
    size_t gone = 0;
    pthread_mutex_lock(&journal->lock);
    const struct rk_mark synced = journal->synced;
    pthread_mutex_unlock(&journal->lock);
    while (gone + 1 < journal->segments &&
           rk_rule_may_go(journal->origin, journal->shape.capacity, journal->segment[gone + 1].number,
                          journal->segment[gone + 1].first, oldest, synced)) {
        rk_journal_segment_path(journal, journal->segment[gone].number, path, sizeof path);
        (void)unlink(path); /* left behind, it is dropped after the next start */
        gone++;
    }
    journal->segments -= gone;
    memmove(journal->segment, journal->segment + gone, journal->segments * sizeof *journal->segment);
}

uint64_t rk_journal_bytes(const struct rk_journal *journal)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < journal->segments; i++)
        bytes += journal->segment[i].bytes;
    return bytes;
}

size_t rk_journal_segments(const struct rk_journal *journal)
{
    return journal->segments;
}

/* --- snapshots --- */

static void path_in(const char *folder, uint64_t number, char *path, size_t size)
{
    (void)snprintf(path, size, "%s/%016llx.seg", folder, (unsigned long long)number);
}

enum rankd_status rk_snapshot_begin(struct rk_journal *journal, const char *path,
                                    struct rk_snapshot *snapshot, struct rk_err *err)
{
    char from[PATH_MAX], to[PATH_MAX];
    const struct rk_journal_segment *last = &journal->segment[journal->segments - 1];
    *snapshot = (struct rk_snapshot){-1, last->number, journal->offset};
    for (size_t i = 0; i + 1 < journal->segments; i++) {
        rk_journal_segment_path(journal, journal->segment[i].number, from, sizeof from);
        path_in(path, journal->segment[i].number, to, sizeof to);
        if (rk_file_link(from, to, err) != RANKD_OK)
            return err->status;
    }
    /* A segment without versions is left out, so that alternating restores and appends do not
     * collect them.  */
    if (journal->segments > 1 && journal->offset == journal->head_bytes)
        return RANKD_OK;
    rk_journal_segment_path(journal, last->number, from, sizeof from);
    snapshot->fd = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return snapshot->fd < 0 ? rk_file_failed(err, "open", from) : RANKD_OK;
}

enum rankd_status rk_snapshot_end(struct rk_snapshot *snapshot, const char *path, bool copy,
                                  struct rk_err *err)
{
    char to[PATH_MAX];
    if (snapshot->fd < 0)
        return err->status;
    path_in(path, snapshot->number, to, sizeof to);
    if (copy)
        (void)!rk_file_copy(snapshot->fd, snapshot->bytes, to, err);
    (void)close(snapshot->fd);
    snapshot->fd = -1;
    return err->status;
}

/* --- life --- */

struct rk_journal *rk_journal_alloc(const char *path, const struct rk_bank_shape *shape, struct rk_io *io)
{
    struct rk_journal *journal = calloc(1, sizeof *journal);
    if (!journal)
        return NULL;
    (void)snprintf(journal->path, sizeof journal->path, "%s", path);
    journal->shape = *shape;
    journal->io = io;
    journal->fd = journal->current = -1;
    journal->segment_bytes = rk_rule_segment_bytes(shape);
    pthread_mutex_init(&journal->lock, NULL);
    pthread_mutex_init(&journal->sync_lock, NULL);
    return journal;
}

enum rankd_status rk_journal_create(const char *path, const struct rk_bank_shape *shape, struct rk_io *io,
                                    struct rk_origin origin, struct rk_bank_position point,
                                    const struct rk_batch_id *ids, size_t id_count, struct rk_journal **out,
                                    struct rk_err *err)
{
    struct rk_journal *journal = rk_journal_alloc(path, shape, io);
    if (!journal)
        return rk_fail(err, RANKD_OVERLOADED, "no memory for a journal");
    journal->origin = origin;
    enum rankd_status status = begin_segment(journal, point, ids, id_count, err);
    if (status != RANKD_OK) {
        rk_journal_close(journal);
        return status;
    }
    *out = journal;
    return RANKD_OK;
}

struct rk_journal_loss rk_journal_loss_of(const struct rk_journal *journal)
{
    return journal->loss;
}

bool rk_journal_is_shared(const struct rk_journal *journal)
{
    return journal->shared;
}

void rk_journal_close(struct rk_journal *journal)
{
    if (!journal)
        return;
    if (journal->fd >= 0)
        (void)close(journal->fd);
    pthread_mutex_destroy(&journal->lock);
    pthread_mutex_destroy(&journal->sync_lock);
    free(journal->segment);
    free(journal->buffer);
    free(journal);
}
