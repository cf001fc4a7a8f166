/* SPDX-License-Identifier: Apache-2.0 */
/* The existing checkpoints: their names and manifests, which may be damaged, and remains of others
 * after a crash. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bank/folders.h"
#include "bank/manifests.h"

enum { MANIFEST_BYTES = 4096 };

enum rankd_status rk_checkpoint_needs_disk(const struct rk_durable_bank *bank, struct rk_err *err)
{
    if (!bank->io)
        return rk_fail(err, RANKD_UNSUPPORTED,
                       "bank \"%s\" is in memory only; checkpoints need a daemon with --data", bank->name);
    return RANKD_OK;
}

enum rankd_status rk_checkpoint_path(const struct rk_durable_bank *bank, const char *prefix, const char *tag,
                                     char *path, size_t size, struct rk_err *err)
{
    if ((size_t)snprintf(path, size, "%s/checkpoints/%s%s", bank->path, prefix, tag) < size)
        return RANKD_OK;
    return rk_fail(err, RANKD_INTERNAL, "the path of checkpoint \"%s\" is too long", tag);
}

static bool is_entry(const char *name)
{
    return strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static bool is_tag(const char *name)
{
    return name[0] != '~' && is_entry(name);
}

enum rankd_status rk_checkpoint_read(const struct rk_durable_bank *bank, const char *tag, char *text,
                                     struct rk_checkpoint *checkpoint, struct rk_err *err)
{
    char folder[PATH_MAX], path[PATH_MAX], own[MANIFEST_BYTES];
    struct stat stat_of;
    struct rk_err why = {0};
    size_t bytes;
    if (rk_checkpoint_path(bank, "", tag, folder, sizeof folder, err) != RANKD_OK)
        return err->status;
    if (stat(folder, &stat_of) != 0)
        return rk_fail(err, RANKD_NOT_FOUND, "bank \"%s\" has no checkpoint \"%s\"", bank->name, tag);
    text = text ? text : own;
    bool fits = (size_t)snprintf(path, sizeof path, "%s/manifest", folder) < sizeof path;
    if (!fits || !rk_file_read(path, text, MANIFEST_BYTES, &bytes))
        return rk_fail(err, RANKD_INTERNAL, "its manifest is missing, or can't be read");
    if (rk_checkpoint_parse(text, bytes, checkpoint, &why) != RANKD_OK)
        return rk_fail(err, RANKD_INTERNAL, "its manifest is damaged: %s", why.text);
    return RANKD_OK;
}

/* One of the list; the manifest's text unchanged, if it is valid. */
static void list_one(const struct rk_durable_bank *bank, const char *tag, struct rk_text *out)
{
    struct rk_checkpoint checkpoint;
    struct rk_err why = {0};
    char text[MANIFEST_BYTES];
    if (rk_checkpoint_read(bank, tag, text, &checkpoint, &why) == RANKD_OK) {
        if (out->comma)
            rk_text_puts(out, ",");
        rk_text_puts(out, text);
        out->comma = true;
    } else if (why.status == RANKD_INTERNAL) {
        rk_json_open(out, NULL, '{');
        rk_json_text(out, "tag", tag);
        rk_json_text(out, "damaged", why.text);
        rk_json_close(out, '}');
    }
}

enum rankd_status rk_durable_bank_checkpoints(struct rk_durable_bank *bank, struct rk_text *out,
                                              struct rk_err *err)
{
    char path[PATH_MAX];
    struct dirent **entry = NULL;
    if (rk_checkpoint_needs_disk(bank, err) != RANKD_OK ||
        rk_checkpoint_path(bank, "", "", path, sizeof path, err) != RANKD_OK)
        return err->status;
    int count = scandir(path, &entry, NULL, alphasort);
    if (count < 0 && errno != ENOENT)
        return rk_file_failed(err, "list", path);
    rk_json_open(out, NULL, '[');
    for (int i = 0; i < count; i++) {
        if (is_tag(entry[i]->d_name))
            list_one(bank, entry[i]->d_name, out);
        free(entry[i]);
    }
    free((void *)entry);
    rk_json_close(out, ']');
    return RANKD_OK;
}

bool rk_checkpoint_find_config(const char *bank_path, struct rk_bank_config *config)
{
    char path[PATH_MAX], text[MANIFEST_BYTES];
    size_t bytes;
    bool found = false;
    if ((size_t)snprintf(path, sizeof path, "%s/checkpoints", bank_path) >= sizeof path)
        return false;
    DIR *tags = opendir(path);
    for (struct dirent *tag; tags && !found && (tag = readdir(tags));) {
        struct rk_checkpoint checkpoint;
        struct rk_err ignored = {0};
        bool fits = (size_t)snprintf(path, sizeof path, "%s/checkpoints/%s/manifest", bank_path,
                                     tag->d_name) < sizeof path;
        found = fits && is_tag(tag->d_name) && rk_file_read(path, text, sizeof text, &bytes) &&
                rk_checkpoint_parse(text, bytes, &checkpoint, &ignored) == RANKD_OK;
        if (found)
            *config = checkpoint.config;
    }
    if (tags)
        (void)closedir(tags);
    return found;
}

void rk_checkpoint_sweep(const struct rk_durable_bank *bank)
{
    char path[PATH_MAX], inside[PATH_MAX];
    struct rk_err ignored = {0};
    if (rk_checkpoint_path(bank, "", "", path, sizeof path, &ignored) != RANKD_OK ||
        rk_sync_folder(path, &ignored) != RANKD_OK) /* M2: swept folders have lost their tags on disk */
        return;
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        if (entry->d_name[0] == '~' &&
            (size_t)snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name) < sizeof inside)
            rk_folder_remove(inside);
    }
    if (folder)
        (void)closedir(folder);
}

static uint64_t bytes_in(const char *folder)
{
    char file[PATH_MAX];
    uint64_t bytes = 0;
    DIR *segments = opendir(folder);
    for (struct dirent *segment; segments && (segment = readdir(segments));) {
        struct stat stat_of;
        bool fits = (size_t)snprintf(file, sizeof file, "%s/%s", folder, segment->d_name) < sizeof file;
        if (fits && strstr(segment->d_name, ".seg") && stat(file, &stat_of) == 0 && stat_of.st_nlink > 0)
            bytes += (uint64_t)stat_of.st_size / (uint64_t)stat_of.st_nlink;
    }
    if (segments)
        (void)closedir(segments);
    return bytes;
}

uint64_t rk_durable_bank_checkpoint_bytes(struct rk_durable_bank *bank)
{
    char path[PATH_MAX], folder[PATH_MAX];
    uint64_t bytes = 0;
    struct rk_err ignored = {0};
    if (!bank->io || rk_checkpoint_path(bank, "", "", path, sizeof path, &ignored) != RANKD_OK)
        return 0;
    DIR *tags = opendir(path);
    for (struct dirent *tag; tags && (tag = readdir(tags));) {
        if (is_entry(tag->d_name) &&
            (size_t)snprintf(folder, sizeof folder, "%s/%s", path, tag->d_name) < sizeof folder)
            bytes += bytes_in(folder);
    }
    if (tags)
        (void)closedir(tags);
    return bytes;
}
