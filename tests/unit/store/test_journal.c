/* SPDX-License-Identifier: Apache-2.0 */
/* The journal over both kinds of I/O, with injected faults. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bank/kind.h"
#include "store/journal.h"

enum { BATCHES = 20, ITEMS = 3 };

static const struct rk_bank_shape shape = {
    .kind = &rk_bank_kind_scores, .lists = 2, .capacity = 1000, .dtype = RK_FP32};

/* Another io with a fault: call number `write_at` or `sync_at` (from 1) fails with `code`. */
struct faulty {
    struct rk_io io;
    struct rk_io *real;
    int writes, syncs, write_at, sync_at, code;
};

static int faulty_write(struct rk_io *io, int fd, const void *bytes, size_t count, uint64_t offset)
{
    struct faulty *faulty = (struct faulty *)(void *)io;
    if (++faulty->writes != faulty->write_at)
        return faulty->real->write(faulty->real, fd, bytes, count, offset);
    (void)faulty->real->write(faulty->real, fd, bytes, count / 2, offset); /* some of it is there */
    return -faulty->code;
}

static int faulty_sync(struct rk_io *io, int fd)
{
    struct faulty *faulty = (struct faulty *)(void *)io;
    return ++faulty->syncs == faulty->sync_at ? -faulty->code : faulty->real->sync(faulty->real, fd);
}

static struct rk_io *io_of(const char *name)
{
    struct rk_io *io = strcmp(name, "plain") == 0 ? rk_io_plain_new() : rk_io_uring_new();
    if (!io) /* a sandbox without io_uring: the daemon falls back, so the test does */
        io = rk_io_plain_new();
    assert_non_null(io);
    return io;
}

/* Batch n: items that no other batch has. */
static struct rk_batch batch_of(uint64_t n, char *block, size_t bytes)
{
    struct rk_batch batch;
    assert_true(rk_batch_at(&shape, ITEMS, block, bytes, &batch));
    float *scores = batch.column[0];
    int8_t *targets = batch.column[1];
    for (size_t i = 0; i < 2 * ITEMS; i++) {
        scores[i] = (float)(n * 100 + i);
        targets[i] = (int8_t)((n + i) % 3) - 1;
    }
    return batch;
}

/* --- reading back --- */

struct seen {
    uint64_t versions;
    bool wrong;
};

static enum rankd_status on_start(void *context, struct rk_bank_position point, struct rk_origin origin,
                                  bool whole, struct rk_err *err)
{
    (void)origin, (void)whole, (void)err;
    ((struct seen *)context)->versions = point.version;
    return RANKD_OK;
}

static enum rankd_status on_id(void *context, const struct rk_batch_id *id, struct rk_err *err)
{
    (void)context, (void)id, (void)err;
    return RANKD_OK;
}

static enum rankd_status on_batch(void *context, const struct rk_batch *batch, uint64_t version,
                                  const struct rk_batch_id *id, struct rk_err *err)
{
    struct seen *seen = context;
    char block[256];
    const size_t bytes = ITEMS * rk_batch_item_bytes(&shape);
    struct rk_batch want = batch_of(version, block, bytes);
    (void)id, (void)err;
    seen->wrong |= version != seen->versions + 1 || batch->items != ITEMS;
    seen->wrong |= memcmp(batch->column[0], want.column[0], 2 * ITEMS * sizeof(float)) != 0;
    seen->wrong |= memcmp(batch->column[1], want.column[1], sizeof(int8_t[2 * ITEMS])) != 0;
    seen->versions = version;
    return RANKD_OK;
}

/* Reads the versions back, checks each, and removes the folder. Returns the last version. */
static uint64_t read_back(const char *folder, struct rk_io *io)
{
    struct seen seen = {0};
    const struct rk_journal_reader reader = {&seen, on_start, on_id, on_batch};
    struct rk_bank_position point;
    struct rk_journal *journal = NULL;
    struct rk_err err = {0};
    char command[256];
    if (rk_journal_open(folder, &shape, io, &reader, &point, &journal, &err) != RANKD_OK)
        fail_msg("%s", err.text);
    assert_false(seen.wrong);
    assert_int_equal(point.version, seen.versions);
    assert_int_equal(point.end, seen.versions * ITEMS);
    rk_journal_close(journal);
    (void)snprintf(command, sizeof command, "rm -r '%s'", folder);
    assert_int_equal(system(command), 0);
    return seen.versions;
}

/* --- writing --- */

/* Appends and syncs BATCHES batches; a version whose append found no room is tried once more.
 * Returns the last version whose sync succeeded; *refused how many calls failed. */
static uint64_t write_batches(const char *folder, struct rk_io *io, unsigned *refused)
{
    struct rk_journal *journal = NULL;
    struct rk_err err = {0};
    uint64_t synced = 0, version = 0;
    *refused = 0;
    if (rk_journal_create(folder, &shape, io, (struct rk_origin){0},
                          (struct rk_bank_position){.generation = 1}, NULL, 0, &journal, &err) != RANKD_OK) {
        *refused = BATCHES;
        return 0;
    }
    for (int i = 0; i < BATCHES; i++) {
        char block[256];
        struct rk_err why = {0};
        const struct rk_batch batch = batch_of(version + 1, block, ITEMS * rk_batch_item_bytes(&shape));
        const struct rk_bank_position after = {1, version + 1, (version + 1) * ITEMS};
        if (rk_journal_append(journal, &batch, after, version * ITEMS, false, NULL, &why) == RANKD_OK) {
            version++;
            if (rk_journal_sync(journal, &why) == RANKD_OK)
                synced = version;
        }
        *refused += why.status != RANKD_OK;
    }
    rk_journal_close(journal);
    return synced;
}

static void with_fault(const char *name, int write_at, int sync_at, int code, uint64_t *synced,
                       uint64_t *read, unsigned *refused)
{
    char folder[] = "/tmp/rankd-journal-XXXXXX";
    struct rk_io *real = io_of(name);
    struct faulty faulty = {.io = {faulty_write, faulty_sync, NULL, "faulty"},
                            .real = real,
                            .write_at = write_at,
                            .sync_at = sync_at,
                            .code = code};
    assert_non_null(mkdtemp(folder));
    *synced = write_batches(folder, &faulty.io, refused);
    *read = *refused == BATCHES && *synced == 0 ? 0 : read_back(folder, real);
    real->close(real);
}

static const char *const ios[] = {"io_uring", "plain"};

static void what_was_synced_is_read_back(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        uint64_t synced, read;
        unsigned refused;
        with_fault(ios[i], 0, 0, 0, &synced, &read, &refused);
        assert_int_equal(synced, BATCHES);
        assert_int_equal(read, BATCHES);
        assert_int_equal(refused, 0);
    }
}

static void an_error_of_any_sync_is_final(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        for (int nth = 2; nth <= BATCHES; nth++) { /* the first sync is that of the creation */
            uint64_t synced, read;
            unsigned refused;
            with_fault(ios[i], 0, nth, EIO, &synced, &read, &refused);
            assert_int_equal(synced, nth - 2);
            assert_int_equal(refused,
                             BATCHES - (nth - 2)); /* later syncs would succeed, but are not trusted */
            assert_true(read >= synced && read <= synced + 1);
        }
    }
}

static void a_write_that_finds_no_room_leaves_nothing_and_the_next_goes_on(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        for (int nth = 3; nth <= BATCHES + 2; nth++) { /* the first two are the segment's own */
            uint64_t synced, read;
            unsigned refused;
            with_fault(ios[i], nth, 0, ENOSPC, &synced, &read, &refused);
            assert_int_equal(refused, 1);
            assert_int_equal(synced, BATCHES - 1);
            assert_int_equal(read, BATCHES - 1);
        }
    }
}

static void an_error_of_any_write_is_final_and_what_it_left_is_cut_off(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        for (int nth = 3; nth <= BATCHES + 2; nth++) {
            uint64_t synced, read;
            unsigned refused;
            with_fault(ios[i], nth, 0, EIO, &synced, &read, &refused);
            assert_int_equal(synced, nth - 3);
            assert_int_equal(read, nth - 3);
            assert_int_equal(refused, BATCHES - (nth - 3));
        }
    }
}

/* A file that a later version with one more kind wrote; and one of another kind that this version
 * knows. */
static void a_kind_of_bank_that_is_not_known_is_refused_in_one_sentence(void **state)
{
    (void)state;
    struct rk_bank_kind later = rk_bank_kind_scores;
    later.number = 1000;
    const struct {
        const struct rk_bank_kind *kind;
        const char *sentence;
    } cases[] = {{&later, "(it belongs to a bank of a kind that this version does not know)"},
                 {&rk_bank_kind_embeddings, "(it belongs to a bank of another configuration or format)"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char folder[] = "/tmp/rankd-journal-XXXXXX", command[256];
        struct rk_bank_shape theirs = shape;
        struct rk_io *io = io_of("plain");
        struct seen seen = {0};
        const struct rk_journal_reader reader = {&seen, on_start, on_id, on_batch};
        struct rk_bank_position point = {.generation = 1};
        struct rk_journal *journal = NULL;
        struct rk_err err = {0};
        theirs.kind = cases[i].kind;
        assert_non_null(mkdtemp(folder));
        assert_int_equal(
            rk_journal_create(folder, &theirs, io, (struct rk_origin){0}, point, NULL, 0, &journal, &err),
            RANKD_OK);
        rk_journal_close(journal);
        journal = NULL;
        assert_int_equal(rk_journal_open(folder, &shape, io, &reader, &point, &journal, &err),
                         RANKD_INTERNAL);
        assert_non_null(strstr(err.text, cases[i].sentence));
        assert_null(journal);
        (void)snprintf(command, sizeof command, "rm -r '%s'", folder);
        assert_int_equal(system(command), 0);
        io->close(io);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_synced_is_read_back),
        cmocka_unit_test(an_error_of_any_sync_is_final),
        cmocka_unit_test(a_write_that_finds_no_room_leaves_nothing_and_the_next_goes_on),
        cmocka_unit_test(a_kind_of_bank_that_is_not_known_is_refused_in_one_sentence),
        cmocka_unit_test(an_error_of_any_write_is_final_and_what_it_left_is_cut_off),
    };
    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
