/* A bank with a name: memory, journal, and the rules between them. */
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

struct rk_durable_bank {
    char name[RK_BANK_NAME_BYTES];
    struct rk_bank_config config;
    atomic_size_t refs;

    struct rk_bank *memory;  /* exchanged by a restore, under the lock */
    char path[PATH_MAX / 2]; /* its folder; "" = no disk */
    struct rk_io *io;        /* NULL = no disk */

    /* Held for moments, and never while the disk is waited for. */
    pthread_mutex_t lock;
    pthread_cond_t writer_changed; /* the writer lock was released, or a sync ended */

    /* Whoever writes to the disk holds the writer lock, and waits for the disk without `lock`. To write what
     * follows up to `ids`: hold `lock`, and be the writer or know that there is none. */
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
    uint64_t retry_disk_ns;       /* when the disk is tried next */
    char refused[RK_ERR_TEXT];    /* why it takes no appends any more; "" = it does */
    bool unreadable;              /* it could not be read back: no reads either */
    bool nameless;                /* and its manifest is lost: the configuration is a checkpoint's, or none */
    struct rk_ids ids;

    /* The lock's alone. */
    struct rk_append *first, **last; /* appends that wait for the disk, in order */
    struct rk_running *running;
    struct rk_bank_transaction *retries; /* that wait for a running id */

    struct rk_threads *commit; /* who writes what waits; NULL where there is no disk */
    bool queued;               /* for it */
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

/* Memory that it holds: its items and the batch ids that it remembers. The lock is held. */
size_t rk_durable_bank_bytes(struct rk_durable_bank *bank);

/* Refuses further appends; the first reason stays. The lock is held. */
void rk_durable_bank_refuse(struct rk_durable_bank *bank, const struct rk_err *why);

/* Takes the writer lock, once it is free and no sync runs, and releases it. `lock` is held before and after.
 * While the writer lock is taken, appends wait; other uses of the bank do not. */
void rk_durable_bank_writer_lock(struct rk_durable_bank *bank);
void rk_durable_bank_writer_release(struct rk_durable_bank *bank);

/* Queues the bank's commit_task if appends wait and no writer or sync is active. `lock` is held. */
void rk_durable_bank_schedule_commit(struct rk_durable_bank *bank);

/* The batch ids that a new segment begins with, oldest first. The writer lock is held, which keeps them as
 * they are; the lock is not. */
const struct rk_batch_id *rk_durable_bank_known_ids(struct rk_durable_bank *bank, size_t *count);

/* Syncs the journal and counts it; refuses the bank where that fails. The writer lock is held, the lock is
 * not. */
enum rankd_status rk_durable_bank_sync(struct rk_durable_bank *bank, struct rk_err *err)
    __attribute__((warn_unused_result));

/* The same beside appends that don't wait for it. There is no writer; the lock is held, and held again. */
enum rankd_status rk_durable_bank_sync_beside(struct rk_durable_bank *bank, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Brings everything to the disk, so that a segment may end: were a later one there after a power loss and the
 * end of this one not, the journal would look damaged. The writer lock is held, the lock is not. */
enum rankd_status rk_durable_bank_seal(struct rk_durable_bank *bank, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Syncs what was appended, if anything was; for the interval's thread and the end. */
void rk_durable_bank_flush(struct rk_durable_bank *bank);

/* --- append.c --- */

/* True: it is over, append->err says how; it is on disk where the bank's durability wants that, and visible.
 * False: it waits for the disk, and its waiter is told when it is over. */
bool rk_durable_bank_append(struct rk_durable_bank *bank, struct rk_append *append)
    __attribute__((warn_unused_result));

/* Writes what waits, if there is no writer: one sync for all of it (group commit). Waits for the disk. */
void rk_durable_bank_commit(struct rk_durable_bank *bank);

/* --- bank/transaction.c --- */

/* Requests that wait for another one, and whose deadline is over, are told so. */
void rk_bank_transaction_wake_late(struct rk_durable_bank *bank);

/* --- disk.c: folders --- */

/* Creates the bank's folder with an empty journal. */
enum rankd_status rk_durable_bank_create_disk(struct rk_durable_bank *bank, struct rk_err *err)
    __attribute__((warn_unused_result));
/* Opens the live journal again after the folder was renamed. */
enum rankd_status rk_durable_bank_reopen(struct rk_durable_bank *bank, struct rk_err *err)
    __attribute__((warn_unused_result));
/* Reads configuration and journal of a bank's folder back. Always returns a bank (NULL: no memory); where it
 * could not be read it is `unreadable`. */
struct rk_durable_bank *rk_durable_bank_load(const char *name, const char *path, struct rk_io *io);
/* Writes the whole of what memory holds (or nothing of it) as a new journal under `point`, and makes it the
 * live one. The writer lock is held, the lock is not. */
enum rankd_status rk_durable_bank_rewrite(struct rk_durable_bank *bank, struct rk_bank_position point,
                                          bool empty, struct rk_err *err) __attribute__((warn_unused_result));
/* Makes the folder live-<number>, which is on disk but for its name, the live one, and removes the one before
 * (rules.h, M1). Where it fails the folder is removed; or, where it is not known which of both the manifest
 * on disk names, both stay and the bank is refused. The writer lock is held, the lock is not. */
enum rankd_status rk_durable_bank_switch(struct rk_durable_bank *bank, uint64_t number, struct rk_err *err)
    __attribute__((warn_unused_result));
/* Begins a new segment of a journal of this bank (bank->journal, or one that is to be). The writer lock is
 * held. */
enum rankd_status rk_durable_bank_rotate(struct rk_durable_bank *bank, struct rk_journal *journal,
                                         struct rk_err *err) __attribute__((warn_unused_result));
/* Reads a journal's folder into bank->memory, bank->ids and bank->next, which are reset first. */
enum rankd_status rk_durable_bank_read(struct rk_durable_bank *bank, const char *folder,
                                       struct rk_journal **journal, struct rk_err *err)
    __attribute__((warn_unused_result));
enum rankd_status rk_folder_make(const char *path, struct rk_err *err) __attribute__((warn_unused_result));
void rk_folder_remove(const char *path); /* with what is in it, one level deep */
/* `replaced` (NULL is fine): the name may be the new file's, whatever is returned. */
enum rankd_status rk_file_replace(const char *folder, const char *name, const char *bytes, size_t count,
                                  bool *replaced, struct rk_err *err) __attribute__((warn_unused_result));

/* --- config.c: configuration as JSON --- */
enum rankd_status rk_bank_config_parse(const void *body, size_t bytes, struct rk_bank_config *config,
                                       uint64_t *live, struct rk_err *err)
    __attribute__((warn_unused_result));
/* Of a checkpoint's manifest, which tells more beside it. */
struct rk_checkpoint {
    struct rk_bank_config config;
    uint64_t version, generation, items, created;
};
enum rankd_status rk_checkpoint_parse(const void *body, size_t bytes, struct rk_checkpoint *checkpoint,
                                      struct rk_err *err) __attribute__((warn_unused_result));
void rk_bank_config_write(struct rk_text *out, const struct rk_bank_config *config);
bool rk_bank_config_same(const struct rk_bank_config *a, const struct rk_bank_config *b);

/* --- checkpoint.c, generation.c, manifests.c --- */
enum rankd_status rk_durable_bank_checkpoint(struct rk_durable_bank *bank, const char *tag,
                                             struct rk_text *out, struct rk_err *err);
enum rankd_status rk_durable_bank_checkpoints(struct rk_durable_bank *bank, struct rk_text *out,
                                              struct rk_err *err);
enum rankd_status rk_durable_bank_restore(struct rk_durable_bank *bank, const char *tag, struct rk_err *err);
enum rankd_status rk_durable_bank_delete_checkpoint(struct rk_durable_bank *bank, const char *tag,
                                                    struct rk_err *err);
enum rankd_status rk_durable_bank_clear(struct rk_durable_bank *bank, struct rk_err *err);
/* Bytes that checkpoints alone keep on disk: files that the live journal has let go of, or never had. Those
 * on their way in or out count too. */
uint64_t rk_durable_bank_checkpoint_bytes(struct rk_durable_bank *bank);

/* "…/checkpoints/<prefix><tag>"; RANKD_INTERNAL if it is too long. */
enum rankd_status rk_checkpoint_path(const struct rk_durable_bank *bank, const char *prefix, const char *tag,
                                     char *path, size_t size, struct rk_err *err)
    __attribute__((warn_unused_result));
/* RANKD_UNSUPPORTED for a bank in memory only. */
enum rankd_status rk_checkpoint_needs_disk(const struct rk_durable_bank *bank, struct rk_err *err)
    __attribute__((warn_unused_result));
/* The manifest of a tag, in *text too where that is not NULL (4096 bytes). RANKD_NOT_FOUND: there is no such
 * checkpoint. RANKD_INTERNAL: there is, and its manifest is damaged. */
enum rankd_status rk_checkpoint_read(const struct rk_durable_bank *bank, const char *tag, char *text,
                                     struct rk_checkpoint *checkpoint, struct rk_err *err)
    __attribute__((warn_unused_result));
/* The configuration that some checkpoint in a bank's folder tells; false if none does. */
bool rk_checkpoint_find_config(const char *bank_path, struct rk_bank_config *config)
    __attribute__((warn_unused_result));
/* Removes what a crash left on its way in or out (rules.h, M3). */
void rk_checkpoint_sweep(const struct rk_durable_bank *bank);

#endif
