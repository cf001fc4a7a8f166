/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the segments of a journal and the origin of its bank, before any segment is read. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/journal_internal.h"

static int by_number(const void *a, const void *b)
{
    uint64_t x = ((const struct rk_journal_segment *)a)->number,
             y = ((const struct rk_journal_segment *)b)->number;
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

static enum rankd_status list_segments(struct rk_journal *journal, struct rk_err *err)
{
    DIR *folder = opendir(journal->path);
    if (!folder)
        return rk_fail(err, RANKD_INTERNAL, "cannot open %s: %s", journal->path, strerror(errno));
    for (struct dirent *entry; (entry = readdir(folder));) {
        struct rk_journal_segment segment = {0};
        if (!segment_number(entry->d_name, &segment.number))
            continue;
        struct rk_journal_segment *grown = realloc(journal->segment, (journal->segments + 1) * sizeof *grown);
        if (!grown) {
            (void)closedir(folder);
            return rk_fail(err, RANKD_OVERLOADED, "no memory to list %s", journal->path);
        }
        journal->segment = grown;
        journal->segment[journal->segments++] = segment;
    }
    (void)closedir(folder);
    if (journal->segments == 0)
        return rk_fail(err, RANKD_INTERNAL,
                       "%s has no segments; it cannot be read back. Restore a checkpoint, or delete the bank",
                       journal->path);
    qsort(journal->segment, journal->segments, sizeof *journal->segment, by_number);
    return RANKD_OK;
}

/* J3: those before a gap are left out. */
static size_t leave_out(struct rk_journal *journal)
{
    size_t first = journal->segments - 1;
    while (first > 0 && journal->segment[first - 1].number + 1 == journal->segment[first].number)
        first--;
    journal->segments -= first;
    memmove(journal->segment, journal->segment + first, journal->segments * sizeof *journal->segment);
    return first;
}

void rk_survey_sweep(const struct rk_journal *journal)
{
    char path[PATH_MAX];
    uint64_t number;
    DIR *folder = opendir(journal->path);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        if (!segment_number(entry->d_name, &number) || number >= journal->segment[0].number)
            continue;
        rk_journal_segment_path(journal, number, path, sizeof path);
        (void)unlink(path);
    }
    if (folder)
        (void)closedir(folder);
}

char *rk_survey_read_file(const char *path, int fd, uint64_t *size, struct rk_err *err)
{
    struct stat stat;
    if (fstat(fd, &stat) != 0) {
        rk_fail(err, RANKD_INTERNAL, "cannot read %s: %s", path, strerror(errno));
        return NULL;
    }
    *size = (uint64_t)stat.st_size;
    char *bytes = malloc(*size ? *size : 1);
    if (!bytes)
        rk_fail(err, RANKD_OVERLOADED, "no memory to read %s (%llu bytes)", path, (unsigned long long)*size);
    for (uint64_t at = 0; bytes && at < *size;) {
        ssize_t got = pread(fd, bytes + at, *size - at, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            rk_fail(err, RANKD_INTERNAL, "cannot read %s at offset %llu: %s", path, (unsigned long long)at,
                    got < 0 ? strerror(errno) : "it became shorter");
            free(bytes);
            return NULL;
        }
        at += (uint64_t)got;
    }
    return bytes;
}

bool rk_survey_goes_on(const char *bytes, uint64_t size, uint64_t offset, uint64_t *synced)
{
    struct rk_record_head head;
    const uint32_t magic = RK_RECORD_MAGIC;
    bool some = false;
    *synced = 0;
    for (uint64_t at = offset + 1; at + sizeof head <= size; at++) {
        const char *found = memmem(bytes + at, size - at, &magic, sizeof magic);
        if (!found)
            break;
        at = (uint64_t)(found - bytes);
        if (!rk_record_valid(found, size - at, &head) ||
            (head.kind != RK_RECORD_BATCH && head.kind != RK_RECORD_CONTINUED))
            continue;
        some = true;
        if (head.synced > *synced)
            *synced = head.synced;
    }
    return some;
}

/* --- the creation of the last segment may have been interrupted --- */

/* S4: without a complete START and IDS it holds no version, so removing it loses nothing. */
static bool is_stillborn(const struct rk_journal *journal, uint64_t *size, struct rk_err *err)
{
    char path[PATH_MAX];
    struct rk_record_head head;
    uint64_t synced;
    rk_journal_segment_path(journal, journal->segment[journal->segments - 1].number, path, sizeof path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        (void)rk_fail(err, RANKD_INTERNAL, "cannot open %s: %s", path, strerror(errno));
        return false;
    }
    char *bytes = rk_survey_read_file(path, fd, size, err);
    bool born = true;
    if (bytes) {
        born = rk_record_valid(bytes, *size, &head);
        uint64_t second = born ? sizeof head + head.payload_bytes : 0;
        born = born && rk_record_valid(bytes + second, *size - second, &head);
        born = born || rk_survey_goes_on(bytes, *size, second, &synced);
    }
    free(bytes);
    (void)close(fd);
    return !born;
}

/* Removes it, so that the segment before is the last one again. */
static enum rankd_status bury_stillborn(struct rk_journal *journal, uint64_t size, struct rk_err *err)
{
    char path[PATH_MAX];
    const uint64_t number = journal->segment[journal->segments - 1].number;
    rk_journal_segment_path(journal, number, path, sizeof path);
    if (unlink(path) != 0)
        return rk_fail(err, RANKD_INTERNAL, "cannot remove the torn segment %s: %s", path, strerror(errno));
    journal->loss = (struct rk_journal_loss){size, number, 0};
    journal->segments--;
    return rk_sync_folder(journal->path, err);
}

/* --- the origin --- */

static bool read_start(const struct rk_journal *journal, size_t i, struct rk_record_head *head,
                       struct rk_record_start *start)
{
    char path[PATH_MAX], bytes[sizeof *head + sizeof *start];
    rk_journal_segment_path(journal, journal->segment[i].number, path, sizeof path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t got = fd < 0 ? -1 : pread(fd, bytes, sizeof bytes, 0);
    if (fd >= 0)
        (void)close(fd);
    if (got < 0 || !rk_record_valid(bytes, (size_t)got, head) || head->kind != RK_RECORD_START)
        return false;
    memset(start, 0, sizeof *start);
    memcpy(start, bytes + sizeof *head,
           head->payload_bytes < sizeof *start ? head->payload_bytes : sizeof *start);
    return true;
}

/* Segments of format 1 do not tell the origin. The first one of a journal began where its bank was
 * empty or was written anew; a later one may have lost the ones before, unless none had an item. */
static struct rk_origin guess_origin(const struct rk_journal *journal, const struct rk_record_head *head)
{
    bool first = journal->segment[0].number == 1;
    return (struct rk_origin){first ? head->first : 0, head->generation};
}

static void find_origin(struct rk_journal *journal)
{
    struct rk_record_head head;
    struct rk_record_start start;
    for (size_t i = journal->segments; i-- > 0;) {
        if (!read_start(journal, i, &head, &start))
            continue; /* the reader of the segment says so */
        if (start.format >= 2) {
            journal->origin = (struct rk_origin){start.base, start.cleared};
            return;
        }
        if (i == 0)
            journal->origin = guess_origin(journal, &head);
    }
}

enum rankd_status rk_survey(struct rk_journal *journal, size_t *gap, struct rk_err *err)
{
    uint64_t size = 0;
    if (list_segments(journal, err) != RANKD_OK)
        return err->status;
    *gap = leave_out(journal);
    if (journal->segments > 1 && is_stillborn(journal, &size, err) &&
        bury_stillborn(journal, size, err) != RANKD_OK)
        return err->status;
    if (err->status == RANKD_OK)
        find_origin(journal);
    return err->status;
}
