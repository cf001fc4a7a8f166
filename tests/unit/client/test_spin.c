/* SPDX-License-Identifier: Apache-2.0 */
/* Spinning ends where other programs want the CPU, and begins again when they do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rankd_spin.h"

enum { LOOK_NS = 500, SLICE_NS = 3000000 };

static void a_spin_goes_on_while_nobody_else_runs(void **state)
{
    (void)state;
    struct rankd_spin spin = {0};
    uint64_t now = 1;
    assert_true(rankd_spin_begin(&spin, now));
    for (int i = 0; i < 1000; i++)
        assert_true(rankd_spin_goes_on(&spin, now += i % 7 ? LOOK_NS : RANKD_SPIN_AWAY_NS));
    assert_true(rankd_spin_begin(&spin, now += SLICE_NS)); /* time between two spins is no sign */
    assert_true(rankd_spin_goes_on(&spin, now + LOOK_NS));
}

static void after_a_time_slice_of_others_nobody_spins_for_longer_each_time(void **state)
{
    (void)state;
    struct rankd_spin spin = {0};
    uint64_t now = 1, pause = RANKD_SPIN_FIRST_NS;
    for (int i = 0; i < 12; i++) {
        assert_true(rankd_spin_begin(&spin, now));
        assert_false(rankd_spin_goes_on(&spin, now += SLICE_NS));
        assert_false(rankd_spin_begin(&spin, now));
        assert_false(rankd_spin_begin(&spin, now + pause - 1));
        now += pause;
        pause = 2 * pause < RANKD_SPIN_LONGEST_NS ? 2 * pause : RANKD_SPIN_LONGEST_NS;
    }
    assert_int_equal(spin.pause_ns, RANKD_SPIN_LONGEST_NS);
}

static void what_a_spin_meets_takes_the_pause_back_step_by_step(void **state)
{
    (void)state;
    struct rankd_spin spin = {0};
    uint64_t now = 1;
    assert_true(rankd_spin_begin(&spin, now));
    assert_false(rankd_spin_goes_on(&spin, now += SLICE_NS));
    rankd_spin_met(&spin);
    assert_true(spin.pause_ns > RANKD_SPIN_FIRST_NS / 2);
    for (int i = 0; i < RANKD_SPIN_FIRST_NS / RANKD_SPIN_MET_NS; i++)
        rankd_spin_met(&spin);
    assert_int_equal(spin.pause_ns, 0);
    assert_true(rankd_spin_begin(&spin, now += RANKD_SPIN_FIRST_NS));
    assert_false(rankd_spin_goes_on(&spin, now + SLICE_NS));
    assert_int_equal(spin.pause_ns, RANKD_SPIN_FIRST_NS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_spin_goes_on_while_nobody_else_runs),
        cmocka_unit_test(after_a_time_slice_of_others_nobody_spins_for_longer_each_time),
        cmocka_unit_test(what_a_spin_meets_takes_the_pause_back_step_by_step),
    };
    return cmocka_run_group_tests_name("spin", tests, NULL, NULL);
}
