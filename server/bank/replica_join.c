/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a whole bank: its index, then the payloads inside the capacity and those kept beyond it for
 * retries. The log is the snapshot. The present copy stays in use meanwhile, and is replaced at the
 * end. */
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "bank/kind.h"
#include "bank/payload_cache.h"
#include "bank/replica.h"
#include "bank/window.h"
#include "base/clock.h"
#include "base/log.h"

enum { ATTEMPTS = 5 };

struct join {
    struct rk_durable_bank *bank;
    struct rk_stored_state state; /* as the store had it before the index was read */
    struct rk_stored_entry *entry;
    size_t count, room;
    bool met; /* the entry that `state` names was found */
    uint64_t generation, end, base, cleared;
    struct rk_stored_place place;
    struct rk_chain chain;
    size_t *wanted; /* payloads, by their entries */
    size_t wanted_count;
    struct rk_stored_entry *payload; /* the same entries in one piece */
    struct rk_bank *memory;
    struct rk_ids ids;
    size_t offset; /* of the payloads that are being fetched, among all */
    size_t cached; /* payloads that came from this daemon's disk */
    bool again;    /* the bank changed while it was read */
};

static void free_join(struct join *join)
{
    rk_bank_free(join->memory);
    rk_ids_free(&join->ids);
    free(join->entry);
    free(join->wanted);
    free(join->payload);
}

static enum rankd_status damaged(const struct join *join, const char *what, struct rk_err *err)
{
    return rk_fail(err, RANKD_INTERNAL, "bank \"%s\" in the store is damaged: %s", join->bank->name, what);
}

/* --- the index --- */

static bool is_at(struct rk_stored_place a, struct rk_stored_place b)
{
    return a.version == b.version && a.sub == b.sub;
}

/* Whether the entry, and its chain, follow the last one. The oldest entry follows deleted ones. */
static bool continues(const struct join *join, const struct rk_stored_entry *entry)
{
    const bool batch = entry->kind == RK_STORED_BATCH;
    if (join->count == 0)
        return entry->place.version > 1 || !batch ||
               rk_chain_same(rk_chain_next(rk_chain_first(join->state.uid), entry), entry->chain);
    const struct rk_stored_entry *before = &join->entry[join->count - 1];
    return entry->place.version == before->place.version + batch &&
           entry->end == before->end + entry->items && entry->generation >= before->generation &&
           rk_chain_same(rk_chain_next(before->chain, entry), entry->chain);
}

static enum rankd_status on_entry(void *context, const char *bank, const struct rk_stored_entry *entry,
                                  struct rk_err *err)
{
    struct join *join = context;
    (void)bank;
    if (!continues(join, entry))
        return damaged(join, "an entry of its index does not follow the one before", err);
    if (join->count == join->room) {
        join->room = join->room ? join->room * 2 : 256;
        struct rk_stored_entry *grown = realloc(join->entry, join->room * sizeof *grown);
        if (!grown)
            return rk_fail(err, RANKD_OVERLOADED, "no memory for the index of bank \"%s\"", join->bank->name);
        join->entry = grown;
    }
    join->entry[join->count++] = *entry;
    if (is_at(entry->place, join->state.place)) {
        join->met = rk_chain_same(entry->chain, join->state.chain) && entry->end == join->state.end &&
                    entry->generation <= join->state.generation;
    } else if (join->met && entry->kind == RK_STORED_CLEAR) {
        join->base = entry->end;
        join->cleared = entry->generation;
    }
    join->generation = entry->generation > join->generation ? entry->generation : join->generation;
    join->end = entry->end;
    join->place = entry->place;
    join->chain = entry->chain;
    return RANKD_OK;
}

static enum rankd_status read_index(struct join *join, struct rk_err *err)
{
    const struct rk_stored_state *state = &join->state;
    struct rk_bank_store *store = join->bank->replica->shared->store;
    join->generation = state->generation;
    join->base = state->base;
    join->cleared = state->cleared;
    join->end = state->end;
    join->place = state->place;
    join->chain = state->chain;
    if (store->ops->index(store, join->bank->name, (struct rk_stored_place){0}, on_entry, join, err) !=
        RANKD_OK)
        return err->status;
    const bool is_new = join->count == 0 && state->place.version == 0 && state->place.sub == 0 &&
                        rk_chain_same(state->chain, rk_chain_first(state->uid));
    join->again = !join->met && !is_new; /* a restore may have come in between */
    return join->again ? damaged(join, "its index and its state differ", err) : RANKD_OK;
}

/* --- which payloads --- */

static bool wants(const struct join *join, const struct rk_stored_entry *entry, uint64_t start)
{
    return entry->kind == RK_STORED_BATCH && entry->end > start &&
           entry->place.version >= join->state.first && entry->end > join->base;
}

/* Chooses the payloads of the window and the slack, which the store keeps like a daemon does. */
static enum rankd_status choose(struct join *join, struct rk_err *err)
{
    const struct rk_bank_shape *shape = &join->bank->config.shape;
    const uint64_t window = rk_window_start(join->base, shape->capacity, join->end);
    const uint64_t start = rk_window_start(join->base, shape->capacity + shape->capacity / 4, join->end);
    uint64_t first = join->end;
    join->wanted = calloc(join->count + 1, sizeof *join->wanted);
    join->payload = calloc(join->count + 1, sizeof *join->payload);
    if (!join->wanted || !join->payload)
        return rk_fail(err, RANKD_OVERLOADED, "no memory for the index of bank \"%s\"", join->bank->name);
    for (size_t i = 0; i < join->count; i++) {
        const struct rk_stored_entry *entry = &join->entry[i];
        if (!wants(join, entry, start))
            continue;
        if (entry->items > shape->capacity || entry->bytes != sizeof(struct rk_record_head) +
                                                                  sizeof(struct rk_batch_id) +
                                                                  entry->items * rk_batch_item_bytes(shape))
            return damaged(join, "an entry of its index has a size that no batch of it has", err);
        if (join->wanted_count == 0)
            first = entry->end - entry->items;
        join->payload[join->wanted_count] = *entry;
        join->wanted[join->wanted_count++] = i;
    }
    return first <= window ? RANKD_OK : damaged(join, "batches inside its capacity are not there", err);
}

/* --- memory --- */

static enum rankd_status begin_memory(struct join *join, struct rk_err *err)
{
    const uint64_t now = rk_now_ns();
    struct rk_bank_position point = {join->generation, join->place.version, join->end};
    if (join->wanted_count) {
        const struct rk_stored_entry *first = &join->payload[0];
        point.version = first->place.version - 1;
        point.end = first->end - first->items;
    }
    join->memory = rk_bank_new(&join->bank->config.shape);
    if (!join->memory || !rk_ids_init(&join->ids, now))
        return rk_fail(err, RANKD_OVERLOADED, "no memory for bank \"%s\"", join->bank->name);
    for (size_t i = 0; i < join->count; i++) {
        struct rk_batch_id id = join->entry[i].id;
        if (!join->entry[i].named)
            continue;
        const uint64_t origin = join->entry[0].id.stamp_ns;
        id.stamp_ns = id.stamp_ns > origin ? id.stamp_ns - origin : 0;
        rk_ids_read(&join->ids, &id, now);
    }
    if (rk_bank_reset(join->memory, point, point.end == join->base, err) == RANKD_OK && point.version == 0)
        rk_bank_set_tag(join->memory, rk_chain_first(join->state.uid).byte);
    return err->status;
}

static enum rankd_status take_payload(struct join *join, size_t i, const void *bytes, size_t count,
                                      struct rk_err *err)
{
    struct rk_batch batch;
    const struct rk_stored_entry *entry = &join->payload[i];
    if (rk_replicas_stopping(join->bank->replica->shared))
        return rk_fail(err, RANKD_OVERLOADED, "rankd is shutting down");
    if (!bytes) {
        join->again = true;
        return rk_fail(err, RANKD_OVERLOADED, "bank \"%s\": a batch went while the bank was read",
                       join->bank->name);
    }
    if (rk_stored_payload_read(bytes, count, &join->bank->config.shape, entry, &batch, err) != RANKD_OK)
        return err->status;
    (void)!rk_bank_append(join->memory, &batch, entry->place.version, err);
    rk_batch_free(&batch);
    rk_bank_set_tag(join->memory, entry->chain.byte);
    pthread_mutex_lock(&join->bank->lock);
    join->bank->replica->join_done = i + 1;
    pthread_mutex_unlock(&join->bank->lock);
    return err->status;
}

static enum rankd_status on_payload(void *context, size_t i, const void *bytes, size_t count,
                                    struct rk_err *err)
{
    struct join *join = context;
    if (take_payload(join, join->offset + i, bytes, count, err) == RANKD_OK)
        rk_payload_cache_put(join->bank->cache, bytes, count);
    return err->status;
}

/* True: payload `i` was on this daemon's disk, undamaged. */
static bool take_cached(struct join *join, size_t i)
{
    size_t count;
    struct rk_err ignored = {0};
    void *bytes = rk_payload_cache_take(join->bank->cache, &join->payload[i], &count);
    const bool taken = bytes && take_payload(join, i, bytes, count, &ignored) == RANKD_OK;
    free(bytes);
    join->cached += taken;
    return taken;
}

/* Reads payloads in order: from the cache on disk where it has them, runs of others from the
 * store. */
static enum rankd_status read_payloads(struct join *join, struct rk_err *err)
{
    struct rk_durable_bank *bank = join->bank;
    struct rk_bank_store *store = bank->replica->shared->store;
    rk_payload_cache_list(bank->cache);
    for (size_t i = 0; i < join->wanted_count && err->status == RANKD_OK;) {
        if (take_cached(join, i)) {
            i++;
            continue;
        }
        size_t run = 1;
        while (i + run < join->wanted_count && !rk_payload_cache_has(bank->cache, &join->payload[i + run]))
            run++;
        join->offset = i;
        (void)!store->ops->payloads(store, bank->name, join->payload + i, run, false, on_payload, join, err);
        i += run;
    }
    rk_payload_cache_forget(bank->cache);
    return err->status;
}

/* --- the exchange --- */

static void exchange_copy(struct join *join)
{
    struct rk_durable_bank *bank = join->bank;
    struct rk_replica *replica = bank->replica;
    pthread_mutex_lock(&bank->lock);
    struct rk_bank *memory = bank->memory;
    struct rk_ids ids = bank->ids;
    bank->memory = join->memory;
    bank->ids = join->ids;
    bank->next = rk_bank_now(bank->memory);
    bank->base = join->base;
    bank->cleared = join->cleared;
    replica->chain = join->chain;
    replica->sub = join->place.sub;
    replica->known = join->place.version;
    replica->join_cached = join->cached;
    replica->audited_ns = rk_now_ns();
    replica->joining = replica->forked = false;
    rk_bank_set_tag(bank->memory, join->chain.byte);
    rk_replica_wake(bank, 0);
    pthread_mutex_unlock(&bank->lock);
    join->memory = memory;
    join->ids = ids;
}

static enum rankd_status try_join(struct join *join, struct rk_err *err)
{
    struct rk_durable_bank *bank = join->bank;
    struct rk_replica *replica = bank->replica;
    struct rk_bank_store *store = replica->shared->store;
    if (store->ops->state(store, bank->name, &join->state, err) != RANKD_OK)
        return err->status;
    if (strcmp(join->state.uid, replica->uid) != 0) {
        pthread_mutex_lock(&bank->lock);
        rk_replica_gone(bank);
        (void)!rk_replica_check(bank, err);
        pthread_mutex_unlock(&bank->lock);
        return err->status;
    }
    if (read_index(join, err) != RANKD_OK || choose(join, err) != RANKD_OK ||
        begin_memory(join, err) != RANKD_OK)
        return err->status;
    pthread_mutex_lock(&bank->lock);
    replica->join_done = 0;
    replica->join_total = join->wanted_count;
    pthread_mutex_unlock(&bank->lock);
    if (read_payloads(join, err) != RANKD_OK)
        return err->status;
    const struct rk_bank_position now = rk_bank_now(join->memory);
    if (now.version != join->place.version || now.end != join->end)
        return damaged(join, "its batches end elsewhere than its index", err);
    exchange_copy(join);
    return RANKD_OK;
}

enum rankd_status rk_replica_join(struct rk_durable_bank *bank, struct rk_err *err)
{
    enum rankd_status status = RANKD_OK;
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        struct join join = {.bank = bank};
        struct rk_err why = {0};
        status = try_join(&join, &why);
        const bool again = join.again;
        free_join(&join);
        if (status == RANKD_OK)
            return RANKD_OK;
        if (!again || attempt + 1 == ATTEMPTS)
            return rk_fail(err, status, "%s", why.text);
    }
    return status;
}

/* --- the task --- */

enum { AGAIN_NS = 1000000000 };

static struct rk_replica *replica_of(struct rk_task *task)
{
    return (struct rk_replica *)((char *)task - offsetof(struct rk_replica, join_task));
}

static void note_failure(struct rk_durable_bank *bank, const struct rk_err *why)
{
    struct rk_replica *replica = bank->replica;
    if (strcmp(replica->trouble, why->text) != 0)
        rk_log_say(replica->shared->log, RK_LOG_WARN, "bank",
                   "bank \"%s\" could not be read from the store: %s", bank->name, why->text);
    memcpy(replica->trouble, why->text, sizeof replica->trouble);
    replica->join_next_ns = rk_now_ns() + AGAIN_NS;
}

void rk_replica_join_task(struct rk_task *task)
{
    struct rk_durable_bank *bank = replica_of(task)->bank;
    struct rk_replica *replica = bank->replica;
    struct rk_err why = {0};
    const uint64_t begun = rk_now_ns();
    const enum rankd_status status = rk_replica_join(bank, &why);
    pthread_mutex_lock(&bank->lock);
    replica->join_queued = false;
    if (status != RANKD_OK) {
        note_failure(bank, &why);
    } else {
        atomic_fetch_add(&replica->joins, 1);
        replica->trouble[0] = '\0';
        rk_log_say(replica->shared->log, RK_LOG_INFO, "bank",
                   "bank \"%s\" read from the store: %zu items, version %" PRIu64 ", %" PRIu64
                   " batches in %.3f s, %" PRIu64 " of them from this disk",
                   bank->name, rk_bank_items(bank->memory), bank->next.version, replica->join_total,
                   (double)(rk_now_ns() - begun) / 1e9, replica->join_cached);
    }
    pthread_mutex_unlock(&bank->lock);
    rk_durable_bank_release(bank);
}
