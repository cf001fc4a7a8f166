/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/disk/play.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "unit/disk/disk.h"

/* --- changed behaviour of the store --- */

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

/* Time stands still, so that two starts from the same disk do the same. */
uint64_t __wrap_rk_now_ns(void);
uint64_t __wrap_rk_now_ns(void)
{
    return 1000000000;
}

time_t __wrap_time(time_t *out);
time_t __wrap_time(time_t *out)
{
    if (out)
        *out = 1600000000;
    return 1600000000;
}

/* --- one run --- */

static const char *const mode_names[] = {"kill -9", "power cut", "power cut that leaves some"};

static size_t runs;

size_t play_count(void)
{
    return runs;
}

static void print_path(const struct state_run *run, char *text, size_t size)
{
    int at = 0;
    for (int i = 0; i < run->steps; i++) {
        const struct step *step = &run->step[i];
        at += snprintf(text + at, size - (size_t)at, "%c", step->letter);
        if (step->change)
            at += snprintf(text + at, size - (size_t)at, "(%s at change %d, and at %d of the start)",
                           mode_names[step->mode], step->change, step->again);
    }
}

void play_complain(const struct state_run *run, int at, const char *what, const char *why)
{
    char path[100 * STEPS_MAX];
    print_path(run, path, sizeof path);
    fail_msg("%s, durability %d, segments of %zu bytes: behind operation %d %s %s", path, run->durability,
             run->segment_bytes, at, what, why);
}

static void print_state(const struct state *state, char *text, size_t size)
{
    int at = snprintf(text, size, "generation %llu version %llu:", (unsigned long long)state->generation,
                      (unsigned long long)state->version);
    for (size_t i = 0; i < state->items; i++)
        at += snprintf(text + at, size - (size_t)at, " %g", (double)state->item[i]);
}

static void expect(const struct state_run *run, struct daemon *daemon, const struct model *model, int at)
{
    struct state state;
    bool tag[STATES_TAGS];
    char why[RK_ERR_TEXT], was[160], want[160];
    if (!daemon_look(daemon, &state, tag, why, sizeof why))
        play_complain(run, at, "there is no bank", "");
    if (why[0])
        play_complain(run, at, "it refuses:", why);
    if (!state_is(&state, &model->now)) {
        char both[340];
        print_state(&state, was, sizeof was);
        print_state(&model->now, want, sizeof want);
        (void)snprintf(both, sizeof both, "%s; wanted %s", was, want);
        play_complain(run, at, "it is", both);
    }
    for (size_t t = 0; t < STATES_TAGS; t++) {
        if (tag[t] != model->tag[t].there)
            play_complain(run, at, tag[t] ? "there is one more checkpoint" : "a checkpoint is gone", "");
    }
}

static void do_one(const struct state_run *run, struct daemon *daemon, struct model *model, int at,
                   char letter)
{
    struct model after = *model;
    struct rk_err err = {0};
    enum rankd_status want = model_apply(&after, letter, run->durability);
    enum rankd_status status = daemon_apply(daemon, model, letter, &err);
    if (status != want)
        play_complain(run, at, "it was answered", err.text);
    if (want == RANKD_OK)
        *model = after;
    expect(run, daemon, model, at);
}

/* Checks that the bank is in an allowed state after a crash within step `at`, and sets the model to
 * that state. */
static void settle(const struct state_run *run, struct daemon *daemon, struct model *before,
                   const struct model *after, int at)
{
    struct state state;
    bool tag[STATES_TAGS], found = false;
    char why[RK_ERR_TEXT], was[160];
    if (!daemon_look(daemon, &state, tag, why, sizeof why)) {
        if (run->step[at].letter != 'B') /* deleted, and not made again */
            play_complain(run, at + 1, "there is no bank", "");
        daemon_create(daemon);
        *before = *after;
        return;
    }
    if (why[0])
        play_complain(run, at + 1, "it refuses:", why);
    const size_t oldest = run->step[at].mode == KILL ? before->histories - 1 : 0;
    for (size_t i = oldest; !found && i < before->histories; i++)
        found = state_is(&state, &before->history[i]);
    found = found || state_is(&state, &after->now);
    if (!found)
        print_state(&state, was, sizeof was);
    if (!found)
        play_complain(run, at + 1, "it is nothing that it may be:", was);
    for (size_t t = 0; t < STATES_TAGS; t++) {
        if (tag[t] != before->tag[t].there && tag[t] != after->tag[t].there)
            play_complain(run, at + 1, tag[t] ? "there is one more checkpoint" : "a checkpoint is gone", "");
        if (tag[t] && !before->tag[t].there)
            before->tag[t] = after->tag[t];
        before->tag[t].there = tag[t];
    }
    before->taken = after->taken;
    before->next = after->next;
    before->now = before->history[0] = state; /* a start syncs what it has read */
    before->histories = 1;
}

/* A run is the same each time: the survivors of a power cut are drawn from the steps before it. */
static void come_back(const struct state_run *run, int at)
{
    const struct step *step = &run->step[at];
    uint64_t seed = XXH3_64bits(run->step, (size_t)(at + 1) * sizeof *step);
    if (step->mode == KILL)
        disk_after_kill();
    else
        disk_after_power_cut(step->mode == POWER ? 0 : seed % 2 ? 50 : 90, &seed);
}

static XXH3_state_t *new_digest(void)
{
    static XXH3_state_t *into;
    if (!into)
        into = XXH3_createState();
    if (!into || XXH3_128bits_reset(into) != XXH_OK)
        abort();
    return into;
}

static XXH128_hash_t digest_disk(void)
{
    XXH3_state_t *into = new_digest();
    disk_digest(into);
    return XXH3_128bits_digest(into);
}

/* Records a start from that disk, with the model of the bank. */
static void note_start(struct state_run *run, XXH128_hash_t disk, const struct model *model)
{
    XXH3_state_t *into = new_digest();
    (void)XXH3_128bits_update(into, &disk, sizeof disk);
    model_digest(model, into);
    run->state = XXH3_128bits_digest(into);
}

static void restart(struct state_run *run, struct daemon *daemon, struct model *model, int at)
{
    daemon_stop(daemon, true);
    (void)model_apply(model, 'S', run->durability);
    const XXH128_hash_t disk = digest_disk();
    if (!daemon_start(daemon, run->durability))
        play_complain(run, at + 1, "the daemon does not start", "");
    expect(run, daemon, model, at + 1);
    note_start(run, disk, model);
}

static void crash(struct state_run *run, struct daemon *daemon, struct model *model, int at)
{
    const struct step *step = &run->step[at];
    struct model after = *model;
    struct rk_err ignored = {0};
    (void)model_apply(&after, step->letter, run->durability);
    disk_stop_at(disk_changes() + step->change);
    (void)daemon_apply(daemon, model, step->letter, &ignored);
    daemon_stop(daemon, false);
    come_back(run, at);
    const size_t before = disk_changes();
    if (step->again) {
        disk_stop_at(before + step->again);
        if (daemon_start(daemon, run->durability))
            daemon_stop(daemon, false);
        come_back(run, at);
    }
    XXH128_hash_t disk = digest_disk();
    bool started = daemon_start(daemon, run->durability);
    run->recovery = disk_changes() - before;
    if (!started)
        play_complain(run, at + 1, "the daemon does not start", "");
    settle(run, daemon, model, &after, at);
    if (step->mode == KILL) {
        daemon_stop(daemon, false); /* after this the recovered state is on disk */
        disk_after_power_cut(0, &(uint64_t){0});
        disk = digest_disk();
        if (!daemon_start(daemon, run->durability))
            play_complain(run, at + 1, "the daemon does not start again", "");
        expect(run, daemon, model, at + 1);
    }
    note_start(run, disk, model);
}

/* Continues with more operations on the remaining bank. If starts are merged, the second half runs
 * once from each state. */
static void finish(const struct state_run *run, struct daemon *daemon, struct model *model)
{
    const int at = run->steps;
    struct state_run end = *run;
    do_one(run, daemon, model, at, 'a');
    restart(&end, daemon, model, at - 1);
    if (disk_files("~") || disk_files(".tmp"))
        play_complain(run, at, "something is left of an operation", "");
    end.state.high64 = ~end.state.high64; /* such states are recorded separately: only this half follows */
    if (run->left >= 0 && seen_left(end.state) >= 0)
        return;
    if (run->left >= 0)
        seen_note(end.state, 0);
    for (int t = 0; t < STATES_TAGS; t++) {
        if (model->tag[0].there || model->tag[1].there) {
            do_one(run, daemon, model, at, 'R');
            do_one(run, daemon, model, at, 'D'); /* the oldest */
        }
    }
    do_one(run, daemon, model, at, 'S');
}

static bool ends_with_a_start(const struct state_run *run)
{
    const struct step *last = &run->step[run->steps - 1];
    return run->steps && (last->change || last->letter == 'S');
}

void play(struct state_run *run)
{
    struct daemon daemon;
    struct model model;
    runs++;
    segment_bytes = run->segment_bytes;
    disk_reset();
    model_start(&model);
    if (!daemon_start(&daemon, run->durability))
        fail_msg("the daemon does not start on an empty disk");
    daemon_create(&daemon);
    for (int at = 0; at < run->steps; at++) {
        size_t before = disk_changes();
        if (run->step[at].change)
            crash(run, &daemon, &model, at);
        else if (run->step[at].letter == 'S')
            restart(run, &daemon, &model, at);
        else
            do_one(run, &daemon, &model, at + 1, run->step[at].letter);
        run->changes[at] = disk_changes() - before;
    }
    run->is_new = run->left < 0 || !ends_with_a_start(run) || seen_left(run->state) < run->left;
    if (run->is_new)
        finish(run, &daemon, &model);
    daemon_stop(&daemon, true);
    if (disk_open_files())
        play_complain(run, run->steps, "files are left open", "");
}
