/* SPDX-License-Identifier: Apache-2.0 */
/* The batch ids that a bank remembers, by a clock that the test sets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bank/ids.h"
#include "unit/support/engine_call.h"

#define SECOND UINT64_C(1000000000)
#define START (77 * SECOND) /* of the monotonic clock: nothing may rely on 0 */

static struct rk_ids fresh(void)
{
    struct rk_ids ids;
    assert_true(rk_ids_init(&ids, START));
    return ids;
}

static struct rk_batch_id id_of(uint64_t n, uint64_t stamp_ns)
{
    char text[32];
    struct rk_batch_id id = {.content = n, .appended = n, .stamp_ns = stamp_ns};
    (void)snprintf(text, sizeof text, "batch %llu", (unsigned long long)n);
    rk_ids_name(text, id.name);
    return id;
}

static void add(struct rk_ids *ids, uint64_t n, uint64_t now_ns)
{
    struct rk_batch_id id = id_of(n, rk_ids_clock(ids, now_ns));
    rk_ids_add(ids, &id);
}

static void add_all(struct rk_ids *ids, uint64_t from, uint64_t to, uint64_t now_ns)
{
    for (uint64_t n = from; n < to; n++)
        add(ids, n, now_ns);
}

static bool knows(const struct rk_ids *ids, uint64_t n)
{
    struct rk_batch_id want = id_of(n, 0);
    const struct rk_batch_id *found = rk_ids_find(ids, want.name);
    assert_true(!found || found->appended == n);
    return found;
}

/* The ids from `oldest` to `newest` are known and listed in order, and no others. */
static void assert_holds(const struct rk_ids *ids, uint64_t oldest, uint64_t newest)
{
    size_t count;
    const struct rk_batch_id *all = rk_ids_all(ids, &count);
    assert_int_equal(count, newest - oldest + 1);
    for (size_t i = 0; i < count; i++) {
        if (all[i].appended != oldest + i || !knows(ids, oldest + i))
            fail_msg("entry %zu is %llu", i, (unsigned long long)all[i].appended);
    }
    for (uint64_t n = oldest > 100 ? oldest - 100 : 0; n < oldest; n++)
        assert_false(knows(ids, n));
    assert_false(knows(ids, newest + 1));
}

static void the_newest_are_kept_however_old(void **state)
{
    (void)state;
    struct rk_ids ids = fresh();
    uint64_t now = START, n = 0;
    for (; n < RK_IDS_KEPT; n++, now += 3600 * SECOND)
        add(&ids, n, now);
    assert_holds(&ids, 0, RK_IDS_KEPT - 1);
    rk_ids_expire(&ids, now);
    assert_holds(&ids, 0, RK_IDS_KEPT - 1);
    for (; n < 4 * RK_IDS_KEPT; n++, now += 3600 * SECOND)
        add(&ids, n, now);
    assert_holds(&ids, 3 * RK_IDS_KEPT, n - 1);
    assert_true(rk_ids_bytes(&ids) <= rk_ids_kept_bytes());
    rk_ids_free(&ids);
}

static void more_are_kept_until_they_are_ten_minutes_old(void **state)
{
    (void)state;
    struct rk_ids ids = fresh();
    add_all(&ids, 0, 100000, START);
    add_all(&ids, 100000, 300000, START + SECOND);
    assert_holds(&ids, 0, 299999);
    rk_ids_expire(&ids, START + RK_IDS_AGE_NS - 1);
    assert_holds(&ids, 0, 299999);
    add(&ids, 300000, START + RK_IDS_AGE_NS - 1);
    assert_holds(&ids, 0, 300000);
    rk_ids_expire(&ids, START + RK_IDS_AGE_NS);
    assert_holds(&ids, 100000, 300000);
    rk_ids_expire(&ids, START + 2 * RK_IDS_AGE_NS);
    assert_holds(&ids, 300001 - RK_IDS_KEPT, 300000);
    rk_ids_free(&ids);
}

static void adds_alone_drop_what_is_old(void **state)
{
    (void)state;
    struct rk_ids ids = fresh();
    add_all(&ids, 0, 300000, START);
    add_all(&ids, 300000, 400000, START + RK_IDS_AGE_NS);
    assert_holds(&ids, 300000, 399999);
    rk_ids_free(&ids);
}

static void a_million_is_the_most(void **state)
{
    (void)state;
    struct rk_ids ids = fresh();
    add_all(&ids, 0, RK_IDS_MOST, START);
    assert_holds(&ids, 0, RK_IDS_MOST - 1);
    add(&ids, RK_IDS_MOST, START);
    assert_holds(&ids, 1, RK_IDS_MOST);
    add_all(&ids, RK_IDS_MOST + 1, 2 * RK_IDS_MOST, START);
    assert_holds(&ids, RK_IDS_MOST, 2 * RK_IDS_MOST - 1);
    assert_true(rk_ids_bytes(&ids) < (size_t)93 << 20);
    /* Memory is released after a time without new ids. */
    for (uint64_t n = 2 * RK_IDS_MOST; n < 2 * RK_IDS_MOST + 600000; n++)
        add(&ids, n, START + RK_IDS_AGE_NS + (n - 2 * RK_IDS_MOST) * SECOND);
    assert_holds(&ids, 2 * RK_IDS_MOST + 600000 - RK_IDS_KEPT, 2 * RK_IDS_MOST + 599999);
    assert_true(rk_ids_bytes(&ids) <= rk_ids_kept_bytes());
    rk_ids_free(&ids);
}

/* Like a journal: the ids are written and read back, with a monotonic clock that has another
 * origin. */
static void read_back(struct rk_ids *ids, uint64_t now_ns)
{
    size_t count;
    const struct rk_batch_id *all = rk_ids_all(ids, &count);
    struct rk_ids again;
    assert_true(rk_ids_init(&again, now_ns));
    for (size_t i = 0; i < count; i++)
        rk_ids_read(&again, &all[i], now_ns);
    rk_ids_free(ids);
    *ids = again;
}

static void an_age_survives_restarts(void **state)
{
    (void)state;
    static const uint64_t starts[] = {0, SECOND, START + 3600 * SECOND, UINT64_C(1) << 62};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        struct rk_ids ids = fresh();
        add_all(&ids, 0, 100000, START);
        add_all(&ids, 100000, 200000, START + 400 * SECOND);
        read_back(&ids, starts[i]);
        assert_holds(&ids, 0, 199999);
        rk_ids_expire(&ids, starts[i] + 200 * SECOND - 1);
        assert_holds(&ids, 0, 199999);
        add(&ids, 200000, starts[i] + 200 * SECOND - 1);
        read_back(&ids, 5);
        rk_ids_expire(&ids, 5);
        assert_holds(&ids, 0, 200000);
        rk_ids_expire(&ids, 6);
        assert_holds(&ids, 100000, 200000);
        rk_ids_free(&ids);
    }
}

static void files_without_stamps_are_read(void **state)
{
    (void)state;
    struct rk_ids ids = fresh();
    for (uint64_t n = 0; n < 100000; n++) {
        struct rk_batch_id id = id_of(n, 0);
        rk_ids_read(&ids, &id, START + n);
    }
    assert_holds(&ids, 0, 99999);
    add_all(&ids, 100000, 100001, START + SECOND);
    assert_holds(&ids, 0, 100000);
    rk_ids_free(&ids);
}

static void clearing_forgets_all(void **state)
{
    (void)state;
    struct rk_ids ids = fresh();
    add_all(&ids, 0, 300000, START);
    rk_ids_clear(&ids, START + SECOND);
    assert_false(knows(&ids, 299999));
    assert_int_equal(rk_ids_clock(&ids, START + SECOND), 0);
    add_all(&ids, 5, 9, START + SECOND);
    assert_holds(&ids, 5, 8);
    rk_ids_free(&ids);
}

/* Compared with a searched list: names repeat, numbers overflow, times jump. */
static void it_is_a_list_of_the_newest(void **state)
{
    (void)state;
    enum { ADDS = 400000 };
    struct test_random random = {9};
    struct rk_ids ids = fresh();
    static uint64_t last[1000000]; /* by name: the newest version, from 1 */
    uint64_t now = START;
    ids.number = 0x7fffffffu - 100000;
    for (uint64_t n = 1; n <= ADDS; n++) {
        uint64_t name = test_below(&random, 1000000);
        struct rk_batch_id id = id_of(name, rk_ids_clock(&ids, now));
        id.appended = n;
        rk_ids_add(&ids, &id);
        last[name] = n;
        now += test_below(&random, 4 * (unsigned)(RK_IDS_AGE_NS / RK_IDS_KEPT / 2));
    }
    size_t count;
    const struct rk_batch_id *all = rk_ids_all(&ids, &count);
    assert_true(count >= RK_IDS_KEPT && count < ADDS);
    assert_int_equal(all[count - 1].appended, ADDS);
    for (uint64_t name = 0; name < 1000000; name++) {
        struct rk_batch_id want = id_of(name, 0);
        const struct rk_batch_id *found = rk_ids_find(&ids, want.name);
        uint64_t known = last[name] > ADDS - count ? last[name] : 0;
        if ((found ? found->appended : 0) != known)
            fail_msg("name %llu: %llu, not %llu", (unsigned long long)name,
                     (unsigned long long)(found ? found->appended : 0), (unsigned long long)known);
    }
    rk_ids_free(&ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_are_kept_however_old),
        cmocka_unit_test(more_are_kept_until_they_are_ten_minutes_old),
        cmocka_unit_test(adds_alone_drop_what_is_old),
        cmocka_unit_test(a_million_is_the_most),
        cmocka_unit_test(an_age_survives_restarts),
        cmocka_unit_test(files_without_stamps_are_read),
        cmocka_unit_test(clearing_forgets_all),
        cmocka_unit_test(it_is_a_list_of_the_newest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
