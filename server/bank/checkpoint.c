/* Checkpoints: a snapshot is the journal's segments up to now, shared by hard links, so taking one costs a
 * sync and no copy; and the operations that begin a new generation. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bank/named.h"

static void tag_path(const struct rk_named_bank *bank, const char *tag, char *path, size_t size)
{
    (void)snprintf(path, size, "%s/checkpoints/%s", bank->path, tag);
}

static enum rankd_status needs_disk(const struct rk_named_bank *bank, struct rk_err *err)
{
    if (!bank->io)
        return rk_fail(err, RANKD_UNSUPPORTED,
                       "bank \"%s\" is in memory only; checkpoints need a daemon with --data", bank->name);
    return RANKD_OK;
}

/* Everything up to now in segments that get no more records, linked into `folder`. The pen is held. */
static enum rankd_status seal_and_link(struct rk_named_bank *bank, const char *folder,
                                       struct rk_bank_point *point, struct rk_err *err)
{
    if (rk_named_seal(bank, err) != RANKD_OK)
        return err->status;
    if (bank->undurable) {
        if (rk_named_rewrite(bank, bank->next, false, err) != RANKD_OK)
            return err->status;
        pthread_mutex_lock(&bank->lock);
        bank->undurable = false;
        pthread_mutex_unlock(&bank->lock);
    }
    if (bank->refused[0] || !bank->journal)
        return rk_fail(err, RANKD_INTERNAL, "bank \"%s\" is read-only: %.400s", bank->name, bank->refused);
    size_t count;
    const struct rk_batch_id *ids = rk_named_known_ids(bank, &count);
    *point = bank->next;
    enum rankd_status status = rk_journal_rotate(bank->journal, bank->next, ids, count, err);
    return status == RANKD_OK ? rk_journal_link(bank->journal, folder, err) : status;
}

static void write_state(struct rk_text *out, const struct rk_named_bank *bank, const char *tag,
                        struct rk_bank_point point, size_t items)
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

/* Manifest into the temporary folder, and the folder under its name: from then on the checkpoint is there. */
static enum rankd_status finish(struct rk_named_bank *bank, const char *temporary, const char *tag,
                                struct rk_bank_point point, size_t items, struct rk_text *out,
                                struct rk_err *err)
{
    char path[PATH_MAX], parent[PATH_MAX];
    write_state(out, bank, tag, point, items);
    if (out->failed)
        return rk_fail(err, RANKD_OVERLOADED, "no memory for a checkpoint");
    enum rankd_status status = rk_file_replace(temporary, "manifest", out->data, out->length, err);
    tag_path(bank, tag, path, sizeof path);
    (void)snprintf(parent, sizeof parent, "%s/checkpoints", bank->path);
    if (status == RANKD_OK && rename(temporary, path) != 0)
        status = rk_fail(err, RANKD_INTERNAL, "cannot rename %s: %s", temporary, strerror(errno));
    return status == RANKD_OK ? rk_sync_folder(parent, err) : status;
}

/* Appends wait meanwhile, but for the last sync; requests that read don't. */
static enum rankd_status snapshot(struct rk_named_bank *bank, const char *folder, struct rk_bank_point *point,
                                  size_t *items, struct rk_err *err)
{
    pthread_mutex_lock(&bank->lock);
    rk_named_take_pen(bank);
    pthread_mutex_unlock(&bank->lock);
    enum rankd_status status = seal_and_link(bank, folder, point, err);
    *items = rk_bank_items(bank->memory);
    pthread_mutex_lock(&bank->lock);
    rk_named_lay_pen(bank);
    if (status == RANKD_OK) /* the new segment's beginning, and its name */
        status = rk_named_sync_beside(bank, err);
    pthread_mutex_unlock(&bank->lock);
    return status;
}

enum rankd_status rk_named_checkpoint(struct rk_named_bank *bank, const char *tag, struct rk_text *out,
                                      struct rk_err *err)
{
    char path[PATH_MAX], temporary[PATH_MAX];
    struct stat stat_of;
    struct rk_bank_point point = {0};
    if (needs_disk(bank, err) != RANKD_OK)
        return err->status;
    tag_path(bank, tag, path, sizeof path);
    if (stat(path, &stat_of) == 0)
        return rk_fail(err, RANKD_CONFLICT,
                       "checkpoint \"%s\" of bank \"%s\" exists; take another tag, or delete it first", tag,
                       bank->name);
    (void)snprintf(temporary, sizeof temporary, "%s/checkpoints/~%s.%ld", bank->path, tag, random());
    if (rk_folder_make(temporary, err) != RANKD_OK)
        return err->status;
    rk_named_flush(bank); /* most of it, while others append */
    size_t items;
    enum rankd_status status = snapshot(bank, temporary, &point, &items, err);
    if (status == RANKD_OK)
        status = finish(bank, temporary, tag, point, items, out, err);
    if (status != RANKD_OK)
        rk_folder_remove(temporary);
    return status;
}

static bool is_tag(const char *name)
{
    return name[0] != '~' && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* The manifest as it lies there; it was written by write_state(). */
static bool read_manifest(const struct rk_named_bank *bank, const char *tag, char *json, size_t size,
                          size_t *bytes)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/checkpoints/%s/manifest", bank->path, tag);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    *bytes = fread(json, 1, size, file);
    (void)fclose(file);
    return *bytes > 0 && *bytes < size;
}

enum rankd_status rk_named_checkpoints(struct rk_named_bank *bank, struct rk_text *out, struct rk_err *err)
{
    char path[PATH_MAX], json[4096];
    (void)snprintf(path, sizeof path, "%s/checkpoints", bank->path);
    if (needs_disk(bank, err) != RANKD_OK)
        return err->status;
    struct dirent **entry = NULL;
    int count = scandir(path, &entry, NULL, alphasort);
    rk_json_open(out, NULL, '[');
    for (int i = 0; i < count; i++) {
        size_t bytes;
        if (is_tag(entry[i]->d_name) && read_manifest(bank, entry[i]->d_name, json, sizeof json, &bytes)) {
            if (out->comma)
                rk_text_puts(out, ",");
            rk_text_add(out, json, bytes);
            out->comma = true;
        }
        free(entry[i]);
    }
    free(entry);
    rk_json_close(out, ']');
    return RANKD_OK;
}

/* --- restore and clear: a new generation --- */

static enum rankd_status check_there(struct rk_named_bank *bank, const char *tag, struct rk_err *err)
{
    char json[4096];
    size_t bytes;
    if (!read_manifest(bank, tag, json, sizeof json, &bytes))
        return rk_fail(err, RANKD_NOT_FOUND, "bank \"%s\" has no checkpoint \"%s\"", bank->name, tag);
    struct rk_bank_config config;
    if (rk_bank_config_of_checkpoint(json, bytes, &config, err) != RANKD_OK)
        return err->status;
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

/* Links the checkpoint's segments into a folder of their own: the live journal goes on in a segment behind
 * them and never writes to theirs. */
static enum rankd_status link_back(const struct rk_named_bank *bank, const char *tag, const char *folder,
                                   struct rk_err *err)
{
    char from[PATH_MAX], to[PATH_MAX], source[PATH_MAX];
    tag_path(bank, tag, source, sizeof source);
    if (rk_folder_make(folder, err) != RANKD_OK)
        return err->status;
    struct dirent **entry = NULL;
    int count = scandir(source, &entry, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        const char *name = entry[i]->d_name;
        bool fits = (size_t)snprintf(from, sizeof from, "%s/%s", source, name) < sizeof from &&
                    (size_t)snprintf(to, sizeof to, "%s/%s", folder, name) < sizeof to;
        if (err->status == RANKD_OK && fits && strstr(name, ".seg") && link(from, to) != 0)
            (void)rk_fail(err, errno == ENOSPC ? RANKD_NO_SPACE : RANKD_INTERNAL, "cannot link %s: %s", to,
                          strerror(errno));
        free(entry[i]);
    }
    free(entry);
    return err->status;
}

/* Reads the linked journal into `fresh` and begins the new generation behind it. */
static enum rankd_status read_back(struct rk_named_bank *fresh, const char *folder, uint64_t generation,
                                   struct rk_err *err)
{
    if (rk_named_read(fresh, folder, &fresh->journal, err) != RANKD_OK)
        return err->status;
    size_t count;
    const struct rk_batch_id *ids = rk_named_known_ids(fresh, &count);
    fresh->next.generation = generation;
    enum rankd_status status = rk_journal_rotate(fresh->journal, fresh->next, ids, count, err);
    if (status == RANKD_OK)
        status = rk_journal_sync(fresh->journal, err);
    if (status == RANKD_OK)
        status = rk_bank_set_generation(fresh->memory, generation, err);
    return status;
}

/* What was read becomes the bank's, and what was the bank's is left in `fresh`. Requests that hold a version
 * of it keep it. The lock and the pen are held. */
static void exchange(struct rk_named_bank *bank, struct rk_named_bank *fresh)
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
    bank->cleared = fresh->cleared;
    bank->refused[0] = '\0';
    bank->unreadable = bank->undurable = bank->dirty = false;
}

/* The checkpoint is read beside the bank, which serves readers as it was until then, and stays as it is where
 * that fails; for a while there are two in memory. The pen is held. */
static enum rankd_status restore_beside(struct rk_named_bank *bank, const char *tag, struct rk_err *err)
{
    char folder[PATH_MAX];
    uint64_t number = bank->live + 1;
    struct rk_named_bank *fresh = rk_named_new(bank->name, &bank->config);
    if (!fresh)
        return rk_fail(err, RANKD_OVERLOADED, "no memory to restore");
    fresh->io = bank->io;
    (void)snprintf(folder, sizeof folder, "%s/live-%llu", bank->path, (unsigned long long)number);
    rk_folder_remove(folder);
    bool good = link_back(bank, tag, folder, err) == RANKD_OK &&
                read_back(fresh, folder, bank->next.generation + 1, err) == RANKD_OK &&
                rk_named_switch(bank, number, err) == RANKD_OK;
    if (good) {
        pthread_mutex_lock(&bank->lock);
        exchange(bank, fresh);
        pthread_mutex_unlock(&bank->lock);
    } else {
        rk_folder_remove(folder);
    }
    fresh->io = NULL; /* it was lent */
    rk_named_release(fresh);
    return err->status;
}

enum rankd_status rk_named_restore(struct rk_named_bank *bank, const char *tag, struct rk_err *err)
{
    if (needs_disk(bank, err) != RANKD_OK || check_there(bank, tag, err) != RANKD_OK)
        return err->status;
    pthread_mutex_lock(&bank->lock);
    rk_named_take_pen(bank);
    pthread_mutex_unlock(&bank->lock);
    enum rankd_status status = restore_beside(bank, tag, err);
    pthread_mutex_lock(&bank->lock);
    rk_named_lay_pen(bank);
    pthread_mutex_unlock(&bank->lock);
    return status;
}

/* The lock is held. */
static enum rankd_status clear_memory(struct rk_named_bank *bank, struct rk_bank_point point,
                                      struct rk_err *err)
{
    if (rk_bank_reset(bank->memory, point, true, err) != RANKD_OK) {
        rk_named_refuse(bank, err); /* the disk is of another mind */
        return err->status;
    }
    bank->next = point;
    bank->cleared = point.generation; /* the ids stay: what they named must not be appended twice */
    bank->refused[0] = '\0';
    bank->unreadable = bank->undurable = bank->dirty = false;
    return RANKD_OK;
}

enum rankd_status rk_named_clear(struct rk_named_bank *bank, struct rk_err *err)
{
    enum rankd_status status = RANKD_OK;
    pthread_mutex_lock(&bank->lock);
    rk_named_take_pen(bank);
    struct rk_bank_point point = {bank->next.generation + 1, bank->next.version, bank->next.end};
    if (bank->io) {
        pthread_mutex_unlock(&bank->lock);
        status = rk_named_rewrite(bank, point, true, err);
        pthread_mutex_lock(&bank->lock);
    }
    if (status == RANKD_OK)
        status = clear_memory(bank, point, err);
    rk_named_lay_pen(bank);
    pthread_mutex_unlock(&bank->lock);
    return status;
}

enum rankd_status rk_named_forget(struct rk_named_bank *bank, const char *tag, struct rk_err *err)
{
    char path[PATH_MAX], gone[PATH_MAX], parent[PATH_MAX];
    if (needs_disk(bank, err) != RANKD_OK)
        return err->status;
    tag_path(bank, tag, path, sizeof path);
    (void)snprintf(parent, sizeof parent, "%s/checkpoints", bank->path);
    if ((size_t)snprintf(gone, sizeof gone, "%s/~%s.%ld", parent, tag, random()) >= sizeof gone)
        return rk_fail(err, RANKD_INTERNAL, "the path of checkpoint \"%s\" is too long", tag);
    if (rename(path, gone) != 0)
        return errno == ENOENT
                   ? rk_fail(err, RANKD_NOT_FOUND, "bank \"%s\" has no checkpoint \"%s\"", bank->name, tag)
                   : rk_fail(err, RANKD_INTERNAL, "cannot remove %s: %s", path, strerror(errno));
    rk_folder_remove(gone);
    return rk_sync_folder(parent, err);
}

/* Bytes that checkpoints alone keep on disk: segments that the live journal has let go of. */
uint64_t rk_named_checkpoint_bytes(struct rk_named_bank *bank)
{
    char path[PATH_MAX], file[PATH_MAX];
    uint64_t bytes = 0;
    (void)snprintf(path, sizeof path, "%s/checkpoints", bank->path);
    DIR *tags = bank->io ? opendir(path) : NULL;
    for (struct dirent *tag; tags && (tag = readdir(tags));) {
        if (!is_tag(tag->d_name))
            continue;
        tag_path(bank, tag->d_name, path, sizeof path);
        DIR *segments = opendir(path);
        for (struct dirent *segment; segments && (segment = readdir(segments));) {
            struct stat stat_of;
            bool fits = (size_t)snprintf(file, sizeof file, "%s/%s", path, segment->d_name) < sizeof file;
            if (fits && strstr(segment->d_name, ".seg") && stat(file, &stat_of) == 0 && stat_of.st_nlink > 0)
                bytes += (uint64_t)stat_of.st_size / (uint64_t)stat_of.st_nlink;
        }
        if (segments)
            (void)closedir(segments);
    }
    if (tags)
        (void)closedir(tags);
    return bytes;
}
