/* SPDX-License-Identifier: Apache-2.0 */
/* Every sequence of operations on a small bank, with kills and power cuts at every change of the
 * disk among them: the bank is what a plain model says. RK_STATES_LENGTH operations, each crash
 * being one (default 4).
 *
 * A sequence with a start in it, after a crash or a clean stop, goes on from there only if that
 * state is new. What the daemon knows when it starts is what it reads from the disk (there are no
 * threads, and the clock stands still), and what the test asks of it is the model: two starts from
 * equal disks (what is there, what of it is on disk, which changes of names are under way) with
 * equal models have equal futures. The numbers of coming items and the counter of checkpoints are
 * left out: they are new ones in both, and the store only copies them. Between starts nothing is
 * merged; see extend() for operations that change nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/disk/play.h"

/* --- all of them --- */

enum { USUAL_LENGTH = 4 };

static int length(void)
{
    const char *text = getenv("RK_STATES_LENGTH");
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    const int usual = 3; /* six times as slow with a sanitizer */
#else
    const int usual = USUAL_LENGTH;
#endif
    int value = text ? atoi(text) : usual;
    return value < 1 ? 1 : value > STEPS_MAX - 1 ? STEPS_MAX - 1 : value;
}

static bool means_nothing(const struct state_run *run, char letter)
{
    return letter == 'F' && run->durability == RK_DURABILITY_ALWAYS;
}

/* The state after a kill does not depend on syncs, and a power cut without syncs leaves no more
 * than a kill. */
static enum mode first_mode(const struct state_run *run)
{
    static const enum mode first[] = {KILL, POWER, POWER_PARTLY};
    return first[run->durability];
}

/* Starts from new states, by the number of operations that may follow: the largest first. */
static struct {
    struct state_run *run;
    size_t count, room;
} waiting[STEPS_MAX];

static void wait_for(const struct state_run *run)
{
    const int left = run->left;
    if (waiting[left].count == waiting[left].room) {
        waiting[left].room = waiting[left].room ? 2 * waiting[left].room : 64;
        waiting[left].run = realloc(waiting[left].run, waiting[left].room * sizeof *run);
        if (!waiting[left].run)
            abort();
    }
    waiting[left].run[waiting[left].count++] = *run;
}

/* The run ends with a start, and `left` operations may follow. */
static void end_with_a_start(struct state_run *run, int left)
{
    run->left = left;
    play(run);
    if (!run->is_new)
        return;
    seen_note(run->state, left);
    if (left)
        wait_for(run);
}

/* A crash within the last step, at each of its changes. It is an operation itself. */
static void crash_in_the_last(const struct state_run *quiet, int left)
{
    struct state_run run = *quiet;
    struct step *last = &run.step[run.steps - 1];
    for (size_t change = 1; change <= quiet->changes[quiet->steps - 1]; change++) {
        for (enum mode mode = first_mode(quiet); mode < MODES; mode++) {
            *last = (struct step){.letter = last->letter, .mode = (uint8_t)mode, .change = (uint16_t)change};
            end_with_a_start(&run, left);
        }
    }
}

/* Everything that `left` more operations can do up to the next start. An operation that does not
 * change the disk (refused, or a sync without anything to sync) changes nothing: that nothing is
 * left of it in memory is shown by the sequences of the usual length; in longer ones nothing
 * follows it. */
static void extend(const struct state_run *path, int left)
{
    for (const char *letter = left ? STATES_LETTERS : ""; *letter; letter++) {
        struct state_run run = *path;
        if (means_nothing(&run, *letter))
            continue;
        run.step[run.steps++] = (struct step){.letter = *letter};
        if (*letter == 'S') {
            end_with_a_start(&run, left - 1);
        } else {
            run.left = left - 1;
            play(&run);
            if (length() <= USUAL_LENGTH || run.changes[run.steps - 1])
                extend(&run, left - 1);
        }
        if (left > 1)
            crash_in_the_last(&run, left - 2);
    }
}

static void take_the_waiting(int left)
{
    for (size_t i = 0; i < waiting[left].count; i++) {
        struct state_run run = waiting[left].run[i];
        const XXH128_hash_t state = run.state;
        if (seen_left(state) > left) /* met again with more to follow */
            continue;
        play(&run);
        if (!XXH128_isEqual(state, run.state))
            play_complain(&run, run.steps, "a run is not the same when it is repeated", "");
        extend(&run, left);
    }
    free(waiting[left].run);
    memset(&waiting[left], 0, sizeof waiting[left]);
}

/* RK_STATES_ONLY=3: only the third test, so that several processes can divide the tests. */
static bool is_asked_for(int number)
{
    const char *only = getenv("RK_STATES_ONLY");
    return !only || atoi(only) == number;
}

static void all_sequences(int durability, size_t bytes)
{
    const struct state_run none = {.durability = durability, .segment_bytes = bytes};
    if (!is_asked_for(1 + 2 * durability + (bytes > 1)))
        return;
    const size_t before = play_count();
    seen_reset();
    extend(&none, length());
    for (int left = length() - 1; left > 0; left--)
        take_the_waiting(left);
    (void)printf("durability %d, segments of %zu bytes: %zu runs, %zu states at a start\n", durability, bytes,
                 play_count() - before, seen_count());
    (void)fflush(stdout);
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

/* Longer ones, most of them appends, on segments that hold a few of them: much that is not on disk
 * comes after what is, and must not push it out. One crash, at each change of each operation. */
static void crash_everywhere(const char *letters, int durability, size_t bytes)
{
    struct state_run quiet = {.durability = durability, .segment_bytes = bytes, .left = -1};
    for (; letters[quiet.steps]; quiet.steps++)
        quiet.step[quiet.steps].letter = letters[quiet.steps];
    play(&quiet);
    for (int at = 0; at < quiet.steps; at++) {
        struct state_run run = quiet;
        for (size_t change = 1; change <= quiet.changes[at]; change++) {
            for (enum mode mode = first_mode(&quiet); mode < MODES; mode++) {
                run.step[at].change = (uint16_t)change;
                run.step[at].mode = (uint8_t)mode;
                play(&run);
            }
        }
    }
}

static void longer_sequences(void **state)
{
    (void)state;
    static const char *const some[] = {"AKRAAAAA", "AFAAAAAAA", "AAFAACAAAA", "aKRDAAAAAA", "AAAKAAARAAAA"};
    const size_t sizes[] = {400, 700, 1 << 20};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            for (int durability = RK_DURABILITY_ALWAYS; durability <= RK_DURABILITY_NONE; durability++)
                crash_everywhere(some[i], durability, sizes[s]);
        }
    }
}

static void crash_twice(const char *letters, int durability)
{
    struct state_run run = {.durability = durability, .segment_bytes = 1, .left = -1, .steps = 2};
    struct step *last = &run.step[1];
    run.step[0].letter = letters[0];
    last->letter = letters[1];
    play(&run);
    const size_t changes = run.changes[1];
    for (last->change = 1; last->change <= changes; last->change++) {
        for (last->mode = 0; last->mode < MODES; last->mode++) {
            last->again = 0;
            play(&run);
            for (size_t recovery = run.recovery; last->again < recovery;) {
                last->again++;
                play(&run);
            }
        }
    }
}

static void a_crash_within_the_recovery_from_a_crash(void **state)
{
    (void)state;
    for (int durability = RK_DURABILITY_ALWAYS; durability <= RK_DURABILITY_INTERVAL; durability++) {
        for (const char *first = STATES_LETTERS; *first; first++) {
            for (const char *second = STATES_LETTERS; *second; second++)
                crash_twice((const char[]){*first, *second}, durability);
        }
    }
}

static int count_runs(void **state)
{
    (void)state;
    (void)printf("%zu runs\n", play_count());
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
