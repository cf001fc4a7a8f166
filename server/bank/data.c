/* SPDX-License-Identifier: Apache-2.0 */
/* The data folder:
 *
 *   lock, format        this daemon's alone, and of which version
 *   banks/<name>/       disk.c; a name that begins with ~ is a bank on its way in or out */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "bank/registry_internal.h"
#include "base/log.h"

#define DATA_FORMAT_1 "rankd data 1\n"
#define DATA_FORMAT "rankd data 2\n"

/* If io_uring is refused for any reason, this bank and later ones are written with plain calls,
 * unless the configuration requires io_uring. One caller at a time. */
static struct rk_io *new_io(struct rk_banks *banks, struct rk_err *err)
{
    struct rk_io *io = banks->plain_io ? NULL : rk_io_uring_new();
    if (!io && !banks->plain_io) {
        const char *why = strerror(errno);
        if (banks->config->io == RK_IO_URING) {
            (void)rk_fail(err, RANKD_INTERNAL,
                          "io_uring is refused here (%s); --io auto writes banks without it", why);
            return NULL;
        }
        rk_log_say(banks->log, RK_LOG_WARN, "bank",
                   "io_uring is refused here (%s), banks are written with plain calls", why);
        banks->plain_io = true;
    }
    if (!io && !(io = rk_io_plain_new()))
        (void)rk_fail(err, RANKD_OVERLOADED, "no memory for another bank");
    return io;
}

/* A bank's folder with its content. */
static void remove_tree(const char *root)
{
    char path[PATH_MAX], inside[PATH_MAX];
    static const char *const below[] = {"checkpoints", "."};
    for (size_t i = 0; i < 2; i++) {
        if ((size_t)snprintf(path, sizeof path, "%s/%s", root, below[i]) >= sizeof path)
            continue;
        DIR *folder = opendir(path);
        for (struct dirent *entry; folder && (entry = readdir(folder));) {
            if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
                (size_t)snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name) < sizeof inside)
                rk_folder_remove(inside);
        }
        if (folder)
            (void)closedir(folder);
    }
    rk_folder_remove(root);
}

/* It is made under another name and renamed when it is complete, so that a crash leaves no
 * incomplete bank. */
enum rankd_status rk_data_create(struct rk_banks *banks, struct rk_durable_bank *bank, struct rk_err *err)
{
    char folder[RK_CONFIG_TEXT + 16], path[sizeof bank->path];
    struct rk_err why = {0};
    bool still;
    bank->io = new_io(banks, err);
    if (!bank->io)
        return err->status;
    (void)snprintf(folder, sizeof folder, "%s/banks", banks->data);
    (void)snprintf(path, sizeof path, "%s/%s", folder, bank->name);
    (void)snprintf(bank->path, sizeof bank->path, "%s/~new-%s", folder, bank->name);
    remove_tree(bank->path); /* left by an earlier run */
    if (rk_durable_bank_create_disk(bank, err) != RANKD_OK || rename(bank->path, path) != 0) {
        (void)rk_file_failed(err, "make", path);
        remove_tree(bank->path);
        return err->status;
    }
    memcpy(bank->path, path, sizeof path);
    if (rk_sync_folder(folder, err) == RANKD_OK && rk_durable_bank_reopen(bank, err) == RANKD_OK)
        return RANKD_OK;
    (void)!rk_data_remove(banks, bank, &still, &why); /* the name may be on disk */
    return err->status;
}

/* The name is removed first, durably: after that a crash or a power loss restores nothing of it. */
enum rankd_status rk_data_remove(const struct rk_banks *banks, const struct rk_durable_bank *bank,
                                 bool *still, struct rk_err *err)
{
    char folder[RK_CONFIG_TEXT + 16], gone[PATH_MAX];
    (void)snprintf(folder, sizeof folder, "%s/banks", banks->data);
    (void)snprintf(gone, sizeof gone, "%s/~gone-%s", folder, bank->name);
    remove_tree(gone); /* left by an earlier run */
    *still = rename(bank->path, gone) != 0;
    if (*still)
        return rk_file_failed(err, "remove", bank->path);
    if (rk_sync_folder(folder, err) != RANKD_OK)
        return err->status;
    remove_tree(gone);
    return RANKD_OK;
}

/* --- the folder of all --- */

/* The file could be removed and made again while a daemon has it locked; the folder can't. Not
 * every file system locks folders; there the file alone must suffice. */
static enum rankd_status lock_both(struct rk_banks *banks, struct rk_err *err)
{
    char path[RK_CONFIG_TEXT + 16];
    (void)snprintf(path, sizeof path, "%s/lock", banks->data);
    banks->folder_fd = open(banks->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    banks->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (banks->lock_fd < 0 || banks->folder_fd < 0)
        return rk_fail(err, RANKD_INTERNAL, "data folder %s cannot be used: %s", banks->data,
                       strerror(errno));
    if (flock(banks->lock_fd, LOCK_EX | LOCK_NB) != 0 ||
        (flock(banks->folder_fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK))
        return rk_fail(err, RANKD_CONFLICT, "data folder %s is in use by another rankd", banks->data);
    return RANKD_OK;
}

/* A folder of format 1 becomes one of format 2, because new files in it have that format. */
static enum rankd_status check_format(const struct rk_banks *banks, struct rk_err *err)
{
    char path[RK_CONFIG_TEXT + 16], format[32];
    size_t got;
    (void)snprintf(path, sizeof path, "%s/format", banks->data);
    const bool missing = access(path, F_OK) != 0;
    if (!missing && !rk_file_read(path, format, sizeof format, &got))
        return rk_fail(err, RANKD_INTERNAL, "%s is too long for a format, or can't be read", path);
    (void)snprintf(path, sizeof path, "%s/format.tmp", banks->data); /* left by an interrupted start */
    (void)unlink(path);
    if (missing || strcmp(format, DATA_FORMAT_1) == 0) /* with the line feed: an incomplete file is neither */
        return rk_file_replace(banks->data, "format", DATA_FORMAT, sizeof DATA_FORMAT - 1, NULL, err);
    if (strcmp(format, DATA_FORMAT) != 0)
        return rk_fail(err, RANKD_INVALID,
                       "data folder %s has format \"%.*s\"; this rankd reads \"rankd data 1\" and \"rankd "
                       "data 2\"",
                       banks->data, (int)strcspn(format, "\n"), format);
    return RANKD_OK;
}

/* The folder of a path. */
static void parent_of(const char *path, char *parent, size_t size)
{
    (void)snprintf(parent, size, "%s", path);
    size_t length = strlen(parent);
    while (length > 1 && parent[length - 1] == '/')
        length--;
    while (length > 0 && parent[length - 1] != '/')
        length--;
    if (length == 0)
        (void)snprintf(parent, size, ".");
    else
        parent[length] = '\0';
}

/* Makes the folder, and its name durable. */
static enum rankd_status make_durably(const char *path, struct rk_err *err)
{
    char parent[RK_CONFIG_TEXT + 16];
    if (access(path, F_OK) == 0)
        return RANKD_OK;
    parent_of(path, parent, sizeof parent);
    return rk_folder_make(path, err) == RANKD_OK ? rk_sync_folder(parent, err) : err->status;
}

enum rankd_status rk_data_lock(struct rk_banks *banks, struct rk_err *err)
{
    if (make_durably(banks->data, err) != RANKD_OK || lock_both(banks, err) != RANKD_OK)
        return err->status;
    return check_format(banks, err);
}

static void log_loaded(const struct rk_banks *banks, struct rk_durable_bank *bank)
{
    struct rk_log *log = banks->log;
    if (bank->unreadable) {
        rk_log_say(log, RK_LOG_ERROR, "bank", "bank \"%s\" could not be read back: %s", bank->name,
                   bank->refused);
        return;
    }
    const struct rk_bank_position now = rk_bank_now(bank->memory);
    rk_log_say(log, RK_LOG_INFO, "bank", "bank \"%s\" read back: %zu items, version %llu", bank->name,
               rk_bank_items(bank->memory), (unsigned long long)now.version);
    if (bank->loss.bytes)
        rk_log_say(log, RK_LOG_WARN, "bank",
                   "bank \"%s\": %llu bytes were not whole after a crash or a power loss and were cut off, "
                   "%s/live-%llu/%016llx.seg at offset %llu; it goes on at version %llu",
                   bank->name, (unsigned long long)bank->loss.bytes, bank->path,
                   (unsigned long long)bank->live, (unsigned long long)bank->loss.number,
                   (unsigned long long)bank->loss.offset, (unsigned long long)now.version);
}

static enum rankd_status load(struct rk_banks *banks, const char *name, const char *path, struct rk_err *err)
{
    struct rk_io *io = new_io(banks, err);
    struct rk_durable_bank *bank = io ? rk_durable_bank_load(name, path, io) : NULL;
    if (!bank || !rk_banks_enter(banks, bank)) {
        rk_durable_bank_release(bank);
        return rk_fail(err, RANKD_OVERLOADED, "no memory to read bank \"%s\" back", name);
    }
    log_loaded(banks, bank);
    return RANKD_OK;
}

enum rankd_status rk_data_load(struct rk_banks *banks, struct rk_err *err)
{
    char folder[RK_CONFIG_TEXT + 16], path[PATH_MAX / 2];
    (void)snprintf(folder, sizeof folder, "%s/banks", banks->data);
    /* The sync makes sure that swept folders have lost their names on disk, and that those which
     * are read have theirs. */
    if (make_durably(folder, err) != RANKD_OK || rk_sync_folder(folder, err) != RANKD_OK)
        return err->status;
    struct dirent **entry = NULL;
    int count = scandir(folder, &entry, NULL, alphasort);
    if (count < 0)
        return rk_file_failed(err, "list", folder);
    for (int i = 0; i < count; i++) {
        const char *name = entry[i]->d_name;
        struct rk_err odd = {0};
        if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) < sizeof path) {
            if (name[0] == '~') /* a deletion or creation that a crash interrupted */
                remove_tree(path);
            else if (err->status == RANKD_OK && rk_bank_name_check("a bank's folder", name, &odd))
                (void)!load(banks, name, path, err);
        }
        free(entry[i]);
    }
    free((void *)entry);
    return err->status;
}
