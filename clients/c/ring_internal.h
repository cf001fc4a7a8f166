/* SPDX-License-Identifier: Apache-2.0 */
/* Internals of the ring transport. Each file uses those named before it: memory (ring_memory.c),
 * descriptors (ring_encode.c), answers (ring_answer.c), waiting (ring_wait.c), requests
 * (ring_request.c), control requests (ring_control.c), connection (ring.c). `lock` guards every
 * member without a note to the contrary. */
#ifndef RANKD_RING_INTERNAL_H
#define RANKD_RING_INTERNAL_H

#include <pthread.h>

#include "arena.h"
#include "rankd_shm.h"
#include "rankd_spin.h"
#include "transport.h"

enum { RANKD_SLOT_BYTES = RANKD_SHM_DESCRIPTOR_MAX + (int)sizeof(struct rankd_shm_reply) };

/* A validated copy of the header, because the daemon could change the original later. */
struct rankd_layout {
    uint32_t entries;
    uint64_t submissions_offset, completions_offset, arena_offset, arena_bytes;
};

/* A mapped segment. A lost one stays mapped while memory of its arena is in use. */
struct rankd_mapping {
    struct rankd_mapping *next;
    struct rankd_shm_segment *shared;
    struct rankd_layout layout;
    uint64_t bytes;
    struct rankd_arena arena;
};

enum rankd_slot_state {
    RANKD_SLOT_FREE,
    RANKD_SLOT_SUBMITTED,
    RANKD_SLOT_DISCARDED, /* submitted; the reply will be dropped */
    RANKD_SLOT_COMPLETED
};

/* An outstanding request, and the work at its end. */
struct rankd_slot {
    enum rankd_slot_state state;
    uint64_t tag;
    struct rankd_shm_completion completion;
    void *inputs[RANKD_IN_COUNT]; /* copies, freed at the end; NULL = in place */
    struct {
        void *room; /* in the arena, written by the daemon; NULL = not requested */
        void *to;   /* memory of the caller outside of the arena, copied to; NULL = none */
        bool owned; /* the room belongs to the reply */
        uint64_t bytes;
    } outputs[RANKD_OUT_COUNT];
};

/* State of the page that a call waits for. */
enum rankd_answer_state {
    RANKD_ANSWER_UNWANTED, /* the call was abandoned, or there is none */
    RANKD_ANSWER_AWAITED,
    RANKD_ANSWER_THERE,
    RANKD_ANSWER_TOO_LARGE, /* for the memory of this process */
    RANKD_ANSWER_WRONG,     /* not the requested page */
    RANKD_ANSWER_LOST       /* the connection ended */
};

struct rankd_ring {
    struct rankd_client base;
    char path[108];
    struct rankd_options options;
    pthread_mutex_t lock;
    pthread_cond_t changed;

    _Atomic int fd; /* -1: not connected. Waiting threads and the fork handler read it without the lock */
    bool lost;
    uint64_t daemon_id, next_tag;
    uint64_t first_tag;            /* of this connection; earlier tags are over */
    struct rankd_mapping *mapping; /* the current one first, then retired ones; NULL: none */
    struct rankd_shm_submission *submissions;
    struct rankd_shm_completion *completions;
    uint32_t entries, submit_tail, complete_head;
    char *slot_memory; /* descriptor and reply of each slot, at the beginning of the arena */
    struct rankd_slot *slots;

    bool reading; /* one thread reads ring and socket for all; it uses complete_head without the lock */
    char *packet; /* RANKD_PACKET_MAX bytes, of the thread that reads */
    struct rankd_spin spin; /* of the same */

    struct {
        bool busy; /* a call is in progress: one at a time */
        bool owed; /* the daemon has the call `tag` and has not begun to answer; it takes no other before */
        enum rankd_answer_state state;
        uint32_t tag;
        int http_status;
        char *body;
        uint64_t bytes, got, room; /* of the whole answer, received so far, of `body` */
    } answer;
};

static inline struct rankd_ring *rankd_ring_of(rankd_client *client)
{
    return (struct rankd_ring *)client;
}

/* ring_memory.c, all with the lock */
int rankd_ring_map(struct rankd_ring *ring, int fd, uint64_t bytes, struct rankd_error *error); /* in front */
void rankd_ring_unmap(struct rankd_mapping *mapping);
void rankd_ring_drop_retired(struct rankd_ring *ring);
void rankd_ring_give(struct rankd_ring *ring, void *memory); /* NULL is fine */
void rankd_ring_free_slot(struct rankd_ring *ring, struct rankd_slot *slot, bool keep_owned);

/* ring_encode.c: writes the descriptor and returns its bytes; 0 if it does not fit. Offsets count
 * from `shared`. */
size_t rankd_ring_encode(void *descriptor, const struct rankd_request *request, const struct rankd_slot *slot,
                         const void *shared);

/* ring_answer.c, both with the lock */
void rankd_ring_answer(struct rankd_ring *ring, const char *packet, size_t bytes);
void rankd_ring_call_over(struct rankd_ring *ring); /* the connection ended */

/* ring_wait.c */
void rankd_ring_lose(struct rankd_ring *ring); /* with the lock; the connection is over */
/* With the lock, which is released while waiting. Returns RANKD_OK as soon as ready(ring, arg) is
 * true, RANKD_TIMEOUT, or RANKD_LOST. */
int rankd_ring_wait_for(struct rankd_ring *ring, bool (*ready)(struct rankd_ring *ring, uint64_t arg),
                        uint64_t arg, uint64_t until_ns);
/* Waits until a thread signals a change; false: the limit passed. The lock as above. */
bool rankd_ring_wait_change(struct rankd_ring *ring, uint64_t until_ns);
/* Takes completions; with the lock. Impossible indices end the connection. */
void rankd_ring_drain(struct rankd_ring *ring);
bool rankd_ring_has_room(struct rankd_ring *ring); /* for a submission; the same */
void rankd_ring_ring(struct rankd_ring *ring);     /* doorbell, if the daemon sleeps */

/* ring_request.c */
int rankd_ring_submit(rankd_client *client, const struct rankd_request *request, uint64_t *tag,
                      struct rankd_error *error);
int rankd_ring_wait(rankd_client *client, uint64_t tag, uint64_t timeout_ns, struct rankd_reply *reply);
int rankd_ring_cancel(rankd_client *client, uint64_t tag, bool discard);

/* ring_control.c */
int rankd_ring_call(rankd_client *client, const char *method, const char *path, const void *body,
                    size_t bytes, uint64_t timeout_ns, char **answer, size_t *answer_bytes,
                    struct rankd_error *error);

#endif
