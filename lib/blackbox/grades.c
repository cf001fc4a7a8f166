/* SPDX-License-Identifier: Apache-2.0 */
/* Graded relevance: the order of relevant items by grade, which breaks ties of the scores and is
 * the ideal order, and the gains for the loss. */
#include <string.h>

#include "base/ranges.h"
#include "blackbox/relevant.h"
#include "losses/gain.h"

void rk_relevant_place_grades(struct rk_arena *arena, uint32_t p, struct rk_relevant *r)
{
    r->grade = rk_arena_alloc(arena, p * sizeof *r->grade);
    r->gain_ascending = rk_arena_alloc(arena, p * sizeof *r->gain_ascending);
    r->by_grade = rk_arena_alloc(arena, p * sizeof *r->by_grade);
}

static bool ascends(const double *grade, uint32_t p)
{
    unsigned falls = 0;
    for (uint32_t i = 1; i < p; i++)
        falls |= grade[i] < grade[i - 1];
    return !falls;
}

static uint64_t bits_of(double grade)
{
    uint64_t bits;
    memcpy(&bits, &grade, sizeof bits);
    return bits;
}

/* Grades are not negative, so their bits ascend with them. Without the bits that all grades share,
 * grades that fit FP32 have 32 bits left, and whole ones fewer. */
struct grade_keys {
    uint64_t least;
    unsigned shift, bits;
};

static struct grade_keys keys_of(const double *grade, uint32_t p)
{
    struct grade_keys keys = {.least = UINT64_MAX};
    uint64_t most = 0, used = 0;
    for (uint32_t i = 0; i < p; i++) {
        const uint64_t bits = bits_of(grade[i]);
        keys.least = bits < keys.least ? bits : keys.least;
        most = bits > most ? bits : most;
    }
    for (uint32_t i = 0; i < p; i++)
        used |= bits_of(grade[i]) - keys.least;
    keys.shift = used ? (unsigned)__builtin_ctzll(used) : 0;
    keys.bits = most > keys.least ? 64 - keys.shift - (unsigned)__builtin_clzll(most - keys.least) : 1;
    return keys;
}

static uint64_t key_of(const struct grade_keys *keys, double grade)
{
    return (bits_of(grade) - keys->least) >> keys->shift;
}

/* Wider keys are sorted by their lower halves first, then by the upper ones; the sort is stable. */
static void sort_grades(const struct rk_kernels *kernels, const struct grade_keys *keys,
                        struct rk_relevant *r)
{
    uint32_t *lower = r->argsort; /* free until scores are ranked */
    for (uint32_t i = 0; i < r->p; i++)
        r->key[i] = (uint32_t)key_of(keys, r->grade[i]);
    kernels->argsort(r->key, r->p, keys->bits > 32 ? lower : r->by_grade, NULL, r->sort);
    if (keys->bits <= 32)
        return;
    for (uint32_t i = 0; i < r->p; i++)
        r->key[i] = (uint32_t)(key_of(keys, r->grade[lower[i]]) >> 32);
    kernels->argsort(r->key, r->p, r->by_grade, NULL, r->sort);
    for (uint32_t i = 0; i < r->p; i++)
        r->by_grade[i] = lower[r->by_grade[i]];
}

void rk_relevant_order(const struct rk_kernels *kernels, enum rk_target_rule rule, struct rk_relevant *r)
{
    const bool ordered = ascends(r->grade, r->p);
    if (!ordered) {
        const struct grade_keys keys = keys_of(r->grade, r->p);
        sort_grades(kernels, &keys, r);
    }
    for (uint32_t i = 0; i < r->p; i++)
        r->gain_ascending[i] = rk_gain(r->grade[ordered ? i : r->by_grade[i]], rule);
    if (ordered)
        r->by_grade = NULL;
    r->gain = r->grade;
}

static void put_gains(void *arg, struct rk_range range)
{
    const struct rk_relevant *r = arg;
    for (uint32_t k = range.from; k < range.to; k++)
        r->gain[k] = r->gain_ascending[r->argsort[k]];
}

struct rk_ranked rk_relevant_ranked(struct rk_pool *pool, struct rk_relevant *r)
{
    struct rk_ranked ranked = {.p = r->p, .irrelevant_above = r->irrelevant_above};
    if (!r->grade)
        return ranked;
    rk_ranges_run(pool, r->p, RK_RANGE_MIN_FAR, put_gains, r);
    ranked.gain = r->gain;
    ranked.gain_ascending = r->gain_ascending;
    return ranked;
}
