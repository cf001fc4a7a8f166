/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that compares this daemon's copies with the store twice a second: it detects changes
 * that the tail can't see: a store that went back or was emptied, and banks that other daemons
 * created or deleted. Also starts and stops the other threads. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bank/folders.h"
#include "bank/payload_cache.h"
#include "bank/registry_internal.h"
#include "bank/replica.h"
#include "bank/replica_admin.h"
#include "base/clock.h"
#include "base/log.h"

enum { AUDIT_MS = 500, JOIN_THREADS = 2 };

/* The state of a copy before the request to the store, which must not be behind it. */
struct audit_mark {
    struct rk_durable_bank *bank;
    struct rk_bank_position at;
    struct rk_chain chain;
};

/* --- one bank --- */

static bool is_behind_mark(const struct rk_stored_state *state, const struct audit_mark *mark)
{
    return state->generation < mark->at.generation ||
           (state->generation == mark->at.generation && state->place.version < mark->at.version);
}

static bool has_other_chain(const struct rk_stored_state *state, const struct audit_mark *mark)
{
    return state->generation == mark->at.generation && state->place.version == mark->at.version &&
           !rk_chain_same(state->chain, mark->chain);
}

/* The lock is held. */
static void judge_state(struct rk_durable_bank *bank, const struct audit_mark *mark,
                        const struct rk_stored_state *state, uint64_t asked_ns)
{
    struct rk_replica *replica = bank->replica;
    if (strcmp(state->uid, replica->uid) != 0) {
        rk_replica_gone(bank);
        return;
    }
    replica->audited_ns = asked_ns;
    if (replica->joining) {
        if (!replica->join_queued && asked_ns >= replica->join_next_ns)
            rk_replica_rejoin(bank);
        return;
    }
    if (is_behind_mark(state, mark) || has_other_chain(state, mark))
        rk_replica_fork(bank, state->place.version);
    else if (state->generation > bank->next.generation)
        rk_replica_rejoin(bank);
    else
        replica->known =
            state->place.version > bank->next.version ? state->place.version : bank->next.version;
}

/* Whether another daemon deleted the bank, which is then deleted here too. */
static bool was_deleted(const struct rk_stored_survey *survey, const struct rk_replica *replica)
{
    for (size_t i = 0; i < survey->gone_count; i++) {
        if (strcmp(survey->gone[i], replica->uid) == 0)
            return true;
    }
    return false;
}

static const struct rk_stored_state *find_state(const struct rk_stored_survey *survey, const char *name)
{
    for (size_t i = 0; i < survey->count; i++) {
        if (strcmp(survey->bank[i].name, name) == 0)
            return &survey->bank[i];
    }
    return NULL;
}

static void audit_bank(struct rk_replicas *shared, struct audit_mark *mark,
                       const struct rk_stored_survey *survey, uint64_t asked_ns)
{
    struct rk_durable_bank *bank = mark->bank;
    const struct rk_stored_state *state = find_state(survey, bank->name);
    struct rk_err ignored = {0};
    uint64_t report = 0;
    bool take_out = false;
    pthread_mutex_lock(&bank->lock);
    struct rk_replica *replica = bank->replica;
    if (state && !state->uid[0] && was_deleted(survey, replica))
        take_out = !bank->refused[0];
    else if (state)
        judge_state(bank, mark, state, asked_ns);
    if (!take_out && !replica->joining && !replica->gone && replica->reported != bank->next.generation)
        report = bank->next.generation;
    rk_replica_wake(bank, rk_now_ns());
    pthread_mutex_unlock(&bank->lock);
    if (take_out)
        rk_replica_take_out(shared->banks, bank);
    if (!report || shared->store->ops->serves(shared->store, bank->name, replica->uid, shared->who, report,
                                              &ignored) != RANKD_OK)
        return;
    pthread_mutex_lock(&bank->lock);
    replica->reported = report;
    pthread_mutex_unlock(&bank->lock);
}

/* --- all banks --- */

static void note_answer(struct rk_replicas *shared, const struct rk_err *err)
{
    const bool unanswered = err->status != RANKD_OK;
    if (unanswered && !shared->unanswered)
        rk_log_say(shared->log, RK_LOG_WARN, "bank", "%s; banks are served as they are for --bank-stale",
                   err->text);
    else if (!unanswered && shared->unanswered)
        rk_log_say(shared->log, RK_LOG_INFO, "bank", "the store answers again");
    shared->unanswered = unanswered;
}

static size_t make_marks(struct rk_durable_bank **all, size_t count, struct audit_mark *mark,
                         const char **name)
{
    size_t made = 0;
    for (size_t i = 0; i < count; i++) {
        struct rk_durable_bank *bank = all[i];
        if (!bank->replica)
            continue;
        pthread_mutex_lock(&bank->lock);
        mark[made] = (struct audit_mark){bank, bank->next, bank->replica->chain};
        pthread_mutex_unlock(&bank->lock);
        name[made++] = bank->name;
    }
    return made;
}

/* Banks of the store that this daemon does not have yet. */
static void discover(struct rk_replicas *shared, const struct rk_stored_survey *survey)
{
    for (size_t i = 0; i < survey->count; i++) {
        if (survey->bank[i].uid[0])
            rk_replica_discover(shared->banks, &survey->bank[i]);
    }
}

enum rankd_status rk_replica_audit_once(struct rk_replicas *shared, struct rk_err *err)
{
    size_t count;
    struct rk_durable_bank **all = rk_banks_hold_all(shared->banks, &count);
    struct audit_mark *mark = calloc(count + 1, sizeof *mark);
    const char **name = calloc(count + 1, sizeof(const char *));
    struct rk_stored_survey survey = {0};
    if (!mark || !name) {
        (void)rk_fail(err, RANKD_OVERLOADED, "no memory to compare banks with the store");
    } else {
        const size_t made = make_marks(all, count, mark, name);
        const uint64_t asked_ns = rk_now_ns();
        if (shared->store->ops->survey(shared->store, shared->who, name, made, &survey, err) == RANKD_OK) {
            for (size_t i = 0; i < made; i++)
                audit_bank(shared, &mark[i], &survey, asked_ns);
            discover(shared, &survey);
            atomic_store(&shared->surveyed, true);
        }
    }
    for (size_t i = 0; err->status != RANKD_OK && i < count; i++) {
        pthread_mutex_lock(&all[i]->lock);
        if (all[i]->replica)
            rk_replica_wake(all[i], rk_now_ns());
        pthread_mutex_unlock(&all[i]->lock);
    }
    free(survey.bank);
    free(mark);
    free((void *)name);
    rk_banks_release_all(all, count);
    return err->status;
}

static void *audit_loop(void *arg)
{
    struct rk_replicas *shared = arg;
    pthread_mutex_lock(&shared->lock);
    while (!shared->stopping) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += AUDIT_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_mutex_unlock(&shared->lock);
        struct rk_err err = {0};
        (void)!rk_replica_audit_once(shared, &err);
        note_answer(shared, &err);
        pthread_mutex_lock(&shared->lock);
        while (!shared->stopping &&
               pthread_cond_clockwait(&shared->changed, &shared->lock, CLOCK_MONOTONIC, &until) == 0)
            ;
    }
    pthread_mutex_unlock(&shared->lock);
    return NULL;
}

/* --- start and stop --- */

static const struct rk_threads_work joining = {.name = "bank-join"};

static bool has_uid(const void *context, const char *uid)
{
    size_t count;
    bool found = false;
    struct rk_durable_bank **all = rk_banks_hold_all(((const struct rk_replicas *)context)->banks, &count);
    for (size_t i = 0; i < count && !found; i++)
        found = all[i]->replica && strcmp(all[i]->replica->uid, uid) == 0;
    rk_banks_release_all(all, count);
    return found;
}

static enum rankd_status make_cache(struct rk_replicas *shared, const char *data, struct rk_err *err)
{
    if (!data[0])
        return RANKD_OK;
    (void)snprintf(shared->cache, sizeof shared->cache, "%s/store", data);
    return access(shared->cache, F_OK) == 0 ? RANKD_OK : rk_folder_make(shared->cache, err);
}

static enum rankd_status start_threads(struct rk_replicas *shared, struct rk_err *err)
{
    if (rk_threads_start(&shared->join, JOIN_THREADS, &joining, shared, "bank thread", err) != RANKD_OK)
        return err->status;
    shared->joins = true;
    /* If the store answers, its banks are known before the first request. */
    struct rk_err why = {0};
    (void)!rk_replica_audit_once(shared, &why);
    note_answer(shared, &why);
    if (shared->cache[0] && why.status == RANKD_OK) /* caches of banks that were deleted meanwhile */
        rk_payload_cache_sweep(shared->cache, has_uid, shared);
    shared->tailing = rk_thread_start(&shared->tail, "bank-tail", rk_replica_tail_loop, shared);
    shared->auditing = shared->tailing && rk_thread_start(&shared->audit, "bank-audit", audit_loop, shared);
    return shared->auditing ? RANKD_OK
                            : rk_fail(err, RANKD_INTERNAL, "cannot start the threads that follow the store");
}

struct rk_replicas *rk_replicas_start(struct rk_banks *banks, struct rk_bank_store *store, struct rk_err *err)
{
    struct rk_replicas *shared = calloc(1, sizeof *shared);
    if (!shared) {
        store->ops->close(store);
        (void)rk_fail(err, RANKD_INTERNAL, "no memory");
        return NULL;
    }
    const struct rk_config *config = banks->config;
    shared->store = store;
    shared->banks = banks;
    shared->log = banks->log;
    shared->timeout_ns = config->bank_store_timeout * 1000000;
    shared->stale_ns = config->bank_stale * 1000000;
    shared->acknowledgements = (unsigned)config->bank_store_replicas;
    pthread_mutex_init(&shared->lock, NULL);
    pthread_cond_init(&shared->changed, NULL);
    pthread_cond_init(&shared->due, NULL);
    banks->replicas = shared;
    struct rk_err why = {0};
    if (!rk_stored_uid_draw(shared->who))
        (void)rk_fail(err, RANKD_INTERNAL, "the system has no randomness");
    else if (store->ops->check(store, false, &why) == RANKD_UNSUPPORTED)
        (void)rk_fail(err, why.status, "%s", why.text);
    else if (make_cache(shared, config->data, err) == RANKD_OK)
        (void)!start_threads(shared, err);
    if (err->status == RANKD_OK)
        return shared;
    banks->replicas = NULL;
    rk_replicas_stop(shared);
    return NULL;
}

void rk_replicas_stop(struct rk_replicas *shared)
{
    if (!shared)
        return;
    pthread_mutex_lock(&shared->lock);
    shared->stopping = true;
    pthread_cond_broadcast(&shared->changed);
    pthread_cond_broadcast(&shared->due);
    pthread_mutex_unlock(&shared->lock);
    if (shared->tailing)
        pthread_join(shared->tail, NULL);
    if (shared->auditing)
        pthread_join(shared->audit, NULL);
    if (shared->joins)
        rk_threads_stop(&shared->join);
    shared->store->ops->close(shared->store);
    pthread_mutex_destroy(&shared->lock);
    pthread_cond_destroy(&shared->changed);
    pthread_cond_destroy(&shared->due);
    free(shared);
}
