/* What operators see of the banks: metrics with the bank's name as label. */
#include <string.h>

#include "bank/registry.h"
#include "codec/text.h"

static void write_gauge(struct rk_text *out, const char *name, const char *help, struct rk_named_bank **all,
                        size_t count, double (*value)(struct rk_named_bank *))
{
    rk_text_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name,
                   strstr(name, "_total") ? "counter" : "gauge");
    for (size_t i = 0; i < count; i++)
        rk_text_printf(out, "%s{bank=\"%s\"} %.17g\n", name, all[i]->name, value(all[i]));
}

/* The lock, because a restore exchanges the memory. */
static double items_of(struct rk_named_bank *bank)
{
    pthread_mutex_lock(&bank->lock);
    size_t items = rk_bank_items(bank->memory);
    pthread_mutex_unlock(&bank->lock);
    return (double)items;
}
static struct rk_bank_point now_of(struct rk_named_bank *bank)
{
    pthread_mutex_lock(&bank->lock);
    struct rk_bank_point now = rk_bank_now(bank->memory);
    pthread_mutex_unlock(&bank->lock);
    return now;
}
static double version_of(struct rk_named_bank *bank)
{
    return (double)now_of(bank).version;
}
static double generation_of(struct rk_named_bank *bank)
{
    return (double)now_of(bank).generation;
}
static double bytes_of(struct rk_named_bank *bank)
{
    pthread_mutex_lock(&bank->lock);
    size_t bytes = rk_bank_bytes(bank->memory);
    pthread_mutex_unlock(&bank->lock);
    return (double)bytes;
}
static double last_append_of(struct rk_named_bank *bank)
{
    return (double)atomic_load(&bank->last_append_s);
}
static double read_only_of(struct rk_named_bank *bank)
{
    pthread_mutex_lock(&bank->lock);
    bool refused = bank->refused[0] != '\0';
    pthread_mutex_unlock(&bank->lock);
    return refused;
}
static double undurable_of(struct rk_named_bank *bank)
{
    pthread_mutex_lock(&bank->lock);
    bool undurable = bank->undurable;
    pthread_mutex_unlock(&bank->lock);
    return undurable;
}
static double batches_of(struct rk_named_bank *bank)
{
    return (double)atomic_load(&bank->appended_batches);
}
static double syncs_of(struct rk_named_bank *bank)
{
    return (double)atomic_load(&bank->syncs);
}
static double sync_seconds_of(struct rk_named_bank *bank)
{
    return (double)atomic_load(&bank->sync_ns) / 1e9;
}

void rk_banks_gauges(struct rk_app *app, struct rk_text *out)
{
    static const struct {
        const char *name, *help;
        double (*value)(struct rk_named_bank *);
    } rows[] = {
        {"rankd_bank_items", "Items in a bank.", items_of},
        {"rankd_bank_version", "Version of a bank: batches appended.", version_of},
        {"rankd_bank_generation", "Generation of a bank: raised by clear and restore.", generation_of},
        {"rankd_bank_bytes", "Memory that a bank holds.", bytes_of},
        {"rankd_bank_last_append_timestamp_seconds", "When a bank was last appended to, Unix time.",
         last_append_of},
        {"rankd_bank_read_only", "1 where a bank takes no appends.", read_only_of},
        {"rankd_bank_undurable", "1 where a full disk makes a bank go on in memory only.", undurable_of},
        {"rankd_bank_appended_batches_total", "Batches appended to a bank.", batches_of},
        {"rankd_bank_syncs_total", "Syncs of a bank's journal.", syncs_of},
        {"rankd_bank_sync_seconds_total", "Time of syncs of a bank's journal.", sync_seconds_of},
    };
    size_t count;
    struct rk_named_bank **all = rk_banks_hold_all(app->banks, &count);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        write_gauge(out, rows[i].name, rows[i].help, all, count, rows[i].value);
    rk_banks_release_all(all, count);
}
