/* SPDX-License-Identifier: Apache-2.0 */
/* A small bank driven through operations, beside a plain model of it that shares nothing with the
 * store. */
#ifndef TEST_STATES_H
#define TEST_STATES_H

#include <xxhash.h>

#include "bank/registry_internal.h"

enum { STATES_CAPACITY = 4, STATES_TAGS = 2, STATES_HISTORY = 64 };

/* The state of a bank. */
struct state {
    uint64_t generation, version;
    size_t items;
    float item[STATES_CAPACITY];
};

struct model {
    struct state now;
    struct {
        bool there;
        size_t taken; /* the one taken later has more */
        struct state state;
    } tag[STATES_TAGS];
    size_t taken;
    float next; /* the next item */

    /* The possible states of the bank after a power cut: the last one that is known to be on disk,
     * and each state since; the last is `now`. */
    struct state history[STATES_HISTORY];
    size_t histories;
};

/* Operations, a letter each:
 *   a  appends one item       A  appends as many as the bank holds      C  clears
 *   K  takes a checkpoint under the first free tag (all taken: refused)
 *   R  restores the newest    D  deletes the oldest (none there: refused)
 *   F  syncs, as the thread of durability "interval" does
 *   S  stops the daemon and starts it again         B  deletes the bank and makes it again */
#define STATES_LETTERS "aACKRDFSB"

void model_start(struct model *model);
/* Applies the operation to the model; returns the status that the daemon must answer. */
enum rankd_status model_apply(struct model *model, char letter, int durability);

struct daemon {
    struct rk_config config;
    struct rk_banks *banks;
    int durability;
};

/* Starts over the present disk. False if the disk stops it. */
bool daemon_start(struct daemon *daemon, int durability) __attribute__((warn_unused_result));
/* Stops it cleanly, like SIGTERM; or at once. */
void daemon_stop(struct daemon *daemon, bool clean);
void daemon_create(struct daemon *daemon);
/* Status and sentence of the operation. `first`: the items to append are first, first + 1, … */
enum rankd_status daemon_apply(struct daemon *daemon, const struct model *before, char letter,
                               struct rk_err *err);
/* False: there is no bank. A bank that refuses or can't be read gives the reason in *why. */
bool daemon_look(struct daemon *daemon, struct state *state, bool tag[STATES_TAGS], char *why, size_t size);

/* Adds everything that later operations depend on: all except the numbers of future items and
 * checkpoints, which are new in any case. */
void model_digest(const struct model *model, struct XXH3_state_s *into);

bool state_is(const struct state *a, const struct state *b);

#endif
