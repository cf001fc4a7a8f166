/* Reading a journal back. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/journal_internal.h"

struct recovery {
    struct rk_journal *journal;
    const struct rk_journal_reader *reader;
    struct rk_err *err;
    struct rk_bank_point point; /* behind what was read so far */
    bool started;
    bool within; /* a version's parts have begun and not ended */
};

static int by_number(const void *a, const void *b)
{
    uint64_t x = ((const struct rk_segment_entry *)a)->number,
             y = ((const struct rk_segment_entry *)b)->number;
    return x < y ? -1 : x > y;
}

/* "0000000000000001.seg" */
static bool segment_number(const char *name, uint64_t *number)
{
    char *end;
    if (strlen(name) != 20 || strspn(name, "0123456789abcdef") != 16)
        return false;
    *number = strtoull(name, &end, 16);
    return strcmp(end, ".seg") == 0;
}

static enum rankd_status list_segments(struct recovery *r)
{
    struct rk_journal *journal = r->journal;
    DIR *folder = opendir(journal->path);
    if (!folder)
        return rk_fail(r->err, RANKD_INTERNAL, "cannot open %s: %s", journal->path, strerror(errno));
    for (struct dirent *entry; (entry = readdir(folder));) {
        struct rk_segment_entry segment = {0};
        if (!segment_number(entry->d_name, &segment.number))
            continue;
        struct rk_segment_entry *grown = realloc(journal->segment, (journal->segments + 1) * sizeof *grown);
        if (!grown) {
            (void)closedir(folder);
            return rk_fail(r->err, RANKD_OVERLOADED, "no memory to list %s", journal->path);
        }
        journal->segment = grown;
        journal->segment[journal->segments++] = segment;
    }
    (void)closedir(folder);
    if (journal->segments == 0)
        return rk_fail(r->err, RANKD_INTERNAL,
                       "%s has no segments; it cannot be read back. Restore a checkpoint, or delete the bank",
                       journal->path);
    qsort(journal->segment, journal->segments, sizeof *journal->segment, by_number);
    for (size_t i = 1; i < journal->segments; i++) {
        if (journal->segment[i].number != journal->segment[i - 1].number + 1)
            return rk_fail(
                r->err, RANKD_INTERNAL,
                "%s lacks segment %016llx.seg; put it back, restore a checkpoint, or delete the bank",
                journal->path, (unsigned long long)journal->segment[i - 1].number + 1);
    }
    return RANKD_OK;
}

static enum rankd_status damaged(struct recovery *r, uint64_t number, uint64_t offset, const char *what)
{
    char path[PATH_MAX];
    rk_segment_path(r->journal, number, path, sizeof path);
    return rk_fail(r->err, RANKD_INTERNAL,
                   "%s is damaged at offset %llu (%s); nothing was changed. Put the file back from a copy, "
                   "restore a checkpoint, or delete "
                   "the bank",
                   path, (unsigned long long)offset, what);
}

static enum rankd_status read_start(struct recovery *r, const struct rk_segment_entry *segment,
                                    const struct rk_record_head *head, const char *payload)
{
    struct rk_record_start want = rk_record_start_of(&r->journal->shape);
    if (head->payload_bytes != sizeof want || memcmp(payload, &want, sizeof want) != 0)
        return damaged(r, segment->number, 0, "it belongs to a bank of another configuration or format");
    struct rk_bank_point point = {head->generation, head->version, head->first};
    if (r->started) {
        /* A restore goes on from old segments under a new generation. */
        if (point.version != r->point.version || point.end != r->point.end ||
            point.generation < r->point.generation)
            return damaged(r, segment->number, 0, "it does not go on where the segment before ends");
        r->point.generation = point.generation;
        return RANKD_OK;
    }
    r->started = true;
    r->point = point;
    return r->reader->start(r->reader->context, point, r->err);
}

static enum rankd_status read_ids(struct recovery *r, const struct rk_segment_entry *segment,
                                  const struct rk_record_head *head, const char *payload, bool first_segment)
{
    size_t count = head->payload_bytes / sizeof(struct rk_batch_id);
    if (head->payload_bytes % sizeof(struct rk_batch_id))
        return damaged(r, segment->number, sizeof(struct rk_record_head),
                       "its list of batch ids has a broken length");
    r->journal->start_bytes = 2 * sizeof *head + sizeof(struct rk_record_start) + head->payload_bytes;
    if (!first_segment) /* they were read with their batches */
        return RANKD_OK;
    for (size_t i = 0; i < count; i++) {
        struct rk_batch_id id;
        memcpy(&id, payload + i * sizeof id, sizeof id);
        if (r->reader->id(r->reader->context, &id, r->err) != RANKD_OK)
            return r->err->status;
    }
    return RANKD_OK;
}

static enum rankd_status read_batch(struct recovery *r, const struct rk_segment_entry *segment,
                                    const struct rk_record_head *head, char *payload, uint64_t offset)
{
    struct rk_batch_id id;
    struct rk_batch batch;
    uint64_t want = r->point.version + (r->within ? 0 : 1);
    if (head->version != want || head->generation != r->point.generation || head->first != r->point.end)
        return damaged(r, segment->number, offset, "its record is not the next version");
    if (head->payload_bytes < sizeof id || !rk_batch_at(&r->journal->shape, head->items, payload + sizeof id,
                                                        head->payload_bytes - sizeof id, &batch))
        return damaged(r, segment->number, offset, "its record has a broken length");
    memcpy(&id, payload, sizeof id);
    bool named = id.name[0] || id.name[1];
    r->point.version = head->version;
    r->point.end += head->items;
    r->within = head->kind == RK_RECORD_PART;
    return r->reader->batch(r->reader->context, &batch, head->version, named ? &id : NULL, r->err);
}

/* True if some whole record begins behind `offset`: then what is broken there is not the end of an
 * interrupted write. */
static bool goes_on(const char *bytes, uint64_t size, uint64_t offset)
{
    struct rk_record_head head;
    const uint32_t magic = RK_RECORD_MAGIC;
    for (uint64_t at = offset + 1; at + sizeof head <= size; at++) {
        const char *found = memmem(bytes + at, size - at, &magic, sizeof magic);
        if (!found)
            return false;
        at = (uint64_t)(found - bytes);
        if (rk_record_valid(found, size - at, &head))
            return true;
    }
    return false;
}

static enum rankd_status read_records(struct recovery *r, struct rk_segment_entry *segment, bool first,
                                      bool last, char *bytes, uint64_t size)
{
    uint64_t offset = 0;
    for (unsigned n = 0; offset < size; n++) {
        struct rk_record_head head;
        enum rankd_status status;
        if (!rk_record_valid(bytes + offset, size - offset, &head)) {
            if (!last || goes_on(bytes, size, offset))
                return damaged(r, segment->number, offset, "a checksum is wrong");
            break;
        }
        char *payload = bytes + offset + sizeof head;
        if (n == 0 && head.kind == RK_RECORD_START) {
            segment->first = head.first;
            status = read_start(r, segment, &head, payload);
        } else if (n == 1 && head.kind == RK_RECORD_IDS) {
            status = read_ids(r, segment, &head, payload, first);
        } else if (n >= 2 && (head.kind == RK_RECORD_BATCH || head.kind == RK_RECORD_PART)) {
            status = read_batch(r, segment, &head, payload, offset);
        } else {
            status = damaged(r, segment->number, offset, "its record is of an unknown kind, or out of place");
        }
        if (status != RANKD_OK)
            return status;
        offset += sizeof head + head.payload_bytes;
    }
    segment->bytes = offset;
    return RANKD_OK;
}

static char *read_file(struct recovery *r, const char *path, int fd, uint64_t *size)
{
    struct stat stat;
    if (fstat(fd, &stat) != 0) {
        rk_fail(r->err, RANKD_INTERNAL, "cannot read %s: %s", path, strerror(errno));
        return NULL;
    }
    *size = (uint64_t)stat.st_size;
    char *bytes = malloc(*size ? *size : 1);
    if (!bytes)
        rk_fail(r->err, RANKD_OVERLOADED, "no memory to read %s (%llu bytes)", path,
                (unsigned long long)*size);
    for (uint64_t at = 0; bytes && at < *size;) {
        ssize_t got = pread(fd, bytes + at, *size - at, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            rk_fail(r->err, RANKD_INTERNAL, "cannot read %s at offset %llu: %s", path, (unsigned long long)at,
                    got < 0 ? strerror(errno) : "it became shorter");
            free(bytes);
            return NULL;
        }
        at += (uint64_t)got;
    }
    return bytes;
}

/* Before anything is appended the tail is cut and what is left is on disk, so that a second crash finds the
 * same. */
static enum rankd_status continue_at(struct recovery *r, int fd, const char *path, uint64_t size)
{
    struct rk_journal *journal = r->journal;
    journal->fd = journal->current = fd;
    journal->offset = journal->segment[journal->segments - 1].bytes;
    if (journal->offset < size && ftruncate(fd, (off_t)journal->offset) != 0)
        return rk_fail(r->err, RANKD_INTERNAL, "cannot cut the torn end off %s: %s", path, strerror(errno));
    journal->folder_dirty = true;
    return rk_journal_sync(journal, r->err);
}

static enum rankd_status read_segment(struct recovery *r, size_t i)
{
    struct rk_journal *journal = r->journal;
    char path[PATH_MAX];
    bool last = i + 1 == journal->segments;
    rk_segment_path(journal, journal->segment[i].number, path, sizeof path);
    int fd = open(path, (last ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return rk_fail(r->err, RANKD_INTERNAL, "cannot open %s: %s", path, strerror(errno));
    uint64_t size = 0;
    char *bytes = read_file(r, path, fd, &size);
    enum rankd_status status =
        bytes ? read_records(r, &journal->segment[i], i == 0, last, bytes, size) : r->err->status;
    free(bytes);
    if (status == RANKD_OK && last)
        return continue_at(r, fd, path, size); /* fd is the journal's now */
    (void)close(fd);
    return status;
}

/* The newest segment may have been cut down in its birth: nothing but a torn START or IDS. It held nothing.
 */
static bool is_stillborn(struct recovery *r)
{
    struct rk_journal *journal = r->journal;
    char path[PATH_MAX];
    struct rk_record_head head;
    uint64_t size = 0;
    rk_segment_path(journal, journal->segment[journal->segments - 1].number, path, sizeof path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char *bytes = fd < 0 ? NULL : read_file(r, path, fd, &size);
    bool born = true;
    if (bytes) {
        born = rk_record_valid(bytes, size, &head);
        uint64_t second = born ? sizeof head + head.payload_bytes : 0;
        born = born && rk_record_valid(bytes + second, size - second, &head);
        born = born || goes_on(bytes, size, second);
    }
    free(bytes);
    if (fd >= 0)
        (void)close(fd);
    return !born;
}

/* Removes it, so that the segment before is the newest again. */
static enum rankd_status bury_stillborn(struct recovery *r)
{
    char path[PATH_MAX];
    struct rk_journal *journal = r->journal;
    rk_segment_path(journal, journal->segment[journal->segments - 1].number, path, sizeof path);
    if (unlink(path) != 0)
        return rk_fail(r->err, RANKD_INTERNAL, "cannot remove the torn segment %s: %s", path,
                       strerror(errno));
    journal->segments--;
    return rk_sync_folder(journal->path, r->err);
}

/* Segments are numbered from 1 and dropped only when what is left fills the window. */
static bool lacks_oldest(const struct recovery *r)
{
    const struct rk_segment_entry *oldest = &r->journal->segment[0];
    return oldest->number > 1 && r->point.end - oldest->first < r->journal->shape.capacity;
}

static enum rankd_status recover(struct recovery *r)
{
    enum rankd_status status = list_segments(r);
    if (status == RANKD_OK && r->journal->segments > 1 && is_stillborn(r))
        status = r->err->status ? r->err->status : bury_stillborn(r);
    for (size_t i = 0; status == RANKD_OK && i < r->journal->segments; i++)
        status = read_segment(r, i);
    if (status == RANKD_OK && !r->started)
        return damaged(r, r->journal->segment[0].number, 0, "it has no beginning");
    if (status == RANKD_OK && lacks_oldest(r))
        return rk_fail(r->err, RANKD_INTERNAL,
                       "%s begins with segment %016llx.seg, and items of the window lie before it; put the "
                       "older segments back, restore a checkpoint, or delete the bank",
                       r->journal->path, (unsigned long long)r->journal->segment[0].number);
    if (status == RANKD_OK && r->within)
        return damaged(r, r->journal->segment[r->journal->segments - 1].number, r->journal->offset,
                       "its last version is not complete");
    return status;
}

enum rankd_status rk_journal_open(const char *path, const struct rk_bank_shape *shape, struct rk_io *io,
                                  const struct rk_journal_reader *reader, struct rk_bank_point *point,
                                  struct rk_journal **out, struct rk_err *err)
{
    struct recovery r = {.journal = rk_journal_alloc(path, shape, io), .reader = reader, .err = err};
    if (!r.journal)
        return rk_fail(err, RANKD_OVERLOADED, "no memory for a journal");
    enum rankd_status status = recover(&r);
    if (status != RANKD_OK) {
        rk_journal_close(r.journal);
        return status;
    }
    *point = r.point;
    *out = r.journal;
    return RANKD_OK;
}
