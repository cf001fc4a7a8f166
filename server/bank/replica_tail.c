/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that follows the indexes of all banks and applies new entries. This daemon's own
 * batches come from memory, the payloads of others from the store. */
#include <stdlib.h>
#include <string.h>

#include "bank/kind.h"
#include "bank/payload_cache.h"
#include "bank/registry.h"
#include "bank/replica.h"
#include "base/clock.h"

/* A daemon that is the only one to append would read back each of its own batches, at the cost of a
 * wake-up of the store and of this thread. So it rests between two reads until one contains a batch
 * of another daemon. */
enum { IDLE_MS = 100, ECHO_MS = 2, ALONE_NS = 100000000 };

/* New entries, of one bank after the other. */
struct tail_read {
    struct rk_stored_entry *entry;
    char (*bank)[RK_STORED_NAME_BYTES];
    size_t count, room;
};

static enum rankd_status collect(void *context, const char *bank, const struct rk_stored_entry *entry,
                                 struct rk_err *err)
{
    struct tail_read *read = context;
    if (read->count == read->room) {
        const size_t room = read->room ? read->room * 2 : 64;
        struct rk_stored_entry *entries = realloc(read->entry, room * sizeof *entries);
        if (entries)
            read->entry = entries;
        char(*names)[RK_STORED_NAME_BYTES] = entries ? realloc(read->bank, room * sizeof *names) : NULL;
        if (!names)
            return rk_fail(err, RANKD_OVERLOADED, "no memory for what is new in the store");
        read->bank = names;
        read->room = room;
    }
    read->entry[read->count] = *entry;
    memcpy(read->bank[read->count++], bank, strlen(bank) + 1);
    return RANKD_OK;
}

/* --- of one bank --- */

struct tail_apply {
    struct rk_durable_bank *bank;
    const struct rk_stored_entry *entry; /* all new ones */
    size_t count, done;
    struct rk_stored_entry *wanted; /* those whose payloads are requested */
    size_t *place;                  /* the index of each among the new ones */
    size_t wanted_count;
    bool over; /* no later entry can be applied */
};

/* The lock is not held. `batch` NULL: an entry without a payload. */
static void apply_one(struct tail_apply *apply, const struct rk_stored_entry *entry,
                      const struct rk_batch *batch)
{
    struct rk_durable_bank *bank = apply->bank;
    pthread_mutex_lock(&bank->lock);
    const enum rk_replica_applied applied = rk_replica_apply(bank, entry, batch);
    if (applied == RK_APPLY_JOIN)
        rk_replica_rejoin(bank);
    else if (applied == RK_APPLY_FORKED)
        rk_replica_fork(bank, entry->place.version);
    apply->over = applied != RK_APPLIED;
    pthread_mutex_unlock(&bank->lock);
}

/* Applies the entries up to number `end`, none of which needs a payload. */
static void apply_plain(struct tail_apply *apply, size_t end)
{
    while (!apply->over && apply->done < end)
        apply_one(apply, &apply->entry[apply->done++], NULL);
}

static enum rankd_status on_payload(void *context, size_t i, const void *bytes, size_t count,
                                    struct rk_err *err)
{
    struct tail_apply *apply = context;
    struct rk_batch batch;
    apply_plain(apply, apply->place[i]);
    if (apply->over)
        return RANKD_OK; /* the rest of the pipeline has to be read anyway */
    if (!bytes) {        /* deleted before it was read */
        pthread_mutex_lock(&apply->bank->lock);
        rk_replica_rejoin(apply->bank);
        pthread_mutex_unlock(&apply->bank->lock);
        apply->over = true;
        return RANKD_OK;
    }
    if (rk_stored_payload_read(bytes, count, &apply->bank->config.shape, &apply->wanted[i], &batch, err) !=
        RANKD_OK)
        return err->status;
    apply_one(apply, &apply->wanted[i], &batch);
    rk_payload_cache_put(apply->bank->cache, bytes, count);
    apply->done = apply->place[i] + 1;
    rk_batch_free(&batch);
    return RANKD_OK;
}

/* The size of a payload follows from its items: a payload of another size is not requested. */
static bool size_fits(const struct rk_bank_shape *shape, const struct rk_stored_entry *entry)
{
    return entry->items <= shape->capacity && entry->bytes == sizeof(struct rk_record_head) +
                                                                  sizeof(struct rk_batch_id) +
                                                                  entry->items * rk_batch_item_bytes(shape);
}

static enum rankd_status find_wanted(struct tail_apply *apply, struct rk_err *err)
{
    pthread_mutex_lock(&apply->bank->lock);
    for (size_t i = 0; i < apply->count; i++) {
        const struct rk_stored_entry *entry = &apply->entry[i];
        if (!rk_replica_needs_payload(apply->bank, entry))
            continue;
        if (!size_fits(&apply->bank->config.shape, entry))
            (void)rk_fail(
                err, RANKD_INTERNAL,
                "bank \"%s\": an entry in the store has %llu items in %llu bytes, which no batch of it "
                "has",
                apply->bank->name, (unsigned long long)entry->items, (unsigned long long)entry->bytes);
        apply->wanted[apply->wanted_count] = *entry;
        apply->place[apply->wanted_count++] = i;
    }
    pthread_mutex_unlock(&apply->bank->lock);
    return err->status;
}

static enum rankd_status apply_bank(struct rk_replicas *shared, struct rk_durable_bank *bank,
                                    const struct rk_stored_entry *entry, size_t count, struct rk_err *err)
{
    struct tail_apply apply = {.bank = bank, .entry = entry, .count = count};
    apply.wanted = calloc(count, sizeof *apply.wanted);
    apply.place = calloc(count, sizeof *apply.place);
    if (!apply.wanted || !apply.place)
        (void)rk_fail(err, RANKD_OVERLOADED, "no memory for what is new in the store");
    else if (find_wanted(&apply, err) == RANKD_OK && apply.wanted_count)
        (void)!shared->store->ops->payloads(shared->store, bank->name, apply.wanted, apply.wanted_count, true,
                                            on_payload, &apply, err);
    if (apply.wanted_count) {
        shared->echo = false;
        shared->news_ns = rk_now_ns();
    }
    if (err->status == RANKD_OK)
        apply_plain(&apply, count);
    free(apply.wanted);
    free(apply.place);
    return err->status;
}

/* --- of all --- */

static size_t make_cursors(struct rk_durable_bank **all, size_t count, struct rk_stored_cursor *cursor)
{
    size_t made = 0;
    for (size_t i = 0; i < count; i++) {
        struct rk_durable_bank *bank = all[i];
        pthread_mutex_lock(&bank->lock);
        if (bank->replica && !bank->replica->joining && !bank->replica->gone) {
            memcpy(cursor[made].bank, bank->name, sizeof cursor[made].bank);
            cursor[made].place = (struct rk_stored_place){bank->next.version, bank->replica->sub};
            made++;
        }
        pthread_mutex_unlock(&bank->lock);
    }
    return made;
}

static struct rk_durable_bank *find_bank(struct rk_durable_bank **all, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(all[i]->name, name) == 0)
            return all[i];
    }
    return NULL;
}

/* A fault of one bank does not delay the others: the bank is read anew, and the error reported. */
static void apply_all(struct rk_replicas *shared, struct rk_durable_bank **all, size_t count,
                      const struct tail_read *read, struct rk_err *err)
{
    for (size_t i = 0, run; i < read->count; i += run) {
        struct rk_err why = {0};
        run = 1;
        while (i + run < read->count && strcmp(read->bank[i + run], read->bank[i]) == 0)
            run++;
        struct rk_durable_bank *bank = find_bank(all, count, read->bank[i]);
        if (!bank || apply_bank(shared, bank, read->entry + i, run, &why) == RANKD_OK)
            continue;
        if (why.status == RANKD_INTERNAL) {
            pthread_mutex_lock(&bank->lock);
            rk_replica_rejoin(bank);
            pthread_mutex_unlock(&bank->lock);
        }
        (void)rk_fail(err, why.status, "%s", why.text);
    }
}

enum rankd_status rk_replica_tail_once(struct rk_replicas *shared, uint64_t wait_ms, struct rk_err *err)
{
    size_t count;
    struct tail_read read = {0};
    struct rk_durable_bank **all = rk_banks_hold_all(shared->banks, &count);
    struct rk_stored_cursor *cursor = calloc(count + 1, sizeof *cursor);
    const size_t made = cursor ? make_cursors(all, count, cursor) : 0;
    if (made)
        (void)!shared->store->ops->tail(shared->store, cursor, made, wait_ms, collect, &read, err);
    shared->echo = read.count > 0;
    apply_all(shared, all, count, &read, err);
    free(read.entry);
    free(read.bank);
    free(cursor);
    rk_banks_release_all(all, count);
    if (!made && err->status == RANKD_OK)
        return rk_fail(err, RANKD_NOT_FOUND, "there is no bank to follow");
    return err->status;
}

static void rest(struct rk_replicas *shared, uint64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)ms * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&shared->lock);
    if (!shared->stopping && !shared->hastened)
        (void)pthread_cond_clockwait(&shared->due, &shared->lock, CLOCK_MONOTONIC, &until);
    shared->hastened = false;
    pthread_mutex_unlock(&shared->lock);
}

/* A bank that is being joined is not followed; it is checked again after IDLE_MS. */
void *rk_replica_tail_loop(void *arg)
{
    struct rk_replicas *shared = arg;
    while (!rk_replicas_stopping(shared)) {
        struct rk_err err = {0};
        if (rk_replica_tail_once(shared, IDLE_MS, &err) != RANKD_OK)
            rest(shared, IDLE_MS / 5);
        else if (shared->echo && rk_now_ns() - shared->news_ns > ALONE_NS)
            rest(shared, ECHO_MS);
    }
    return NULL;
}
