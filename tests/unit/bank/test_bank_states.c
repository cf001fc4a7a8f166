/* SPDX-License-Identifier: Apache-2.0 */
/* Every sequence of operations on a small bank, with a kill or a power cut at every change of the disk: the
 * bank is what a plain model says. RK_STATES_LENGTH operations at most, the crash being one (default 4). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit/disk/disk.h"
#include "unit/disk/states.h"

enum { LENGTH_MAX = 16 };

/* --- what the store is made to do differently here --- */

static size_t segment_bytes; /* 1: each append that waits for the disk begins a segment */
size_t __wrap_rk_rule_segment_bytes(const struct rk_bank_shape *shape);
size_t __wrap_rk_rule_segment_bytes(const struct rk_bank_shape *shape)
{
    (void)shape;
    return segment_bytes;
}

/* The test commits by itself: there are no threads. */
void __wrap_rk_threads_add(struct rk_threads *threads, struct rk_task *task);
void __wrap_rk_threads_add(struct rk_threads *threads, struct rk_task *task)
{
    (void)threads;
    rk_durable_bank_release(
        (struct rk_durable_bank *)((char *)task - offsetof(struct rk_durable_bank, commit_task)));
}

/* --- one run --- */

enum mode { KILL, POWER, POWER_PARTLY, MODES };
static const char *const mode_names[] = {"kill -9", "a power cut", "a power cut that leaves some"};

struct state_run {
    char letters[LENGTH_MAX + 1];
    int durability;
    /* A crash within operation number `crash` (from 0; -1: none), at its change number `change` (from 1). */
    int crash;
    size_t change;
    enum mode mode;
    size_t again;               /* and within the recovery, at its change of that number; 0: not */
    size_t changes[LENGTH_MAX]; /* out: changes of each operation, */
    size_t recovery;            /* and of the start after the crash */
};

static size_t runs;

static void complain(const struct state_run *run, size_t at, const char *what, const char *why)
{
    char crash[120] = "no crash";
    if (run->crash >= 0)
        (void)snprintf(crash, sizeof crash, "%s at change %zu of '%c' (number %d), and at %zu of the start",
                       mode_names[run->mode], run->change, run->letters[run->crash], run->crash + 1,
                       run->again);
    fail_msg("%s, durability %d, segments of %zu bytes, %s: behind operation %zu %s %s", run->letters,
             run->durability, segment_bytes, crash, at, what, why);
}

static void print_state(const struct state *state, char *text, size_t size)
{
    int at = snprintf(text, size, "generation %llu version %llu:", (unsigned long long)state->generation,
                      (unsigned long long)state->version);
    for (size_t i = 0; i < state->items; i++)
        at += snprintf(text + at, size - (size_t)at, " %g", (double)state->item[i]);
}

static void expect(const struct state_run *run, struct daemon *daemon, const struct model *model, size_t at)
{
    struct state state;
    bool tag[STATES_TAGS];
    char why[RK_ERR_TEXT], was[160], want[160];
    if (!daemon_look(daemon, &state, tag, why, sizeof why))
        complain(run, at, "there is no bank", "");
    if (why[0])
        complain(run, at, "it refuses:", why);
    if (!state_is(&state, &model->now)) {
        char both[340];
        print_state(&state, was, sizeof was);
        print_state(&model->now, want, sizeof want);
        (void)snprintf(both, sizeof both, "%s; wanted %s", was, want);
        complain(run, at, "it is", both);
    }
    for (size_t t = 0; t < STATES_TAGS; t++) {
        if (tag[t] != model->tag[t].there)
            complain(run, at, tag[t] ? "there is one more checkpoint" : "a checkpoint is gone", "");
    }
}

static void do_one(struct state_run *run, struct daemon *daemon, struct model *model, size_t at, char letter)
{
    struct model after = *model;
    struct rk_err err = {0};
    enum rankd_status want = model_apply(&after, letter, run->durability);
    enum rankd_status status = daemon_apply(daemon, model, letter, &err);
    if (status != want)
        complain(run, at, "it was answered", err.text);
    if (want == RANKD_OK)
        *model = after;
    expect(run, daemon, model, at);
}

/* Where the bank stands after a crash: as one of the states that are allowed, and the model with it. */
static void settle(struct state_run *run, struct daemon *daemon, struct model *before,
                   const struct model *after)
{
    struct state state;
    bool tag[STATES_TAGS], found = false;
    char why[RK_ERR_TEXT], was[160];
    const size_t at = (size_t)run->crash + 1;
    if (!daemon_look(daemon, &state, tag, why, sizeof why)) {
        if (run->letters[run->crash] != 'B') /* deleted, and not made again */
            complain(run, at, "there is no bank", "");
        daemon_create(daemon);
        *before = *after;
        return;
    }
    if (why[0])
        complain(run, at, "it refuses:", why);
    const size_t oldest = run->mode == KILL ? before->histories - 1 : 0;
    for (size_t i = oldest; !found && i < before->histories; i++)
        found = state_is(&state, &before->history[i]);
    found = found || state_is(&state, &after->now);
    if (!found)
        print_state(&state, was, sizeof was);
    if (!found)
        complain(run, at, "it is nothing that it may be:", was);
    for (size_t t = 0; t < STATES_TAGS; t++) {
        if (tag[t] != before->tag[t].there && tag[t] != after->tag[t].there)
            complain(run, at, tag[t] ? "there is one more checkpoint" : "a checkpoint is gone", "");
        if (tag[t] && !before->tag[t].there)
            before->tag[t] = after->tag[t];
        before->tag[t].there = tag[t];
    }
    before->taken = after->taken;
    before->next = after->next;
    before->now = before->history[0] = state; /* what was read back was brought to the disk */
    before->histories = 1;
}

static void come_back(const struct state_run *run)
{
    static uint64_t seed = 1;
    if (run->mode == KILL)
        disk_after_kill();
    else
        disk_after_power_cut(run->mode == POWER ? 0 : runs % 2 ? 50 : 90, &seed);
}

static void crash(struct state_run *run, struct daemon *daemon, struct model *model)
{
    struct model after = *model;
    struct rk_err ignored = {0};
    const char letter = run->letters[run->crash];
    (void)model_apply(&after, letter, run->durability);
    disk_stop_at(disk_changes() + run->change);
    (void)daemon_apply(daemon, model, letter, &ignored);
    daemon_stop(daemon, false);
    come_back(run);
    const size_t before = disk_changes();
    if (run->again) {
        disk_stop_at(before + run->again);
        if (daemon_start(daemon, run->durability))
            daemon_stop(daemon, false);
        come_back(run);
    }
    bool started = daemon_start(daemon, run->durability);
    run->recovery = disk_changes() - before;
    if (!started)
        complain(run, (size_t)run->crash + 1, "the daemon does not start", "");
    settle(run, daemon, model, &after);
    if (run->mode != KILL)
        return;
    daemon_stop(daemon, false); /* and what was read back is on disk */
    disk_after_power_cut(0, &(uint64_t){0});
    if (!daemon_start(daemon, run->durability))
        complain(run, (size_t)run->crash + 1, "the daemon does not start again", "");
    expect(run, daemon, model, (size_t)run->crash + 1);
}

/* What was left is good for more than to be looked at. */
static void finish(struct state_run *run, struct daemon *daemon, struct model *model, size_t at)
{
    do_one(run, daemon, model, at, 'a');
    do_one(run, daemon, model, at, 'S');
    if (disk_files("~") || disk_files(".tmp"))
        complain(run, at, "something is left of an operation", "");
    for (int t = 0; t < STATES_TAGS; t++) {
        if (model->tag[0].there || model->tag[1].there) {
            do_one(run, daemon, model, at, 'R');
            do_one(run, daemon, model, at, 'D'); /* the oldest */
        }
    }
    do_one(run, daemon, model, at, 'S');
}

static void go(struct state_run *run)
{
    struct daemon daemon;
    struct model model;
    runs++;
    disk_reset();
    model_start(&model);
    if (!daemon_start(&daemon, run->durability))
        fail_msg("the daemon does not start on an empty disk");
    daemon_create(&daemon);
    size_t at = 0;
    for (; run->letters[at]; at++) {
        size_t before = disk_changes();
        if ((int)at == run->crash)
            crash(run, &daemon, &model);
        else
            do_one(run, &daemon, &model, at + 1, run->letters[at]);
        run->changes[at] = disk_changes() - before;
    }
    finish(run, &daemon, &model, at);
    daemon_stop(&daemon, true);
    if (disk_open_files())
        complain(run, at, "files are left open", "");
}

/* --- all of them --- */

static int length(void)
{
    const char *text = getenv("RK_STATES_LENGTH");
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    const int usual = 3; /* it takes six times as long there */
#else
    const int usual = 4;
#endif
    int value = text ? atoi(text) : usual;
    return value < 1 ? 1 : value > LENGTH_MAX ? LENGTH_MAX : value;
}

/* A crash is one of the operations: the sequence is one shorter. */
static void crash_everywhere(struct state_run *run)
{
    struct state_run quiet = *run;
    quiet.crash = -1;
    go(&quiet);
    for (run->crash = 0; run->letters[run->crash]; run->crash++) {
        for (run->change = 1; run->change <= quiet.changes[run->crash]; run->change++) {
            /* What a kill leaves does not depend on syncs, and without any a power cut leaves no more. */
            static const enum mode first[] = {KILL, POWER, POWER_PARTLY};
            run->mode = first[run->durability];
            for (; run->mode < MODES; run->mode++)
                go(run);
        }
    }
}

static bool means_nothing(const struct state_run *run, char letter)
{
    return letter == 'F' && run->durability == RK_DURABILITY_ALWAYS;
}

static void each_sequence(struct state_run *run, size_t at, size_t letters, void (*visit)(struct state_run *))
{
    if (at == letters) {
        run->letters[at] = '\0';
        visit(run);
        return;
    }
    for (const char *letter = STATES_LETTERS; *letter; letter++) {
        if (means_nothing(run, *letter))
            continue;
        run->letters[at] = *letter;
        each_sequence(run, at + 1, letters, visit);
    }
}

static void quietly(struct state_run *run)
{
    run->crash = -1;
    go(run);
}

/* RK_STATES_ONLY=3: the third test alone, so that several processes share them out. */
static bool is_asked_for(int number)
{
    const char *only = getenv("RK_STATES_ONLY");
    return !only || atoi(only) == number;
}

static void all_sequences(int durability, size_t bytes)
{
    struct state_run run = {.durability = durability};
    segment_bytes = bytes;
    if (!is_asked_for(1 + 2 * durability + (bytes > 1)))
        return;
    each_sequence(&run, 0, (size_t)length(), quietly);
    each_sequence(&run, 0, (size_t)length() - 1, crash_everywhere);
}

#define EACH(name, durability)                                                                               \
    static void name##_in_small_segments(void **state)                                                       \
    {                                                                                                        \
        (void)state;                                                                                         \
        all_sequences(durability, 1);                                                                        \
    }                                                                                                        \
    static void name##_in_one_segment(void **state)                                                          \
    {                                                                                                        \
        (void)state;                                                                                         \
        all_sequences(durability, 1 << 20);                                                                  \
    }
EACH(every_sequence_of_an_always_bank, RK_DURABILITY_ALWAYS)
EACH(every_sequence_of_an_interval_bank, RK_DURABILITY_INTERVAL)
EACH(every_sequence_of_a_bank_without_durability, RK_DURABILITY_NONE)

/* Longer ones, most of them appends, on segments that hold a few of them: much that is not on disk comes
 * after what is, and must not push it out. */
static void longer_sequences(void **state)
{
    (void)state;
    static const char *const some[] = {"AKRAAAAA", "AFAAAAAAA", "AAFAACAAAA", "aKRDAAAAAA", "AAAKAAARAAAA"};
    const size_t sizes[] = {400, 700, 1 << 20};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            for (int durability = RK_DURABILITY_ALWAYS; durability <= RK_DURABILITY_NONE; durability++) {
                struct state_run run = {.durability = durability};
                segment_bytes = sizes[s];
                (void)snprintf(run.letters, sizeof run.letters, "%s", some[i]);
                crash_everywhere(&run);
            }
        }
    }
}

static void crash_twice(struct state_run *run)
{
    struct state_run quiet = *run;
    quiet.crash = -1;
    go(&quiet);
    run->crash = (int)strlen(run->letters) - 1;
    for (run->change = 1; run->change <= quiet.changes[run->crash]; run->change++) {
        for (run->mode = 0; run->mode < MODES; run->mode++) {
            run->again = 0;
            go(run);
            for (size_t changes = run->recovery; run->again < changes;) {
                run->again++;
                go(run);
            }
        }
    }
}

static void a_crash_within_the_recovery_from_a_crash(void **state)
{
    (void)state;
    for (int durability = RK_DURABILITY_ALWAYS; durability <= RK_DURABILITY_INTERVAL; durability++) {
        struct state_run run = {.durability = durability};
        segment_bytes = 1;
        each_sequence(&run, 0, 2, crash_twice);
    }
}

static int count_runs(void **state)
{
    (void)state;
    (void)printf("%zu runs\n", runs);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_sequence_of_an_always_bank_in_small_segments),
        cmocka_unit_test(every_sequence_of_an_always_bank_in_one_segment),
        cmocka_unit_test(every_sequence_of_an_interval_bank_in_small_segments),
        cmocka_unit_test(every_sequence_of_an_interval_bank_in_one_segment),
        cmocka_unit_test(every_sequence_of_a_bank_without_durability_in_small_segments),
        cmocka_unit_test(every_sequence_of_a_bank_without_durability_in_one_segment),
        cmocka_unit_test(longer_sequences),
        cmocka_unit_test(a_crash_within_the_recovery_from_a_crash),
    };
    return cmocka_run_group_tests_name("bank_states", tests, NULL, count_runs);
}
