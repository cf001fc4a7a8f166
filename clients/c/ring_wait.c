/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting. One of the waiting threads reads the ring and the socket for all: it spins for as long
 * as the daemon grants, then sleeps in poll(); the others sleep on a condition. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "clock.h"
#include "rankd_spin.h"
#include "ring_internal.h"

/* Packets that are read before the ring and the time are checked again. */
enum { PACKETS = 64 };

void rankd_ring_lose(struct rankd_ring *ring)
{
    ring->lost = true;
    (void)pthread_cond_broadcast(&ring->changed);
}

void rankd_ring_ring(struct rankd_ring *ring)
{
    _Atomic uint32_t *word = &ring->mapping->shared->daemon_waiting;
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(word, memory_order_relaxed) == RANKD_ASLEEP &&
        atomic_exchange_explicit(word, RANKD_AWAKE, memory_order_relaxed) == RANKD_ASLEEP)
        (void)send(atomic_load(&ring->fd), "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void completed(struct rankd_ring *ring, const struct rankd_shm_completion *completion)
{
    struct rankd_slot *slot = &ring->slots[completion->tag % ring->entries];
    if (slot->tag != completion->tag)
        return;
    slot->completion = *completion;
    if (slot->state == RANKD_SLOT_DISCARDED)
        rankd_ring_free_slot(ring, slot, false);
    else if (slot->state == RANKD_SLOT_SUBMITTED)
        slot->state = RANKD_SLOT_COMPLETED;
}

static bool has_completion(const struct rankd_ring *ring)
{
    return atomic_load_explicit(&ring->mapping->shared->complete_tail, memory_order_acquire) !=
           ring->complete_head;
}

/* A daemon never publishes more than there is room for. A larger index is impossible, and following
 * it would read up to 2^32 entries that were never written. */
static bool publishes_too_many(uint32_t published, uint32_t taken, uint32_t entries)
{
    return published - taken > entries;
}

bool rankd_ring_has_room(struct rankd_ring *ring)
{
    uint32_t taken = atomic_load_explicit(&ring->mapping->shared->submit_head, memory_order_acquire);
    if (publishes_too_many(ring->submit_tail, taken, ring->entries))
        rankd_ring_lose(ring); /* it took entries that were never submitted */
    return !ring->lost && ring->submit_tail - taken < ring->entries;
}

/* While a thread reads, only it may take completions: if another thread took one, the reader could
 * sleep on the socket without a doorbell for it. */
void rankd_ring_drain(struct rankd_ring *ring)
{
    if (ring->reading)
        return;
    struct rankd_shm_segment *shared = ring->mapping->shared;
    uint32_t tail = atomic_load_explicit(&shared->complete_tail, memory_order_acquire);
    bool any = false;
    if (publishes_too_many(tail, ring->complete_head, ring->entries)) {
        rankd_ring_lose(ring);
        return;
    }
    while (ring->complete_head != tail) {
        struct rankd_shm_completion completion = ring->completions[ring->complete_head % ring->entries];
        ring->complete_head++;
        atomic_store_explicit(&shared->complete_head, ring->complete_head, memory_order_release);
        completed(ring, &completion);
        any = true;
    }
    if (any)
        (void)pthread_cond_broadcast(&ring->changed);
}

static bool spin(struct rankd_ring *ring, uint64_t until_ns)
{
    uint32_t most = atomic_load_explicit(&ring->mapping->shared->spin_ns, memory_order_relaxed);
    uint64_t now = rankd_now_ns(), end = now + most;
    if (most == 0 || !rankd_spin_begin(&ring->spin, now))
        return false;
    if (end > until_ns)
        end = until_ns;
    do {
        for (int i = 0; i < 32; i++) {
            if (has_completion(ring)) {
                rankd_spin_met(&ring->spin);
                return true;
            }
#if defined __x86_64__ || defined __i386__
            __builtin_ia32_pause();
#endif
        }
        /* On a busy machine the daemon may be waiting for this CPU: spinning would delay its answer
         * by a whole time slice. */
        (void)sched_yield();
        now = rankd_now_ns();
    } while (rankd_spin_goes_on(&ring->spin, now) && now < end);
    return false;
}

/* Reads the packets that are there, some of them if they don't end. False at the end of the
 * connection. */
static bool read_packets(struct rankd_ring *ring)
{
    for (int i = 0; i < PACKETS; i++) {
        ssize_t n = recv(atomic_load(&ring->fd), ring->packet, RANKD_PACKET_MAX, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return false;
        if (n < 0)
            return true;
        if (n > 1) {
            (void)pthread_mutex_lock(&ring->lock);
            rankd_ring_answer(ring, ring->packet, (size_t)n);
            (void)pthread_mutex_unlock(&ring->lock);
        }
    }
    return true;
}

/* Without the lock; `reading` keeps other threads and rankd_reconnect() away. False at the end of
 * the connection. */
static bool sleep_on_socket(struct rankd_ring *ring, uint64_t until_ns)
{
    _Atomic uint32_t *word = &ring->mapping->shared->client_waiting;
    atomic_store_explicit(word, RANKD_ASLEEP, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    bool alive = true;
    if (!has_completion(ring)) {
        struct pollfd poll_fd = {.fd = atomic_load(&ring->fd), .events = POLLIN};
        if (poll(&poll_fd, 1, rankd_milliseconds(until_ns)) != 0)
            alive = read_packets(ring);
    }
    atomic_store_explicit(word, RANKD_AWAKE, memory_order_relaxed);
    return alive;
}

static void read_for_all(struct rankd_ring *ring, uint64_t until_ns)
{
    ring->reading = true;
    (void)pthread_mutex_unlock(&ring->lock);
    bool alive = until_ns == 0 ? read_packets(ring) : spin(ring, until_ns) || sleep_on_socket(ring, until_ns);
    (void)pthread_mutex_lock(&ring->lock);
    ring->reading = false;
    rankd_ring_drain(ring);
    if (!alive)
        rankd_ring_lose(ring);
    (void)pthread_cond_broadcast(&ring->changed);
}

bool rankd_ring_wait_change(struct rankd_ring *ring, uint64_t until_ns)
{
    if (until_ns == UINT64_MAX)
        return pthread_cond_wait(&ring->changed, &ring->lock) == 0;
    struct timespec until = {(time_t)(until_ns / 1000000000u), (long)(until_ns % 1000000000u)};
    return pthread_cond_clockwait(&ring->changed, &ring->lock, CLOCK_MONOTONIC, &until) == 0;
}

int rankd_ring_wait_for(struct rankd_ring *ring, bool (*ready)(struct rankd_ring *ring, uint64_t arg),
                        uint64_t arg, uint64_t until_ns)
{
    bool looked = false;
    for (;;) {
        if (ring->mapping == NULL || atomic_load(&ring->fd) < 0)
            return ready(ring, arg) ? RANKD_OK : RANKD_LOST;
        rankd_ring_drain(ring);
        if (ready(ring, arg))
            return RANKD_OK;
        if (ring->lost)
            return RANKD_LOST;
        if (looked && rankd_now_ns() >= until_ns)
            return RANKD_TIMEOUT;
        /* With a limit of 0 the socket is checked once too, because the daemon may be gone. */
        if (!ring->reading)
            read_for_all(ring, until_ns);
        else if (until_ns != 0)
            (void)rankd_ring_wait_change(ring, until_ns);
        looked = true;
    }
}
