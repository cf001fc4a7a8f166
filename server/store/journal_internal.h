/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by writing (journal.c) and reading back (recover.c). */
#ifndef RK_STORE_JOURNAL_INTERNAL_H
#define RK_STORE_JOURNAL_INTERNAL_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#include "store/journal.h"

#define RK_RECORD_BUFFERED ((size_t)4 << 20) /* a longer record is written without a copy */

struct rk_journal_segment {
    uint64_t number, first, bytes; /* first: sequence number of its first item */
};

struct rk_journal {
    char path[PATH_MAX - 64];
    struct rk_bank_shape shape;
    struct rk_origin origin;
    struct rk_io *io;
    size_t segment_bytes;

    /* The writer's. */
    int fd;
    uint64_t offset;
    uint64_t head_bytes;                /* of the open segment: START and IDS */
    struct rk_bank_position point;      /* behind the last record */
    bool within;                        /* the last version has more records to come */
    struct rk_journal_segment *segment; /* oldest first; the last is open */
    size_t segments;
    char *buffer;
    size_t buffer_room;

    struct rk_journal_loss loss; /* set when it is opened */
    bool shared;                 /* the last segment is a checkpoint's too (S6) */

    atomic_bool broken;
    pthread_mutex_t sync_lock; /* one sync at a time; taken before `lock` */
    pthread_mutex_t lock;      /* protects the following fields */
    int current;               /* = fd, for the syncer */
    struct rk_mark written, synced;
    bool folder_dirty; /* a file was created since the folder was synced */
};

/* --- journal.c --- */

struct rk_journal *rk_journal_alloc(const char *path, const struct rk_bank_shape *shape, struct rk_io *io);
void rk_journal_segment_path(const struct rk_journal *journal, uint64_t number, char *path, size_t size);
enum rankd_status rk_journal_break(struct rk_journal *journal, const char *what, int code,
                                   struct rk_err *err);

/* --- survey.c: which segments are there, before any is read --- */

/* Fills journal->segment and journal->origin, and removes a last segment whose creation was
 * interrupted. *gap: the number of files in the folder before a gap in the numbers; they are not in
 * journal->segment. */
enum rankd_status rk_survey(struct rk_journal *journal, size_t *gap, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Removes the files before the gap. */
void rk_survey_sweep(const struct rk_journal *journal);

/* True if a complete record of a version begins in bytes[offset + 1..size); *synced is the largest
 * of their marks (S5). */
bool rk_survey_goes_on(const char *bytes, uint64_t size, uint64_t offset, uint64_t *synced);

/* malloc'ed; NULL with *err. `fd` is the file at `path`. */
char *rk_survey_read_file(const char *path, int fd, uint64_t *size, struct rk_err *err);

#endif
