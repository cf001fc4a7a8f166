/* SPDX-License-Identifier: Apache-2.0 */
/* A group of appends into the store. Each append ends when the store has it with the requested
 * durability and this copy has applied it: at once if it is the next version, otherwise after the
 * tail has brought the versions in between. */
#include <inttypes.h>
#include <stdlib.h>

#include "bank/payload_cache.h"
#include "bank/replica.h"
#include "bank/writer_lock.h"
#include "base/clock.h"

/* Many requests wait, but a retry after a lost connection sends the whole group again. */
enum { GROUP_MOST = 256, AT_ONCE_BYTES = 256 << 10 };

static void conflict(const struct rk_durable_bank *bank, struct rk_append *append, uint64_t generation)
{
    (void)rk_fail(&append->err, RANKD_CONFLICT,
                  "bank \"%s\" was cleared or restored while the request was computed (generation %" PRIu64
                  ", now %" PRIu64 "); nothing was appended",
                  bank->name, append->read.generation, generation);
}

/* --- the group --- */

/* The first GROUP_MOST of a list; the others stay in *rest. */
static size_t cut_group(struct rk_append *group, struct rk_append **rest)
{
    size_t count = 1;
    while (count < GROUP_MOST && group->next) {
        group = group->next;
        count++;
    }
    *rest = group->next;
    group->next = NULL;
    return count;
}

static struct rk_stored_append stored_of(const struct rk_append *append)
{
    struct rk_stored_append stored = {.batch = &append->batch,
                                      .id = append->id,
                                      .named = append->named,
                                      .empty = append->empty,
                                      .generation = append->read.generation};
    return stored;
}

/* Ends the appends that are no longer possible, and lists the others in `stored`. The lock is
 * held. */
static size_t begin_group(struct rk_durable_bank *bank, struct rk_append **group,
                          struct rk_stored_append *stored)
{
    struct rk_err why = {0};
    size_t count = 0;
    if (rk_replica_check(bank, &why) == RANKD_OK && bank->refused[0])
        (void)rk_fail(&why, RANKD_NOT_FOUND, "bank \"%s\": %.400s", bank->name, bank->refused);
    for (struct rk_append **at = group; *at;) {
        struct rk_append *append = *at;
        if (why.status != RANKD_OK)
            (void)rk_fail(&append->err, why.status, "%s", why.text);
        else if (append->read.generation != bank->next.generation)
            conflict(bank, append, bank->next.generation);
        if (append->err.status == RANKD_OK) {
            stored[count++] = stored_of(append);
            at = &append->next;
            continue;
        }
        *at = append->next;
        rk_replica_finish(bank, append);
    }
    bank->replica->committing = *group;
    return count;
}

static uint64_t deadline_of(const struct rk_append *group)
{
    uint64_t first = UINT64_MAX;
    for (; group; group = group->next)
        first = group->stored.give_up_ns < first ? group->stored.give_up_ns : first;
    return first;
}

/* --- the verdicts --- */

static void take_stored(struct rk_append *append, const struct rk_stored_entry *entry)
{
    append->stored.version = entry->place.version;
    append->stored.generation = entry->generation;
    for (size_t i = 0; i < sizeof append->stored.chain; i++)
        append->stored.chain[i] = entry->chain.byte[i];
}

/* Copies the store's verdict into the append; the lock is held. True: the append still has to be
 * applied here. */
static bool take_verdict(struct rk_durable_bank *bank, struct rk_append *append,
                         const struct rk_stored_append *stored)
{
    switch (stored->verdict) {
    case RK_STORED_OK:
        take_stored(append, &stored->entry);
        append->id.appended = append->empty ? 0 : stored->entry.place.version;
        append->after = (struct rk_bank_position){stored->entry.generation, stored->entry.place.version,
                                                  stored->entry.end};
        return true;
    case RK_STORED_DUP:
        if (append->confirms) { /* it read items that the lost original did not: this copy is behind a fork */
            rk_replica_lost(bank, append);
            return false;
        }
        take_stored(append, &stored->entry);
        append->id = stored->entry.id;
        append->again = true;
        return true;
    case RK_STORED_GENERATION:
        conflict(bank, append, stored->entry.generation);
        return false;
    case RK_STORED_GONE:
        rk_replica_gone(bank);
        (void)!rk_replica_check(bank, &append->err);
        return false;
    case RK_STORED_FULL:
        (void)rk_fail(&append->err, RANKD_NO_SPACE,
                      "bank \"%s\": the store has no memory left (maxmemory); nothing was appended",
                      bank->name);
        return false;
    case RK_STORED_UNKNOWN:
        break;
    }
    (void)rk_fail(
        &append->err, RANKD_OVERLOADED,
        "bank \"%s\": the store did not say whether it has the batch; repeat it with the same batch_id",
        bank->name);
    return false;
}

/* Resumes the ended appends. Workers continue them; this thread itself continues the last one,
 * which saves a wake-up, unless more appends wait for this thread. */
static void tell_ended(struct rk_append *ended, bool more)
{
    for (struct rk_append *append = ended, *next; append; append = next) {
        struct rk_bank_waiter *waiter = append->waiter;
        next = append->next; /* it may be freed once it is resumed */
        const bool here = !next && !more && waiter->finish && !append->again;
        (here ? waiter->finish : waiter->wake)(waiter);
    }
}

/* Called before any of them is resumed, while their batches exist. */
static void cache_group(struct rk_durable_bank *bank, const struct rk_append *group,
                        const struct rk_stored_append *stored)
{
    struct rk_text payload = {0};
    for (; bank->cache && group; group = group->next, stored++) {
        payload.length = 0;
        if (stored->verdict == RK_STORED_OK && !group->empty && !group->confirms &&
            rk_stored_payload_write(&payload, &group->batch, &group->id))
            rk_payload_cache_put(bank->cache, payload.data, payload.length);
    }
    rk_text_free(&payload);
}

static void end_group(struct rk_durable_bank *bank, struct rk_append *group,
                      const struct rk_stored_append *stored)
{
    struct rk_replica *replica = bank->replica;
    const bool several = group->next != NULL;
    cache_group(bank, group, stored);
    pthread_mutex_lock(&bank->lock);
    replica->deferring = true;
    for (struct rk_append *append = group, *next; append; append = next, stored++) {
        next = append->next; /* it may be freed once it is woken */
        replica->committing = next;
        if (!take_verdict(bank, append, stored)) {
            rk_replica_finish(bank, append);
            continue;
        }
        if (replica->known < append->stored.version)
            replica->known = append->stored.version;
        append->next = replica->awaiting;
        replica->awaiting = append;
        /* If others came in between, the tail brings them and then this one. */
        if (stored->verdict == RK_STORED_OK && !append->empty && !replica->joining &&
            append->stored.version == bank->next.version + 1 &&
            append->stored.generation == bank->next.generation)
            (void)!rk_replica_apply(bank, &stored->entry, &append->batch);
    }
    rk_replica_wake(bank, bank->refused[0] ? UINT64_MAX : 0); /* nothing will be applied to a deleted bank */
    struct rk_append *ended = replica->ended;
    const bool gap = replica->awaiting != NULL, more = bank->first != NULL;
    replica->crowded = more || several;
    replica->ended = NULL;
    replica->deferring = false;
    pthread_mutex_unlock(&bank->lock);
    if (gap)
        rk_replicas_hasten(replica->shared);
    tell_ended(ended, more);
}

/* The store did not answer in time, or too few of its replicas did. Appends without time left end
 * with that error; the others go back to the front of the queue. */
static void put_back(struct rk_durable_bank *bank, struct rk_append *group, const struct rk_err *why,
                     unsigned got)
{
    const struct rk_replicas *shared = bank->replica->shared;
    const uint64_t now = rk_now_ns();
    pthread_mutex_lock(&bank->lock);
    bank->replica->committing = NULL;
    for (struct rk_append *append = group, *next; append; append = next) {
        next = append->next;
        if (why->status == RANKD_OVERLOADED && now < append->stored.give_up_ns) {
            append->next = bank->first;
            if (!bank->first)
                bank->last = &append->next;
            bank->first = append;
            continue;
        }
        const uint64_t seconds = shared->timeout_ns / 1000000000;
        if (got < shared->acknowledgements && bank->config.durability != RK_DURABILITY_NONE)
            (void)rk_fail(&append->err, RANKD_OVERLOADED,
                          "bank \"%s\": %u of %u replicas acknowledged the batch within %" PRIu64
                          " s; repeat it with the same batch_id",
                          bank->name, got, shared->acknowledgements, seconds);
        else
            (void)rk_fail(
                &append->err, why->status,
                "bank \"%s\": %.300s; the batch may be in the store or not: repeat it with the same "
                "batch_id",
                bank->name, why->text);
        rk_replica_finish(bank, append);
    }
    pthread_mutex_unlock(&bank->lock);
}

static struct rk_stored_durability durability_of(const struct rk_durable_bank *bank,
                                                 const struct rk_append *group)
{
    const int durability = bank->config.durability;
    const unsigned acknowledgements = bank->replica->shared->acknowledgements;
    const struct rk_stored_durability durable = {.replicas =
                                                     durability == RK_DURABILITY_NONE ? 0 : acknowledgements,
                                                 .on_disk = durability == RK_DURABILITY_ALWAYS,
                                                 .deadline_ns = deadline_of(group)};
    return durable;
}

/* The writer lock is held, the lock is not. */
static void append_group(struct rk_durable_bank *bank, struct rk_append *group,
                         struct rk_stored_append *stored, size_t count, struct rk_replica_sent *how)
{
    struct rk_replica *replica = bank->replica;
    struct rk_bank_store *store = replica->shared->store;
    struct rk_err why = {0};
    unsigned got = 0;
    const enum rankd_status status = store->ops->append(store, bank->name, replica->uid, stored, count,
                                                        how->oldest, &how->durable, how->begun, &got, &why);
    rk_histogram_observe(&replica->waits, rk_now_ns() - how->begun_ns);
    if (status == RANKD_OK)
        end_group(bank, group, stored);
    else
        put_back(bank, group, &why, got);
}

static void commit_group(struct rk_durable_bank *bank, struct rk_append *group,
                         struct rk_stored_append *stored)
{
    pthread_mutex_lock(&bank->lock);
    const size_t count = begin_group(bank, &group, stored);
    struct rk_replica_sent how = {.oldest = rk_bank_oldest_version(bank->memory), .begun_ns = rk_now_ns()};
    pthread_mutex_unlock(&bank->lock);
    if (!count)
        return;
    how.durable = durability_of(bank, group);
    append_group(bank, group, stored, count, &how);
}

void rk_replica_commit(struct rk_durable_bank *bank, struct rk_append *group)
{
    while (group) {
        struct rk_append *rest = NULL;
        const size_t count = cut_group(group, &rest);
        struct rk_stored_append *stored = calloc(count, sizeof *stored);
        if (stored)
            commit_group(bank, group, stored);
        else
            put_back(bank, group, &(struct rk_err){.status = RANKD_INTERNAL, .text = "no memory"}, 0);
        free(stored);
        group = rest;
    }
}

/* --- sending one append at once --- */

bool rk_replica_begin(struct rk_durable_bank *bank, struct rk_append *append)
{
    struct rk_replica *replica = bank->replica;
    struct rk_bank_store *store = replica->shared->store;
    struct rk_replica_sent *sent = &replica->sent;
    struct rk_err ignored = {0};
    if (!store->ops->begin || replica->crowded || append->batch.bytes > AT_ONCE_BYTES || bank->first ||
        bank->queued || bank->writer_locked || bank->syncing || bank->writers_waiting || bank->refused[0] ||
        append->read.generation != bank->next.generation || rk_replica_check(bank, &ignored) != RANKD_OK)
        return false;
    bank->writer_locked = true;
    replica->committing = append;
    *sent = (struct rk_replica_sent){.append = append,
                                     .stored = stored_of(append),
                                     .durable = durability_of(bank, append),
                                     .oldest = rk_bank_oldest_version(bank->memory),
                                     .begun_ns = rk_now_ns()};
    pthread_mutex_unlock(&bank->lock);
    sent->begun =
        store->ops->begin(store, bank->name, replica->uid, &sent->stored, 1, sent->oldest, &sent->durable);
    pthread_mutex_lock(&bank->lock);
    return true;
}

void rk_replica_commit_sent(struct rk_durable_bank *bank)
{
    struct rk_replica_sent sent = bank->replica->sent;
    bank->replica->sent.append = NULL;
    append_group(bank, sent.append, &sent.stored, 1, &sent);
}
