/* SPDX-License-Identifier: Apache-2.0 */
#include "bank/replica_admin.h"
#include "bank/kind.h"
#include "bank/payload_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bank/registry_internal.h"
#include "base/clock.h"
#include "base/log.h"

enum { BESIDE = 32 /* bytes of a record's head, for each item */ };
enum { STEP_NS = 2000000, FOLLOW_NS = 1000000000, FOLLOWS = 5 };

/* --- creating --- */

static enum rankd_status check_config(struct rk_replicas *shared, const struct rk_bank_config *config,
                                      struct rk_err *err)
{
    if (config->on_full == RK_ON_FULL_MEMORY)
        return rk_fail(
            err, RANKD_INVALID,
            "on_full is \"memory\"; it must be \"refuse\" for a bank in a store, whose daemons would "
            "differ otherwise");
    return shared->store->ops->check(shared->store, config->durability == RK_DURABILITY_ALWAYS, err);
}

/* Opens the payload cache, if there is room: a bank is served without one, too. A file can hold all
 * kept batches of the bank, unless they are tiny. */
static void open_cache(const struct rk_replicas *shared, struct rk_durable_bank *bank, const char *uid)
{
    struct rk_err why = {0};
    const struct rk_bank_shape *shape = &bank->config.shape;
    const uint64_t most = (shape->capacity + shape->capacity / 4) * (rk_batch_item_bytes(shape) + BESIDE);
    if (!shared->cache[0])
        return;
    bank->cache = rk_payload_cache_open(shared->cache, uid, most, &why);
    if (!bank->cache)
        rk_log_say(shared->log, RK_LOG_WARN, "bank", "bank \"%s\" is not cached: %s", bank->name, why.text);
}

/* Registers a copy of the bank, not read yet. NULL on failure; otherwise held for the caller. */
static struct rk_durable_bank *enter_copy(struct rk_banks *banks, struct rk_turn *turn,
                                          const struct rk_stored_state *state,
                                          const struct rk_bank_config *config, struct rk_err *err)
{
    struct rk_durable_bank *bank = rk_durable_bank_new(state->name, config);
    if (bank)
        bank->replica = rk_replica_new(banks->replicas, bank, state->uid, rk_replica_join_task);
    if (bank && bank->replica) {
        open_cache(banks->replicas, bank, state->uid);
        (void)rk_durable_bank_hold(bank);
        if (rk_banks_enter_reserved(banks, turn, bank))
            return bank;
        rk_durable_bank_release(bank);
    }
    rk_durable_bank_release(bank);
    (void)rk_fail(err, RANKD_OVERLOADED, "no memory for another bank");
    return NULL;
}

/* True once the copy is read. Reading continues after false, if it takes longer. */
static bool wait_until_read(struct rk_durable_bank *bank)
{
    const uint64_t until = rk_now_ns() + FOLLOWS * (uint64_t)FOLLOW_NS;
    const struct timespec step = {.tv_nsec = STEP_NS};
    for (;;) {
        pthread_mutex_lock(&bank->lock);
        const bool over = !bank->replica->joining || bank->replica->trouble[0] || bank->replica->gone;
        pthread_mutex_unlock(&bank->lock);
        if (over || rk_now_ns() >= until)
            return over;
        (void)nanosleep(&step, NULL);
    }
}

static void write_config(const struct rk_bank_config *config, char text[RK_STORED_CONFIG_BYTES],
                         struct rk_err *err)
{
    struct rk_text json = {0};
    rk_json_open(&json, NULL, '{');
    rk_bank_config_write(&json, config);
    rk_json_close(&json, '}');
    if (json.failed || json.length >= RK_STORED_CONFIG_BYTES)
        (void)rk_fail(err, RANKD_OVERLOADED, "no memory for another bank");
    else
        (void)snprintf(text, RK_STORED_CONFIG_BYTES, "%.*s", (int)json.length, json.data);
    rk_text_free(&json);
}

enum rankd_status rk_replica_create(struct rk_banks *banks, struct rk_turn *turn, const char *name,
                                    const struct rk_bank_config *config, struct rk_err *err)
{
    struct rk_replicas *shared = banks->replicas;
    struct rk_stored_state state;
    struct rk_bank_config there;
    char uid[RK_STORED_UID_BYTES], text[RK_STORED_CONFIG_BYTES];
    if (check_config(shared, config, err) != RANKD_OK)
        return err->status;
    write_config(config, text, err);
    if (err->status == RANKD_OK && !rk_stored_uid_draw(uid))
        (void)rk_fail(err, RANKD_INTERNAL, "the system has no randomness");
    if (err->status != RANKD_OK ||
        shared->store->ops->create(shared->store, name, uid, text, &state, err) != RANKD_OK ||
        rk_bank_config_parse(state.config, strlen(state.config), &there, NULL, err) != RANKD_OK)
        return err->status;
    struct rk_durable_bank *bank = enter_copy(banks, turn, &state, &there, err);
    if (!bank)
        return err->status;
    pthread_mutex_lock(&bank->lock);
    rk_replica_rejoin(bank);
    pthread_mutex_unlock(&bank->lock);
    (void)wait_until_read(bank);
    rk_durable_bank_release(bank);
    return RANKD_OK;
}

void rk_replica_discover(struct rk_banks *banks, const struct rk_stored_state *state)
{
    struct rk_err why = {0}, missing = {0};
    struct rk_bank_config config;
    struct rk_durable_bank *bank;
    struct rk_turn turn;
    /* An operation that runs may take seconds; the next audit finds the bank as well. */
    if (!rk_turn_try(&banks->turns, &turn, state->name))
        return;
    bank = rk_banks_find(banks, state->name, &missing);
    if (!bank && rk_bank_name_check("a bank's name in the store", state->name, &why) &&
        rk_bank_config_parse(state->config, strlen(state->config), &config, NULL, &why) == RANKD_OK &&
        rk_banks_reserve(banks, &turn, &config, &why) == RANKD_OK &&
        (bank = enter_copy(banks, &turn, state, &config, &why))) {
        pthread_mutex_lock(&bank->lock);
        rk_replica_rejoin(bank);
        pthread_mutex_unlock(&bank->lock);
    }
    rk_turn_end(&banks->turns, &turn);
    rk_durable_bank_release(bank);
    if (why.status != RANKD_OK && strcmp(banks->replicas->unserved, why.text) != 0) { /* once */
        memcpy(banks->replicas->unserved, why.text, sizeof banks->replicas->unserved);
        rk_log_say(banks->log, RK_LOG_WARN, "bank", "bank \"%.64s\" of the store is not served here: %s",
                   state->name, why.text);
    }
}

/* --- deleting --- */

enum rankd_status rk_replica_delete(struct rk_durable_bank *bank, struct rk_err *err)
{
    struct rk_replica *replica = bank->replica;
    struct rk_bank_store *store = replica->shared->store;
    struct rk_err why = {0};
    pthread_mutex_lock(&bank->lock);
    const bool gone = replica->gone;
    pthread_mutex_unlock(&bank->lock);
    if (gone)
        return RANKD_OK;
    const enum rankd_status status = store->ops->remove(store, bank->name, replica->uid, &why);
    return status == RANKD_OK || status == RANKD_NOT_FOUND ? RANKD_OK : rk_fail(err, status, "%s", why.text);
}

void rk_replica_take_out(struct rk_banks *banks, struct rk_durable_bank *bank)
{
    struct rk_err missing = {0};
    struct rk_turn turn;
    if (!rk_turn_try(&banks->turns, &turn, bank->name))
        return;
    struct rk_durable_bank *there = rk_banks_find(banks, bank->name, &missing);
    if (there == bank) {
        pthread_mutex_lock(&bank->lock);
        rk_replica_end(bank);
        pthread_mutex_unlock(&bank->lock);
        rk_banks_take_out(banks, bank);
        rk_log_say(banks->log, RK_LOG_INFO, "bank", "bank \"%s\" was deleted in the store", bank->name);
    }
    rk_durable_bank_release(there);
    rk_turn_end(&banks->turns, &turn);
}

/* --- clear and restore --- */

static bool has_generation(struct rk_durable_bank *bank, uint64_t generation)
{
    pthread_mutex_lock(&bank->lock);
    const bool there = !bank->replica->joining && bank->next.generation >= generation && !bank->replica->gone;
    pthread_mutex_unlock(&bank->lock);
    return there;
}

/* Waits until this copy has the generation, and every active daemon has reported it too. */
static enum rankd_status follow(struct rk_durable_bank *bank, uint64_t generation, unsigned *daemons_behind,
                                struct rk_err *err)
{
    struct rk_replicas *shared = bank->replica->shared;
    const struct timespec step = {.tv_nsec = 10 * STEP_NS};
    const uint64_t until = rk_now_ns() + FOLLOWS * (uint64_t)FOLLOW_NS;
    bool reported = false;
    *daemons_behind = 1;
    while (rk_now_ns() < until) {
        struct rk_err why = {0};
        if (!reported && has_generation(bank, generation)) {
            reported = shared->store->ops->serves(shared->store, bank->name, bank->replica->uid, shared->who,
                                                  generation, &why) == RANKD_OK;
        } else if (reported &&
                   shared->store->ops->count_behind(shared->store, bank->name, bank->replica->uid, generation,
                                                    daemons_behind, &why) == RANKD_OK &&
                   *daemons_behind == 0) {
            return RANKD_OK;
        }
        (void)nanosleep(&step, NULL);
    }
    if (has_generation(bank, generation))
        return RANKD_OK;
    return rk_fail(err, RANKD_OVERLOADED,
                   "bank \"%s\" is at generation %llu in the store, and this daemon has not read it yet",
                   bank->name, (unsigned long long)generation);
}

enum rankd_status rk_replica_clear(struct rk_durable_bank *bank, unsigned *daemons_behind, struct rk_err *err)
{
    struct rk_bank_store *store = bank->replica->shared->store;
    struct rk_stored_state state;
    if (store->ops->clear(store, bank->name, bank->replica->uid, &state, err) != RANKD_OK)
        return err->status;
    return follow(bank, state.generation, daemons_behind, err);
}

enum rankd_status rk_replica_restore(struct rk_durable_bank *bank, const char *tag, unsigned *daemons_behind,
                                     struct rk_err *err)
{
    struct rk_bank_store *store = bank->replica->shared->store;
    struct rk_stored_state state;
    if (store->ops->restore(store, bank->name, bank->replica->uid, tag, &state, err) != RANKD_OK)
        return err->status;
    pthread_mutex_lock(&bank->lock);
    if (bank->next.generation < state.generation)
        rk_replica_rejoin(bank);
    pthread_mutex_unlock(&bank->lock);
    return follow(bank, state.generation, daemons_behind, err);
}

/* --- checkpoints --- */

static void write_checkpoint(struct rk_text *out, const struct rk_durable_bank *bank,
                             const struct rk_stored_checkpoint *checkpoint)
{
    rk_json_open(out, NULL, '{');
    rk_json_text(out, "tag", checkpoint->tag);
    rk_bank_config_write(out, &bank->config);
    rk_json_uint(out, "version", checkpoint->version);
    rk_json_uint(out, "generation", checkpoint->generation);
    rk_json_uint(out, "items", checkpoint->items);
    rk_json_uint(out, "created", checkpoint->created);
    rk_json_close(out, '}');
}

enum rankd_status rk_replica_checkpoint(struct rk_durable_bank *bank, const char *tag, struct rk_text *out,
                                        struct rk_err *err)
{
    struct rk_bank_store *store = bank->replica->shared->store;
    struct rk_stored_checkpoint checkpoint;
    if (store->ops->checkpoint(store, bank->name, bank->replica->uid, tag, (uint64_t)time(NULL),
                               bank->config.shape.capacity, &checkpoint, err) == RANKD_OK)
        write_checkpoint(out, bank, &checkpoint);
    return err->status;
}

static int by_tag(const void *a, const void *b)
{
    return strcmp(((const struct rk_stored_checkpoint *)a)->tag,
                  ((const struct rk_stored_checkpoint *)b)->tag);
}

enum rankd_status rk_replica_checkpoints(struct rk_durable_bank *bank, struct rk_text *out,
                                         struct rk_err *err)
{
    struct rk_bank_store *store = bank->replica->shared->store;
    struct rk_stored_checkpoint *all = NULL;
    size_t count = 0;
    if (store->ops->checkpoints(store, bank->name, bank->replica->uid, &all, &count, err) == RANKD_OK) {
        qsort(all, count, sizeof *all, by_tag);
        rk_json_open(out, NULL, '[');
        for (size_t i = 0; i < count; i++)
            write_checkpoint(out, bank, &all[i]);
        rk_json_close(out, ']');
    }
    free(all);
    return err->status;
}

enum rankd_status rk_replica_forget(struct rk_durable_bank *bank, const char *tag, struct rk_err *err)
{
    struct rk_bank_store *store = bank->replica->shared->store;
    return store->ops->forget(store, bank->name, bank->replica->uid, tag, err);
}

/* --- reports --- */

void rk_replica_write(struct rk_text *out, const struct rk_durable_bank *bank)
{
    const struct rk_replica *replica = bank->replica;
    const uint64_t now = rk_now_ns(), version = bank->next.version;
    char chain[RK_STORED_UID_BYTES];
    rk_chain_text(replica->chain, chain);
    rk_json_text(out, "store_state", rk_replica_state_names[rk_replica_state_of(replica, version, now)]);
    rk_json_text(out, "uid", replica->uid);
    rk_json_text(out, "chain", chain);
    rk_json_uint(out, "behind", replica->known > version ? replica->known - version : 0);
    rk_json_uint(out, "stale_ms", now > replica->audited_ns ? (now - replica->audited_ns) / 1000000 : 0);
    rk_json_uint(out, "forks", atomic_load(&replica->forks));
    rk_json_uint(out, "joins", atomic_load(&replica->joins));
}

enum rankd_status rk_replicas_describe(struct rk_replicas *shared, struct rk_text *out, struct rk_err *err)
{
    struct rk_stored_server about;
    const struct rk_config *config = shared->banks->config;
    if (shared->store->ops->about(shared->store, &about, err) != RANKD_OK)
        return err->status;
    rk_json_open(out, NULL, '{');
    rk_json_text(out, "url", config->bank_store);
    rk_json_text(out, "server", about.where);
    rk_json_text(out, "product", about.product);
    rk_json_text(out, "version", about.version);
    rk_json_text(out, "role", about.role);
    rk_json_text(out, "maxmemory_policy", about.policy);
    rk_json_text(out, "appendonly", about.appendonly);
    rk_json_text(out, "appendfsync", about.appendfsync);
    rk_json_bool(out, "waitaof", about.waitaof);
    rk_json_uint(out, "replicas", about.replicas);
    rk_json_uint(out, "replicas_awaited", shared->acknowledgements);
    rk_json_int(out, "clock_ms", about.clock_ms);
    rk_json_uint(out, "daemons", about.daemons);
    rk_json_close(out, '}');
    return RANKD_OK;
}
