/* SPDX-License-Identifier: Apache-2.0 */
/* Grants the right to spin. A waiting client spins while its request is processed, the loop while
 * no such client waits. So at any time at most as many threads spin as clients have the right, and
 * these are fewer than the CPUs. */
#include "ring/ring_internal.h"

static void grant(struct rk_peer *peer)
{
    struct rk_front *front = peer->front;
    if (peer->spin_wanted_ns == 0 || peer->spin_granted_ns != 0 || front->spinners >= front->spinner_limit)
        return;
    peer->spin_granted_ns = peer->spin_wanted_ns;
    front->spinners++;
    rk_shm_segment_grant_spin(&peer->segment, peer->spin_granted_ns);
}

void rk_spin_join(struct rk_peer *peer)
{
    grant(peer);
}

void rk_spin_leave(struct rk_peer *peer)
{
    if (peer->spin_granted_ns == 0)
        return;
    struct rk_front *front = peer->front;
    peer->spin_granted_ns = 0;
    front->spinners--;
    for (struct rk_peer *other = front->peers; other != NULL; other = other->next) {
        if (other != peer && rk_peer_open(other))
            grant(other);
    }
}

bool rk_spin_may_loop(const struct rk_front *front)
{
    if (front->spinners == 0)
        return false;
    for (struct rk_peer *peer = front->peers; peer != NULL; peer = peer->next) {
        if (peer->spin_granted_ns == 0)
            continue;
        (void)pthread_mutex_lock(&peer->completing);
        bool waits = peer->outstanding != 0;
        (void)pthread_mutex_unlock(&peer->completing);
        if (waits)
            return false;
    }
    return true;
}
