/* SPDX-License-Identifier: Apache-2.0 */
/* The memory shared with one client, and the daemon's side of its two rings. */
#ifndef RK_RING_SEGMENT_H
#define RK_RING_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "rankd_shm.h"

/* The values that decisions depend on, in memory that the client can't write. */
struct rk_shm_segment {
    struct rankd_shm_segment *shared;
    struct rankd_shm_submission *submissions;
    struct rankd_shm_completion *completions;
    size_t bytes, arena_offset;
    uint32_t entries;
    uint32_t submit_head, complete_tail;
};

/* Bytes of a segment with that many entries and that arena, rounded up to pages; 0 if that
 * overflows. */
size_t rk_shm_segment_bytes(uint32_t entries, uint64_t arena_bytes);

/* Makes and maps a segment with all pages allocated. *fd is the memfd, owned by the caller, sealed
 * against shrinking, growing and further seals. RANKD_OVERLOADED if the system has no memory for
 * it; nothing is allocated then. */
enum rankd_status rk_shm_segment_open(struct rk_shm_segment *segment, uint32_t entries, uint64_t arena_bytes,
                                      uint64_t daemon_id, int *fd, struct rk_err *err)
    __attribute__((warn_unused_result));
/* Frees the shared memory at once, while workers may still read and write it: private zero pages
 * replace it at the same addresses until rk_shm_segment_close(). */
void rk_shm_segment_abandon(struct rk_shm_segment *segment);
void rk_shm_segment_close(struct rk_shm_segment *segment); /* fine on a zeroed one, and twice */

/* Copies the next submission to *entry. 1: copied; 0: there is none; -1: the indices are
 * impossible. */
int rk_shm_segment_take(struct rk_shm_segment *segment, struct rankd_shm_submission *entry);
bool rk_shm_segment_has_submission(const struct rk_shm_segment *segment);

/* Number of completions that the client has not taken, or -1 if the index of the client is
 * impossible. */
int64_t rk_shm_segment_untaken(const struct rk_shm_segment *segment);

/* Publishes a completion. The caller makes sure that there is room, and that one thread at a time
 * publishes. */
void rk_shm_segment_complete(struct rk_shm_segment *segment, const struct rankd_shm_completion *entry);

/* True if the client sleeps and needs a doorbell; at most once per sleep. */
bool rk_shm_segment_client_sleeps(struct rk_shm_segment *segment);
void rk_shm_segment_daemon_waits(struct rk_shm_segment *segment, enum rankd_waiting waiting);
void rk_shm_segment_grant_spin(struct rk_shm_segment *segment, uint32_t ns);

/* Address of [offset, offset + bytes) if that lies wholly in the arena and offset is a multiple of
 * `align`, else NULL. */
void *rk_shm_segment_at(const struct rk_shm_segment *segment, uint64_t offset, uint64_t bytes, size_t align);

#endif
