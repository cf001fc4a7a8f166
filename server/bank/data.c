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
#include "log.h"

#define DATA_FORMAT "rankd data 1\n"

/* Where io_uring is refused, for whatever reason, this bank and those that follow are written with plain
 * calls; unless the configuration insists. One caller at a time. */
static struct rk_io *new_io(struct rk_banks *banks, struct rk_err *err)
{
    struct rk_io *io = banks->plain_io ? NULL : rk_io_uring_new();
    if (!io && !banks->plain_io) {
        const char *why = strerror(errno);
        if (banks->app->config.io == RK_IO_URING) {
            (void)rk_fail(err, RANKD_INTERNAL,
                          "io_uring is refused here (%s); --io auto writes banks without it", why);
            return NULL;
        }
        rk_log_say(banks->app->log, RK_LOG_WARN, "bank",
                   "io_uring is refused here (%s), banks are written with plain calls", why);
        banks->plain_io = true;
    }
    if (!io && !(io = rk_io_plain_new()))
        (void)rk_fail(err, RANKD_OVERLOADED, "no memory for another bank");
    return io;
}

/* A bank's folder with all that is in it. */
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

/* Made under another name and renamed when it is whole: after a crash on the way there is no half of a bank.
 */
enum rankd_status rk_data_create(struct rk_banks *banks, struct rk_named_bank *bank, struct rk_err *err)
{
    char folder[RK_CONFIG_TEXT + 16], path[sizeof bank->path];
    bank->io = new_io(banks, err);
    if (!bank->io)
        return err->status;
    (void)snprintf(folder, sizeof folder, "%s/banks", banks->data);
    (void)snprintf(path, sizeof path, "%s/%s", folder, bank->name);
    (void)snprintf(bank->path, sizeof bank->path, "%s/~new-%s", folder, bank->name);
    remove_tree(bank->path); /* of a time before */
    if (rk_named_create_disk(bank, err) == RANKD_OK && rename(bank->path, path) != 0)
        (void)rk_fail(err, RANKD_INTERNAL, "cannot make %s: %s", path, strerror(errno));
    if (err->status == RANKD_OK) {
        memcpy(bank->path, path, sizeof path);
        if (rk_sync_folder(folder, err) == RANKD_OK && rk_named_reopen(bank, err) == RANKD_OK)
            return RANKD_OK;
    }
    remove_tree(bank->path);
    return err->status;
}

/* The name goes first, durably: a crash or a power loss from here on brings nothing of it back. */
enum rankd_status rk_data_remove(const struct rk_banks *banks, const struct rk_named_bank *bank,
                                 struct rk_err *err)
{
    char folder[RK_CONFIG_TEXT + 16], gone[PATH_MAX];
    (void)snprintf(folder, sizeof folder, "%s/banks", banks->data);
    (void)snprintf(gone, sizeof gone, "%s/~gone-%s", folder, bank->name);
    remove_tree(gone); /* of a time before */
    if (rename(bank->path, gone) != 0)
        return rk_fail(err, RANKD_INTERNAL, "cannot remove %s: %s", bank->path, strerror(errno));
    if (rk_sync_folder(folder, err) != RANKD_OK)
        return err->status;
    remove_tree(gone);
    return RANKD_OK;
}

enum rankd_status rk_data_lock(struct rk_banks *banks, struct rk_err *err)
{
    char path[RK_CONFIG_TEXT + 16], format[32] = "";
    if (rk_folder_make(banks->data, err) != RANKD_OK)
        return err->status;
    (void)snprintf(path, sizeof path, "%s/lock", banks->data);
    banks->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (banks->lock_fd < 0)
        return rk_fail(err, RANKD_INTERNAL, "data folder %s cannot be used: %s", banks->data,
                       strerror(errno));
    if (flock(banks->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return rk_fail(err, RANKD_CONFLICT, "data folder %s is in use by another rankd", banks->data);
    (void)snprintf(path, sizeof path, "%s/format", banks->data);
    FILE *file = fopen(path, "re");
    if (!file)
        return rk_file_replace(banks->data, "format", DATA_FORMAT, sizeof DATA_FORMAT - 1, err);
    size_t got = fread(format, 1, sizeof format - 1, file);
    (void)fclose(file);
    format[got] = '\0';
    if (strcmp(format, DATA_FORMAT) != 0)
        return rk_fail(err, RANKD_INVALID,
                       "data folder %s has format \"%.24s\"; this rankd reads \"rankd data 1\"", banks->data,
                       format);
    return RANKD_OK;
}

static enum rankd_status load(struct rk_banks *banks, const char *name, const char *path, struct rk_err *err)
{
    struct rk_io *io = new_io(banks, err);
    struct rk_named_bank *bank = io ? rk_named_load(name, path, io) : NULL;
    if (!bank || !rk_banks_enter(banks, bank)) {
        rk_named_release(bank);
        return rk_fail(err, RANKD_OVERLOADED, "no memory to read bank \"%s\" back", name);
    }
    if (bank->unreadable)
        rk_log_say(banks->app->log, RK_LOG_ERROR, "bank", "bank \"%s\" could not be read back: %s", name,
                   bank->refused);
    else
        rk_log_say(banks->app->log, RK_LOG_INFO, "bank", "bank \"%s\" read back: %zu items, version %llu",
                   name, rk_bank_items(bank->memory), (unsigned long long)rk_bank_now(bank->memory).version);
    return RANKD_OK;
}

enum rankd_status rk_data_load(struct rk_banks *banks, struct rk_err *err)
{
    char folder[RK_CONFIG_TEXT + 16], path[PATH_MAX / 2];
    (void)snprintf(folder, sizeof folder, "%s/banks", banks->data);
    if (rk_folder_make(folder, err) != RANKD_OK)
        return err->status;
    struct dirent **entry = NULL;
    int count = scandir(folder, &entry, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        const char *name = entry[i]->d_name;
        struct rk_err odd = {0};
        if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) < sizeof path) {
            if (name[0] == '~') /* a deletion or a creation that a crash cut short */
                remove_tree(path);
            else if (err->status == RANKD_OK && rk_bank_name_check("a bank's folder", name, &odd))
                (void)!load(banks, name, path, err);
        }
        free(entry[i]);
    }
    free((void *)entry);
    return err->status;
}
