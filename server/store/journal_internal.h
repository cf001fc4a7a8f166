/* What writing (journal.c) and reading back (recover.c) share. */
#ifndef RK_STORE_JOURNAL_INTERNAL_H
#define RK_STORE_JOURNAL_INTERNAL_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#include "store/journal.h"

#define RK_SEGMENT_BYTES_MIN ((size_t)1 << 20)
#define RK_SEGMENT_BYTES_MAX ((size_t)64 << 20)
#define RK_RECORD_BUFFERED ((size_t)4 << 20) /* a longer record is written from where it lies */
#define RK_SEALED_MAX 16

struct rk_segment_entry {
    uint64_t number, first, bytes; /* first: sequence number of its first item */
};

struct rk_journal {
    char path[PATH_MAX - 64];
    struct rk_bank_shape shape;
    struct rk_io *io;
    size_t segment_bytes;

    /* The writer's. */
    int fd;
    uint64_t offset;
    uint64_t start_bytes;             /* of the open segment: what it begins with, before its batches */
    struct rk_segment_entry *segment; /* oldest first; the last is open */
    size_t segments;
    char *buffer;
    size_t buffer_room;

    atomic_bool broken;
    pthread_mutex_t sync_lock; /* one sync at a time; taken before `lock` */
    pthread_mutex_t lock;      /* over what follows */
    int current;               /* = fd, for the syncer */
    int sealed[RK_SEALED_MAX]; /* files that get no more records and are not synced yet */
    size_t sealed_count;
    bool folder_dirty; /* a file was created since the folder was synced */
};

struct rk_journal *rk_journal_alloc(const char *path, const struct rk_bank_shape *shape, struct rk_io *io);
void rk_segment_path(const struct rk_journal *journal, uint64_t number, char *path, size_t size);
enum rankd_status rk_journal_break(struct rk_journal *journal, const char *what, int code,
                                   struct rk_err *err);

#endif
