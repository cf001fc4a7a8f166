/* SPDX-License-Identifier: Apache-2.0 */
/* A bank with a name: memory, journal, and the rules between them.
 *
 * Its states and the fields that tell them:
 *
 *   open         reads and appends
 *   undurable    reads and appends, in memory: the disk was full [undurable, journal NULL]
 *   read-only    reads; an append is refused with the reason     [refused]
 *   unreadable   neither                                         [refused, unreadable]
 *   nameless     neither; its configuration is lost              [refused, unreadable, nameless]
 *
 *      create ----> open <----------- restore, clear -----------+------------+
 *                   ^ |                                         |            |
 *                   | +--- an error of the disk ----------> read-only        |
 *                   | +--- disk full, on_full "memory" ---> undurable        |
 *                   |<---- written anew, tried every second ----+            |
 *                   |      and before a checkpoint                           |
 *      start -------+                                                        |
 *           \------ could not be read back ---------> unreadable ------------+
 *            \----- no manifest that can be read ---> nameless --- restore alone ---> open
 *
 * States of its disk, and their fields:
 *
 *        +------+ --- an append waits ---> gathering --- a thread of the pool ---> writing
 *        |      |                          [first, queued]                         [writer_locked]
 *        | idle | --- flush -------------> syncing; appends that need no sync go on beside it
 *        |      |                          [syncing]
 *        |      | --- checkpoint, restore, clear, delete ----> operation
 *        +------+                                              [writer_locked]
 *
 *        writing, syncing, operation --- end ---> gathering where appends wait, otherwise idle
 *
 * An operation that finds another at work waits, and goes before appends [writers_waiting]. Writing
 * is one group of appends with one sync (append.c).
 *
 * A restore reads the checkpoint into a second bank beside this one, which serves readers until
 * both are exchanged under the lock (generation.c). Files, from below: durable_bank <- writer_lock
 * <- disk <- append
 * <- transaction; folders, config <- manifests <- disk <- checkpoint, generation; on top the registry. */
#ifndef RK_BANK_DURABLE_BANK_H
#define RK_BANK_DURABLE_BANK_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#include "bank/banks.h"
#include "bank/ids.h"
#include "base/histogram.h"
#include "base/threads.h"
#include "store/journal.h"

/* A batch id whose request is being computed. */
struct rk_running {
    uint64_t name[2];
    struct rk_running *next;
};

struct rk_replica;
struct rk_payload_cache;

struct rk_durable_bank {
    char name[RK_BANK_NAME_BYTES];
    struct rk_bank_config config;
    atomic_size_t refs;

    struct rk_bank *memory;         /* exchanged by a restore, under the lock */
    struct rk_replica *replica;     /* replica.h: the bank is in a store; NULL: it is this daemon's own. One
                                     * piece of memory, freed with the bank */
    struct rk_payload_cache *cache; /* of that; NULL: none */
    char path[PATH_MAX / 2];        /* its folder; "" = no disk */
    struct rk_io *io;               /* NULL = no disk */

    /* Held for moments, and never during a wait for the disk. */
    pthread_mutex_t lock;
    pthread_cond_t writer_changed; /* the writer lock was released, or a sync ended */

    /* The thread that writes to the disk holds the writer lock, and waits for the disk without
     * `lock`. To write what follows up to `ids`: hold `lock`, and be the writer or know that there
     * is none. */
    bool writer_locked;
    unsigned writers_waiting; /* operations that wait for it: they go before appends */
    bool syncing; /* a sync beside the appends: the writer lock is not given out, the journal stays */
    struct rk_journal *journal;   /* NULL: no disk, or on_full "memory" at work, or it could not be read */
    uint64_t live;                /* number of the journal's folder */
    uint64_t disk_bytes;          /* the journal's */
    struct rk_bank_position next; /* behind the newest batch */
    uint64_t base;                /* where it was empty last: struct rk_origin, with `cleared` */
    uint64_t cleared;             /* batches of generations before it were cleared away */
    bool dirty;                   /* appended since the last sync (interval) */
    bool undurable;               /* on_full "memory" at work: the disk was full */
    uint64_t retry_disk_ns;       /* time of the next try of the disk */
    char refused[RK_ERR_TEXT];    /* the reason why it takes no appends any more; "" = it takes them */
    bool unreadable;              /* it could not be read back: no reads either */
    bool nameless;                /* and its manifest is lost: the configuration is a checkpoint's, or none */
    struct rk_ids ids;

    /* Protected by the lock alone. */
    struct rk_append *first, **last; /* appends that wait for the disk, in order */
    struct rk_running *running;
    struct rk_bank_transaction *retries; /* that wait for a running id */

    const atomic_bool
        *refusing;             /* the registry's: no request waits for a version any more; NULL: never set */
    struct rk_threads *commit; /* the pool that writes waiting appends; NULL without a disk */
    bool queued;               /* commit_task is in its queue */
    /* Calls rk_durable_bank_commit() and releases the bank, which is held while this is queued. */
    struct rk_task commit_task;

    /* For operators. */
    struct rk_journal_loss loss; /* when it was read back; never changes */
    atomic_uint_least64_t appended_batches, appended_items, last_append_s;
    struct rk_histogram syncs;
    atomic_uint_least64_t gradients, dropped_e9; /* sum of their gradient_dropped, times 1e9 */
};

struct rk_durable_bank *rk_durable_bank_new(const char *name, const struct rk_bank_config *config);
struct rk_durable_bank *rk_durable_bank_hold(struct rk_durable_bank *bank);
void rk_durable_bank_release(struct rk_durable_bank *bank);

/* Bytes of its items and of the batch ids that it remembers. The lock is held. */
size_t rk_durable_bank_bytes(struct rk_durable_bank *bank);

/* Refuses further appends; the first reason stays. The lock is held. */
void rk_durable_bank_refuse(struct rk_durable_bank *bank, const struct rk_err *why);

/* The batch ids that a new segment begins with, oldest first. The writer lock is held, which keeps
 * them unchanged; the lock is not. */
const struct rk_batch_id *rk_durable_bank_known_ids(struct rk_durable_bank *bank, size_t *count);

#endif
