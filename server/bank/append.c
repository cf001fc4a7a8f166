/* SPDX-License-Identifier: Apache-2.0 */
/* Appending: at once where only memory and the page cache are written, by a thread of the commit
 * threads (registry.c) where the disk has to be waited for. */
#include "bank/append.h"

#include <stdlib.h>
#include <time.h>

#include "bank/disk.h"
#include "bank/replica.h"
#include "bank/retries.h"
#include "bank/writer_lock.h"
#include "base/clock.h"

enum { RETRY_DISK_NS = 1000000000 };

/* --- one batch --- */

static bool is_refused(const struct rk_durable_bank *bank, struct rk_append *append,
                       struct rk_bank_position next)
{
    if (bank->refused[0])
        (void)rk_fail(&append->err, RANKD_INTERNAL, "bank \"%s\" is read-only: %.400s", bank->name,
                      bank->refused);
    else if (append->read.generation != next.generation)
        (void)rk_fail(
            &append->err, RANKD_CONFLICT,
            "bank \"%s\" was cleared or restored while the request was computed (generation %llu, now "
            "%llu); nothing was appended",
            bank->name, (unsigned long long)append->read.generation, (unsigned long long)next.generation);
    return append->err.status != RANKD_OK;
}

static void give_room_back(struct rk_durable_bank *bank, struct rk_append *append)
{
    rk_bank_unreserve(bank->memory, append->room);
    append->room = NULL;
}

/* Writes the record behind *next, which moves on. Its place in memory is taken first: what is on
 * disk can then be made visible. */
static enum rankd_status write_record(struct rk_durable_bank *bank, struct rk_append *append,
                                      struct rk_bank_position *next, struct rk_err *why)
{
    append->room = rk_bank_reserve(bank->memory, append->batch.items, why);
    if (!append->room)
        return why->status;
    append->after = (struct rk_bank_position){next->generation, next->version + !append->empty,
                                              next->end + append->batch.items};
    append->id.appended = append->empty ? 0 : append->after.version;
    append->id.stamp_ns = rk_ids_clock(&bank->ids, rk_now_ns());
    if (bank->journal && rk_journal_append(bank->journal, &append->batch, append->after, next->end, false,
                                           &append->id, why) != RANKD_OK) {
        give_room_back(bank, append);
        return why->status;
    }
    *next = append->after;
    return RANKD_OK;
}

static bool goes_on_in_memory(const struct rk_durable_bank *bank, const struct rk_err *why)
{
    return why->status == RANKD_NO_SPACE && bank->config.on_full == RK_ON_FULL_MEMORY;
}

/* The lock is held. */
static void write_failed(struct rk_durable_bank *bank, struct rk_append *append, const struct rk_err *why)
{
    if (why->status == RANKD_INTERNAL)
        rk_durable_bank_refuse(bank, why);
    (void)rk_fail(&append->err, why->status, "bank \"%s\": %.400s", bank->name, why->text);
}

/* Makes the version visible. The lock is held; in order of version. */
static void publish(struct rk_durable_bank *bank, struct rk_append *append)
{
    rk_bank_append_reserved(bank->memory, &append->batch, append->after.version, append->room);
    append->room = NULL;
    bank->next = append->after;
    if (append->id.name[0] || append->id.name[1])
        rk_ids_add(&bank->ids, &append->id);
    if (append->empty)
        return;
    atomic_fetch_add(&bank->appended_batches, 1);
    atomic_fetch_add(&bank->appended_items, append->batch.items);
    atomic_store(&bank->last_append_s, (uint64_t)time(NULL));
    rk_retries_wake_versions(bank);
}

/* --- at once --- */

static bool waits_for_disk(const struct rk_durable_bank *bank)
{
    if (bank->refused[0])
        return false;
    if (bank->writer_locked || bank->first || bank->replica)
        return true;
    if (bank->journal)
        return bank->config.durability == RK_DURABILITY_ALWAYS || rk_journal_is_long(bank->journal);
    return bank->undurable && rk_now_ns() >= bank->retry_disk_ns;
}

/* The lock is held and there is no writer. False: the disk is full, and the writer leaves it. */
static bool append_at_once(struct rk_durable_bank *bank, struct rk_append *append)
{
    struct rk_err why = {0};
    struct rk_bank_position next = bank->next;
    if (is_refused(bank, append, next))
        return true;
    if (write_record(bank, append, &next, &why) != RANKD_OK) {
        if (goes_on_in_memory(bank, &why))
            return false;
        write_failed(bank, append, &why);
        return true;
    }
    publish(bank, append);
    if (bank->journal) {
        bank->dirty = true;
        rk_journal_drop(bank->journal, rk_bank_oldest(bank->memory));
        bank->disk_bytes = rk_journal_bytes(bank->journal);
    }
    return true;
}

/* --- with the writer lock --- */

/* on_full "memory": the disk was full, and is tried again now and then by writing everything
 * anew. */
static void try_disk_again(struct rk_durable_bank *bank)
{
    struct rk_err err = {0};
    if (!bank->undurable || rk_now_ns() < bank->retry_disk_ns)
        return;
    bool back = rk_durable_bank_rewrite(bank, bank->next, false, &err) == RANKD_OK;
    pthread_mutex_lock(&bank->lock);
    bank->retry_disk_ns = rk_now_ns() + RETRY_DISK_NS;
    bank->undurable = !back;
    pthread_mutex_unlock(&bank->lock);
}

/* A new segment begins with the ids of everything before it. */
static void rotate_if_long(struct rk_durable_bank *bank)
{
    struct rk_err err = {0};
    if (!bank->journal || bank->refused[0] || !rk_journal_is_long(bank->journal) ||
        rk_durable_bank_seal(bank, &err) != RANKD_OK)
        return;
    enum rankd_status status = rk_durable_bank_rotate(bank, bank->journal, &err);
    if (status == RANKD_INTERNAL) { /* otherwise the segment grows on, as far as it can */
        pthread_mutex_lock(&bank->lock);
        rk_durable_bank_refuse(bank, &err);
        pthread_mutex_unlock(&bank->lock);
    }
}

/* The disk is full and the configuration says to go on in memory. */
static void leave_disk(struct rk_durable_bank *bank)
{
    struct rk_journal *journal = bank->journal;
    pthread_mutex_lock(&bank->lock);
    bank->journal = NULL;
    bank->undurable = true;
    bank->retry_disk_ns = rk_now_ns() + RETRY_DISK_NS;
    pthread_mutex_unlock(&bank->lock);
    rk_journal_close(journal);
}

/* Writes one after the other; returns the one for which the disk is to be left, NULL: none. *wrote:
 * there is something to sync, which the version does not tell: that of an empty batch's id is the
 * one before. */
static struct rk_append *write_records(struct rk_durable_bank *bank, struct rk_append *group,
                                       struct rk_bank_position *next, bool *wrote)
{
    *wrote = false;
    for (struct rk_append *append = group; append; append = append->next) {
        struct rk_err why = {0};
        if (is_refused(bank, append, *next))
            continue;
        if (write_record(bank, append, next, &why) == RANKD_OK) {
            *wrote = bank->journal;
            continue;
        }
        if (goes_on_in_memory(bank, &why))
            return append;
        pthread_mutex_lock(&bank->lock);
        write_failed(bank, append, &why);
        pthread_mutex_unlock(&bank->lock);
    }
    return NULL;
}

/* Makes visible what was written, up to `end`, or refuses it, and tells those who wait. */
static void end_group(struct rk_durable_bank *bank, struct rk_append *group, const struct rk_append *end,
                      bool durable)
{
    pthread_mutex_lock(&bank->lock);
    for (struct rk_append *append = group, *next; append != end; append = next) {
        next = append->next; /* once woken it is gone */
        if (append->err.status == RANKD_OK && durable)
            publish(bank, append);
        else if (append->err.status == RANKD_OK)
            (void)rk_fail(&append->err, RANKD_INTERNAL,
                          "the batch is not on disk; bank \"%s\" is read-only: %.400s", bank->name,
                          bank->refused);
        give_room_back(bank, append);
        append->waiter->wake(append->waiter);
    }
    pthread_mutex_unlock(&bank->lock);
}

/* The writer lock is held, the lock is not. */
static void write_group(struct rk_durable_bank *bank, struct rk_append *group)
{
    while (group) {
        struct rk_err why = {0};
        struct rk_bank_position next = bank->next;
        bool wrote, always = bank->config.durability == RK_DURABILITY_ALWAYS;
        struct rk_append *rest = write_records(bank, group, &next, &wrote);
        bool durable = !wrote || !always || rk_durable_bank_sync(bank, &why) == RANKD_OK;
        end_group(bank, group, rest, durable);
        if (bank->journal)
            rk_journal_drop(bank->journal, rk_bank_oldest(bank->memory));
        if (wrote && !always) {
            pthread_mutex_lock(&bank->lock);
            bank->dirty = true;
            pthread_mutex_unlock(&bank->lock);
        }
        if (rest)
            leave_disk(bank);
        group = rest;
    }
}

void rk_durable_bank_commit(struct rk_durable_bank *bank)
{
    pthread_mutex_lock(&bank->lock);
    bank->queued = false;
    if (bank->replica && bank->replica->sent.append) {
        pthread_mutex_unlock(&bank->lock);
        rk_replica_commit_sent(bank);
        pthread_mutex_lock(&bank->lock);
        rk_durable_bank_writer_release(bank);
    } else if (bank->first && !bank->writer_locked && !bank->syncing && !bank->writers_waiting) {
        struct rk_append *group = bank->first;
        bank->first = NULL;
        bank->last = &bank->first;
        bank->writer_locked = true;
        pthread_mutex_unlock(&bank->lock);
        try_disk_again(bank);
        rotate_if_long(bank);
        if (bank->replica)
            rk_replica_commit(bank, group);
        else
            write_group(bank, group);
        pthread_mutex_lock(&bank->lock);
        rk_durable_bank_writer_release(bank);
    }
    pthread_mutex_unlock(&bank->lock);
}

/* --- the entry --- */

bool rk_durable_bank_append(struct rk_durable_bank *bank, struct rk_append *append)
{
    pthread_mutex_lock(&bank->lock);
    bool over = !waits_for_disk(bank) && append_at_once(bank, append);
    if (!over) {
        append->waiter->wait(append->waiter);
        append->next = NULL;
    }
    if (!over && bank->replica && rk_replica_begin(bank, append)) {
        rk_durable_bank_queue_commit(bank);
    } else if (!over) {
        *bank->last = append;
        bank->last = &append->next;
        rk_durable_bank_schedule_commit(bank);
    }
    pthread_mutex_unlock(&bank->lock);
    return over;
}
