/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on banks: what the API calls, with the JSON of its answers. */
#include <string.h>

#include "bank/registry_internal.h"
#include "bank/replica_admin.h"
#include "base/text.h"

/* Room for any answer of an operation that changes something: an error for want of memory must not
 * come after the effect. */
static bool reserve_answer(struct rk_text *out, struct rk_err *err)
{
    const size_t most = (size_t)2048 + (size_t)6 * RK_ERR_TEXT; /* a reason, with every byte escaped */
    if (rk_text_reserve(out, most))
        return true;
    (void)rk_fail(err, RANKD_OVERLOADED, "no memory for the answer; try again in a moment");
    return false;
}

/* `daemons_behind`: after an operation on a bank in a store; NULL otherwise. */
static void write_bank_after(struct rk_text *out, struct rk_durable_bank *bank,
                             const unsigned *daemons_behind)
{
    pthread_mutex_lock(&bank->lock);
    struct rk_bank_position now = rk_bank_now(bank->memory);
    rk_json_open(out, NULL, '{');
    rk_json_text(out, "name", bank->name);
    rk_bank_config_write(out, &bank->config);
    rk_json_uint(out, "items", rk_bank_items(bank->memory));
    rk_json_uint(out, "version", now.version);
    rk_json_uint(out, "generation", now.generation);
    rk_json_uint(out, "bytes", rk_durable_bank_bytes(bank));
    rk_json_uint(out, "disk_bytes", bank->disk_bytes);
    rk_json_bool(out, "durable",
                 (bank->journal || bank->replica) && bank->config.durability != RK_DURABILITY_NONE);
    rk_json_bool(out, "read_only", bank->refused[0] != '\0');
    rk_json_text(out, "reason",
                 bank->refused[0]  ? bank->refused
                 : bank->undurable ? "the disk is full: appends are kept in memory only until there is room"
                                   : "");
    if (bank->replica)
        rk_replica_write(out, bank);
    if (daemons_behind)
        rk_json_uint(out, "daemons_behind", *daemons_behind);
    rk_json_close(out, '}');
    pthread_mutex_unlock(&bank->lock);
}

static void write_bank(struct rk_text *out, struct rk_durable_bank *bank)
{
    write_bank_after(out, bank, NULL);
}

/* Operations on banks of one's own share a turn. Those on banks in a store have one for each bank,
 * and refuse to wait for one that has waited for the store longer than a request may. */
static enum rankd_status begin_turn(struct rk_banks *banks, struct rk_turn *turn, const char *name,
                                    struct rk_err *err)
{
    return rk_turn_begin(&banks->turns, turn, banks->replicas ? name : "",
                         banks->replicas ? banks->replicas->timeout_ns : 0, err);
}

static enum rankd_status create(struct rk_banks *banks, struct rk_turn *turn, const char *name,
                                const struct rk_bank_config *config, struct rk_err *err)
{
    if (rk_banks_reserve(banks, turn, config, err) != RANKD_OK)
        return err->status;
    if (banks->replicas)
        return rk_replica_create(banks, turn, name, config, err);
    struct rk_durable_bank *bank = rk_durable_bank_new(name, config);
    if (!bank)
        return rk_fail(err, RANKD_OVERLOADED, "no memory for another bank");
    if (banks->data[0]) {
        if (rk_data_create(banks, bank, err) != RANKD_OK) {
            rk_durable_bank_release(bank);
            return err->status;
        }
    }
    if (!rk_banks_enter_reserved(banks, turn, bank)) {
        bool still;
        (void)rk_fail(err, RANKD_OVERLOADED, "no memory for another bank");
        if (bank->path[0])
            (void)!rk_data_remove(banks, bank, &still, err);
        rk_durable_bank_release(bank);
        return err->status;
    }
    return RANKD_OK;
}

enum rankd_status rk_banks_create(struct rk_banks *banks, const char *name, const void *body, size_t bytes,
                                  struct rk_text *out, struct rk_err *err)
{
    struct rk_bank_config config;
    struct rk_err missing = {0};
    if (!reserve_answer(out, err) || !rk_bank_name_check("the bank's name", name, err) ||
        rk_bank_config_parse(body, bytes, &config, NULL, err) != RANKD_OK)
        return err->status;
    struct rk_turn turn;
    if (begin_turn(banks, &turn, name, err) != RANKD_OK)
        return err->status;
    struct rk_durable_bank *bank = rk_banks_find(banks, name, &missing);
    if (!bank && create(banks, &turn, name, &config, err) == RANKD_OK)
        bank = rk_banks_find(banks, name, err);
    rk_turn_end(&banks->turns, &turn);
    if (!bank)
        return err->status;
    pthread_mutex_lock(&bank->lock);
    const bool gone = bank->replica && bank->replica->gone;
    if (gone)
        (void)!rk_replica_check(bank, err);
    pthread_mutex_unlock(&bank->lock);
    if (!gone && !rk_bank_config_same(&config, &bank->config)) {
        char difference[160];
        rk_bank_config_tell(&bank->config, &config, difference, sizeof difference);
        (void)rk_fail(err, RANKD_CONFLICT,
                      "bank \"%s\" exists with another configuration%s; GET /v2/banks/%s shows it", name,
                      difference, name);
    } else if (!gone) {
        write_bank(out, bank);
    }
    rk_durable_bank_release(bank);
    return err->status;
}

enum rankd_status rk_banks_store(struct rk_banks *banks, struct rk_text *out, struct rk_err *err)
{
    if (banks->replicas)
        return rk_replicas_describe(banks->replicas, out, err);
    return rk_fail(err, RANKD_NOT_FOUND, "the banks of this daemon are not in a store (--bank-store)");
}

enum rankd_status rk_banks_show(struct rk_banks *banks, const char *name, struct rk_text *out,
                                struct rk_err *err)
{
    struct rk_durable_bank *bank = rk_banks_find(banks, name, err);
    if (!bank)
        return err->status;
    write_bank(out, bank);
    rk_durable_bank_release(bank);
    return RANKD_OK;
}

enum rankd_status rk_banks_list(struct rk_banks *banks, struct rk_text *out, struct rk_err *err)
{
    (void)err;
    size_t count;
    struct rk_durable_bank **all = rk_banks_hold_all(banks, &count);
    rk_json_open(out, NULL, '[');
    for (size_t i = 0; i < count; i++)
        write_bank(out, all[i]);
    rk_json_close(out, ']');
    rk_banks_release_all(all, count);
    return RANKD_OK;
}

enum rankd_status rk_banks_delete(struct rk_banks *banks, const char *name, struct rk_err *err)
{
    struct rk_turn turn;
    if (begin_turn(banks, &turn, name, err) != RANKD_OK)
        return err->status;
    struct rk_durable_bank *bank = rk_banks_find(banks, name, err);
    if (bank && bank->replica && rk_replica_delete(bank, err) != RANKD_OK) {
        rk_durable_bank_release(bank);
        bank = NULL;
    }
    if (bank) {
        rk_banks_take_out(banks, bank);
        pthread_mutex_lock(&bank->lock);
        rk_durable_bank_writer_lock(bank);
        pthread_mutex_unlock(&bank->lock);
        bool still = false;
        if (bank->path[0])
            (void)!rk_data_remove(banks, bank, &still, err);
        pthread_mutex_lock(&bank->lock);
        if (!still)
            rk_durable_bank_refuse(bank, &(struct rk_err){.text = "it was deleted"});
        if (bank->replica)
            rk_replica_end(bank);
        rk_retries_wake_versions(bank);
        rk_durable_bank_writer_release(bank);
        pthread_mutex_unlock(&bank->lock);
        if (!still || !rk_banks_enter(banks, bank)) /* which takes the reference over */
            rk_durable_bank_release(bank);
    }
    rk_turn_end(&banks->turns, &turn);
    return err->status;
}

/* An operation on one bank, while no other has its turn. */
static enum rankd_status on_bank(struct rk_banks *banks, const char *name, const char *tag,
                                 enum rankd_status (*run)(struct rk_durable_bank *, const char *,
                                                          struct rk_text *, struct rk_err *),
                                 struct rk_text *out, struct rk_err *err)
{
    if ((out && !reserve_answer(out, err)) || (tag && !rk_bank_name_check("the checkpoint's tag", tag, err)))
        return err->status;
    struct rk_turn turn;
    if (begin_turn(banks, &turn, name, err) != RANKD_OK)
        return err->status;
    struct rk_durable_bank *bank = rk_banks_find(banks, name, err);
    enum rankd_status status = bank ? run(bank, tag, out, err) : err->status;
    rk_turn_end(&banks->turns, &turn);
    rk_durable_bank_release(bank);
    return status;
}

static enum rankd_status run_clear(struct rk_durable_bank *bank, const char *tag, struct rk_text *out,
                                   struct rk_err *err)
{
    (void)tag;
    unsigned behind = 0;
    enum rankd_status status =
        bank->replica ? rk_replica_clear(bank, &behind, err) : rk_durable_bank_clear(bank, err);
    if (status == RANKD_OK)
        write_bank_after(out, bank, bank->replica ? &behind : NULL);
    return status;
}

static enum rankd_status run_restore(struct rk_durable_bank *bank, const char *tag, struct rk_text *out,
                                     struct rk_err *err)
{
    unsigned behind = 0;
    enum rankd_status status =
        bank->replica ? rk_replica_restore(bank, tag, &behind, err) : rk_durable_bank_restore(bank, tag, err);
    if (status == RANKD_OK)
        write_bank_after(out, bank, bank->replica ? &behind : NULL);
    return status;
}

static enum rankd_status run_forget(struct rk_durable_bank *bank, const char *tag, struct rk_text *out,
                                    struct rk_err *err)
{
    (void)out;
    return bank->replica ? rk_replica_forget(bank, tag, err)
                         : rk_durable_bank_delete_checkpoint(bank, tag, err);
}

static enum rankd_status run_checkpoint(struct rk_durable_bank *bank, const char *tag, struct rk_text *out,
                                        struct rk_err *err)
{
    return bank->replica ? rk_replica_checkpoint(bank, tag, out, err)
                         : rk_durable_bank_checkpoint(bank, tag, out, err);
}

static enum rankd_status run_checkpoints(struct rk_durable_bank *bank, const char *tag, struct rk_text *out,
                                         struct rk_err *err)
{
    (void)tag;
    return rk_durable_bank_checkpoints(bank, out, err);
}

enum rankd_status rk_banks_clear(struct rk_banks *banks, const char *name, struct rk_text *out,
                                 struct rk_err *err)
{
    return on_bank(banks, name, NULL, run_clear, out, err);
}

enum rankd_status rk_banks_checkpoint(struct rk_banks *banks, const char *name, const char *tag,
                                      struct rk_text *out, struct rk_err *err)
{
    return on_bank(banks, name, tag, run_checkpoint, out, err);
}

enum rankd_status rk_banks_checkpoints(struct rk_banks *banks, const char *name, struct rk_text *out,
                                       struct rk_err *err)
{
    if (!banks->replicas)
        return on_bank(banks, name, NULL, run_checkpoints, out, err);
    /* The store lists them at one moment: no operation has to end first. */
    struct rk_durable_bank *bank = rk_banks_find(banks, name, err);
    if (bank)
        (void)!rk_replica_checkpoints(bank, out, err);
    rk_durable_bank_release(bank);
    return err->status;
}

enum rankd_status rk_banks_restore(struct rk_banks *banks, const char *name, const char *tag,
                                   struct rk_text *out, struct rk_err *err)
{
    return on_bank(banks, name, tag, run_restore, out, err);
}

enum rankd_status rk_banks_delete_checkpoint(struct rk_banks *banks, const char *name, const char *tag,
                                             struct rk_err *err)
{
    return on_bank(banks, name, tag, run_forget, NULL, err);
}
