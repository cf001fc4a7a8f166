/* SPDX-License-Identifier: Apache-2.0 */
/* When to spin. Both sides of the ring spin for some microseconds before they sleep, and yield
 * their CPU to each other as they do. Where other programs want that CPU too, a yield lasts for the
 * time slice of another one, milliseconds, while a thread that sleeps gets the CPU soon after it is
 * woken. So a thread that finds that others ran in its place for long stops spinning for a while,
 * for longer each time. */
#ifndef RANKD_SPIN_H
#define RANKD_SPIN_H

#include <stdbool.h>
#include <stdint.h>

enum {
    RANKD_SPIN_AWAY_NS = 30000,         /* between two looks at the clock: another thread ran */
    RANKD_SPIN_FIRST_NS = 10000000,     /* of sleeping at once */
    RANKD_SPIN_LONGEST_NS = 1000000000, /* the same */
    RANKD_SPIN_MET_NS = 200000          /* a spin that met what it waited for saved far less than this */
};

/* Of a thread that spins; all zeros at first. */
struct rankd_spin {
    uint64_t looked_ns;    /* at the clock, in this spin */
    uint64_t not_until_ns; /* no spin begins before this time */
    uint64_t pause_ns;     /* length of the last such pause */
};

/* True if a spin may begin now. */
static inline bool rankd_spin_begin(struct rankd_spin *spin, uint64_t now_ns)
{
    spin->looked_ns = now_ns;
    return now_ns >= spin->not_until_ns;
}

/* To be asked again and again in a spin. False: it ends, the CPU is wanted by others. */
static inline bool rankd_spin_goes_on(struct rankd_spin *spin, uint64_t now_ns)
{
    const bool away = now_ns - spin->looked_ns > RANKD_SPIN_AWAY_NS;
    spin->looked_ns = now_ns;
    if (!away)
        return true;
    spin->pause_ns = spin->pause_ns ? 2 * spin->pause_ns : RANKD_SPIN_FIRST_NS;
    if (spin->pause_ns > RANKD_SPIN_LONGEST_NS)
        spin->pause_ns = RANKD_SPIN_LONGEST_NS;
    spin->not_until_ns = now_ns + spin->pause_ns;
    return false;
}

/* A spin met what it waited for. */
static inline void rankd_spin_met(struct rankd_spin *spin)
{
    spin->pause_ns -= spin->pause_ns < RANKD_SPIN_MET_NS ? spin->pause_ns : RANKD_SPIN_MET_NS;
}

#endif
