/* SPDX-License-Identifier: Apache-2.0 */
/* One run of a small bank over the disk in memory: operations and crashes, compared with a
 * model. */
#ifndef TEST_PLAY_H
#define TEST_PLAY_H

#include "unit/disk/seen.h"
#include "unit/disk/states.h"

enum { STEPS_MAX = 16 };

enum mode { KILL, POWER, POWER_PARTLY, MODES };

struct step {
    char letter;
    uint8_t mode;
    uint16_t change; /* a crash at that change of the disk by the operation (from 1); 0: none */
    uint16_t again;  /* and a crash within the following start, at that change; 0: none */
};

struct state_run {
    struct step step[STEPS_MAX];
    int steps;
    int durability;
    size_t segment_bytes;
    int left; /* operations that may follow, where starts from equal states are merged; -1: none are */
    size_t changes[STEPS_MAX]; /* out: changes of each operation, */
    size_t recovery;           /* and of the start after the last crash, */
    XXH128_hash_t state;       /* and the state at the last start, */
    bool is_new;               /* the state was not met before with as many operations to follow */
};

/* Plays all steps from an empty disk, and some more operations on what is left, unless the run ends
 * with a start from a state that others went on from (`is_new`). Fails the test if the bank differs
 * from the model. A run is the same each time that it is played. */
void play(struct state_run *run);
size_t play_count(void); /* runs so far */

/* Fails the test, naming the run; `at`: operations that went well or not, from 1. */
void play_complain(const struct state_run *run, int at, const char *what, const char *why);

#endif
