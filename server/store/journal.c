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

enum rankd_status rk_sync_folder(const char *path, struct rk_err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return rk_fail(err, RANKD_INTERNAL, "cannot open %s: %s", path, strerror(errno));
    int code = fsync(fd) == 0 ? 0 : errno;
    (void)close(fd);
    return code ? rk_fail(err, RANKD_INTERNAL, "fsync of %s failed: %s", path, strerror(code)) : RANKD_OK;
}

enum rankd_status rk_journal_break(struct rk_journal *journal, const char *what, int code, struct rk_err *err)
{
    atomic_store(&journal->broken, true);
    return rk_fail(err, RANKD_INTERNAL,
                   "%s of %s failed: %s; what is on disk is read back when the daemon is started again", what,
                   journal->path, strerror(code));
}

/* --- writing --- */

/* Head and pieces in one buffer, so that a record is one write. -errno. */
static int write_buffered(struct rk_journal *journal, const struct rk_record_head *head,
                          const struct rk_record_piece *piece, size_t pieces, size_t bytes)
{
    memcpy(journal->buffer, head, sizeof *head);
    for (size_t i = 0, at = sizeof *head; i < pieces; at += piece[i++].bytes) {
        if (piece[i].bytes > 0) /* an empty piece may be NULL */
            memcpy(journal->buffer + at, piece[i].data, piece[i].bytes);
    }
    return journal->io->write(journal->io, journal->fd, journal->buffer, bytes, journal->offset);
}

/* One after the other, from where they lie: a buffer for a million batch ids would be kept for ever. */
static int write_pieces(struct rk_journal *journal, const struct rk_record_head *head,
                        const struct rk_record_piece *piece, size_t pieces)
{
    struct rk_io *io = journal->io;
    uint64_t at = journal->offset + sizeof *head;
    int code = io->write(io, journal->fd, head, sizeof *head, journal->offset);
    for (size_t i = 0; code == 0 && i < pieces; at += piece[i++].bytes) {
        if (piece[i].bytes > 0)
            code = io->write(io, journal->fd, piece[i].data, piece[i].bytes, at);
    }
    return code;
}

static enum rankd_status write_record(struct rk_journal *journal, struct rk_record_head *head,
                                      const struct rk_record_piece *piece, size_t pieces, struct rk_err *err)
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
    int code = buffered ? write_buffered(journal, head, piece, pieces, bytes)
                        : write_pieces(journal, head, piece, pieces);
    if (code == -ENOSPC || code == -EDQUOT) {
        /* Half a record at the end would be taken for a torn tail and is cut already now. */
        if (ftruncate(journal->fd, (off_t)journal->offset) != 0)
            return rk_journal_break(journal, "cutting back", errno, err);
        return rk_fail(err, RANKD_NO_SPACE, "no room on disk for %zu bytes in %s", bytes, journal->path);
    }
    if (code < 0)
        return rk_journal_break(journal, "writing", -code, err);
    journal->offset += bytes;
    journal->segment[journal->segments - 1].bytes = journal->offset;
    return RANKD_OK;
}

static bool remember_segment(struct rk_journal *journal, const struct rk_segment_entry *entry)
{
    struct rk_segment_entry *grown = realloc(journal->segment, (journal->segments + 1) * sizeof *grown);
    if (!grown)
        return false;
    journal->segment = grown;
    journal->segment[journal->segments++] = *entry;
    return true;
}

static enum rankd_status begin_segment(struct rk_journal *journal, struct rk_bank_point point,
                                       const struct rk_batch_id *ids, size_t id_count, struct rk_err *err)
{
    char path[PATH_MAX];
    struct rk_segment_entry entry = {
        .number = journal->segments ? journal->segment[journal->segments - 1].number + 1 : 1,
        .first = point.end};
    rk_segment_path(journal, entry.number, path, sizeof path);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == ENOSPC || errno == EDQUOT
                   ? rk_fail(err, RANKD_NO_SPACE, "no room on disk for another segment in %s", journal->path)
                   : rk_journal_break(journal, "creating a segment", errno, err);
    int old = journal->fd;
    uint64_t old_offset = journal->offset;
    if (!remember_segment(journal, &entry)) {
        (void)close(fd);
        (void)unlink(path);
        return rk_fail(err, RANKD_OVERLOADED, "no memory for another segment");
    }
    journal->fd = fd;
    journal->offset = 0;
    struct rk_record_start start = rk_record_start_of(&journal->shape);
    struct rk_record_head head = {.kind = RK_RECORD_START,
                                  .version = point.version,
                                  .generation = point.generation,
                                  .first = point.end};
    enum rankd_status status =
        write_record(journal, &head, &(struct rk_record_piece){&start, sizeof start}, 1, err);
    if (status == RANKD_OK) {
        head.kind = RK_RECORD_IDS;
        status = write_record(journal, &head, &(struct rk_record_piece){ids, id_count * sizeof *ids}, 1, err);
    }
    if (status != RANKD_OK) {
        (void)close(fd);
        (void)unlink(path);
        journal->segments--;
        journal->fd = old;
        journal->offset = old_offset;
        return status;
    }
    journal->start_bytes = journal->offset;
    pthread_mutex_lock(&journal->lock);
    journal->folder_dirty = true;
    if (old >= 0)
        journal->sealed[journal->sealed_count++] = old;
    journal->current = fd;
    pthread_mutex_unlock(&journal->lock);
    return RANKD_OK;
}

enum rankd_status rk_journal_append(struct rk_journal *journal, const struct rk_batch *batch,
                                    struct rk_bank_point after, uint64_t first, bool more,
                                    const struct rk_batch_id *id, struct rk_err *err)
{
    static const struct rk_batch_id none;
    if (atomic_load(&journal->broken))
        return rk_fail(err, RANKD_INTERNAL, "the journal %s is broken since an earlier error", journal->path);
    struct rk_record_head head = {.kind = more ? RK_RECORD_PART : RK_RECORD_BATCH,
                                  .version = after.version,
                                  .generation = after.generation,
                                  .first = first,
                                  .items = (uint32_t)batch->items};
    const struct rk_record_piece piece[] = {{id ? id : &none, sizeof none}, {batch->block, batch->bytes}};
    return write_record(journal, &head, piece, 2, err);
}

/* As many bytes of batches as of what a segment begins with, at least: however many ids there are, less than
 * half of what is written is them. */
bool rk_journal_is_long(const struct rk_journal *journal)
{
    const uint64_t batches = journal->offset - journal->start_bytes;
    return journal->offset >= journal->segment_bytes && batches >= journal->start_bytes;
}

enum rankd_status rk_journal_rotate(struct rk_journal *journal, struct rk_bank_point point,
                                    const struct rk_batch_id *ids, size_t id_count, struct rk_err *err)
{
    if (atomic_load(&journal->broken))
        return rk_fail(err, RANKD_INTERNAL, "the journal %s is broken since an earlier error", journal->path);
    pthread_mutex_lock(&journal->lock);
    bool full = journal->sealed_count == RK_SEALED_MAX;
    pthread_mutex_unlock(&journal->lock);
    /* Nobody syncs (durability none): the oldest files are let go without. */
    if (full) {
        pthread_mutex_lock(&journal->sync_lock);
        pthread_mutex_lock(&journal->lock);
        while (journal->sealed_count > 0)
            (void)close(journal->sealed[--journal->sealed_count]);
        pthread_mutex_unlock(&journal->lock);
        pthread_mutex_unlock(&journal->sync_lock);
    }
    return begin_segment(journal, point, ids, id_count, err);
}

/* --- syncing --- */

enum rankd_status rk_journal_sync(struct rk_journal *journal, struct rk_err *err)
{
    int fds[RK_SEALED_MAX + 1];
    size_t count;
    pthread_mutex_lock(&journal->sync_lock);
    pthread_mutex_lock(&journal->lock);
    count = journal->sealed_count;
    memcpy(fds, journal->sealed, count * sizeof *fds);
    journal->sealed_count = 0;
    fds[count] = journal->current;
    bool folder = journal->folder_dirty;
    journal->folder_dirty = false;
    pthread_mutex_unlock(&journal->lock);
    int code = atomic_load(&journal->broken) ? -EIO : 0;
    for (size_t i = 0; i <= count; i++) {
        if (code == 0)
            code = journal->io->sync(journal->io, fds[i]);
        if (i < count)
            (void)close(fds[i]);
    }
    enum rankd_status status = RANKD_OK;
    if (code < 0)
        status = rk_journal_break(journal, "fdatasync", -code, err);
    else if (folder && (status = rk_sync_folder(journal->path, err)) != RANKD_OK)
        atomic_store(&journal->broken, true);
    pthread_mutex_unlock(&journal->sync_lock);
    return status;
}

/* --- segments as files --- */

void rk_segment_path(const struct rk_journal *journal, uint64_t number, char *path, size_t size)
{
    (void)snprintf(path, size, "%s/%016llx.seg", journal->path, (unsigned long long)number);
}

void rk_journal_drop(struct rk_journal *journal, uint64_t oldest)
{
    char path[PATH_MAX];
    size_t gone = 0;
    /* A segment's items end where the next one's begin. */
    while (gone + 1 < journal->segments && journal->segment[gone + 1].first <= oldest) {
        rk_segment_path(journal, journal->segment[gone].number, path, sizeof path);
        (void)unlink(path); /* left behind, it is dropped after the next start */
        gone++;
    }
    journal->segments -= gone;
    memmove(journal->segment, journal->segment + gone, journal->segments * sizeof *journal->segment);
}

enum rankd_status rk_journal_link(struct rk_journal *journal, const char *path, struct rk_err *err)
{
    char from[PATH_MAX], to[PATH_MAX];
    for (size_t i = 0; i + 1 < journal->segments; i++) {
        rk_segment_path(journal, journal->segment[i].number, from, sizeof from);
        (void)snprintf(to, sizeof to, "%s/%016llx.seg", path, (unsigned long long)journal->segment[i].number);
        if (link(from, to) != 0)
            return rk_fail(err, errno == ENOSPC || errno == EDQUOT ? RANKD_NO_SPACE : RANKD_INTERNAL,
                           "cannot link %s: %s", to, strerror(errno));
    }
    return RANKD_OK;
}

uint64_t rk_journal_bytes(const struct rk_journal *journal)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < journal->segments; i++)
        bytes += journal->segment[i].bytes;
    return bytes;
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
    size_t whole = shape->capacity * rk_batch_item_bytes(shape) / 8;
    journal->segment_bytes = whole < RK_SEGMENT_BYTES_MIN   ? RK_SEGMENT_BYTES_MIN
                             : whole > RK_SEGMENT_BYTES_MAX ? RK_SEGMENT_BYTES_MAX
                                                            : whole;
    pthread_mutex_init(&journal->lock, NULL);
    pthread_mutex_init(&journal->sync_lock, NULL);
    return journal;
}

enum rankd_status rk_journal_create(const char *path, const struct rk_bank_shape *shape, struct rk_io *io,
                                    struct rk_bank_point point, const struct rk_batch_id *ids,
                                    size_t id_count, struct rk_journal **out, struct rk_err *err)
{
    struct rk_journal *journal = rk_journal_alloc(path, shape, io);
    if (!journal)
        return rk_fail(err, RANKD_OVERLOADED, "no memory for a journal");
    enum rankd_status status = begin_segment(journal, point, ids, id_count, err);
    if (status == RANKD_OK)
        status = rk_journal_sync(journal, err);
    if (status != RANKD_OK) {
        rk_journal_close(journal);
        return status;
    }
    *out = journal;
    return RANKD_OK;
}

void rk_journal_close(struct rk_journal *journal)
{
    if (!journal)
        return;
    while (journal->sealed_count > 0)
        (void)close(journal->sealed[--journal->sealed_count]);
    if (journal->fd >= 0)
        (void)close(journal->fd);
    pthread_mutex_destroy(&journal->lock);
    pthread_mutex_destroy(&journal->sync_lock);
    free(journal->segment);
    free(journal->buffer);
    free(journal);
}
