/* SPDX-License-Identifier: Apache-2.0 */
/* The number and size of banks: the limits of the configuration against the existing banks. */
#include "bank/registry_internal.h"

/* Bytes of a full bank, with its batch ids, or the most it may have. */
static size_t bytes_when_full(struct rk_durable_bank *bank)
{
    pthread_mutex_lock(&bank->lock);
    size_t ids = rk_ids_bytes(&bank->ids), kept = rk_ids_kept_bytes();
    pthread_mutex_unlock(&bank->lock);
    return rk_bank_shape_bytes(&bank->config.shape) + (ids > kept ? ids : kept);
}

/* Banks that are there and those that are being created, but for that of `turn`. The lock of turns
 * is held. */
static void count_banks(struct rk_banks *banks, const struct rk_turn *turn, size_t *count, size_t *bytes)
{
    struct rk_durable_bank **all = rk_banks_hold_all(banks, count);
    const size_t there = *count;
    *bytes = 0;
    for (size_t i = 0; i < there; i++)
        *bytes += bytes_when_full(all[i]) + rk_durable_bank_checkpoint_bytes(all[i]);
    rk_banks_release_all(all, there);
    for (const struct rk_turn *other = banks->turns.first; other; other = other->next) {
        *count += other != turn && other->creates;
        *bytes += other != turn && other->creates ? other->bytes : 0;
    }
}

static enum rankd_status check_quota(struct rk_banks *banks, const struct rk_turn *turn,
                                     const struct rk_bank_config *config, size_t want, struct rk_err *err)
{
    const struct rk_config *limits = banks->config;
    size_t count, used;
    count_banks(banks, turn, &count, &used);
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
    if (config->durability == RK_DURABILITY_ALWAYS && !banks->data[0] && !banks->replicas)
        return rk_fail(
            err, RANKD_UNSUPPORTED,
            "durability \"always\" needs a daemon with a data folder (--data) or a store (--bank-store)");
    return RANKD_OK;
}

enum rankd_status rk_banks_reserve(struct rk_banks *banks, struct rk_turn *turn,
                                   const struct rk_bank_config *config, struct rk_err *err)
{
    const size_t want = rk_bank_shape_bytes(&config->shape) + rk_ids_kept_bytes();
    pthread_mutex_lock(&banks->turns.lock);
    if (check_quota(banks, turn, config, want, err) == RANKD_OK) {
        turn->creates = true;
        turn->bytes = want;
    }
    pthread_mutex_unlock(&banks->turns.lock);
    return err->status;
}

bool rk_banks_enter_reserved(struct rk_banks *banks, struct rk_turn *turn, struct rk_durable_bank *bank)
{
    pthread_mutex_lock(&banks->turns.lock);
    const bool entered = rk_banks_enter(banks, bank);
    turn->creates = !entered;
    pthread_mutex_unlock(&banks->turns.lock);
    return entered;
}
