#include "bank/registry.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "bank/commit.h"
#include "codec/text.h"
#include "log.h"
#include "metrics.h"
#include "nearest.h"

#define DATA_FORMAT "rankd data 1\n"
enum { FLUSH_INTERVAL_S = 1 };

struct rk_banks {
    struct rk_app *app;
    char data[RK_CONFIG_TEXT]; /* "" = no disk */
    int lock_fd;
    bool plain_io;
    pthread_mutex_t lock; /* over the table */
    struct rk_named_bank **bank;
    size_t count;
    pthread_mutex_t admin; /* operations on banks (create, delete, checkpoint, …) come one at a time */
    pthread_mutex_t flush_lock;
    pthread_cond_t flush_stop;
    bool stopping;
    pthread_t flusher;
    struct rk_commit *commit; /* NULL = no disk */
};

/* --- names --- */

bool rk_bank_name_check(const char *what, const char *name, struct rk_err *err)
{
    size_t length = strlen(name);
    bool plain = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == length;
    if (plain && length >= 1 && length < RK_BANK_NAME_BYTES && strcmp(name, ".") != 0 &&
        strcmp(name, "..") != 0)
        return true;
    (void)rk_fail(
        err, RANKD_INVALID,
        "%s was \"%.80s\"; it may have 1 to 64 letters, digits, '.', '_' and '-', and not be \".\" or \"..\"",
        what, name);
    return false;
}

static size_t position(const struct rk_banks *banks, const char *name)
{
    size_t i = 0;
    while (i < banks->count && strcmp(banks->bank[i]->name, name) != 0)
        i++;
    return i;
}

struct rk_named_bank *rk_banks_find(struct rk_banks *banks, const char *name, struct rk_err *err)
{
    struct rk_named_bank *found = NULL;
    struct rk_nearest nearest = rk_nearest_start(name);
    pthread_mutex_lock(&banks->lock);
    size_t at = position(banks, name);
    if (at < banks->count) {
        found = rk_named_hold(banks->bank[at]);
    } else {
        for (size_t i = 0; i < banks->count; i++)
            rk_nearest_offer(&nearest, banks->bank[i]->name);
        (void)rk_fail(err, RANKD_NOT_FOUND, "there is no bank \"%.64s\"%s%s%s; PUT /v2/banks/NAME makes one",
                      name, nearest.best ? " (did you mean \"" : "", nearest.best ? nearest.best : "",
                      nearest.best ? "\"?)" : "");
    }
    pthread_mutex_unlock(&banks->lock);
    return found;
}

static bool enter(struct rk_banks *banks, struct rk_named_bank *bank)
{
    bank->commit = banks->commit;
    pthread_mutex_lock(&banks->lock);
    struct rk_named_bank **grown =
        realloc((void *)banks->bank, (banks->count + 1) * sizeof(struct rk_named_bank *));
    if (grown) {
        banks->bank = grown;
        banks->bank[banks->count++] = bank;
    }
    pthread_mutex_unlock(&banks->lock);
    return grown != NULL;
}

struct rk_named_bank **rk_banks_hold_all(struct rk_banks *banks, size_t *count)
{
    pthread_mutex_lock(&banks->lock);
    struct rk_named_bank **all = calloc(banks->count + 1, sizeof(struct rk_named_bank *));
    *count = all ? banks->count : 0;
    for (size_t i = 0; i < *count; i++)
        all[i] = rk_named_hold(banks->bank[i]);
    pthread_mutex_unlock(&banks->lock);
    return all;
}

void rk_banks_release_all(struct rk_named_bank **all, size_t count)
{
    for (size_t i = 0; i < count; i++)
        rk_named_release(all[i]);
    free((void *)all);
}

/* --- operations --- */

static void write_bank(struct rk_text *out, struct rk_named_bank *bank)
{
    struct rk_bank_point now = rk_bank_now(bank->memory);
    pthread_mutex_lock(&bank->lock);
    rk_json_open(out, NULL, '{');
    rk_json_text(out, "name", bank->name);
    rk_bank_config_write(out, &bank->config);
    rk_json_uint(out, "items", rk_bank_items(bank->memory));
    rk_json_uint(out, "version", now.version);
    rk_json_uint(out, "generation", now.generation);
    rk_json_uint(out, "bytes", rk_bank_bytes(bank->memory));
    rk_json_uint(out, "disk_bytes", bank->disk_bytes);
    rk_json_bool(out, "durable", bank->journal && bank->config.durability != RK_DURABILITY_NONE);
    rk_json_bool(out, "read_only", bank->refused[0] != '\0');
    rk_json_text(out, "reason",
                 bank->refused[0]  ? bank->refused
                 : bank->undurable ? "the disk is full: appends are kept in memory only until there is room"
                                   : "");
    rk_json_close(out, '}');
    pthread_mutex_unlock(&bank->lock);
}

static enum rankd_status check_quota(struct rk_banks *banks, const struct rk_bank_config *config,
                                     struct rk_err *err)
{
    const struct rk_config *limits = &banks->app->config;
    size_t count, want = rk_bank_shape_bytes(&config->shape), used = 0;
    struct rk_named_bank **all = rk_banks_hold_all(banks, &count);
    for (size_t i = 0; i < count; i++)
        used += rk_bank_shape_bytes(&all[i]->config.shape) + rk_named_checkpoint_bytes(all[i]);
    rk_banks_release_all(all, count);
    if (count >= limits->banks)
        return rk_fail(err, RANKD_TOO_LARGE, "there are %zu banks; there may be %llu (--banks)", count,
                       (unsigned long long)limits->banks);
    if (config->shape.capacity > limits->bank_items)
        return rk_fail(err, RANKD_TOO_LARGE, "capacity of the bank is %zu; it may be %llu (--bank-items)",
                       config->shape.capacity, (unsigned long long)limits->bank_items);
    if (want > limits->bank_bytes || used > limits->bank_bytes - want)
        return rk_fail(err, RANKD_TOO_LARGE,
                       "the bank would take up to %zu bytes, and others take %zu; together they may take "
                       "%llu (--bank-bytes)",
                       want, used, (unsigned long long)limits->bank_bytes);
    if (config->durability == RK_DURABILITY_ALWAYS && !banks->data[0])
        return rk_fail(err, RANKD_UNSUPPORTED,
                       "durability \"always\" needs a daemon with a data folder (--data)");
    return RANKD_OK;
}

static struct rk_io *new_io(const struct rk_banks *banks)
{
    struct rk_io *io = banks->plain_io ? NULL : rk_io_uring_new();
    return io ? io : rk_io_plain_new();
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
static enum rankd_status create_disk(const struct rk_banks *banks, struct rk_named_bank *bank,
                                     struct rk_err *err)
{
    char folder[RK_CONFIG_TEXT + 16], path[sizeof bank->path];
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

static enum rankd_status create(struct rk_banks *banks, const char *name, const struct rk_bank_config *config,
                                struct rk_err *err)
{
    if (check_quota(banks, config, err) != RANKD_OK)
        return err->status;
    struct rk_named_bank *bank = rk_named_new(name, config);
    if (!bank)
        return rk_fail(err, RANKD_OVERLOADED, "no memory for another bank");
    if (banks->data[0]) {
        bank->io = new_io(banks);
        if (!bank->io || create_disk(banks, bank, err) != RANKD_OK) {
            (void)rk_fail(err, RANKD_OVERLOADED, "no memory for another bank");
            rk_named_release(bank);
            return err->status;
        }
    }
    if (!enter(banks, bank)) {
        rk_named_release(bank);
        return rk_fail(err, RANKD_OVERLOADED, "no memory for another bank");
    }
    return RANKD_OK;
}

enum rankd_status rk_banks_create(struct rk_banks *banks, const char *name, const void *body, size_t bytes,
                                  struct rk_text *out, struct rk_err *err)
{
    struct rk_bank_config config;
    struct rk_err missing = {0};
    if (!rk_bank_name_check("the bank's name", name, err) ||
        rk_bank_config_parse(body, bytes, &config, NULL, err) != RANKD_OK)
        return err->status;
    pthread_mutex_lock(&banks->admin);
    struct rk_named_bank *bank = rk_banks_find(banks, name, &missing);
    if (!bank && create(banks, name, &config, err) == RANKD_OK)
        bank = rk_banks_find(banks, name, err);
    pthread_mutex_unlock(&banks->admin);
    if (!bank)
        return err->status;
    if (!rk_bank_config_same(&config, &bank->config))
        (void)rk_fail(err, RANKD_CONFLICT,
                      "bank \"%s\" exists with another configuration; GET /v2/banks/%s shows it", name, name);
    else
        write_bank(out, bank);
    rk_named_release(bank);
    return err->status;
}

enum rankd_status rk_banks_show(struct rk_banks *banks, const char *name, struct rk_text *out,
                                struct rk_err *err)
{
    struct rk_named_bank *bank = rk_banks_find(banks, name, err);
    if (!bank)
        return err->status;
    write_bank(out, bank);
    rk_named_release(bank);
    return RANKD_OK;
}

enum rankd_status rk_banks_list(struct rk_banks *banks, struct rk_text *out, struct rk_err *err)
{
    (void)err;
    size_t count;
    struct rk_named_bank **all = rk_banks_hold_all(banks, &count);
    rk_json_open(out, NULL, '[');
    for (size_t i = 0; i < count; i++)
        write_bank(out, all[i]);
    rk_json_close(out, ']');
    rk_banks_release_all(all, count);
    return RANKD_OK;
}

/* The name goes first, durably: a crash or a power loss from here on brings nothing of it back. */
static enum rankd_status remove_disk(const struct rk_banks *banks, const struct rk_named_bank *bank,
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

enum rankd_status rk_banks_delete(struct rk_banks *banks, const char *name, struct rk_err *err)
{
    pthread_mutex_lock(&banks->admin);
    struct rk_named_bank *bank = rk_banks_find(banks, name, err);
    if (bank) {
        pthread_mutex_lock(&banks->lock);
        size_t at = position(banks, name);
        banks->bank[at] = banks->bank[--banks->count];
        pthread_mutex_unlock(&banks->lock);
        rk_named_release(bank); /* the table's */
        pthread_mutex_lock(&bank->lock);
        rk_named_take_pen(bank);
        struct rk_err gone = {.text = "it was deleted"};
        rk_named_refuse(bank, &gone);
        rk_named_lay_pen(bank);
        pthread_mutex_unlock(&bank->lock);
        if (bank->path[0])
            (void)!remove_disk(banks, bank, err);
        rk_named_release(bank);
    }
    pthread_mutex_unlock(&banks->admin);
    return err->status;
}

/* An operation on one bank, alone among those that replace journals. */
static enum rankd_status on_bank(struct rk_banks *banks, const char *name, const char *tag,
                                 enum rankd_status (*run)(struct rk_named_bank *, const char *,
                                                          struct rk_text *, struct rk_err *),
                                 struct rk_text *out, struct rk_err *err)
{
    if (tag && !rk_bank_name_check("the checkpoint's tag", tag, err))
        return err->status;
    pthread_mutex_lock(&banks->admin);
    struct rk_named_bank *bank = rk_banks_find(banks, name, err);
    enum rankd_status status = bank ? run(bank, tag, out, err) : err->status;
    pthread_mutex_unlock(&banks->admin);
    rk_named_release(bank);
    return status;
}

static enum rankd_status run_clear(struct rk_named_bank *bank, const char *tag, struct rk_text *out,
                                   struct rk_err *err)
{
    (void)tag;
    enum rankd_status status = rk_named_clear(bank, err);
    if (status == RANKD_OK)
        write_bank(out, bank);
    return status;
}

static enum rankd_status run_restore(struct rk_named_bank *bank, const char *tag, struct rk_text *out,
                                     struct rk_err *err)
{
    enum rankd_status status = rk_named_restore(bank, tag, err);
    if (status == RANKD_OK)
        write_bank(out, bank);
    return status;
}

static enum rankd_status run_forget(struct rk_named_bank *bank, const char *tag, struct rk_text *out,
                                    struct rk_err *err)
{
    (void)out;
    return rk_named_forget(bank, tag, err);
}

static enum rankd_status run_checkpoints(struct rk_named_bank *bank, const char *tag, struct rk_text *out,
                                         struct rk_err *err)
{
    (void)tag;
    return rk_named_checkpoints(bank, out, err);
}

enum rankd_status rk_banks_clear(struct rk_banks *banks, const char *name, struct rk_text *out,
                                 struct rk_err *err)
{
    return on_bank(banks, name, NULL, run_clear, out, err);
}

enum rankd_status rk_banks_checkpoint(struct rk_banks *banks, const char *name, const char *tag,
                                      struct rk_text *out, struct rk_err *err)
{
    return on_bank(banks, name, tag, rk_named_checkpoint, out, err);
}

enum rankd_status rk_banks_checkpoints(struct rk_banks *banks, const char *name, struct rk_text *out,
                                       struct rk_err *err)
{
    return on_bank(banks, name, NULL, run_checkpoints, out, err);
}

enum rankd_status rk_banks_restore(struct rk_banks *banks, const char *name, const char *tag,
                                   struct rk_text *out, struct rk_err *err)
{
    return on_bank(banks, name, tag, run_restore, out, err);
}

enum rankd_status rk_banks_forget(struct rk_banks *banks, const char *name, const char *tag,
                                  struct rk_err *err)
{
    return on_bank(banks, name, tag, run_forget, NULL, err);
}

/* --- the interval's thread --- */

static void flush_all(struct rk_banks *banks)
{
    size_t count;
    struct rk_named_bank **all = rk_banks_hold_all(banks, &count);
    for (size_t i = 0; i < count; i++)
        rk_bank_use_wake_late(all[i]);
    for (size_t i = 0; i < count; i++) {
        if (all[i]->config.durability == RK_DURABILITY_INTERVAL)
            rk_named_flush(all[i]);
    }
    rk_banks_release_all(all, count);
}

static void *flush_loop(void *arg)
{
    struct rk_banks *banks = arg;
    pthread_mutex_lock(&banks->flush_lock);
    while (!banks->stopping) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += FLUSH_INTERVAL_S;
        (void)pthread_cond_timedwait(&banks->flush_stop, &banks->flush_lock, &until);
        pthread_mutex_unlock(&banks->flush_lock);
        flush_all(banks);
        pthread_mutex_lock(&banks->flush_lock);
    }
    pthread_mutex_unlock(&banks->flush_lock);
    return NULL;
}

/* --- start and stop --- */

static enum rankd_status lock_data(struct rk_banks *banks, struct rk_err *err)
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

static enum rankd_status load_all(struct rk_banks *banks, struct rk_err *err)
{
    char folder[RK_CONFIG_TEXT + 16], path[PATH_MAX / 2];
    (void)snprintf(folder, sizeof folder, "%s/banks", banks->data);
    if (rk_folder_make(folder, err) != RANKD_OK)
        return err->status;
    struct dirent **entry = NULL;
    int count = scandir(folder, &entry, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        struct rk_err odd = {0};
        if (entry[i]->d_name[0] == '~' && /* a deletion that a crash cut short */
            (size_t)snprintf(path, sizeof path, "%s/%s", folder, entry[i]->d_name) < sizeof path)
            remove_tree(path);
        if (err->status == RANKD_OK && rk_bank_name_check("a bank's folder", entry[i]->d_name, &odd) &&
            (size_t)snprintf(path, sizeof path, "%s/%s", folder, entry[i]->d_name) < sizeof path) {
            struct rk_named_bank *bank = rk_named_load(entry[i]->d_name, path, new_io(banks));
            if (!bank || !enter(banks, bank))
                (void)rk_fail(err, RANKD_OVERLOADED, "no memory to read bank \"%s\" back", entry[i]->d_name);
            else if (bank->unreadable)
                rk_log_say(banks->app->log, RK_LOG_ERROR, "bank", "bank \"%s\" could not be read back: %s",
                           bank->name, bank->refused);
            else
                rk_log_say(banks->app->log, RK_LOG_INFO, "bank",
                           "bank \"%s\" read back: %zu items, version %llu", bank->name,
                           rk_bank_items(bank->memory),
                           (unsigned long long)rk_bank_now(bank->memory).version);
        }
        free(entry[i]);
    }
    free((void *)entry);
    return err->status;
}

static void free_banks(struct rk_banks *banks)
{
    rk_commit_stop(banks->commit);
    for (size_t i = 0; i < banks->count; i++)
        rk_named_release(banks->bank[i]);
    free((void *)banks->bank);
    if (banks->lock_fd >= 0)
        (void)close(banks->lock_fd);
    pthread_mutex_destroy(&banks->lock);
    pthread_mutex_destroy(&banks->admin);
    pthread_mutex_destroy(&banks->flush_lock);
    pthread_cond_destroy(&banks->flush_stop);
    free(banks);
}

enum rankd_status rk_banks_start(struct rk_app *app, struct rk_err *err)
{
    struct rk_banks *banks = calloc(1, sizeof *banks);
    if (!banks)
        return rk_fail(err, RANKD_INTERNAL, "no memory");
    banks->app = app;
    banks->lock_fd = -1;
    banks->plain_io = app->config.io == RK_IO_EPOLL;
    (void)snprintf(banks->data, sizeof banks->data, "%s", app->config.data);
    pthread_mutex_init(&banks->lock, NULL);
    pthread_mutex_init(&banks->admin, NULL);
    pthread_mutex_init(&banks->flush_lock, NULL);
    pthread_cond_init(&banks->flush_stop, NULL);
    if (banks->data[0] && (lock_data(banks, err) != RANKD_OK || !(banks->commit = rk_commit_start(err)) ||
                           load_all(banks, err) != RANKD_OK)) {
        free_banks(banks);
        return err->status;
    }
    if (pthread_create(&banks->flusher, NULL, flush_loop, banks) != 0) {
        free_banks(banks);
        return rk_fail(err, RANKD_INTERNAL, "cannot start the thread that syncs banks");
    }
    app->banks = banks;
    rk_metrics_collect(app->metrics, rk_banks_gauges);
    return RANKD_OK;
}

void rk_banks_stop(struct rk_app *app)
{
    struct rk_banks *banks = app->banks;
    pthread_mutex_lock(&banks->flush_lock);
    banks->stopping = true;
    pthread_cond_signal(&banks->flush_stop);
    pthread_mutex_unlock(&banks->flush_lock);
    pthread_join(banks->flusher, NULL);
    for (size_t i = 0; i < banks->count; i++)
        rk_named_flush(banks->bank[i]); /* nobody else is there any more */
    app->banks = NULL;
    free_banks(banks);
}
