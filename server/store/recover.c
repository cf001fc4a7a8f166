/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a journal back. */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bank/kind.h"
#include "store/journal_internal.h"

struct recovery {
    struct rk_journal *journal;
    const struct rk_journal_reader *reader;
    struct rk_err *err;
    struct rk_bank_position point; /* behind what was read so far */
    bool started;
    bool within;     /* a version has more parts to come */
    uint32_t format; /* of the segment that is read */
    size_t gap;      /* files before a gap in the numbers */
};

static enum rankd_status damaged(struct recovery *r, uint64_t number, uint64_t offset, const char *what)
{
    char path[PATH_MAX];
    rk_journal_segment_path(r->journal, number, path, sizeof path);
    return rk_fail(r->err, RANKD_INTERNAL,
                   "%s is damaged at offset %llu (%s); nothing was changed. Put the file back from a copy, "
                   "restore a checkpoint, or delete "
                   "the bank",
                   path, (unsigned long long)offset, what);
}

/* Copies START; NULL, or what is wrong: it is of another bank, or of a format or kind that is not
 * known. */
static const char *read_own(const struct rk_journal *journal, const struct rk_record_head *head,
                            const char *payload, struct rk_record_start *start)
{
    static const char other[] = "it belongs to a bank of another configuration or format";
    struct rk_record_start want = rk_record_start_of(&journal->shape);
    memset(start, 0, sizeof *start);
    if (head->payload_bytes != RK_RECORD_START_BYTES_1 && head->payload_bytes != sizeof *start)
        return other;
    memcpy(start, payload, head->payload_bytes);
    if (start->format < 1 || start->format > RK_RECORD_FORMAT ||
        (start->format == 1) != (head->payload_bytes == RK_RECORD_START_BYTES_1))
        return other;
    if (!rk_bank_kind_numbered(start->kind))
        return "it belongs to a bank of a kind that this version does not know";
    want.format = start->format;
    return memcmp(start, &want, offsetof(struct rk_record_start, base)) == 0 ? NULL : other;
}

static enum rankd_status read_start(struct recovery *r, const struct rk_journal_segment *segment,
                                    const struct rk_record_head *head, const char *payload)
{
    const struct rk_origin origin = r->journal->origin;
    struct rk_record_start start;
    const char *wrong = read_own(r->journal, head, payload, &start);
    if (wrong)
        return damaged(r, segment->number, 0, wrong);
    if (start.format >= 2 && (start.base != origin.base || start.cleared != origin.cleared))
        return damaged(r, segment->number, 0, "it belongs to another life of the bank");
    struct rk_bank_position point = {head->generation, head->version, head->first};
    r->format = start.format;
    if (r->started) {
        if (!rk_rule_segment_follows(r->point, point))
            return damaged(r, segment->number, 0, "it does not go on where the segment before ends");
        r->point.generation = point.generation;
        return RANKD_OK;
    }
    r->started = true;
    r->point = point;
    /* It is unknown what came before a segment of format 1, unless nothing did. */
    const bool whole = start.format >= 2 ? point.end == origin.base : point.end == 0;
    return r->reader->start(r->reader->context, point, origin, whole, r->err);
}

static enum rankd_status read_ids(struct recovery *r, const struct rk_journal_segment *segment,
                                  const struct rk_record_head *head, const char *payload, bool first_segment)
{
    size_t count = head->payload_bytes / sizeof(struct rk_batch_id);
    if (head->payload_bytes % sizeof(struct rk_batch_id))
        return damaged(r, segment->number, sizeof(struct rk_record_head),
                       "its list of batch ids has a broken length");
    if (!first_segment) /* these were read with their batches */
        return RANKD_OK;
    for (size_t i = 0; i < count; i++) {
        struct rk_batch_id id;
        memcpy(&id, payload + i * sizeof id, sizeof id);
        if (r->reader->id(r->reader->context, &id, r->err) != RANKD_OK)
            return r->err->status;
    }
    return RANKD_OK;
}

static enum rankd_status read_batch(struct recovery *r, const struct rk_journal_segment *segment,
                                    const struct rk_record_head *head, char *payload, uint64_t offset)
{
    struct rk_batch_id id;
    struct rk_batch batch;
    if (!rk_rule_record_follows(r->point, r->within, head))
        return damaged(r, segment->number, offset, "its record is not the next version");
    if (head->payload_bytes < sizeof id || !rk_batch_at(&r->journal->shape, head->items, payload + sizeof id,
                                                        head->payload_bytes - sizeof id, &batch))
        return damaged(r, segment->number, offset, "its record has a broken length");
    memcpy(&id, payload, sizeof id);
    bool named = id.name[0] || id.name[1];
    r->point.version = head->version;
    r->point.end += head->items;
    r->within = head->kind == RK_RECORD_CONTINUED;
    return r->reader->batch(r->reader->context, &batch, head->version, named ? &id : NULL, r->err);
}

/* S4, S5, S6: true if the broken record `n` at `offset` was lost in a crash or power loss. */
static bool was_lost(const struct recovery *r, unsigned n, const char *bytes, uint64_t size, uint64_t offset)
{
    uint64_t synced;
    bool more = rk_survey_goes_on(bytes, size, offset, &synced);
    return n >= 2 && (r->format == 1 ? !more : synced <= offset);
}

static enum rankd_status read_record(struct recovery *r, struct rk_journal_segment *segment, unsigned n,
                                     bool first, const struct rk_record_head *head, char *payload,
                                     uint64_t offset)
{
    if (n == 0 && head->kind == RK_RECORD_START) {
        segment->first = head->first;
        return read_start(r, segment, head, payload);
    }
    if (n == 1 && head->kind == RK_RECORD_IDS)
        return read_ids(r, segment, head, payload, first);
    if (n >= 2 && (head->kind == RK_RECORD_BATCH || head->kind == RK_RECORD_CONTINUED))
        return read_batch(r, segment, head, payload, offset);
    return damaged(r, segment->number, offset, "its record is of an unknown kind, or out of place");
}

/* `sealed`: it gets no more records, and is whole. */
static enum rankd_status read_records(struct recovery *r, struct rk_journal_segment *segment, bool first,
                                      bool sealed, char *bytes, uint64_t size)
{
    uint64_t offset = 0;
    for (unsigned n = 0; offset < size; n++) {
        struct rk_record_head head;
        if (!rk_record_valid(bytes + offset, size - offset, &head)) {
            if (sealed || !was_lost(r, n, bytes, size, offset))
                return damaged(r, segment->number, offset, "a checksum is wrong");
            r->journal->loss = (struct rk_journal_loss){size - offset, segment->number, offset};
            break;
        }
        if (read_record(r, segment, n, first, &head, bytes + offset + sizeof head, offset) != RANKD_OK)
            return r->err->status;
        offset += sizeof head + head.payload_bytes;
        if (n < 2)
            r->journal->head_bytes = offset;
    }
    segment->bytes = offset;
    return RANKD_OK;
}

/* Before any append the tail is cut and the rest synced, so that a second crash finds the same. */
static enum rankd_status continue_at(struct recovery *r, int fd, const char *path, uint64_t size)
{
    struct rk_journal *journal = r->journal;
    const struct rk_journal_segment *last = &journal->segment[journal->segments - 1];
    journal->fd = journal->current = fd;
    journal->offset = last->bytes;
    journal->point = r->point;
    journal->within = r->within;
    if (journal->offset < size && ftruncate(fd, (off_t)journal->offset) != 0)
        return rk_fail(r->err, RANKD_INTERNAL, "cannot cut the torn end off %s: %s", path, strerror(errno));
    journal->written = (struct rk_mark){last->number, last->bytes, r->point.end};
    journal->folder_dirty = true;
    return rk_journal_sync(journal, r->err);
}

/* J1 */
static enum rankd_status check_whole(const struct recovery *r)
{
    const struct rk_journal *journal = r->journal;
    const struct rk_journal_segment *oldest = &journal->segment[0];
    if (rk_rule_whole(journal->origin, journal->shape.capacity, oldest->first, r->point.end))
        return RANKD_OK;
    if (r->gap)
        return rk_fail(r->err, RANKD_INTERNAL,
                       "%s lacks segment %016llx.seg; put it back, restore a checkpoint, or delete the bank",
                       journal->path, (unsigned long long)oldest->number - 1);
    return rk_fail(r->err, RANKD_INTERNAL,
                   "%s begins with segment %016llx.seg, and items of the window lie before it; put the "
                   "older segments back, restore a checkpoint, or delete the bank",
                   journal->path, (unsigned long long)oldest->number);
}

static enum rankd_status read_segment(struct recovery *r, size_t i)
{
    struct rk_journal *journal = r->journal;
    char path[PATH_MAX];
    struct stat stat;
    bool last = i + 1 == journal->segments;
    rk_journal_segment_path(journal, journal->segment[i].number, path, sizeof path);
    int fd = open(path, (last ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return rk_fail(r->err, RANKD_INTERNAL, "cannot open %s: %s", path, strerror(errno));
    uint64_t size = 0;
    char *bytes = rk_survey_read_file(path, fd, &size, r->err);
    journal->shared = fstat(fd, &stat) == 0 && stat.st_nlink > 1;
    enum rankd_status status =
        bytes ? read_records(r, &journal->segment[i], i == 0, !last || journal->shared, bytes, size)
              : r->err->status;
    free(bytes);
    if (status == RANKD_OK && last && !r->started)
        status = damaged(r, journal->segment[i].number, 0, "it has no beginning");
    if (status == RANKD_OK && last && r->within)
        status = damaged(r, journal->segment[i].number, journal->segment[i].bytes,
                         "its last version is not complete");
    if (status == RANKD_OK && last)
        status = check_whole(r);
    if (status == RANKD_OK && last)
        return continue_at(r, fd, path, size); /* fd is the journal's now */
    (void)close(fd);
    return status;
}

static enum rankd_status recover(struct recovery *r)
{
    enum rankd_status status = rk_survey(r->journal, &r->gap, r->err);
    for (size_t i = 0; status == RANKD_OK && i < r->journal->segments; i++)
        status = read_segment(r, i);
    if (status == RANKD_OK && r->gap)
        rk_survey_sweep(r->journal);
    return status;
}

enum rankd_status rk_journal_open(const char *path, const struct rk_bank_shape *shape, struct rk_io *io,
                                  const struct rk_journal_reader *reader, struct rk_bank_position *point,
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
