/* SPDX-License-Identifier: Apache-2.0 */
/* A bank's folder:
 *
 *   bank                 its configuration and which journal is the live one; replaced by rename
 *   live-<number>/       the journal
 *   checkpoints/<tag>/   segments that are shared with it by hard links, and a manifest */
#include "bank/disk.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bank/folders.h"
#include "bank/kind.h"
#include "bank/manifests.h"
#include "bank/writer_lock.h"
#include "base/clock.h"

static void live_path(const struct rk_durable_bank *bank, uint64_t number, char *path, size_t size)
{
    (void)snprintf(path, size, "%s/live-%llu", bank->path, (unsigned long long)number);
}

/* --- the manifest --- */

static enum rankd_status write_manifest(const struct rk_durable_bank *bank, uint64_t live, bool *replaced,
                                        struct rk_err *err)
{
    struct rk_text text = {0};
    rk_json_open(&text, NULL, '{');
    rk_bank_config_write(&text, &bank->config);
    rk_json_uint(&text, "live", live);
    rk_json_close(&text, '}');
    size_t bytes;
    char *json = rk_text_take(&text, &bytes);
    if (!json)
        return rk_fail(err, RANKD_OVERLOADED, "no memory to write a manifest");
    enum rankd_status status = rk_file_replace(bank->path, "bank", json, bytes, replaced, err);
    free(json);
    return status;
}

static enum rankd_status read_manifest(const char *folder, struct rk_bank_config *config, uint64_t *live,
                                       struct rk_err *err)
{
    char path[PATH_MAX], json[4096];
    size_t bytes;
    struct rk_err why = {0};
    (void)snprintf(path, sizeof path, "%s/bank", folder);
    if (!rk_file_read(path, json, sizeof json, &bytes))
        return rk_fail(err, RANKD_INTERNAL, "the manifest %s is missing, or can't be read", path);
    if (rk_bank_config_parse(json, bytes, config, live, &why) == RANKD_OK && *live > 0)
        return RANKD_OK;
    return rk_fail(err, RANKD_INTERNAL, "the manifest %s is damaged (%s); restore a checkpoint, or delete it",
                   path, why.text[0] ? why.text : "it names no journal");
}

enum rankd_status rk_durable_bank_switch(struct rk_durable_bank *bank, uint64_t number, struct rk_err *err)
{
    char path[PATH_MAX];
    uint64_t old = bank->live;
    bool replaced = false;
    if (rk_sync_folder(bank->path, err) != RANKD_OK ||
        write_manifest(bank, number, &replaced, err) != RANKD_OK) {
        live_path(bank, number, path, sizeof path);
        if (!replaced)
            rk_folder_remove(path);
        pthread_mutex_lock(&bank->lock);
        if (replaced)
            rk_durable_bank_refuse(bank, err);
        pthread_mutex_unlock(&bank->lock);
        return err->status;
    }
    bank->live = number;
    if (old && old != number) {
        live_path(bank, old, path, sizeof path);
        rk_folder_remove(path);
    }
    return RANKD_OK;
}

enum rankd_status rk_durable_bank_rotate(struct rk_durable_bank *bank, struct rk_journal *journal,
                                         struct rk_err *err)
{
    size_t count;
    const struct rk_batch_id *ids = rk_durable_bank_known_ids(bank, &count);
    return rk_journal_rotate(journal, bank->next, ids, count, err);
}

/* --- writing anew --- */

/* The items in memory, one record per chunk. */
static enum rankd_status write_view(struct rk_journal *journal, const struct rk_bank_shape *shape,
                                    const struct rk_bank_snapshot *view, struct rk_bank_position point,
                                    struct rk_err *err)
{
    uint64_t first = point.end - view->items;
    size_t chunks = rk_bank_snapshot_chunks(view);
    for (size_t c = 0; c < chunks; c++) {
        struct rk_batch batch;
        struct rk_err why = {0};
        if (rk_bank_snapshot_batch(shape, view, c, &batch, &why) != RANKD_OK)
            return rk_fail(err, RANKD_OVERLOADED, "no memory to write the bank anew");
        enum rankd_status status =
            rk_journal_append(journal, &batch, point, first, c + 1 < chunks, NULL, err);
        first += batch.items;
        rk_batch_free(&batch);
        if (status != RANKD_OK)
            return status;
    }
    return RANKD_OK;
}

static enum rankd_status new_journal(struct rk_durable_bank *bank, const char *path,
                                     struct rk_bank_position point, bool empty, struct rk_journal **out,
                                     struct rk_err *err)
{
    const struct rk_bank_snapshot *view = rk_bank_hold(bank->memory);
    size_t count;
    const struct rk_batch_id *ids = rk_durable_bank_known_ids(bank, &count);
    struct rk_bank_position start = point;
    const struct rk_origin origin = empty ? (struct rk_origin){point.end, point.generation}
                                          : (struct rk_origin){bank->base, bank->cleared};
    if (!empty && view->items > 0) {
        start.end -= view->items;
        start.version--; /* the view is the next one, in parts */
    }
    enum rankd_status status = rk_folder_make(path, err);
    if (status == RANKD_OK)
        status = rk_journal_create(path, &bank->config.shape, bank->io, origin, start, ids, count, out, err);
    if (status == RANKD_OK && !empty && view->items > 0) {
        status = write_view(*out, &bank->config.shape, view, point, err);
        if (status == RANKD_OK)
            status = rk_journal_sync(*out, err);
        if (status != RANKD_OK) {
            rk_journal_close(*out);
            *out = NULL;
        }
    }
    rk_bank_release(view);
    return status;
}

enum rankd_status rk_durable_bank_rewrite(struct rk_durable_bank *bank, struct rk_bank_position point,
                                          bool empty, struct rk_err *err)
{
    char path[PATH_MAX];
    struct rk_journal *journal = NULL;
    uint64_t number = bank->live + 1;
    live_path(bank, number, path, sizeof path);
    rk_folder_remove(path); /* left by an attempt that a crash interrupted */
    if (new_journal(bank, path, point, empty, &journal, err) != RANKD_OK) {
        rk_folder_remove(path);
        return err->status;
    }
    if (rk_durable_bank_switch(bank, number, err) != RANKD_OK) {
        rk_journal_close(journal);
        return err->status;
    }
    struct rk_journal *old = bank->journal;
    pthread_mutex_lock(&bank->lock);
    bank->journal = journal;
    pthread_mutex_unlock(&bank->lock);
    rk_journal_close(old);
    return RANKD_OK;
}

enum rankd_status rk_durable_bank_create_disk(struct rk_durable_bank *bank, struct rk_err *err)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/checkpoints", bank->path);
    if (rk_folder_make(bank->path, err) != RANKD_OK || rk_folder_make(path, err) != RANKD_OK)
        return err->status;
    return rk_durable_bank_rewrite(bank, bank->next, true, err);
}

/* --- reading back --- */

static enum rankd_status on_start(void *context, struct rk_bank_position point, struct rk_origin origin,
                                  bool whole, struct rk_err *err)
{
    struct rk_durable_bank *bank = context;
    rk_ids_clear(&bank->ids, rk_now_ns());
    bank->base = origin.base;
    bank->cleared = origin.cleared;
    return rk_bank_reset(bank->memory, point, whole, err);
}

static enum rankd_status on_id(void *context, const struct rk_batch_id *id, struct rk_err *err)
{
    (void)err;
    rk_ids_read(&((struct rk_durable_bank *)context)->ids, id, rk_now_ns());
    return RANKD_OK;
}

static enum rankd_status on_batch(void *context, const struct rk_batch *batch, uint64_t version,
                                  const struct rk_batch_id *id, struct rk_err *err)
{
    struct rk_durable_bank *bank = context;
    if (id)
        rk_ids_read(&bank->ids, id, rk_now_ns());
    return rk_bank_append(bank->memory, batch, version, err);
}

enum rankd_status rk_durable_bank_read(struct rk_durable_bank *bank, const char *folder,
                                       struct rk_journal **journal, struct rk_err *err)
{
    const struct rk_journal_reader reader = {bank, on_start, on_id, on_batch};
    struct rk_bank_position point;
    enum rankd_status status =
        rk_journal_open(folder, &bank->config.shape, bank->io, &reader, &point, journal, err);
    if (status == RANKD_OK && point.generation != rk_bank_now(bank->memory).generation)
        status = rk_bank_set_generation(bank->memory, point.generation, err);
    if (status == RANKD_OK) {
        bank->next = point;
        bank->disk_bytes = rk_journal_bytes(*journal);
    }
    return status;
}

enum rankd_status rk_durable_bank_reopen(struct rk_durable_bank *bank, struct rk_err *err)
{
    char live[PATH_MAX];
    rk_journal_close(bank->journal);
    bank->journal = NULL;
    live_path(bank, bank->live, live, sizeof live);
    return rk_durable_bank_read(bank, live, &bank->journal, err);
}

/* Journals other than the live one, left by a crash during a switch. */
static void remove_leftovers(const struct rk_durable_bank *bank)
{
    char path[PATH_MAX];
    DIR *folder = opendir(bank->path);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        if (strncmp(entry->d_name, "live-", 5) != 0 || strtoull(entry->d_name + 5, NULL, 10) == bank->live)
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", bank->path, entry->d_name);
        rk_folder_remove(path);
    }
    if (folder)
        (void)closedir(folder);
    (void)snprintf(path, sizeof path, "%s/bank.tmp", bank->path); /* rk_file_replace()'s */
    (void)unlink(path);
}

/* Without the manifest it is unknown which journal is the live one, and none is touched. */
static uint64_t largest_live(const char *path)
{
    uint64_t largest = 1;
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        uint64_t number = strncmp(entry->d_name, "live-", 5) == 0 ? strtoull(entry->d_name + 5, NULL, 10) : 0;
        largest = number > largest ? number : largest;
    }
    if (folder)
        (void)closedir(folder);
    return largest;
}

static enum rankd_status read_live(struct rk_durable_bank *bank, struct rk_err *err)
{
    char live[PATH_MAX];
    live_path(bank, bank->live, live, sizeof live);
    if (rk_durable_bank_read(bank, live, &bank->journal, err) != RANKD_OK)
        return err->status;
    bank->loss = rk_journal_loss_of(bank->journal);
    remove_leftovers(bank);
    struct rk_err why = {0};
    if (rk_journal_is_shared(bank->journal) && rk_durable_bank_rotate(bank, bank->journal, &why) != RANKD_OK)
        rk_durable_bank_refuse(bank, &why);
    return RANKD_OK;
}

struct rk_durable_bank *rk_durable_bank_load(const char *name, const char *path, struct rk_io *io)
{
    struct rk_err err = {0};
    uint64_t number = 0;
    struct rk_bank_config config;
    /* The names may be those of a daemon that was killed before it synced them. */
    bool readable =
        rk_sync_folder(path, &err) == RANKD_OK && read_manifest(path, &config, &number, &err) == RANKD_OK;
    if (!readable && !rk_checkpoint_find_config(path, &config))
        /* a small placeholder for a bank that could not be read; no request can use it */
        config = (struct rk_bank_config){
            .shape = {.kind = rk_bank_kinds[0], .dim = 1, .lists = 1, .capacity = 1, .dtype = RK_FP32}};
    struct rk_durable_bank *bank = rk_durable_bank_new(name, &config);
    if (!bank)
        return NULL;
    (void)snprintf(bank->path, sizeof bank->path, "%s", path);
    bank->io = io;
    bank->live = readable ? number : largest_live(path);
    bank->nameless = !readable;
    rk_checkpoint_sweep(bank);
    if (readable && read_live(bank, &err) == RANKD_OK)
        return bank;
    rk_durable_bank_refuse(bank, &err);
    bank->unreadable = true;
    return bank;
}
