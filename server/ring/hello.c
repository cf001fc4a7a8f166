/* SPDX-License-Identifier: Apache-2.0 */
/* The handshake with a client. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/metrics.h"
#include "ring/ring_internal.h"

enum { DEFAULT_ENTRIES = 64 };
static const uint64_t DEFAULT_ARENA = UINT64_C(64) << 20;

static uint32_t round_up(uint32_t entries)
{
    uint32_t power = RANKD_SHM_ENTRIES_MIN;
    while (power < entries)
        power *= 2;
    return power;
}

static enum rankd_status open_segment(struct rk_peer *peer, const struct rankd_hello *hello, int *fd,
                                      struct rk_err *err)
{
    struct rk_front *front = peer->front;
    if (hello->version_min > RANKD_SHM_VERSION || hello->version_max < RANKD_SHM_VERSION)
        return rk_fail(err, RANKD_UNSUPPORTED,
                       "the client knows layouts %u to %u; this rankd knows only layout %u",
                       hello->version_min, hello->version_max, RANKD_SHM_VERSION);
    uint32_t most = (uint32_t)front->env->config->ring_entries;
    uint32_t entries = hello->entries == 0 ? DEFAULT_ENTRIES : hello->entries;
    entries = round_up(entries < most ? entries : most);
    if (entries > most)
        entries /= 2;
    uint64_t arena = hello->arena_bytes == 0 ? DEFAULT_ARENA : hello->arena_bytes;
    size_t bytes = rk_shm_segment_bytes(entries, arena);
    if (bytes == 0)
        return rk_fail(err, RANKD_OVERLOADED, "an arena of %llu bytes is out of all proportion",
                       (unsigned long long)arena);
    if (rk_quota_take(front->quota, peer->uid, bytes, err) != RANKD_OK)
        return err->status;
    peer->job_count = entries + (uint32_t)front->env->config->workers + 1;
    peer->jobs = calloc(peer->job_count, sizeof *peer->jobs);
    if (peer->jobs == NULL)
        rk_fail(err, RANKD_OVERLOADED, "rankd is out of memory");
    if (peer->jobs == NULL || rk_shm_segment_open(&peer->segment, entries, arena,
                                                  front->env->lifecycle->instance, fd, err) != RANKD_OK) {
        rk_quota_give(front->quota, peer->uid, bytes);
        return err->status;
    }
    peer->memory = (struct rk_pin_candidate){.base = peer->segment.shared, .bytes = peer->segment.bytes};
    peer->quota_bytes = bytes;
    rk_metric_add(front->env->metrics, RK_METRIC_ring_segments, 0, 0, 1);
    rk_metric_add(front->env->metrics, RK_METRIC_ring_bytes, 0, 0, (int64_t)bytes);
    return RANKD_OK;
}

/* One packet, with the segment's fd where there is one. False if the client does not take it. */
static bool welcome(const struct rk_peer *peer, int segment_fd, const struct rk_err *err)
{
    struct rankd_welcome packet = {.kind = RANKD_PACKET_WELCOME,
                                   .status = (uint32_t)err->status,
                                   .version = RANKD_SHM_VERSION,
                                   .entries = peer->segment.entries,
                                   .segment_bytes = peer->segment.bytes,
                                   .daemon_id = peer->front->env->lifecycle->instance};
    memcpy(packet.text, err->text, sizeof packet.text);
    struct iovec part = {&packet, sizeof packet};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (segment_fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(rights), &segment_fd, sizeof segment_fd);
    }
    return sendmsg(peer->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof packet;
}

static uint32_t spin_wanted(const struct rk_front *front, uint32_t wanted_us)
{
    uint64_t most = front->env->config->ring_spin_us;
    return (uint32_t)(wanted_us < most ? wanted_us : most) * 1000u;
}

bool rk_hello_answer(struct rk_peer *peer, size_t bytes)
{
    struct rankd_hello hello;
    if (bytes != sizeof hello) {
        rk_peer_hang_up(peer, "its first packet is no hello");
        return false;
    }
    memcpy(&hello, peer->packet, sizeof hello);
    if (hello.kind != RANKD_PACKET_HELLO) {
        rk_peer_hang_up(peer, "its first packet is no hello");
        return false;
    }
    int fd = -1;
    struct rk_err err = {0};
    bool opened = open_segment(peer, &hello, &fd, &err) == RANKD_OK;
    /* Set before the client can know: its first submission may arrive before the next statement. */
    if (opened) {
        peer->spin_wanted_ns = spin_wanted(peer->front, hello.spin_us);
        atomic_store(&peer->state, RK_PEER_OPEN);
        rk_spin_join(peer);
    }
    bool told = welcome(peer, fd, &err);
    if (fd >= 0)
        (void)close(fd);
    if (!opened || !told) {
        rk_peer_hang_up(peer, NULL);
        return false;
    }
    return true;
}
