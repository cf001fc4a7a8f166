/* SPDX-License-Identifier: Apache-2.0 */
#include "bank/replica.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bank/payload_cache.h"
#include "bank/retries.h"
#include "base/clock.h"
#include "base/log.h"

enum { STALE_NS = 2000000000 };

const char *const rk_replica_state_names[RK_REPLICA_STATES] = {"joining",  "current", "behind", "stale",
                                                               "refusing", "forked",  "gone"};

struct rk_replica *rk_replica_new(struct rk_replicas *shared, struct rk_durable_bank *bank, const char *uid,
                                  rk_replica_join_run *join)
{
    struct rk_replica *replica = calloc(1, sizeof *replica);
    if (!replica)
        return NULL;
    replica->shared = shared;
    replica->bank = bank;
    (void)snprintf(replica->uid, sizeof replica->uid, "%s", uid);
    replica->joining = true;
    replica->join_task.run = join;
    replica->audited_ns = rk_now_ns();
    return replica;
}

bool rk_replicas_stopping(struct rk_replicas *shared)
{
    pthread_mutex_lock(&shared->lock);
    const bool stopping = shared->stopping;
    pthread_mutex_unlock(&shared->lock);
    return stopping;
}

void rk_replicas_hasten(struct rk_replicas *shared)
{
    pthread_mutex_lock(&shared->lock);
    shared->hastened = true;
    pthread_cond_signal(&shared->due);
    pthread_mutex_unlock(&shared->lock);
}

/* --- the state --- */

enum rk_replica_state rk_replica_state_of(const struct rk_replica *replica, uint64_t version, uint64_t now_ns)
{
    const uint64_t age = now_ns > replica->audited_ns ? now_ns - replica->audited_ns : 0;
    if (replica->gone)
        return RK_REPLICA_GONE;
    if (replica->joining)
        return replica->forked ? RK_REPLICA_FORKED : RK_REPLICA_JOINING;
    if (age > replica->shared->stale_ns)
        return RK_REPLICA_REFUSING;
    if (age > STALE_NS)
        return RK_REPLICA_STALE;
    return version < replica->known ? RK_REPLICA_BEHIND : RK_REPLICA_CURRENT;
}

enum rankd_status rk_replica_check(const struct rk_durable_bank *bank, struct rk_err *err)
{
    const struct rk_replica *replica = bank->replica;
    const uint64_t now = rk_now_ns();
    switch (rk_replica_state_of(replica, bank->next.version, now)) {
    case RK_REPLICA_GONE:
        return rk_fail(err, RANKD_CONFLICT,
                       "bank \"%s\" is gone from the store, or another one has its name there; it is not "
                       "created again automatically: DELETE /v2/banks/%s here, then PUT it",
                       bank->name, bank->name);
    case RK_REPLICA_JOINING:
    case RK_REPLICA_FORKED:
        return rk_fail(err, RANKD_OVERLOADED,
                       "bank \"%s\" is being read from the store: %" PRIu64 " of %" PRIu64 " batches%s%.300s",
                       bank->name, replica->join_done, replica->join_total, replica->trouble[0] ? "; " : "",
                       replica->trouble);
    case RK_REPLICA_REFUSING:
        return rk_fail(err, RANKD_OVERLOADED,
                       "bank \"%s\": the store has not answered for %" PRIu64
                       " s; requests that read it are refused after %" PRIu64 " s (--bank-stale)",
                       bank->name, (now - replica->audited_ns) / 1000000000,
                       replica->shared->stale_ns / 1000000000);
    default:
        return RANKD_OK;
    }
}

/* --- own batches --- */

static struct rk_append *find_in(struct rk_append *list, const struct rk_batch_id *id)
{
    for (; list; list = list->next) {
        if (list->id.name[0] == id->name[0] && list->id.name[1] == id->name[1] &&
            list->id.content == id->content && list->err.status == RANKD_OK)
            return list;
    }
    return NULL;
}

static struct rk_append *find_own(const struct rk_durable_bank *bank, const struct rk_batch_id *id)
{
    struct rk_append *own = find_in(bank->replica->committing, id);
    return own ? own : find_in(bank->replica->awaiting, id);
}

static bool was_applied(const struct rk_durable_bank *bank, const struct rk_stored_entry *entry)
{
    const struct rk_stored_place *place = &entry->place;
    return place->version < bank->next.version ||
           (place->version == bank->next.version && place->sub <= bank->replica->sub);
}

bool rk_replica_needs_payload(const struct rk_durable_bank *bank, const struct rk_stored_entry *entry)
{
    return entry->kind == RK_STORED_BATCH && !was_applied(bank, entry) && !find_own(bank, &entry->id);
}

/* --- applying --- */

static void remember(struct rk_durable_bank *bank, const struct rk_stored_entry *entry)
{
    struct rk_batch_id id = entry->id;
    if (!entry->named || rk_ids_find(&bank->ids, id.name))
        return;
    id.stamp_ns = rk_ids_clock(&bank->ids, rk_now_ns());
    rk_ids_add(&bank->ids, &id);
}

static void take_over(struct rk_durable_bank *bank, const struct rk_stored_entry *entry)
{
    struct rk_replica *replica = bank->replica;
    bank->next = (struct rk_bank_position){entry->generation, entry->place.version, entry->end};
    replica->chain = entry->chain;
    replica->sub = entry->place.sub;
    if (replica->known < entry->place.version)
        replica->known = entry->place.version;
    rk_bank_set_tag(bank->memory, entry->chain.byte);
}

static enum rk_replica_applied apply_batch(struct rk_durable_bank *bank, const struct rk_stored_entry *entry,
                                           const struct rk_batch *batch)
{
    struct rk_err why = {0};
    const struct rk_append *own = batch ? NULL : find_own(bank, &entry->id);
    const struct rk_batch *items = own ? &own->batch : batch;
    if (!items || items->items != entry->items ||
        rk_bank_append(bank->memory, items, entry->place.version, &why) != RANKD_OK)
        return RK_APPLY_LATER;
    take_over(bank, entry);
    remember(bank, entry);
    atomic_fetch_add(&bank->appended_batches, 1);
    atomic_fetch_add(&bank->appended_items, entry->items);
    atomic_store(&bank->last_append_s, (uint64_t)time(NULL));
    return RK_APPLIED;
}

static enum rk_replica_applied apply_clear(struct rk_durable_bank *bank, const struct rk_stored_entry *entry)
{
    struct rk_err why = {0};
    const struct rk_bank_position point = {entry->generation, entry->place.version, entry->end};
    if (rk_bank_reset(bank->memory, point, true, &why) != RANKD_OK)
        return RK_APPLY_LATER;
    bank->base = entry->end;
    bank->cleared = entry->generation; /* the ids stay: their batches must not be appended twice */
    take_over(bank, entry);
    return RK_APPLIED;
}

/* Whether this copy applied the same entry at its version. */
static enum rk_replica_applied compare(const struct rk_durable_bank *bank,
                                       const struct rk_stored_entry *entry)
{
    struct rk_chain own = {{0}};
    if (entry->kind != RK_STORED_BATCH || entry->generation != bank->next.generation ||
        !rk_bank_tag_of(bank->memory, entry->place.version, own.byte))
        return RK_APPLIED;
    static const struct rk_chain none;
    return rk_chain_same(own, none) || rk_chain_same(own, entry->chain) ? RK_APPLIED : RK_APPLY_FORKED;
}

static enum rk_replica_applied apply(struct rk_durable_bank *bank, const struct rk_stored_entry *entry,
                                     const struct rk_batch *batch)
{
    struct rk_replica *replica = bank->replica;
    const struct rk_bank_position *next = &bank->next;
    if (was_applied(bank, entry))
        return compare(bank, entry);
    if (entry->kind == RK_STORED_ID && entry->place.version == next->version) {
        remember(bank, entry);
        replica->sub = entry->place.sub;
        return RK_APPLIED;
    }
    const bool clear = entry->kind == RK_STORED_CLEAR;
    if ((!clear && entry->kind != RK_STORED_BATCH) || entry->generation != next->generation + clear ||
        entry->place.version != next->version + !clear)
        return RK_APPLY_JOIN;
    if (!rk_chain_same(rk_chain_next(replica->chain, entry), entry->chain) ||
        entry->end != next->end + entry->items)
        return RK_APPLY_FORKED;
    return clear ? apply_clear(bank, entry) : apply_batch(bank, entry, batch);
}

enum rk_replica_applied rk_replica_apply(struct rk_durable_bank *bank, const struct rk_stored_entry *entry,
                                         const struct rk_batch *batch)
{
    if (bank->replica->joining || bank->replica->gone)
        return RK_APPLY_LATER;
    enum rk_replica_applied applied = apply(bank, entry, batch);
    if (applied == RK_APPLIED)
        rk_replica_wake(bank, 0);
    return applied;
}

/* --- waiting requests --- */

void rk_replica_finish(struct rk_durable_bank *bank, struct rk_append *append)
{
    if (!bank->replica->deferring) {
        append->waiter->wake(append->waiter);
        return;
    }
    append->next = bank->replica->ended;
    bank->replica->ended = append;
}

/* Whether the copy has the version of the append: its own history has that chain there. */
static bool has_come(const struct rk_durable_bank *bank, const struct rk_append *append)
{
    return append->stored.version <= bank->next.version &&
           (append->again || append->stored.generation <= bank->next.generation);
}

void rk_replica_lost(const struct rk_durable_bank *bank, struct rk_append *append)
{
    (void)rk_fail(&append->err, RANKD_OVERLOADED,
                  "bank \"%s\": the store lost the batch after it had acknowledged it; repeat it with the "
                  "same batch_id",
                  bank->name);
}

static void end_awaiting(struct rk_durable_bank *bank, struct rk_append *append)
{
    unsigned char tag[RK_VERSION_TAG_BYTES];
    if (append->err.status == RANKD_OK && !append->again && !append->empty &&
        append->stored.generation == bank->next.generation &&
        rk_bank_tag_of(bank->memory, append->stored.version, tag) &&
        memcmp(tag, append->stored.chain, sizeof tag) != 0)
        rk_replica_lost(bank, append);
    if (append->err.status == RANKD_OK && append->again && !rk_ids_find(&bank->ids, append->id.name)) {
        append->id.stamp_ns = rk_ids_clock(&bank->ids, rk_now_ns());
        rk_ids_add(&bank->ids, &append->id);
    }
    rk_replica_finish(bank, append);
}

void rk_replica_wake(struct rk_durable_bank *bank, uint64_t now_ns)
{
    for (struct rk_append **at = &bank->replica->awaiting; *at;) {
        struct rk_append *append = *at;
        const bool late = now_ns && now_ns >= append->stored.give_up_ns;
        if (!late && (!has_come(bank, append) || bank->replica->joining)) {
            at = &append->next;
            continue;
        }
        *at = append->next;
        if (!has_come(bank, append))
            (void)rk_fail(&append->err, RANKD_OVERLOADED,
                          "bank \"%s\": the batch is in the store as version %" PRIu64
                          ", and this daemon is at version %" PRIu64 "; repeat it with the same batch_id",
                          bank->name, append->stored.version, bank->next.version);
        end_awaiting(bank, append);
    }
    rk_retries_wake_versions(bank);
}

void rk_replica_end(struct rk_durable_bank *bank)
{
    bank->replica->gone = true;
    rk_payload_cache_remove(bank->cache);
    rk_durable_bank_refuse(bank, &(struct rk_err){.text = "it was deleted"});
    rk_replica_wake(bank, UINT64_MAX);
}

/* --- faults of the store --- */

void rk_replica_rejoin(struct rk_durable_bank *bank)
{
    struct rk_replica *replica = bank->replica;
    replica->joining = true;
    if (replica->join_queued || replica->gone || !replica->shared->joins)
        return;
    replica->join_queued = true;
    (void)rk_durable_bank_hold(bank);
    rk_threads_add(&replica->shared->join, &replica->join_task);
}

void rk_replica_fork(struct rk_durable_bank *bank, uint64_t there)
{
    struct rk_replica *replica = bank->replica;
    if (replica->joining || replica->gone)
        return;
    replica->forked = true;
    atomic_fetch_add(&replica->forks, 1);
    const uint64_t here = bank->next.version;
    if (there < here)
        rk_log_say(replica->shared->log, RK_LOG_WARN, "bank",
                   "bank \"%s\": the store lost %" PRIu64
                   " batches that this daemon had applied (version %" PRIu64 " here, %" PRIu64
                   " there); its copy is read again",
                   bank->name, here - there, here, there);
    else
        rk_log_say(replica->shared->log, RK_LOG_WARN, "bank",
                   "bank \"%s\": the store has other batches than this daemon had applied (version %" PRIu64
                   " here, %" PRIu64 " there); its copy is read again",
                   bank->name, here, there);
    rk_replica_rejoin(bank);
}

void rk_replica_gone(struct rk_durable_bank *bank)
{
    struct rk_replica *replica = bank->replica;
    if (replica->gone)
        return;
    replica->gone = true;
    rk_log_say(replica->shared->log, RK_LOG_ERROR, "bank",
               "bank \"%s\" is gone from the store, or another one has its name there; requests for it are "
               "refused",
               bank->name);
    rk_retries_wake_versions(bank);
}
