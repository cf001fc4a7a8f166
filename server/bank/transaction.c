/* SPDX-License-Identifier: Apache-2.0 */
/* A bank in a request: which version it reads, whether its batch was appended before, the
 * append. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "bank/append.h"
#include "bank/registry.h"
#include "bank/replica.h"
#include "bank/retries.h"
#include "base/clock.h"
#include "base/number.h"
#include "request/appended.h"
#include "request/empty.h"

enum { WAIT_MOST_S = 60 };
#define WAIT_MOST_NS (WAIT_MOST_S * UINT64_C(1000000000))

/* The lock is held. */
static enum rankd_status begin_retry(struct rk_bank_transaction *transaction, const struct rk_batch_id *known,
                                     const char *batch_id, struct rk_err *err)
{
    struct rk_durable_bank *bank = transaction->bank;
    /* A restore raised the generation of what lies behind it; the items are the same ones. */
    struct rk_bank_position read = known->read;
    const char *did = known->appended ? "appended to" : "an empty batch for";
    const unsigned long long version = known->appended ? known->appended : read.version;
    read.generation = bank->next.generation;
    transaction->append.id = *known;
    transaction->retry = true;
    if (known->read.generation < bank->cleared)
        return rk_fail(err, RANKD_CONFLICT,
                       "batch_id \"%.64s\" was %s bank \"%s\" at version %llu, before it was cleared; "
                       "send the next batch with an id of its own",
                       batch_id, did, bank->name, version);
    transaction->view = rk_bank_hold_at(bank->memory, read);
    if (!transaction->view)
        return rk_fail(err, RANKD_CONFLICT,
                       "batch_id \"%.64s\" was %s bank \"%s\" at version %llu, and the items that it was "
                       "computed against are gone; send the next batch with an id of its own",
                       batch_id, did, bank->name, version);
    return RANKD_OK;
}

/* --- a version by its number --- */

static enum rankd_status wait_for_version(struct rk_bank_transaction *transaction, uint64_t version,
                                          bool *later, struct rk_err *err)
{
    struct rk_durable_bank *bank = transaction->bank;
    const uint64_t now = rk_now_ns();
    if (!transaction->deadline_ns)
        transaction->deadline_ns = now + WAIT_MOST_NS;
    if (now >= transaction->deadline_ns)
        return rk_fail(err, RANKD_DEADLINE,
                       "the deadline passed before bank \"%s\" had version %llu; it is at version %llu",
                       bank->name, (unsigned long long)version, (unsigned long long)bank->next.version);
    if (bank->refused[0])
        return rk_fail(err, RANKD_INTERNAL,
                       "bank \"%s\" takes no appends, so version %llu will not come: %.300s", bank->name,
                       (unsigned long long)version, bank->refused);
    if (bank->refusing && atomic_load(bank->refusing))
        return rk_fail(err, RANKD_OVERLOADED, "rankd is shutting down; try again");
    *later = true;
    transaction->wait_version = version;
    rk_retries_wait(transaction);
    if (bank->replica)
        rk_replicas_hasten(bank->replica->shared);
    return RANKD_OK;
}

/* Holds the version that the request asks for, if it asks for one. The lock is held. */
static enum rankd_status hold_version(struct rk_bank_transaction *transaction, double asked, bool *later,
                                      struct rk_err *err)
{
    struct rk_durable_bank *bank = transaction->bank;
    uint64_t oldest;
    if (asked != floor(asked))
        return rk_fail(err, RANKD_INVALID,
                       "bank_version was %s; it must be a whole number, or -1 for the newest",
                       rk_number_text(asked, (char[RK_NUMBER_TEXT]){0}));
    if (asked < 0)
        return RANKD_OK;
    const uint64_t version = (uint64_t)asked;
    if (version > bank->next.version)
        return wait_for_version(transaction, version, later, err);
    transaction->wait_version = 0;
    transaction->view = rk_bank_hold_version(bank->memory, version, &oldest);
    if (transaction->view)
        return RANKD_OK;
    return rk_fail(err, RANKD_CONFLICT, "version %llu of bank \"%s\" is gone here; the oldest is %llu",
                   (unsigned long long)version, bank->name, (unsigned long long)oldest);
}

/* --- a batch by its name --- */

/* Decides between a first time and a retry. The lock is held. */
static enum rankd_status begin_named(struct rk_bank_transaction *transaction,
                                     const struct rk_request *request, bool *later, struct rk_err *err)
{
    struct rk_durable_bank *bank = transaction->bank;
    const char *batch_id = request->params.batch_id;
    uint64_t *name = transaction->append.id.name;
    rk_ids_name(batch_id, name);
    if (rk_retries_is_running(bank, name)) { /* the original of a retry */
        if (transaction->deadline_ns && rk_now_ns() >= transaction->deadline_ns)
            return rk_fail(
                err, RANKD_DEADLINE,
                "the deadline passed while an earlier request with the same batch_id was computed");
        *later = true;
        rk_retries_wait(transaction);
        return RANKD_OK;
    }
    const struct rk_batch_id *known = rk_ids_find(&bank->ids, name);
    if (!known) {
        if (hold_version(transaction, request->params.bank_version, later, err) != RANKD_OK || *later)
            return err->status;
        if (!rk_retries_begin(bank, name))
            return rk_fail(err, RANKD_OVERLOADED, "no memory for the request");
        transaction->running = true;
        return RANKD_OK;
    }
    return begin_retry(transaction, known, batch_id, err);
}

static enum rankd_status begin_locked(struct rk_bank_transaction *transaction,
                                      const struct rk_request *request, bool *later, struct rk_err *err)
{
    struct rk_durable_bank *bank = transaction->bank;
    if (bank->unreadable)
        return rk_fail(err, RANKD_INTERNAL, "bank \"%s\" could not be read back: %.400s", bank->name,
                       bank->refused);
    if (bank->replica && rk_replica_check(bank, err) != RANKD_OK)
        return err->status;
    if (request->params.batch_id[0] && request->params.enqueue)
        return begin_named(transaction, request, later, err);
    return hold_version(transaction, request->params.bank_version, later, err);
}

/* What the request ranks of the version. */
static enum rankd_status narrow(struct rk_bank_transaction *transaction, const struct rk_params *params,
                                struct rk_err *err)
{
    if (params->bank_read && params->bank_max_age == 0)
        return RANKD_OK;
    transaction->part = rk_bank_hold_newer(transaction->bank->memory, transaction->view,
                                           params->bank_read ? params->bank_max_age : 0);
    if (transaction->part)
        return RANKD_OK;
    return rk_fail(
        err, RANKD_OVERLOADED,
        "the items of the newest %llu versions of bank \"%s\" can't be told from the others now; try "
        "again after a while",
        (unsigned long long)params->bank_max_age, transaction->bank->name);
}

enum rankd_status rk_bank_transaction_begin(struct rk_banks *banks, struct rk_request *request,
                                            uint64_t deadline_ns, struct rk_bank_transaction *transaction,
                                            bool *later, struct rk_err *err)
{
    *later = false;
    if (!request->params.bank[0])
        return RANKD_OK;
    if (!transaction->bank) /* it has waited: the one that it waited for, whatever has its name now */
        transaction->bank = rk_banks_find(banks, request->params.bank, err);
    if (!transaction->bank)
        return err->status;
    struct rk_durable_bank *bank = transaction->bank;
    if (deadline_ns || !transaction->wait_version) /* of one that waits without a deadline, it has one */
        transaction->deadline_ns = deadline_ns;
    pthread_mutex_lock(&bank->lock);
    enum rankd_status status = begin_locked(transaction, request, later, err);
    if (status == RANKD_OK && !*later && !transaction->view)
        transaction->view = rk_bank_hold(bank->memory);
    if (status == RANKD_OK && !*later)
        status = narrow(transaction, &request->params, err);
    pthread_mutex_unlock(&bank->lock);
    if (*later)
        return RANKD_OK;
    if (status != RANKD_OK) {
        rk_bank_transaction_end(transaction);
        return status;
    }
    request->bank_snapshot = transaction->part ? transaction->part : transaction->view;
    request->bank_whole = transaction->view;
    return RANKD_OK;
}

static enum rankd_status check_retry(const struct rk_bank_transaction *transaction, uint64_t content,
                                     const char *batch_id, struct rk_err *err)
{
    if (content != transaction->append.id.content)
        return rk_fail(
            err, RANKD_CONFLICT,
            "batch_id \"%.64s\" was used for another batch before; each batch needs an id of its own",
            batch_id);
    return RANKD_OK;
}

static size_t bytes_of_batch(const struct rk_request *request)
{
    const struct rk_appended items = rk_request_appended(request);
    const enum rk_input parts[] = {RK_IN_SCORES, RK_IN_TARGETS, items.rows,
                                   items.labels, items.ids,     RK_IN_ENQUEUE_MASK};
    size_t bytes = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        bytes += request->in[parts[i]].data ? request->in[parts[i]].bytes : 0;
    return bytes;
}

/* What this copy has, its tail may have brought before any replica had it, and the store may lose
 * it yet: a retry is no acknowledgement by itself. Sent again, the batch is known there by its
 * name, and waited for. */
static bool needs_confirmation(const struct rk_durable_bank *bank)
{
    return bank->replica && bank->config.durability != RK_DURABILITY_NONE;
}

/* In a store every batch has a name, so that one that is sent again is known; and nobody waits
 * longer than the store's timeout. */
static enum rankd_status begin_stored(struct rk_bank_transaction *transaction, struct rk_err *err)
{
    struct rk_append *append = &transaction->append;
    uint64_t *name = append->id.name;
    if (!append->named && getrandom(name, sizeof append->id.name, 0) != (ssize_t)sizeof append->id.name)
        return rk_fail(err, RANKD_INTERNAL, "the system has no randomness");
    name[1] |= 1;
    append->stored.give_up_ns = rk_now_ns() + transaction->bank->replica->shared->timeout_ns;
    if (append->deadline_ns && append->deadline_ns < append->stored.give_up_ns)
        append->stored.give_up_ns = append->deadline_ns;
    return RANKD_OK;
}

enum rankd_status rk_bank_transaction_append(struct rk_bank_transaction *transaction,
                                             const struct rk_request *request, struct rk_info *info,
                                             bool *later, struct rk_err *err)
{
    struct rk_append *append = &transaction->append;
    *later = false;
    if (!transaction->bank || !request->params.enqueue)
        return RANKD_OK;
    append->empty = rk_request_appends_nothing(request);
    if (append->empty && !request->params.batch_id[0])
        return RANKD_OK;
    if (rk_batch_new(&transaction->bank->config.shape, request, &append->batch, err) != RANKD_OK)
        return err->status;
    transaction->copied = bytes_of_batch(request);
    uint64_t content = rk_record_hash(append->batch.block, append->batch.bytes);
    if (transaction->retry && check_retry(transaction, content, request->params.batch_id, err) != RANKD_OK)
        return err->status;
    append->confirms = transaction->retry && needs_confirmation(transaction->bank);
    if (transaction->retry && !append->confirms)
        return rk_bank_transaction_appended(transaction, info, err);
    append->read = rk_bank_snapshot_position(transaction->view);
    if (!transaction->retry) {
        append->id.content = content;
        append->id.read = append->read;
    }
    append->waiter = &transaction->waiter;
    append->deadline_ns = transaction->deadline_ns;
    append->named = request->params.batch_id[0] != '\0';
    if (transaction->bank->replica && begin_stored(transaction, err) != RANKD_OK)
        return err->status;
    if (rk_durable_bank_append(transaction->bank, append))
        return rk_bank_transaction_appended(transaction, info, err);
    *later = true;
    return RANKD_OK;
}

enum rankd_status rk_bank_transaction_appended(struct rk_bank_transaction *transaction, struct rk_info *info,
                                               struct rk_err *err)
{
    const struct rk_append *append = &transaction->append;
    if (append->err.status != RANKD_OK)
        return rk_fail(err, append->err.status, "%s", append->err.text);
    info->bank_version_appended = append->id.appended;
    return RANKD_OK;
}

bool rk_bank_transaction_begin_again(struct rk_bank_transaction *transaction)
{
    const bool again = transaction->append.again && transaction->append.err.status == RANKD_OK;
    if (again)
        rk_bank_transaction_end(transaction);
    return again;
}

void rk_bank_transaction_describe(struct rk_bank_transaction *transaction, struct rk_info *info)
{
    struct rk_durable_bank *bank = transaction->bank;
    struct rk_chain chain = {{0}};
    if (!bank || !bank->replica || !transaction->view)
        return;
    const struct rk_bank_position read = rk_bank_snapshot_position(transaction->view);
    const uint64_t now = rk_now_ns();
    info->has_chain = true;
    info->bank_chain[0] = '\0';
    pthread_mutex_lock(&bank->lock);
    if (read.generation == bank->next.generation && rk_bank_tag_of(bank->memory, read.version, chain.byte) &&
        !rk_chain_same(chain, (struct rk_chain){{0}}))
        rk_chain_text(chain, info->bank_chain);
    const uint64_t audited = bank->replica->audited_ns;
    pthread_mutex_unlock(&bank->lock);
    const uint64_t stale_ms = now > audited ? (now - audited) / 1000000 : 0;
    rk_info_number(info, RANKD_REPLY_BANK_STALE_MS, (double)stale_ms);
}

void rk_bank_transaction_count(struct rk_bank_transaction *transaction, const struct rk_info *info)
{
    /* A gradient of zero has no share that could be dropped; counted, it would make that of the
     * others small. */
    if (!transaction->bank || !info->has_gradient ||
        (info->gradient_nonzero == 0 && info->gradient_dropped == 0))
        return;
    atomic_fetch_add(&transaction->bank->gradients, 1);
    atomic_fetch_add(&transaction->bank->dropped_e9, (uint64_t)(info->gradient_dropped * 1e9));
}

void rk_bank_transaction_end(struct rk_bank_transaction *transaction)
{
    struct rk_durable_bank *bank = transaction->bank;
    if (!bank)
        return;
    if (transaction->view)
        rk_bank_release(transaction->view);
    if (transaction->part)
        rk_bank_release(transaction->part);
    rk_batch_free(&transaction->append.batch);
    if (transaction->running) {
        pthread_mutex_lock(&bank->lock);
        rk_retries_end(bank, transaction->append.id.name);
        pthread_mutex_unlock(&bank->lock);
    }
    rk_durable_bank_release(bank);
    memset(transaction, 0, sizeof *transaction);
}
