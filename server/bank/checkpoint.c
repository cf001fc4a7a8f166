/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints: a snapshot is the journal's sealed segments, shared by hard links, and a copy of the
 * open one, so taking one costs at most half a segment and leaves the journal as it was. rules.h,
 * M2. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "bank/checkpoint.h"
#include "bank/disk.h"
#include "bank/folders.h"
#include "bank/manifests.h"
#include "bank/writer_lock.h"

static void write_state(struct rk_text *out, const struct rk_durable_bank *bank, const char *tag,
                        struct rk_bank_position point, size_t items)
{
    rk_json_open(out, NULL, '{');
    rk_json_text(out, "tag", tag);
    rk_bank_config_write(out, &bank->config);
    rk_json_uint(out, "version", point.version);
    rk_json_uint(out, "generation", point.generation);
    rk_json_uint(out, "items", items);
    rk_json_uint(out, "created", (uint64_t)time(NULL));
    rk_json_close(out, '}');
}

/* Writes the manifest to the temporary folder and renames the folder: from then on the checkpoint
 * exists. */
static enum rankd_status finish(const struct rk_durable_bank *bank, const char *temporary, const char *path,
                                const struct rk_text *manifest, struct rk_err *err)
{
    char parent[PATH_MAX];
    (void)snprintf(parent, sizeof parent, "%s/checkpoints", bank->path);
    if (rk_file_replace(temporary, "manifest", manifest->data, manifest->length, NULL, err) != RANKD_OK)
        return err->status;
    if (rename(temporary, path) != 0)
        return rk_file_failed(err, "rename", temporary);
    return rk_sync_folder(parent, err);
}

/* Prepares a snapshot: the journal must exist, and its open segment be short enough to be copied.
 * The writer lock is held. */
static enum rankd_status make_ready(struct rk_durable_bank *bank, struct rk_err *err)
{
    if (bank->undurable) {
        if (rk_durable_bank_rewrite(bank, bank->next, false, err) != RANKD_OK)
            return err->status;
        pthread_mutex_lock(&bank->lock);
        bank->undurable = false;
        pthread_mutex_unlock(&bank->lock);
    }
    if (bank->refused[0] || !bank->journal)
        return rk_fail(err, RANKD_INTERNAL, "bank \"%s\" is read-only: %.400s", bank->name, bank->refused);
    if (!rk_journal_is_half_long(bank->journal))
        return RANKD_OK;
    if (rk_durable_bank_seal(bank, err) != RANKD_OK)
        return err->status;
    return rk_durable_bank_rotate(bank, bank->journal, err);
}

/* Appends wait meanwhile, except during the copy; requests that read do not. */
static enum rankd_status snapshot(struct rk_durable_bank *bank, const char *folder,
                                  struct rk_bank_position *point, size_t *items, struct rk_err *err)
{
    struct rk_snapshot rest = {.fd = -1};
    pthread_mutex_lock(&bank->lock);
    rk_durable_bank_writer_lock(bank);
    pthread_mutex_unlock(&bank->lock);
    if (make_ready(bank, err) == RANKD_OK)
        (void)!rk_snapshot_begin(bank->journal, folder, &rest, err);
    *point = bank->next;
    *items = rk_bank_items(bank->memory);
    pthread_mutex_lock(&bank->lock);
    rk_durable_bank_writer_release(bank);
    pthread_mutex_unlock(&bank->lock);
    return rk_snapshot_end(&rest, folder, err->status == RANKD_OK, err);
}

enum rankd_status rk_durable_bank_checkpoint(struct rk_durable_bank *bank, const char *tag,
                                             struct rk_text *out, struct rk_err *err)
{
    char path[PATH_MAX], temporary[PATH_MAX];
    struct stat stat_of;
    struct rk_bank_position point = {0};
    size_t items;
    if (rk_checkpoint_needs_disk(bank, err) != RANKD_OK ||
        rk_checkpoint_path(bank, "", tag, path, sizeof path, err) != RANKD_OK ||
        rk_checkpoint_path(bank, "~new-", tag, temporary, sizeof temporary, err) != RANKD_OK)
        return err->status;
    if (stat(path, &stat_of) == 0)
        return rk_fail(err, RANKD_CONFLICT,
                       "checkpoint \"%s\" of bank \"%s\" exists; take another tag, or delete it first", tag,
                       bank->name);
    rk_folder_remove(temporary); /* of an attempt that failed */
    if (rk_folder_make(temporary, err) != RANKD_OK)
        return err->status;
    rk_durable_bank_flush(bank); /* most of it, while others append */
    if (snapshot(bank, temporary, &point, &items, err) == RANKD_OK) {
        write_state(out, bank, tag, point, items);
        if (out->failed)
            (void)rk_fail(err, RANKD_OVERLOADED, "no memory for a checkpoint");
        else
            (void)finish(bank, temporary, path, out, err);
    }
    if (err->status != RANKD_OK)
        rk_folder_remove(temporary);
    return err->status;
}

enum rankd_status rk_durable_bank_delete_checkpoint(struct rk_durable_bank *bank, const char *tag,
                                                    struct rk_err *err)
{
    char path[PATH_MAX], gone[PATH_MAX], parent[PATH_MAX];
    if (rk_checkpoint_needs_disk(bank, err) != RANKD_OK ||
        rk_checkpoint_path(bank, "", tag, path, sizeof path, err) != RANKD_OK ||
        rk_checkpoint_path(bank, "~gone-", tag, gone, sizeof gone, err) != RANKD_OK)
        return err->status;
    (void)snprintf(parent, sizeof parent, "%s/checkpoints", bank->path);
    rk_folder_remove(gone); /* of an attempt that failed */
    if (rename(path, gone) != 0)
        return errno == ENOENT
                   ? rk_fail(err, RANKD_NOT_FOUND, "bank \"%s\" has no checkpoint \"%s\"", bank->name, tag)
                   : rk_file_failed(err, "remove", path);
    if (rk_sync_folder(parent, err) != RANKD_OK)
        return err->status;
    rk_folder_remove(gone);
    return RANKD_OK;
}
