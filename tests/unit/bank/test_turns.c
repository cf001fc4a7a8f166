/* SPDX-License-Identifier: Apache-2.0 */
/* Turns of operations on banks, and what creations that run at once may take together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bank/kind.h"
#include "bank/registry_internal.h"

enum { AT_ONCE_NS = 1 };

static void a_name_has_one_turn_at_a_time(void **state)
{
    (void)state;
    struct rk_turns turns;
    struct rk_turn a, b, again;
    struct rk_err err = {0};
    rk_turns_init(&turns);
    assert_int_equal(rk_turn_begin(&turns, &a, "a", AT_ONCE_NS, &err), RANKD_OK);
    assert_int_equal(rk_turn_begin(&turns, &b, "b", AT_ONCE_NS, &err), RANKD_OK);
    assert_false(rk_turn_try(&turns, &again, "a"));
    assert_int_equal(rk_turn_begin(&turns, &again, "a", AT_ONCE_NS, &err), RANKD_OVERLOADED);
    assert_string_equal(err.text,
                        "another operation on bank \"a\" waits for the store; nothing was done, try "
                        "again in a moment");
    err = (struct rk_err){0};
    rk_turn_end(&turns, &a);
    assert_int_equal(rk_turn_begin(&turns, &again, "a", AT_ONCE_NS, &err), RANKD_OK);
    rk_turn_end(&turns, &b);
    assert_true(rk_turn_try(&turns, &b, "b"));
    rk_turn_end(&turns, &again);
    rk_turn_end(&turns, &b);
    assert_null(turns.first);
    rk_turns_destroy(&turns);
}

struct turn_taker {
    struct rk_turns *turns;
    int *inside, *most;
};

static void *take_turns(void *context)
{
    const struct turn_taker *taker = context;
    struct rk_turn turn;
    struct rk_err err = {0};
    for (int i = 0; i < 2000; i++) {
        if (rk_turn_begin(taker->turns, &turn, "", 0, &err) != RANKD_OK)
            abort();
        const int inside = ++*taker->inside;
        *taker->most = inside > *taker->most ? inside : *taker->most;
        --*taker->inside;
        rk_turn_end(taker->turns, &turn);
    }
    return NULL;
}

static void without_patience_each_waits_for_the_one_before(void **state)
{
    (void)state;
    struct rk_turns turns;
    pthread_t thread[4];
    int inside = 0, most = 0;
    struct turn_taker taker = {&turns, &inside, &most};
    rk_turns_init(&turns);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, take_turns, &taker), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(most, 1);
    rk_turns_destroy(&turns);
}

static void creations_that_run_at_once_share_the_quota(void **state)
{
    (void)state;
    const struct rk_bank_config config = {
        .shape = {.kind = &rk_bank_kind_embeddings, .dim = 2, .capacity = 10, .dtype = RK_FP32},
        .durability = RK_DURABILITY_INTERVAL};
    struct rk_config limits;
    struct rk_turn a, b;
    struct rk_err err = {0};
    rk_config_default(&limits);
    limits.banks = 1;
    struct rk_banks banks = {.config = &limits};
    pthread_mutex_init(&banks.lock, NULL);
    rk_turns_init(&banks.turns);
    assert_true(rk_turn_try(&banks.turns, &a, "a"));
    assert_true(rk_turn_try(&banks.turns, &b, "b"));
    assert_int_equal(rk_banks_reserve(&banks, &a, &config, &err), RANKD_OK);
    assert_int_equal(rk_banks_reserve(&banks, &a, &config, &err), RANKD_OK); /* it does not count twice */
    assert_int_equal(rk_banks_reserve(&banks, &b, &config, &err), RANKD_TOO_LARGE);
    assert_string_equal(err.text, "there are 1 banks; there may be 1 (--banks)");
    err = (struct rk_err){0};
    limits.banks = 2;
    limits.bank_bytes = 3 * a.bytes / 2;
    assert_int_equal(rk_banks_reserve(&banks, &b, &config, &err), RANKD_TOO_LARGE);
    err = (struct rk_err){0};
    struct rk_durable_bank *bank = rk_durable_bank_new("a", &config);
    assert_true(rk_banks_enter_reserved(&banks, &a, bank));
    assert_false(a.creates); /* it counts in the table now, once */
    limits.bank_bytes = 3 * a.bytes;
    assert_int_equal(rk_banks_reserve(&banks, &b, &config, &err), RANKD_OK);
    rk_turn_end(&banks.turns, &b);
    assert_int_equal(banks.count, 1);
    rk_banks_take_out(&banks, bank);
    rk_turn_end(&banks.turns, &a);
    free((void *)banks.bank);
    rk_turns_destroy(&banks.turns);
    pthread_mutex_destroy(&banks.lock);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_has_one_turn_at_a_time),
        cmocka_unit_test(without_patience_each_waits_for_the_one_before),
        cmocka_unit_test(creations_that_run_at_once_share_the_quota),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
