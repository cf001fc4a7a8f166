/* SPDX-License-Identifier: Apache-2.0 */
/* The index from labels to positions, against a scan; and while it grows. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "bank/labels.h"
#include "unit/support/engine_call.h"

enum { ITEMS = 5000 };

static void assert_finds(const struct rk_labels *labels, const int64_t *keys, size_t added, int64_t key)
{
    uint32_t at = rk_labels_last(labels, key);
    for (size_t i = added; i-- > 0;) {
        if (keys[i] != key || key == RK_LABEL_NONE)
            continue;
        assert_int_equal(at, i);
        at = rk_labels_before(labels, at);
    }
    assert_int_equal(at, RK_POSITION_END);
}

static void finds_what_a_scan_finds(void **state)
{
    (void)state;
    struct test_random random = {3};
    static int64_t keys[ITEMS];
    for (size_t kinds = 1; kinds <= ITEMS; kinds *= 10) {
        for (size_t i = 0; i < ITEMS; i++)
            keys[i] = (int64_t)test_below(&random, kinds + 1) - 1; /* -1 too */
        keys[ITEMS / 2] = INT64_MIN;
        keys[ITEMS / 3] = INT64_MAX;
        struct rk_labels *labels = rk_labels_new(keys, ITEMS);
        size_t added = 0;
        while (added < ITEMS) {
            size_t count = 1 + test_below(&random, ITEMS - added);
            rk_labels_add(labels, count);
            added += count;
            for (int64_t key = -1; key < 30; key++)
                assert_finds(labels, keys, added, key);
        }
        assert_finds(labels, keys, ITEMS, INT64_MIN);
        assert_finds(labels, keys, ITEMS, INT64_MAX);
        assert_finds(labels, keys, ITEMS, 1234567);
        rk_labels_free(labels);
    }
}

static void an_empty_index_finds_nothing(void **state)
{
    (void)state;
    struct rk_labels *labels = rk_labels_new(NULL, 0);
    assert_int_equal(rk_labels_last(labels, 5), RK_POSITION_END);
    rk_labels_free(labels);
    rk_labels_free(NULL);
    assert_null(rk_labels_new(NULL, (size_t)RK_LABELS_CAPACITY + 1));
}

struct growing {
    int64_t keys[20 * ITEMS];
    struct rk_labels *labels;
    atomic_size_t added; /* published to readers */
    atomic_bool wrong;
};

/* Every item of a version is found, whatever is added meanwhile. */
static void *read_along(void *arg)
{
    struct growing *g = arg;
    for (size_t added = 0; added < 20 * ITEMS;) {
        added = atomic_load_explicit(&g->added, memory_order_acquire);
        for (int64_t key = 0; key < 7; key++) {
            size_t want = added / 7 + ((size_t)key < added % 7), found = 0;
            for (uint32_t at = rk_labels_last(g->labels, key); at != RK_POSITION_END;
                 at = rk_labels_before(g->labels, at)) {
                if (g->keys[at] != key)
                    atomic_store(&g->wrong, true);
                found += at < added;
            }
            if (found != want)
                atomic_store(&g->wrong, true);
        }
    }
    return NULL;
}

static void readers_of_a_version_see_all_of_it_while_it_grows(void **state)
{
    (void)state;
    static struct growing g;
    g.labels = rk_labels_new(g.keys, 20 * ITEMS);
    pthread_t reader[2];
    for (size_t r = 0; r < 2; r++)
        assert_int_equal(pthread_create(&reader[r], NULL, read_along, &g), 0);
    for (size_t i = 0; i < 20 * ITEMS; i += 100) {
        for (size_t k = i; k < i + 100; k++)
            g.keys[k] = (int64_t)(k % 7);
        rk_labels_add(g.labels, 100);
        atomic_store_explicit(&g.added, i + 100, memory_order_release);
    }
    for (size_t r = 0; r < 2; r++)
        pthread_join(reader[r], NULL);
    assert_false(g.wrong);
    rk_labels_free(g.labels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_a_scan_finds),
        cmocka_unit_test(an_empty_index_finds_nothing),
        cmocka_unit_test(readers_of_a_version_see_all_of_it_while_it_grows),
    };
    return cmocka_run_group_tests_name("labels", tests, NULL, NULL);
}
