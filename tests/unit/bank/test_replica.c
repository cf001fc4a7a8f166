/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of a bank in a store, without threads: the test makes each step of the tail, the audit, a
 * join and an append, against a store that it controls (support/memory_store.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bank/append.h"
#include "bank/kind.h"
#include "bank/registry_internal.h"
#include "bank/replica.h"
#include "base/clock.h"
#include "base/log.h"
#include "unit/support/engine_call.h"
#include "unit/support/memory_store.h"

enum { CAPACITY = 40, DAEMONS = 3, STEPS = 400, SEEDS = 200 };

static struct memory_store memory;
static struct rk_log *quiet;

/* A daemon: a registry without threads, one bank in it. */
struct replica_daemon {
    struct rk_config config;
    struct rk_banks banks;
    struct rk_replicas shared;
    struct rk_durable_bank *bank;
};

/* A waiting append; `over` once it has ended. */
struct replica_append {
    struct rk_append append;
    struct rk_bank_waiter waiter;
    bool waits, over;
};

static void on_wait(struct rk_bank_waiter *waiter)
{
    ((struct replica_append *)((char *)waiter - offsetof(struct replica_append, waiter)))->waits = true;
}
static void on_wake(struct rk_bank_waiter *waiter)
{
    ((struct replica_append *)((char *)waiter - offsetof(struct replica_append, waiter)))->over = true;
}

static void begin_daemon(struct replica_daemon *daemon)
{
    const struct rk_bank_config config = {
        .shape = {.kind = &rk_bank_kind_embeddings, .dim = 2, .capacity = CAPACITY, .dtype = RK_FP32},
        .durability = RK_DURABILITY_INTERVAL};
    memset(daemon, 0, sizeof *daemon);
    rk_config_default(&daemon->config);
    daemon->banks.config = &daemon->config;
    daemon->banks.log = daemon->shared.log = quiet;
    daemon->banks.replicas = &daemon->shared;
    pthread_mutex_init(&daemon->banks.lock, NULL);
    rk_turns_init(&daemon->banks.turns);
    pthread_mutex_init(&daemon->shared.lock, NULL);
    daemon->shared.store = &memory.store;
    daemon->shared.banks = &daemon->banks;
    daemon->shared.timeout_ns = UINT64_C(20000000);
    daemon->shared.stale_ns = UINT64_C(30000000000);
    daemon->shared.acknowledgements = 1;
    daemon->bank = rk_durable_bank_new("b", &config);
    daemon->bank->replica =
        rk_replica_new(&daemon->shared, daemon->bank, memory.state.uid, rk_replica_join_task);
    assert_true(rk_banks_enter(&daemon->banks, daemon->bank));
}

static void end_daemon(struct replica_daemon *daemon)
{
    rk_durable_bank_release(daemon->bank);
    free((void *)daemon->banks.bank);
    pthread_mutex_destroy(&daemon->banks.lock);
    rk_turns_destroy(&daemon->banks.turns);
}

static void join_if_needed(struct replica_daemon *daemon)
{
    struct rk_err err = {0};
    if (daemon->bank->replica->joining)
        (void)!rk_replica_join(daemon->bank, &err);
}

static void audit(struct replica_daemon *daemon)
{
    struct rk_err err = {0};
    (void)!rk_replica_audit_once(&daemon->shared, &err);
}

static void tail(struct replica_daemon *daemon)
{
    struct rk_err err = {0};
    (void)!rk_replica_tail_once(&daemon->shared, 0, &err);
}

static enum rk_replica_state state_of(const struct replica_daemon *daemon)
{
    return rk_replica_state_of(daemon->bank->replica, daemon->bank->next.version, rk_now_ns());
}

static void fill(struct replica_append *one, const struct replica_daemon *daemon, uint64_t name, size_t items)
{
    struct rk_err err = {0};
    memset(one, 0, sizeof *one);
    assert_int_equal(rk_batch_take(&daemon->bank->config.shape, items, &one->append.batch, &err), RANKD_OK);
    struct test_random random = {(unsigned)name + 1};
    unsigned char *block = one->append.batch.block;
    for (size_t i = 0; i < one->append.batch.bytes; i++)
        block[i] = (unsigned char)test_next(&random);
    one->append.named = true;
    one->append.empty = items == 0;
    one->append.id.name[0] = name;
    one->append.id.name[1] = 1;
    one->append.id.content = rk_record_hash(block, one->append.batch.bytes);
    one->append.id.read = one->append.read = daemon->bank->next;
    one->append.stored.give_up_ns = rk_now_ns() + daemon->shared.timeout_ns;
    one->waiter = (struct rk_bank_waiter){.wait = on_wait, .wake = on_wake};
    one->append.waiter = &one->waiter;
}

static struct rk_append *take_waiting(struct replica_daemon *daemon)
{
    struct rk_append *group = daemon->bank->first;
    daemon->bank->first = NULL;
    daemon->bank->last = &daemon->bank->first;
    return group;
}

/* Sends appends that were put back after a lost answer again, like the commit thread. */
static void commit_all(struct replica_daemon *daemon, struct rk_append *group)
{
    for (int i = 0; group && i < 4; i++) {
        rk_replica_commit(daemon->bank, group);
        group = i < 3 ? take_waiting(daemon) : NULL;
    }
}

/* The bytes of all items of the newest version. */
static void contents(struct rk_durable_bank *bank, struct rk_text *out)
{
    const struct rk_bank_snapshot *view = rk_bank_hold(bank->memory);
    for (size_t c = 0; c < rk_bank_snapshot_chunks(view); c++) {
        struct rk_batch batch;
        struct rk_err err = {0};
        assert_int_equal(rk_bank_snapshot_batch(&bank->config.shape, view, c, &batch, &err), RANKD_OK);
        for (size_t i = 0; i < batch.items; i++)
            rk_text_add(out, (char *)batch.block + i * 8, 8); /* the first column: labels */
        rk_batch_free(&batch);
    }
    rk_bank_release(view);
}

/* The contents of the bank by the store's log, computed anew: the labels of the last CAPACITY
 * items. */
static void replay(struct rk_text *out)
{
    struct rk_text all = {0};
    for (size_t i = 0; i < memory.count; i++) {
        const struct rk_stored_entry *entry = &memory.entry[i];
        if (entry->kind == RK_STORED_CLEAR)
            all.length = 0;
        if (entry->kind == RK_STORED_BATCH)
            rk_text_add(&all, memory.payload[i].data + 128, entry->items * 8);
    }
    const size_t most = (size_t)CAPACITY * 8;
    const size_t from = all.length > most ? all.length - most : 0;
    rk_text_add(out, all.data ? all.data + from : "", all.length - from);
    rk_text_free(&all);
}

static void assert_same_as_store(struct replica_daemon *daemon)
{
    struct rk_text here = {0}, there = {0};
    assert_int_equal(state_of(daemon), RK_REPLICA_CURRENT);
    assert_int_equal(daemon->bank->next.version, memory.state.place.version);
    assert_int_equal(daemon->bank->next.generation, memory.state.generation);
    assert_true(rk_chain_same(daemon->bank->replica->chain, memory.state.chain));
    contents(daemon->bank, &here);
    replay(&there);
    assert_int_equal(here.length, there.length);
    assert_true(here.length == 0 || memcmp(here.data, there.data, here.length) == 0);
    rk_text_free(&here);
    rk_text_free(&there);
}

static void heal(struct replica_daemon *daemon)
{
    memory.silent = false;
    memory.lost = memory.late = memory.swapped = memory.wrong = memory.missing = memory.damaged = 0;
    for (int i = 0; i < 6; i++) {
        audit(daemon);
        join_if_needed(daemon);
        tail(daemon);
    }
}

static void order_fault(struct test_random *random)
{
    unsigned *const fault[] = {&memory.lost,    &memory.late,    &memory.swapped, &memory.wrong,
                               &memory.missing, &memory.damaged, &memory.lost,    &memory.late};
    ++*fault[test_below(random, 8)];
}

/* A successful append is in the store, once, unless the store went back since. */
static void assert_appended(const struct replica_append *one)
{
    size_t found = 0;
    for (size_t i = 0; i < memory.count; i++)
        found += memory.entry[i].id.name[0] == one->append.id.name[0] && memory.entry[i].named;
    assert_int_equal(found, 1);
}

static void step(struct replica_daemon *daemon, struct test_random *random, uint64_t *names)
{
    struct replica_append one;
    struct rk_stored_state state;
    struct rk_err err = {0};
    switch (test_below(random, 12)) {
    case 0:
        memory.silent = test_below(random, 2) == 0;
        break;
    case 1:
        order_fault(random);
        break;
    case 2:
        if (test_below(random, 6) == 0 && memory.count > 2)
            memory_store_go_back(&memory, memory.count - 1 - test_below(random, 2));
        break;
    case 3:
        if (test_below(random, 6) == 0)
            (void)!memory.store.ops->clear(&memory.store, "b", memory.state.uid, &state, &err);
        break;
    case 4:
    case 5:
        audit(daemon);
        join_if_needed(daemon);
        break;
    case 6:
    case 7:
        tail(daemon);
        break;
    default:
        if (daemon->bank->replica->joining)
            break;
        fill(&one, daemon, test_below(random, 4) ? ++*names : 1 + test_below(random, (unsigned)*names),
             test_below(random, 5));
        commit_all(daemon, &one.append);
        while (!one.over) { /* versions in between have to be applied, or the store has to be read again */
            heal(daemon);
            commit_all(daemon, take_waiting(daemon));
        }
        if (one.append.err.status == RANKD_OK)
            assert_appended(&one);
        rk_batch_free(&one.append.batch);
    }
}

static void faults_in_any_order_leave_every_copy_as_the_store_is(void **unused)
{
    (void)unused;
    uint64_t forks = 0, versions = 0;
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        struct test_random random = {seed};
        struct replica_daemon daemon[DAEMONS];
        uint64_t names = 1;
        memory_store_begin(&memory, "b", "0123456789abcdef0123456789abcdef", "{}");
        for (size_t d = 0; d < DAEMONS; d++)
            begin_daemon(&daemon[d]);
        for (size_t i = 0; i < STEPS; i++)
            step(&daemon[test_below(&random, DAEMONS)], &random, &names);
        for (size_t d = 0; d < DAEMONS; d++) {
            heal(&daemon[d]);
            assert_same_as_store(&daemon[d]);
            forks += atomic_load(&daemon[d].bank->replica->forks);
            versions += daemon[d].bank->next.version;
            end_daemon(&daemon[d]);
        }
        memory_store_end(&memory);
    }
    assert_true(forks > SEEDS &&
                versions > (uint64_t)SEEDS * 50); /* the faults occurred, and the copies continued */
}

static void states_follow_the_store(void **unused)
{
    (void)unused;
    struct replica_daemon one, other;
    struct replica_append append;
    struct rk_err err = {0};
    memory_store_begin(&memory, "b", "0123456789abcdef0123456789abcdef", "{}");
    begin_daemon(&one);
    begin_daemon(&other);
    assert_int_equal(state_of(&one), RK_REPLICA_JOINING);
    assert_int_equal(rk_replica_check(one.bank, &err), RANKD_OVERLOADED);
    assert_string_equal(err.text, "bank \"b\" is being read from the store: 0 of 0 batches");
    join_if_needed(&one);
    join_if_needed(&other);
    assert_int_equal(state_of(&one), RK_REPLICA_CURRENT);
    fill(&append, &one, 1, 3);
    commit_all(&one, &append.append);
    assert_true(append.over && append.append.err.status == RANKD_OK && append.append.id.appended == 1);
    rk_batch_free(&append.append.batch);
    audit(&other);
    assert_int_equal(state_of(&other), RK_REPLICA_BEHIND);
    tail(&other);
    assert_int_equal(state_of(&other), RK_REPLICA_CURRENT);
    one.bank->replica->audited_ns = rk_now_ns() - UINT64_C(3000000000);
    assert_int_equal(state_of(&one), RK_REPLICA_STALE);
    one.bank->replica->audited_ns = rk_now_ns() - UINT64_C(31000000000);
    assert_int_equal(state_of(&one), RK_REPLICA_REFUSING);
    err = (struct rk_err){0};
    assert_int_equal(rk_replica_check(one.bank, &err), RANKD_OVERLOADED);
    assert_string_equal(err.text,
                        "bank \"b\": the store has not answered for 31 s; requests that read it are "
                        "refused after 30 s (--bank-stale)");
    audit(&one);
    assert_int_equal(state_of(&one), RK_REPLICA_CURRENT);
    memory_store_go_back(&memory, 0);
    audit(&one);
    assert_int_equal(state_of(&one), RK_REPLICA_FORKED);
    join_if_needed(&one);
    assert_same_as_store(&one);
    memory.state.uid[0] = 'f';
    audit(&one);
    assert_int_equal(state_of(&one), RK_REPLICA_GONE);
    audit(&one);
    assert_int_equal(state_of(&one), RK_REPLICA_GONE);
    end_daemon(&one);
    end_daemon(&other);
    memory_store_end(&memory);
}

/* The test runs the commit pool's task. */
static void an_append_that_is_alone_is_sent_at_once(void **unused)
{
    (void)unused;
    struct replica_daemon daemon;
    struct replica_append first, second;
    struct rk_threads pool = {.last = &pool.first};
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.some, NULL);
    memory_store_begin(&memory, "b", "0123456789abcdef0123456789abcdef", "{}");
    begin_daemon(&daemon);
    join_if_needed(&daemon);
    daemon.bank->commit = &pool;
    fill(&first, &daemon, 1, 3);
    fill(&second, &daemon, 2, 2);
    assert_false(rk_durable_bank_append(daemon.bank, &first.append));
    assert_int_equal(memory.begun, 1);
    assert_ptr_equal(pool.first, &daemon.bank->commit_task);
    assert_false(rk_durable_bank_append(daemon.bank, &second.append)); /* waits for the answer to the first */
    assert_int_equal(memory.begun, 1);
    assert_false(first.over || second.over);
    memory.lost = 1;
    pool = (struct rk_threads){.last = &pool.first};
    rk_durable_bank_commit(daemon.bank); /* its answer is lost: it goes before the other */
    assert_int_equal(memory.begun, 0);
    assert_false(first.over || second.over);
    assert_ptr_equal(pool.first, &daemon.bank->commit_task);
    pool = (struct rk_threads){.last = &pool.first};
    rk_durable_bank_commit(daemon.bank);
    assert_true(first.over && second.over && !daemon.bank->writer_locked && !pool.first);
    assert_int_equal(first.append.err.status, RANKD_OK);
    assert_int_equal(first.append.id.appended, 1);
    assert_int_equal(second.append.id.appended, 2);
    assert_same_as_store(&daemon);
    for (int i = 0; i < 2; i++) /* the tasks' */
        rk_durable_bank_release(daemon.bank);
    rk_batch_free(&first.append.batch);
    rk_batch_free(&second.append.batch);
    end_daemon(&daemon);
    memory_store_end(&memory);
}

static int begin_all(void **state)
{
    (void)state;
    quiet = rk_log_new(RK_LOG_ERROR, RK_LOG_LOGFMT, 1 << 16);
    return quiet ? 0 : 1;
}

static int end_all(void **state)
{
    (void)state;
    rk_log_free(quiet);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_follow_the_store),
        cmocka_unit_test(an_append_that_is_alone_is_sent_at_once),
        cmocka_unit_test(faults_in_any_order_leave_every_copy_as_the_store_is),
    };
    return cmocka_run_group_tests(tests, begin_all, end_all);
}
