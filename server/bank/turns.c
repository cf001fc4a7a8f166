/* SPDX-License-Identifier: Apache-2.0 */
#include "bank/turns.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"

void rk_turns_init(struct rk_turns *turns)
{
    pthread_mutex_init(&turns->lock, NULL);
    pthread_cond_init(&turns->ended, NULL);
    turns->first = NULL;
}

void rk_turns_destroy(struct rk_turns *turns)
{
    pthread_mutex_destroy(&turns->lock);
    pthread_cond_destroy(&turns->ended);
}

/* Who has the name; NULL: nobody. The lock is held. */
static const struct rk_turn *find_turn(const struct rk_turns *turns, const char *name)
{
    const struct rk_turn *turn = turns->first;
    while (turn && strcmp(turn->name, name) != 0)
        turn = turn->next;
    return turn;
}

/* The lock is held. */
static void enter_turn(struct rk_turns *turns, struct rk_turn *turn, const char *name)
{
    *turn = (struct rk_turn){.name = name, .begun_ns = rk_now_ns(), .next = turns->first};
    turns->first = turn;
}

/* Until a turn ended, or that time. The lock is held. */
static void wait_for_end(struct rk_turns *turns, uint64_t until_ns)
{
    const struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000),
                                   .tv_nsec = (long)(until_ns % 1000000000)};
    if (until_ns)
        (void)pthread_cond_clockwait(&turns->ended, &turns->lock, CLOCK_MONOTONIC, &until);
    else
        (void)pthread_cond_wait(&turns->ended, &turns->lock);
}

enum rankd_status rk_turn_begin(struct rk_turns *turns, struct rk_turn *turn, const char *name,
                                uint64_t patience_ns, struct rk_err *err)
{
    const struct rk_turn *other;
    pthread_mutex_lock(&turns->lock);
    while ((other = find_turn(turns, name))) {
        const uint64_t until_ns = patience_ns ? other->begun_ns + patience_ns : 0;
        if (until_ns && rk_now_ns() >= until_ns)
            break;
        wait_for_end(turns, until_ns);
    }
    if (other)
        (void)rk_fail(err, RANKD_OVERLOADED,
                      "another operation on bank \"%.64s\" waits for the store; nothing was done, try again "
                      "in a moment",
                      name);
    else
        enter_turn(turns, turn, name);
    pthread_mutex_unlock(&turns->lock);
    return err->status;
}

bool rk_turn_try(struct rk_turns *turns, struct rk_turn *turn, const char *name)
{
    pthread_mutex_lock(&turns->lock);
    const bool free_now = !find_turn(turns, name);
    if (free_now)
        enter_turn(turns, turn, name);
    pthread_mutex_unlock(&turns->lock);
    return free_now;
}

void rk_turn_end(struct rk_turns *turns, struct rk_turn *turn)
{
    struct rk_turn **at = &turns->first;
    pthread_mutex_lock(&turns->lock);
    while (*at != turn)
        at = &(*at)->next;
    *at = turn->next;
    pthread_cond_broadcast(&turns->ended);
    pthread_mutex_unlock(&turns->lock);
}
