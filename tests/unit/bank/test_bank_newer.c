/* SPDX-License-Identifier: Apache-2.0 */
/* The newest versions of a view: it shows their items, whatever was appended since. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "bank/bank.h"
#include "bank/kind.h"
#include "bank/labels.h"
#include "unit/support/engine_call.h"

enum { APPENDS = 300, HELD = 8, CAPACITY = 200, DIM = 1 };

/* Item number i, counted from the first, has i as its value, label and id, and was appended with
 * version[i].  */
struct newer_model {
    uint64_t version[APPENDS * 64];
    size_t items;
};

static struct rk_bank_shape shape_of(size_t capacity)
{
    return (struct rk_bank_shape){
        .kind = &rk_bank_kind_embeddings, .dim = DIM, .capacity = capacity, .dtype = RK_FP32};
}

static void append(struct rk_bank *bank, struct newer_model *model, size_t count, uint64_t version)
{
    const struct rk_bank_shape shape = *rk_bank_shape_of(bank);
    struct rk_batch batch = {0};
    struct rk_err err = {0};
    assert_int_equal(rk_batch_take(&shape, count, &batch, &err), RANKD_OK);
    for (size_t i = 0; i < count; i++) {
        ((int64_t *)batch.column[0])[i] = ((int64_t *)batch.column[1])[i] = (int64_t)model->items;
        ((float *)batch.column[2])[i] = (float)model->items;
        model->version[model->items++] = version;
    }
    assert_int_equal(rk_bank_append(bank, &batch, version, &err), RANKD_OK);
    rk_batch_free(&batch);
}

/* Item `i` of the view, oldest first. */
static int64_t label_at(const struct rk_bank_snapshot *view, size_t i)
{
    for (size_t c = 0; c < view->embeddings.chunks; c++) {
        const struct rk_bank_chunk *chunk = &view->embeddings.chunk[c];
        if (i < chunk->items)
            return chunk->labels[chunk->first + i];
        i -= chunk->items;
    }
    fail();
    return -1;
}

static void check_newer(struct rk_bank *bank, const struct newer_model *model,
                        const struct rk_bank_snapshot *view, uint64_t versions)
{
    const struct rk_bank_snapshot *newer = rk_bank_hold_newer(bank, view, versions);
    assert_non_null(newer);
    const size_t end = (size_t)rk_bank_snapshot_position(view).end;
    size_t first = end - view->items;
    while (first < end && model->version[first] + versions <= view->version)
        first++;
    assert_int_equal(newer->items, end - first);
    for (size_t i = 0; i < newer->items; i++)
        assert_int_equal(label_at(newer, i), first + i);
    assert_int_equal(newer->version, view->version);
    assert_int_equal(newer->generation, view->generation);
    assert_int_equal(rk_bank_snapshot_position(newer).end, end);
    assert_int_equal(newer->embeddings.dim, DIM);
    rk_bank_release(newer);
}

static void check_all(struct rk_bank *bank, const struct newer_model *model,
                      const struct rk_bank_snapshot *view)
{
    static const uint64_t ages[] = {0, 1, 2, 3, 7, 40, 1000, RK_VERSIONS_MOST / 2};
    for (size_t a = 0; a < sizeof ages / sizeof *ages; a++)
        check_newer(bank, model, view, ages[a]);
}

/* Older views too, while more is appended; and parts of one version, as a journal that is read back
 * contains them. */
static void the_newest_versions_are_what_they_brought(void **state)
{
    (void)state;
    static struct newer_model model;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct test_random random = {seed};
        const struct rk_bank_shape shape = shape_of(seed % 4 ? CAPACITY : 5000);
        struct rk_bank *bank = rk_bank_new(&shape);
        const struct rk_bank_snapshot *held[HELD] = {NULL};
        uint64_t version = 0;
        model.items = 0;
        for (size_t step = 0; step < APPENDS; step++) {
            const size_t count = test_below(&random, 4) ? test_below(&random, 60) : 0;
            version += version == 0 || test_below(&random, 10) > 0;
            append(bank, &model, count, version);
            const size_t place = test_below(&random, HELD);
            if (held[place])
                rk_bank_release(held[place]);
            held[place] = rk_bank_hold(bank);
            if (step % 5 == 0)
                check_all(bank, &model, held[place]);
        }
        for (size_t i = 0; i < HELD; i++) {
            if (!held[i])
                continue;
            check_all(bank, &model, held[i]);
            rk_bank_release(held[i]);
        }
        rk_bank_free(bank);
    }
}

static void a_reset_begins_anew(void **state)
{
    (void)state;
    static struct newer_model model;
    struct rk_err err = {0};
    const struct rk_bank_shape shape = shape_of(CAPACITY);
    struct rk_bank *bank = rk_bank_new(&shape);
    model.items = 0;
    for (uint64_t version = 1; version <= 5; version++)
        append(bank, &model, 3, version);
    const struct rk_bank_position point = {2, 5, 15};
    assert_int_equal(rk_bank_reset(bank, point, true, &err), RANKD_OK);
    append(bank, &model, 4, 6);
    append(bank, &model, 4, 7);
    const struct rk_bank_snapshot *view = rk_bank_hold(bank);
    check_all(bank, &model, view);
    rk_bank_release(view);
    rk_bank_free(bank);
}

static void a_key_is_found_within_its_bounds(void **state)
{
    (void)state;
    enum { ITEMS = 500 };
    struct test_random random = {3};
    int64_t keys[ITEMS];
    for (size_t i = 0; i < ITEMS; i++)
        keys[i] = (int64_t)test_below(&random, 40) - 1;
    struct rk_labels *labels = rk_labels_new(keys, ITEMS);
    rk_labels_add(labels, ITEMS);
    for (size_t trial = 0; trial < 3000; trial++) {
        const size_t first = test_below(&random, ITEMS), end = first + test_below(&random, ITEMS - first + 1);
        const int64_t key = (int64_t)test_below(&random, 42) - 1;
        uint32_t want = RK_POSITION_END;
        for (size_t i = first; i < end; i++)
            want = key != RK_LABEL_NONE && keys[i] == key ? (uint32_t)i : want;
        assert_int_equal(rk_labels_within(labels, key, first, end), want);
    }
    rk_labels_free(labels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_versions_are_what_they_brought),
        cmocka_unit_test(a_reset_begins_anew),
        cmocka_unit_test(a_key_is_found_within_its_bounds),
    };
    return cmocka_run_group_tests_name("bank_newer", tests, NULL, NULL);
}
