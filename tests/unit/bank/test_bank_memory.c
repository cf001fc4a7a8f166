/* SPDX-License-Identifier: Apache-2.0 */
/* Banks where memory is short: each allocation fails in turn. Nothing is lost, half done or leaked,
 * and the bank continues as if the operation had not been tried. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bank/append.h"
#include "bank/bank.h"
#include "bank/disk.h"
#include "bank/durable_bank.h"
#include "bank/kind.h"
#include "bank/labels.h"
#include "unit/failing/allocations.h"
#include "unit/support/engine_call.h"

/* True if there were fewer than `n` allocations: every one of them has failed once. */
static bool stop_failing(size_t n)
{
    fail_at = 0;
    return allocations < n;
}

/* --- banks of either kind, whose chunks hold 64 items --- */

enum { DIM = 8192, LISTS = 8000, CAPACITY = 150, STEPS = 12 };
static const struct rk_bank_shape shapes[] = {
    {.kind = &rk_bank_kind_embeddings, .dim = DIM, .capacity = CAPACITY, .dtype = RK_FP32},
    {.kind = &rk_bank_kind_embeddings, .dim = 2 * DIM, .capacity = CAPACITY, .dtype = RK_BF16},
    {.kind = &rk_bank_kind_scores, .lists = LISTS, .capacity = CAPACITY, .dtype = RK_FP32},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static struct rk_batch batch_of(const struct rk_bank_shape *shape, size_t items, unsigned seed)
{
    struct rk_batch batch;
    size_t bytes = items * rk_batch_item_bytes(shape);
    unsigned char *block = malloc(bytes + 1);
    struct test_random random = {seed};
    assert_non_null(block);
    for (size_t i = 0; i < bytes; i++)
        block[i] = (unsigned char)test_next(&random);
    assert_true(rk_batch_at(shape, items, block, bytes, &batch));
    int64_t *labels = batch.column[0], *ids = batch.column[1];
    for (size_t i = 0; shape->kind == &rk_bank_kind_embeddings && i < items; i++) {
        labels[i] = (int64_t)test_below(&random, 5) - 1;
        ids[i] = (int64_t)test_below(&random, 50) - 1;
    }
    return batch;
}

static void put(struct rk_text *out, const void *data, size_t bytes)
{
    rk_text_add(out, data, bytes);
}

/* Writes the positions that the label index gives, one after the other. */
static void put_labels(struct rk_text *out, const struct rk_bank_chunk *chunk)
{
    for (int64_t label = 0; label < 4; label++) {
        uint32_t at = rk_labels_last(chunk->by_label, label);
        for (; at != RK_POSITION_END && at >= chunk->first; at = rk_labels_before(chunk->by_label, at)) {
            if (at < chunk->first + chunk->items)
                put(out, &at, sizeof at);
        }
    }
}

/* Everything that a view shows. */
static struct rk_text contents(const struct rk_bank_shape *shape, const struct rk_bank_snapshot *view)
{
    struct rk_text out = {0};
    struct rk_bank_position point = rk_bank_snapshot_position(view);
    put(&out, &point, sizeof point);
    put(&out, &view->items, sizeof view->items);
    for (size_t c = 0; c < view->embeddings.chunks; c++) {
        const struct rk_bank_chunk *chunk = &view->embeddings.chunk[c];
        size_t row = shape->dim * rk_dtype_size(shape->dtype);
        put(&out, chunk->labels + chunk->first, chunk->items * sizeof(int64_t));
        put(&out, chunk->ids + chunk->first, chunk->items * sizeof(int64_t));
        put(&out, (const char *)chunk->embeddings + chunk->first * row, chunk->items * row);
        put_labels(&out, chunk);
    }
    for (size_t c = 0; c < view->scores.chunks; c++) {
        const struct rk_bank_scores_chunk *chunk = &view->scores.chunk[c];
        for (size_t l = 0; l < shape->lists; l++) {
            put(&out, chunk->scores + l * chunk->stride, chunk->items * sizeof(float));
            put(&out, chunk->targets + l * chunk->stride, chunk->items);
        }
    }
    assert_false(out.failed);
    return out;
}

static void free_text(struct rk_text *text)
{
    size_t bytes;
    free(rk_text_take(text, &bytes));
}

static void assert_same(const struct rk_bank_shape *shape, const struct rk_bank_snapshot *a,
                        const struct rk_bank_snapshot *b)
{
    struct rk_text x = contents(shape, a), y = contents(shape, b);
    assert_int_equal(x.length, y.length);
    assert_memory_equal(x.data, y.data, x.length);
    free_text(&x);
    free_text(&y);
}

static void assert_same_banks(struct rk_bank *a, struct rk_bank *b)
{
    const struct rk_bank_snapshot *x = rk_bank_hold(a), *y = rk_bank_hold(b);
    assert_same(rk_bank_shape_of(a), x, y);
    assert_int_equal(rk_bank_bytes(a), rk_bank_bytes(b));
    assert_int_equal(rk_bank_oldest(a), rk_bank_oldest(b));
    rk_bank_release(x);
    rk_bank_release(y);
}

static size_t items_of(unsigned step)
{
    static const size_t items[STEPS] = {0, 10, 54, 1, 150, 64, 0, 63, 128, 149, 2, 100};
    return items[step];
}

/* Appends to `bank` with each allocation failing once before, to `twin` at once. */
static void append_hard(struct rk_bank *bank, struct rk_bank *twin, unsigned step)
{
    struct rk_batch batch = batch_of(rk_bank_shape_of(bank), items_of(step), step);
    struct rk_err ignored = {0};
    for (size_t n = 1;; n++) {
        struct rk_err err = {0};
        const struct rk_bank_snapshot *before = rk_bank_hold(bank);
        struct rk_text shown = contents(rk_bank_shape_of(bank), before);
        make_fail(n);
        enum rankd_status status = rk_bank_append(bank, &batch, step + 1, &err);
        bool all = stop_failing(n);
        struct rk_text shows = contents(rk_bank_shape_of(bank), before);
        assert_int_equal(shown.length, shows.length);
        assert_memory_equal(shown.data, shows.data, shown.length);
        free_text(&shown);
        free_text(&shows);
        rk_bank_release(before);
        if (all) {
            assert_int_equal(status, RANKD_OK);
            break;
        }
        assert_int_equal(status, RANKD_OVERLOADED);
        assert_non_null(strstr(err.text, "no memory for "));
        assert_same_banks(bank, twin);
    }
    assert_int_equal(rk_bank_append(twin, &batch, step + 1, &ignored), RANKD_OK);
    assert_same_banks(bank, twin);
    rk_batch_free(&batch);
}

static void each_allocation_of_a_new_bank_fails_in_turn(void **state)
{
    (void)state;
    for (size_t s = 0; s < SHAPES; s++) {
        long before = living;
        for (size_t n = 1;; n++) {
            make_fail(n);
            struct rk_bank *bank = rk_bank_new(&shapes[s]);
            bool all = stop_failing(n);
            assert_true(all == (bank != NULL));
            rk_bank_free(bank);
            assert_int_equal(living, before);
            if (all)
                break;
        }
    }
}

static void an_append_for_which_there_is_no_memory_changes_nothing(void **state)
{
    (void)state;
    for (size_t s = 0; s < SHAPES; s++) {
        long before = living;
        struct rk_bank *bank = rk_bank_new(&shapes[s]), *twin = rk_bank_new(&shapes[s]);
        for (unsigned step = 0; step < STEPS; step++)
            append_hard(bank, twin, step);
        rk_bank_free(bank);
        rk_bank_free(twin);
        assert_int_equal(living, before);
    }
}

static struct rk_bank *filled(const struct rk_bank_shape *shape, struct rk_bank_position *earlier)
{
    struct rk_bank *bank = rk_bank_new(shape);
    struct rk_err err = {0};
    for (unsigned step = 0; step < STEPS; step++) {
        struct rk_batch batch = batch_of(shape, items_of(step), step);
        if (step + 1 == STEPS)
            *earlier = rk_bank_now(bank);
        assert_int_equal(rk_bank_append(bank, &batch, step + 1, &err), RANKD_OK);
        rk_batch_free(&batch);
    }
    return bank;
}

static void an_earlier_version_for_which_there_is_no_memory_is_not_had(void **state)
{
    (void)state;
    for (size_t s = 0; s < SHAPES; s++) {
        long before = living;
        struct rk_bank_position earlier;
        struct rk_bank_shape shape = shapes[s];
        shape.capacity = 700; /* so that nothing has left */
        struct rk_bank *bank = filled(&shape, &earlier);
        for (size_t n = 1;; n++) {
            make_fail(n);
            const struct rk_bank_snapshot *view = rk_bank_hold_at(bank, earlier);
            bool all = stop_failing(n);
            assert_true(all == (view != NULL));
            if (all) {
                assert_int_equal(rk_bank_snapshot_position(view).version, earlier.version);
                rk_bank_release(view);
                break;
            }
        }
        rk_bank_free(bank);
        assert_int_equal(living, before);
    }
}

static enum rankd_status raise_generation(struct rk_bank *bank, struct rk_err *err)
{
    return rk_bank_set_generation(bank, 7, err);
}

static enum rankd_status reset(struct rk_bank *bank, struct rk_err *err)
{
    return rk_bank_reset(bank, (struct rk_bank_position){9, STEPS, 1000}, true, err);
}

static void a_bank_that_cannot_be_reset_or_raised_stays_as_it_was(void **state)
{
    (void)state;
    enum rankd_status (*const calls[])(struct rk_bank *, struct rk_err *) = {raise_generation, reset};
    struct rk_bank_position earlier;
    for (size_t c = 0; c < 2 * SHAPES; c++) {
        long before = living;
        struct rk_bank *bank = filled(&shapes[c / 2], &earlier), *twin = filled(&shapes[c / 2], &earlier);
        for (size_t n = 1;; n++) {
            struct rk_err err = {0};
            make_fail(n);
            enum rankd_status status = calls[c % 2](bank, &err);
            if (stop_failing(n)) {
                assert_int_equal(status, RANKD_OK);
                break;
            }
            assert_int_equal(status, RANKD_OVERLOADED);
            assert_same_banks(bank, twin);
        }
        assert_true(rk_bank_now(bank).generation >= 7);
        rk_bank_free(bank);
        rk_bank_free(twin);
        assert_int_equal(living, before);
    }
}

static void room_that_was_reserved_cannot_run_out(void **state)
{
    (void)state;
    for (size_t s = 0; s < SHAPES; s++) {
        long before = living;
        struct rk_bank *bank = rk_bank_new(&shapes[s]), *twin = rk_bank_new(&shapes[s]);
        struct rk_bank_reservation *room[STEPS];
        struct rk_batch batch[STEPS];
        struct rk_err err = {0};
        for (unsigned step = 0; step < STEPS; step++) {
            batch[step] = batch_of(&shapes[s], items_of(step), step);
            assert_non_null(room[step] = rk_bank_reserve(bank, batch[step].items, &err));
        }
        rk_bank_unreserve(bank, room[STEPS - 1]); /* it could not be written */
        rk_bank_unreserve(bank, NULL);
        for (unsigned step = 0; step + 1 < STEPS; step++) {
            make_fail(1);
            rk_bank_append_reserved(bank, &batch[step], step + 1, room[step]);
            assert_true(stop_failing(1));
            assert_int_equal(rk_bank_append(twin, &batch[step], step + 1, &err), RANKD_OK);
            const struct rk_bank_snapshot *a = rk_bank_hold(bank), *b = rk_bank_hold(twin);
            assert_same(&shapes[s], a, b);
            rk_bank_release(a);
            rk_bank_release(b);
            rk_batch_free(&batch[step]);
        }
        rk_batch_free(&batch[STEPS - 1]);
        rk_bank_free(bank);
        rk_bank_free(twin);
        assert_int_equal(living, before);
    }
}

/* --- batches and indexes --- */

static void each_allocation_of_a_batch_fails_in_turn(void **state)
{
    (void)state;
    static float values[6] = {1, 2, 3, 4, 5, 6};
    static int64_t labels[3] = {1, 2, 1};
    static int8_t targets[6] = {1, 0, 1, 0, 1, 0};
    struct test_call call;
    test_call_start(&call, "ap", 0);
    for (int embeddings = 0; embeddings < 2; embeddings++) {
        struct rk_bank_shape shape = {.kind = embeddings ? &rk_bank_kind_embeddings : &rk_bank_kind_scores,
                                      .dim = 2,
                                      .lists = 3,
                                      .capacity = 9,
                                      .dtype = RK_FP32};
        memset(call.request.in, 0, sizeof call.request.in);
        test_input(&call, embeddings ? RK_IN_EMBEDDINGS : RK_IN_SCORES, RK_FP32, 3, 2, values);
        if (embeddings)
            test_vector(&call, RK_IN_LABELS, RK_INT64, 3, labels);
        else
            test_input(&call, RK_IN_TARGETS, RK_INT8, 3, 2, targets);
        long before = living;
        for (size_t n = 1;; n++) {
            struct rk_batch batch;
            struct rk_err err = {0};
            make_fail(n);
            enum rankd_status status = rk_batch_new(&shape, &call.request, &batch, &err);
            bool all = stop_failing(n);
            assert_int_equal(status, all ? RANKD_OK : RANKD_OVERLOADED);
            assert_true(all == (batch.block != NULL));
            rk_batch_free(&batch);
            assert_int_equal(living, before);
            if (all)
                break;
        }
    }
    test_call_end(&call);
}

static void an_index_without_memory_is_none(void **state)
{
    (void)state;
    static const int64_t keys[3] = {1, 2, 1};
    long before = living;
    make_fail(1);
    assert_null(rk_labels_new(keys, 3));
    assert_false(stop_failing(1));
    assert_int_equal(living, before);
}

/* --- a named bank, on disk --- */

struct told {
    struct rk_bank_waiter waiter;
    size_t waits, wakes;
};

static void on_wait(struct rk_bank_waiter *waiter)
{
    ((struct told *)(void *)waiter)->waits++;
}

static void on_wake(struct rk_bank_waiter *waiter)
{
    ((struct told *)(void *)waiter)->wakes++;
}

static struct rk_durable_bank *named_at(const char *folder, int durability)
{
    const struct rk_bank_config config = {.shape = shapes[2], .durability = durability};
    struct rk_durable_bank *bank = rk_durable_bank_new("bank", &config);
    struct rk_err err = {0};
    assert_non_null(bank);
    (void)snprintf(bank->path, sizeof bank->path, "%s/bank", folder);
    assert_non_null(bank->io = rk_io_plain_new());
    assert_int_equal(rk_durable_bank_create_disk(bank, &err), RANKD_OK);
    bank->queued = true; /* the test itself runs the waiting task */
    return bank;
}

/* Three appends at once, while allocation n fails. Returns true if there was no such allocation. */
static bool append_three(struct rk_durable_bank *bank, size_t n, unsigned *seed, struct rk_bank *twin)
{
    struct told told = {.waiter = {.wait = on_wait, .wake = on_wake}};
    struct rk_append append[3] = {
        {.waiter = &told.waiter}, {.waiter = &told.waiter}, {.waiter = &told.waiter}};
    size_t over = 0;
    for (size_t i = 0; i < 3; i++) {
        append[i].batch = batch_of(&bank->config.shape, 1, ++*seed);
        append[i].read = bank->next;
    }
    make_fail(n);
    for (size_t i = 0; i < 3; i++)
        over += rk_durable_bank_append(bank, &append[i]);
    rk_durable_bank_commit(bank);
    bool all = stop_failing(n);
    bank->queued = true;
    assert_int_equal(over + told.waits, 3);
    assert_int_equal(told.wakes, told.waits);
    assert_string_equal(bank->refused, "");
    for (size_t i = 0; i < 3; i++) {
        struct rk_err err = {0};
        assert_true(append[i].err.status == RANKD_OK || (!all && append[i].err.status == RANKD_OVERLOADED));
        uint64_t version = rk_bank_now(twin).version + 1;
        if (append[i].err.status == RANKD_OK) {
            assert_int_equal(append[i].id.appended, version);
            assert_int_equal(rk_bank_append(twin, &append[i].batch, version, &err), RANKD_OK);
        }
        rk_batch_free(&append[i].batch);
    }
    return all;
}

static void a_bank_on_disk_goes_on_after_an_append_that_found_no_memory(void **state)
{
    (void)state;
    char folder[] = "/tmp/rankd-bank-XXXXXX", path[32], command[64];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/bank", folder);
    for (int durability = RK_DURABILITY_ALWAYS; durability <= RK_DURABILITY_NONE; durability++) {
        long before = living;
        unsigned seed = 0;
        struct rk_durable_bank *bank = named_at(folder, durability);
        struct rk_bank *twin = rk_bank_new(&bank->config.shape);
        for (size_t n = 1; !append_three(bank, n, &seed, twin); n++)
            assert_int_equal(rk_bank_now(bank->memory).version, rk_bank_now(twin).version);
        assert_same_banks(bank->memory, twin);
        rk_durable_bank_release(bank);
        bank = rk_durable_bank_load("bank", path, rk_io_plain_new());
        assert_string_equal(bank->refused, "");
        assert_same_banks(bank->memory, twin);
        rk_durable_bank_release(bank);
        rk_bank_free(twin);
        assert_int_equal(living, before);
        (void)snprintf(command, sizeof command, "rm -r '%s'", path);
        assert_int_equal(system(command), 0);
    }
    assert_int_equal(remove(folder), 0);
}

/* The newest ids, whose memory is reserved, are kept; more of them as soon as there is memory
 * again. */
static void batch_ids_find_no_memory_for_more(void **state)
{
    (void)state;
    struct rk_ids ids;
    assert_true(rk_ids_init(&ids, 0));
    for (uint64_t n = 0; n < 8 * RK_IDS_KEPT; n++) {
        const struct rk_batch_id id = {.name = {n, n * n | 1}, .appended = n};
        size_t count;
        make_fail(n < 6 * RK_IDS_KEPT ? 1 : 0);
        rk_ids_add(&ids, &id);
        const struct rk_batch_id *all = rk_ids_all(&ids, &count);
        const uint64_t least = n < RK_IDS_KEPT ? n + 1 : RK_IDS_KEPT + (n >= 7 * RK_IDS_KEPT) * RK_IDS_KEPT;
        assert_true(count >= least && all[count - 1].appended == n);
        assert_ptr_equal(rk_ids_find(&ids, all[0].name), &all[0]);
        assert_ptr_equal(rk_ids_find(&ids, id.name), &all[count - 1]);
    }
    make_fail(0);
    rk_ids_free(&ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_of_a_new_bank_fails_in_turn),
        cmocka_unit_test(an_append_for_which_there_is_no_memory_changes_nothing),
        cmocka_unit_test(an_earlier_version_for_which_there_is_no_memory_is_not_had),
        cmocka_unit_test(a_bank_that_cannot_be_reset_or_raised_stays_as_it_was),
        cmocka_unit_test(room_that_was_reserved_cannot_run_out),
        cmocka_unit_test(each_allocation_of_a_batch_fails_in_turn),
        cmocka_unit_test(an_index_without_memory_is_none),
        cmocka_unit_test(a_bank_on_disk_goes_on_after_an_append_that_found_no_memory),
        cmocka_unit_test(batch_ids_find_no_memory_for_more),
    };
    return cmocka_run_group_tests_name("bank_memory", tests, NULL, NULL);
}
