/* SPDX-License-Identifier: Apache-2.0 */
/* Restore and clear, which begin a new generation. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bank/checkpoint.h"
#include "bank/disk.h"
#include "bank/folders.h"
#include "bank/manifests.h"
#include "bank/writer_lock.h"

/* A restored journal with more files than this is written anew, because each restore adds one. */
enum { SEGMENTS_MAX = 64 };

/* Links the checkpoint's segments into a folder of their own: the live journal continues in a new
 * segment and never writes to the linked ones. */
static enum rankd_status link_back(const struct rk_durable_bank *bank, const char *tag, const char *folder,
                                   struct rk_err *err)
{
    char from[PATH_MAX], to[PATH_MAX], source[PATH_MAX];
    if (rk_checkpoint_path(bank, "", tag, source, sizeof source, err) != RANKD_OK ||
        rk_folder_make(folder, err) != RANKD_OK)
        return err->status;
    DIR *segments = opendir(source);
    if (!segments)
        return rk_file_failed(err, "read", source);
    for (struct dirent *segment; err->status == RANKD_OK && (segment = readdir(segments));) {
        const char *name = segment->d_name;
        bool fits = (size_t)snprintf(from, sizeof from, "%s/%s", source, name) < sizeof from &&
                    (size_t)snprintf(to, sizeof to, "%s/%s", folder, name) < sizeof to;
        if (fits && strstr(name, ".seg"))
            (void)!rk_file_link(from, to, err);
    }
    (void)closedir(segments);
    return err->status;
}

/* All files may be intact but the last one missing: the manifest tells where the checkpoint
 * ends. */
static enum rankd_status check_end(const struct rk_durable_bank *fresh, const char *folder,
                                   const struct rk_checkpoint *checkpoint, struct rk_err *err)
{
    size_t items = rk_bank_items(fresh->memory);
    if (fresh->next.version == checkpoint->version && items == checkpoint->items)
        return RANKD_OK;
    return rk_fail(
        err, RANKD_INTERNAL,
        "the checkpoint is damaged: its files end at version %llu with %zu items, and its manifest "
        "says version %llu with %llu (read in %.200s)",
        (unsigned long long)fresh->next.version, items, (unsigned long long)checkpoint->version,
        (unsigned long long)checkpoint->items, folder);
}

/* Reads the linked journal into `fresh` and begins the new generation behind it. `checkpoint` NULL:
 * its manifest is damaged, and only its files are used. */
static enum rankd_status read_back(struct rk_durable_bank *fresh, const char *folder,
                                   const struct rk_checkpoint *checkpoint, uint64_t generation,
                                   struct rk_err *err)
{
    if (rk_durable_bank_read(fresh, folder, &fresh->journal, err) != RANKD_OK ||
        (checkpoint && check_end(fresh, folder, checkpoint, err) != RANKD_OK))
        return err->status;
    fresh->next.generation = generation;
    if (rk_durable_bank_rotate(fresh, fresh->journal, err) != RANKD_OK)
        return err->status;
    return rk_bank_set_generation(fresh->memory, generation, err);
}

/* Exchanges the contents of the bank and of `fresh`. Requests that hold a version of the old
 * content keep it. The lock and the writer lock are held. */
static void exchange(struct rk_durable_bank *bank, struct rk_durable_bank *fresh)
{
    struct rk_bank *memory = bank->memory;
    struct rk_journal *journal = bank->journal;
    struct rk_ids ids = bank->ids;
    bank->memory = fresh->memory;
    bank->journal = fresh->journal;
    bank->ids = fresh->ids;
    fresh->memory = memory;
    fresh->journal = journal;
    fresh->ids = ids;
    bank->next = fresh->next;
    bank->base = fresh->base;
    bank->cleared = fresh->cleared;
    bank->refused[0] = '\0';
    bank->unreadable = bank->nameless = bank->undurable = bank->dirty = false;
}

/* The checkpoint is read into a second bank while this one serves readers; on failure this one
 * stays unchanged. For a while both are in memory. The writer lock is held. */
static enum rankd_status restore_beside(struct rk_durable_bank *bank, const char *tag,
                                        const struct rk_checkpoint *checkpoint, struct rk_err *err)
{
    char folder[PATH_MAX];
    uint64_t number = bank->live + 1;
    struct rk_durable_bank *fresh = rk_durable_bank_new(bank->name, &bank->config);
    if (!fresh)
        return rk_fail(err, RANKD_OVERLOADED, "no memory to restore");
    fresh->io = bank->io;
    (void)snprintf(folder, sizeof folder, "%s/live-%llu", bank->path, (unsigned long long)number);
    rk_folder_remove(folder);
    if (link_back(bank, tag, folder, err) != RANKD_OK ||
        read_back(fresh, folder, checkpoint, bank->next.generation + 1, err) != RANKD_OK) {
        rk_folder_remove(folder);
    } else if (rk_durable_bank_switch(bank, number, err) == RANKD_OK) {
        pthread_mutex_lock(&bank->lock);
        exchange(bank, fresh);
        pthread_mutex_unlock(&bank->lock);
    }
    fresh->io = NULL; /* borrowed from the bank */
    rk_durable_bank_release(fresh);
    return err->status;
}

/* Rewrites a journal of many small segments, which alternating restores and appends would
 * collect. */
static void gather_segments(struct rk_durable_bank *bank)
{
    struct rk_err ignored = {0}; /* the bank stays unchanged */
    if (rk_journal_segments(bank->journal) > SEGMENTS_MAX &&
        rk_journal_bytes(bank->journal) / SEGMENTS_MAX < rk_rule_segment_bytes(&bank->config.shape) / 4)
        (void)!rk_durable_bank_rewrite(bank, bank->next, false, &ignored);
}

static enum rankd_status check_there(struct rk_durable_bank *bank, const char *tag,
                                     struct rk_checkpoint *checkpoint, bool *damaged, struct rk_err *err)
{
    struct rk_err why = {0};
    *damaged = false;
    if (rk_checkpoint_read(bank, tag, NULL, checkpoint, &why) != RANKD_OK) {
        *damaged = why.status == RANKD_INTERNAL;
        return *damaged ? RANKD_OK : rk_fail(err, why.status, "%s", why.text);
    }
    struct rk_bank_config config = checkpoint->config;
    config.durability = bank->config.durability; /* items do not depend on these */
    config.on_full = bank->config.on_full;
    if (!rk_bank_config_same(&config, &bank->config))
        return rk_fail(
            err, RANKD_CONFLICT,
            "checkpoint \"%s\" was taken of a bank of another configuration than \"%s\" has; it can only be "
            "restored onto the same",
            tag, bank->name);
    return RANKD_OK;
}

enum rankd_status rk_durable_bank_restore(struct rk_durable_bank *bank, const char *tag, struct rk_err *err)
{
    struct rk_checkpoint checkpoint;
    bool damaged;
    if (rk_checkpoint_needs_disk(bank, err) != RANKD_OK ||
        check_there(bank, tag, &checkpoint, &damaged, err) != RANKD_OK)
        return err->status;
    pthread_mutex_lock(&bank->lock);
    rk_durable_bank_writer_lock(bank);
    pthread_mutex_unlock(&bank->lock);
    if (restore_beside(bank, tag, damaged ? NULL : &checkpoint, err) == RANKD_OK)
        gather_segments(bank);
    pthread_mutex_lock(&bank->lock);
    rk_durable_bank_writer_release(bank);
    pthread_mutex_unlock(&bank->lock);
    return err->status;
}

/* --- clear --- */

/* The lock is held. Must not fail, because the disk has been cleared. */
static void clear_memory(struct rk_durable_bank *bank, struct rk_bank_position point,
                         struct rk_bank_reservation *room)
{
    rk_bank_reset_reserved(bank->memory, point, true, room);
    bank->next = point;
    bank->base = point.end;
    bank->cleared = point.generation; /* the ids stay, because their batches must not be appended twice */
    bank->refused[0] = '\0';
    bank->unreadable = bank->undurable = bank->dirty = false;
}

/* The writer lock is held; the lock too, except during disk operations. */
static enum rankd_status clear_all(struct rk_durable_bank *bank, struct rk_err *err)
{
    const struct rk_bank_position point = {bank->next.generation + 1, bank->next.version, bank->next.end};
    if (bank->nameless)
        return rk_fail(err, RANKD_CONFLICT,
                       "the configuration of bank \"%s\" is lost with its manifest; restore a checkpoint, or "
                       "delete it",
                       bank->name);
    struct rk_bank_reservation *room = rk_bank_reserve(bank->memory, 0, err);
    if (!room)
        return err->status;
    if (bank->io) {
        pthread_mutex_unlock(&bank->lock);
        (void)!rk_durable_bank_rewrite(bank, point, true, err);
        pthread_mutex_lock(&bank->lock);
    }
    if (err->status == RANKD_OK)
        clear_memory(bank, point, room);
    else
        rk_bank_unreserve(bank->memory, room);
    return err->status;
}

enum rankd_status rk_durable_bank_clear(struct rk_durable_bank *bank, struct rk_err *err)
{
    pthread_mutex_lock(&bank->lock);
    rk_durable_bank_writer_lock(bank);
    (void)!clear_all(bank, err);
    rk_durable_bank_writer_release(bank);
    pthread_mutex_unlock(&bank->lock);
    return err->status;
}
