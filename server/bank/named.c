#include "bank/named.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RETRY_DISK_NS = 1000000000 };

struct rk_named_bank *rk_named_new(const char *name, const struct rk_bank_config *config)
{
    struct rk_named_bank *bank = calloc(1, sizeof *bank);
    if (!bank)
        return NULL;
    (void)snprintf(bank->name, sizeof bank->name, "%s", name);
    bank->config = *config;
    bank->memory = rk_bank_new(&config->shape);
    if (!bank->memory || !rk_ids_init(&bank->ids)) {
        rk_bank_free(bank->memory);
        free(bank);
        return NULL;
    }
    bank->next = rk_bank_now(bank->memory);
    bank->last = &bank->first;
    atomic_init(&bank->refs, 1);
    pthread_mutex_init(&bank->lock, NULL);
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&bank->moved, &clock);
    pthread_condattr_destroy(&clock);
    return bank;
}

struct rk_named_bank *rk_named_hold(struct rk_named_bank *bank)
{
    atomic_fetch_add(&bank->refs, 1);
    return bank;
}

void rk_named_release(struct rk_named_bank *bank)
{
    if (!bank || atomic_fetch_sub(&bank->refs, 1) != 1)
        return;
    rk_journal_close(bank->journal);
    if (bank->io)
        bank->io->close(bank->io);
    rk_bank_free(bank->memory);
    rk_ids_free(&bank->ids);
    pthread_mutex_destroy(&bank->lock);
    pthread_cond_destroy(&bank->moved);
    free(bank);
}

void rk_named_refuse(struct rk_named_bank *bank, const struct rk_err *why)
{
    if (!bank->refused[0])
        (void)snprintf(bank->refused, sizeof bank->refused, "%s", why->text);
}

/* --- making a version visible --- */

/* The lock is held; in order of version. */
static enum rankd_status publish(struct rk_named_bank *bank, const struct rk_batch *batch,
                                 struct rk_bank_point after, const struct rk_batch_id *id, struct rk_err *err)
{
    if (rk_bank_append(bank->memory, batch, after.version, err) != RANKD_OK) {
        rk_named_refuse(bank, err); /* disk and memory are of two minds until a restart */
        return err->status;
    }
    if (id->name[0] || id->name[1])
        rk_ids_add(&bank->ids, id);
    if (bank->journal)
        rk_journal_drop(bank->journal, rk_bank_oldest(bank->memory));
    atomic_fetch_add(&bank->appended_batches, 1);
    atomic_fetch_add(&bank->appended_items, batch->items);
    atomic_store(&bank->last_append_s, (uint64_t)time(NULL));
    return RANKD_OK;
}

static void publish_pending(struct rk_named_bank *bank, uint64_t version, bool durable)
{
    while (bank->first && bank->first->after.version <= version) {
        struct rk_pending *pending = bank->first;
        struct rk_err err = {0};
        bank->first = pending->next;
        if (!bank->first)
            bank->last = &bank->first;
        bool done = durable && publish(bank, pending->batch, pending->after, &pending->id, &err) == RANKD_OK;
        pending->state = done ? RK_PENDING_DONE : RK_PENDING_FAILED;
    }
    pthread_cond_broadcast(&bank->moved);
}

static enum rankd_status sync_counted(struct rk_named_bank *bank, struct rk_err *err)
{
    uint64_t begun = rk_now_ns();
    enum rankd_status status = rk_journal_sync(bank->journal, err);
    atomic_fetch_add(&bank->syncs, 1);
    atomic_fetch_add(&bank->sync_ns, rk_now_ns() - begun);
    return status;
}

/* One thread syncs for all that wait (group commit). The lock is held on both sides, not during the sync. */
static void lead_sync(struct rk_named_bank *bank)
{
    struct rk_err err = {0};
    uint64_t target = bank->next.version;
    bank->syncing = true;
    bank->dirty = false;
    pthread_mutex_unlock(&bank->lock);
    enum rankd_status status = sync_counted(bank, &err);
    pthread_mutex_lock(&bank->lock);
    bank->syncing = false;
    if (status != RANKD_OK) {
        rk_named_refuse(bank, &err);
        target = UINT64_MAX; /* those behind are on the same file, and as lost */
    }
    publish_pending(bank, target, status == RANKD_OK);
}

static enum rankd_status wait_durable(struct rk_named_bank *bank, struct rk_pending *mine, struct rk_err *err)
{
    while (mine->state == RK_PENDING_WAITS) {
        if (bank->syncing)
            pthread_cond_wait(&bank->moved, &bank->lock);
        else
            lead_sync(bank);
    }
    return mine->state == RK_PENDING_DONE
               ? RANKD_OK
               : rk_fail(err, RANKD_INTERNAL, "the batch is not on disk; bank \"%s\" is read-only: %s",
                         bank->name, bank->refused);
}

void rk_named_settle(struct rk_named_bank *bank)
{
    while (bank->first || bank->syncing) {
        if (bank->syncing)
            pthread_cond_wait(&bank->moved, &bank->lock);
        else
            lead_sync(bank);
    }
}

void rk_named_flush(struct rk_named_bank *bank)
{
    pthread_mutex_lock(&bank->lock);
    if (bank->dirty && bank->journal && !bank->refused[0] && !bank->syncing)
        lead_sync(bank);
    pthread_mutex_unlock(&bank->lock);
}

/* --- appending --- */

/* on_full "memory": the disk was full, and is tried again now and then by writing everything anew. */
static void try_disk_again(struct rk_named_bank *bank)
{
    struct rk_err err = {0};
    if (!bank->undurable || rk_now_ns() < bank->retry_disk_ns)
        return;
    bank->retry_disk_ns = rk_now_ns() + RETRY_DISK_NS;
    if (rk_named_rewrite(bank, bank->next, false, &err) == RANKD_OK)
        bank->undurable = false;
}

enum rankd_status rk_named_seal(struct rk_named_bank *bank, struct rk_err *err)
{
    rk_named_settle(bank);
    if (bank->journal && !bank->refused[0] && bank->dirty) {
        lead_sync(bank); /* most of it, while others append */
        rk_named_settle(bank);
    }
    if (!bank->journal || bank->refused[0] || !bank->dirty)
        return RANKD_OK;
    bank->dirty = false; /* what they appended meanwhile */
    return sync_counted(bank, err);
}

/* A new segment begins with the ids of everything before it: nothing may be pending then. May let the lock
 * go. */
static void rotate_if_long(struct rk_named_bank *bank)
{
    struct rk_err err = {0};
    if (!bank->journal || bank->refused[0] || !rk_journal_is_long(bank->journal))
        return;
    enum rankd_status status = rk_named_seal(bank, &err);
    struct rk_batch_id *ids = malloc(RK_IDS_MAX * sizeof *ids);
    if (status == RANKD_OK && ids && bank->journal && !bank->refused[0])
        status = rk_journal_rotate(bank->journal, bank->next, ids, rk_ids_copy(&bank->ids, ids), &err);
    if (status == RANKD_INTERNAL) /* on a full disk the segment grows on, as far as it can */
        rk_named_refuse(bank, &err);
    free(ids);
}

/* The disk is full and the configuration says to go on in memory. May let the lock go. */
static void leave_disk(struct rk_named_bank *bank)
{
    rk_named_settle(bank);
    rk_journal_close(bank->journal);
    bank->journal = NULL;
    bank->undurable = true;
    bank->retry_disk_ns = rk_now_ns() + RETRY_DISK_NS;
}

static enum rankd_status refuse_append(struct rk_named_bank *bank, struct rk_bank_point read,
                                       struct rk_err *err)
{
    if (bank->refused[0])
        return rk_fail(err, RANKD_INTERNAL, "bank \"%s\" is read-only: %.400s", bank->name, bank->refused);
    if (read.generation != bank->next.generation)
        return rk_fail(
            err, RANKD_CONFLICT,
            "bank \"%s\" was cleared or restored while the request was computed (generation %llu, now "
            "%llu); nothing was appended",
            bank->name, (unsigned long long)read.generation, (unsigned long long)bank->next.generation);
    return RANKD_OK;
}

static enum rankd_status write_failed(struct rk_named_bank *bank, const struct rk_err *why,
                                      struct rk_err *err)
{
    if (why->status == RANKD_INTERNAL)
        rk_named_refuse(bank, why);
    return rk_fail(err, why->status, "bank \"%s\": %.400s", bank->name, why->text);
}

static enum rankd_status append_locked(struct rk_named_bank *bank, const struct rk_batch *batch,
                                       struct rk_bank_point read, struct rk_batch_id *id, uint64_t *version,
                                       struct rk_err *err)
{
    struct rk_pending mine = {.batch = batch};
    try_disk_again(bank);
    rotate_if_long(bank);
    for (;;) { /* once more where the disk was left: others may have appended meanwhile */
        struct rk_err why = {0};
        if (refuse_append(bank, read, err) != RANKD_OK)
            return err->status;
        mine.after =
            (struct rk_bank_point){read.generation, bank->next.version + 1, bank->next.end + batch->items};
        id->appended = mine.after.version;
        if (!bank->journal ||
            rk_journal_append(bank->journal, batch, mine.after, bank->next.end, false, id, &why) == RANKD_OK)
            break;
        if (why.status != RANKD_NO_SPACE || bank->config.on_full != RK_ON_FULL_MEMORY)
            return write_failed(bank, &why, err);
        leave_disk(bank);
    }
    mine.id = *id;
    bank->next = mine.after;
    bank->dirty = bank->journal != NULL;
    *version = mine.after.version;
    if (!bank->journal || bank->config.durability != RK_DURABILITY_ALWAYS)
        return publish(bank, batch, mine.after, id, err);
    /* On this stack: it leaves the list before this function returns */
    *bank->last = &mine;
    bank->last = &mine.next;
    return wait_durable(bank, &mine, err);
}

enum rankd_status rk_named_append(struct rk_named_bank *bank, const struct rk_batch *batch,
                                  struct rk_bank_point read, const struct rk_batch_id *id, uint64_t *version,
                                  struct rk_err *err)
{
    struct rk_batch_id own = *id;
    pthread_mutex_lock(&bank->lock);
    enum rankd_status status = append_locked(bank, batch, read, &own, version, err);
    pthread_mutex_unlock(&bank->lock);
    return status;
}
