/* SPDX-License-Identifier: Apache-2.0 */
/* Putting items in order again that nearly are, against a plain sort by key and index. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/reorder.h"
#include "unit/support/engine_call.h"

struct reorder_item {
    uint32_t key, index, place;
};

static int by_key_and_index(const void *a, const void *b)
{
    const struct reorder_item *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Sorted items of a random index each, then some of their keys changed. */
static struct reorder_item *draw(struct test_random *random, uint32_t n, uint32_t values)
{
    struct reorder_item *item = calloc(n + 1, sizeof *item);
    for (uint32_t i = 0; i < n; i++)
        item[i] = (struct reorder_item){.key = (uint32_t)test_below(random, values), .index = i};
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = (uint32_t)test_below(random, i), swap = item[i - 1].index;
        item[i - 1].index = item[j].index;
        item[j].index = swap;
    }
    qsort(item, n, sizeof *item, by_key_and_index);
    for (uint32_t k = 0; k < n; k++)
        item[k].place = k;
    return item;
}

static void check(struct reorder_item *item, uint32_t n)
{
    const struct rk_kernels *kernels = rk_kernels();
    uint32_t *key = calloc(n + 1, 4), *index = calloc(n + 1, 4), *perm = calloc(n + 1, 4);
    size_t bytes = rk_reorder_scratch(kernels, n);
    char *scratch = aligned_alloc(64, (bytes + 127) / 64 * 64);
    memset(scratch + bytes, 0x5a, 1);
    for (uint32_t k = 0; k < n; k++) {
        key[k] = item[k].key;
        index[k] = item[k].index;
    }
    rk_reorder(kernels, key, index, n, perm, scratch);
    qsort(item, n, sizeof *item, by_key_and_index);
    for (uint32_t k = 0; k < n; k++) {
        assert_int_equal(perm[k], item[k].place);
        assert_int_equal(key[k], item[k].key);
    }
    assert_int_equal(scratch[bytes], 0x5a);
    free(key);
    free(index);
    free(perm);
    free(scratch);
    free(item);
}

static void what_is_in_order_stays(void **state)
{
    (void)state;
    struct test_random random = {1};
    for (uint32_t n = 0; n < 300; n++)
        check(draw(&random, n, n % 2 ? 1000000 : 5), n);
}

static void a_few_out_of_order_are_merged(void **state)
{
    (void)state;
    struct test_random random = {2};
    for (uint32_t i = 0; i < 600; i++) {
        uint32_t n = 1 + 7 * i, values = i % 3 ? 100000 : 1 + i % 17;
        struct reorder_item *item = draw(&random, n, values);
        for (uint32_t moves = i % 12 * n / 200; moves > 0; moves--)
            item[test_below(&random, n)].key = (uint32_t)test_below(&random, values);
        check(item, n);
    }
}

static void one_far_outlier_at_either_end_is_merged(void **state)
{
    (void)state;
    struct test_random random = {3};
    for (uint32_t n = 2; n < 2000; n += 37) {
        struct reorder_item *first = draw(&random, n, 1000), *last = draw(&random, n, 1000);
        first[0].key = UINT32_MAX;
        check(first, n);
        last[n - 1].key = 0;
        check(last, n);
    }
}

static void no_order_at_all_is_sorted(void **state)
{
    (void)state;
    struct test_random random = {4};
    for (uint32_t n = 1; n < 3000; n += 101) {
        struct reorder_item *reverse = draw(&random, n, 1u << 30), *any = draw(&random, n, 50);
        for (uint32_t k = 0; k < n; k++) {
            reverse[k].key = ~reverse[k].key;
            any[k].key = (uint32_t)test_below(&random, 50);
        }
        check(reverse, n);
        check(any, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_in_order_stays),
        cmocka_unit_test(a_few_out_of_order_are_merged),
        cmocka_unit_test(one_far_outlier_at_either_end_is_merged),
        cmocka_unit_test(no_order_at_all_is_sorted),
    };
    return cmocka_run_group_tests_name("reorder", tests, NULL, NULL);
}
