/* The ring transport's insides. Each file uses those named before it: memory (ring_memory.c), descriptors
 * (ring_encode.c), answers (ring_answer.c), waiting (ring_wait.c), requests (ring_request.c), control
 * requests (ring_control.c), connection (ring.c). `lock` guards everything but what says otherwise. */
#ifndef RANKD_RING_INTERNAL_H
#define RANKD_RING_INTERNAL_H

#include <pthread.h>

#include "arena.h"
#include "rankd_shm.h"
#include "transport.h"

enum { RANKD_SLOT_BYTES = RANKD_SHM_DESCRIPTOR_MAX + (int)sizeof(struct rankd_shm_reply) };

/* What the header said when it was looked at. The daemon could change it afterwards. */
struct rankd_layout {
    uint32_t entries;
    uint64_t submissions_offset, completions_offset, arena_offset, arena_bytes;
};

/* A mapped segment. One that was lost stays while pieces of its arena are in use. */
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
    RANKD_SLOT_DISCARDED, /* submitted, and nobody will take the reply */
    RANKD_SLOT_COMPLETED
};

/* A request that is outstanding, and what is to be done for it at the end. */
struct rankd_slot {
    enum rankd_slot_state state;
    uint64_t tag;
    struct rankd_shm_completion completion;
    void *inputs[RANKD_IN_COUNT]; /* copies, freed at the end; NULL = in place */
    struct {
        void *room; /* in the arena: where the daemon writes; NULL = not asked for */
        void *to;   /* the caller's memory outside of it, copied to; NULL = none */
        bool owned; /* the room goes with the reply */
        uint64_t bytes;
    } outputs[RANKD_OUT_COUNT];
};

/* Of the page that a call waits for. */
enum rankd_answer_state {
    RANKD_ANSWER_UNWANTED, /* the call was given up, or there is none */
    RANKD_ANSWER_AWAITED,
    RANKD_ANSWER_THERE,
    RANKD_ANSWER_TOO_LARGE, /* for this process's memory */
    RANKD_ANSWER_WRONG,     /* not a page that was asked for */
    RANKD_ANSWER_LOST       /* with its connection */
};

struct rankd_ring {
    struct rankd_client base;
    char path[108];
    struct rankd_options options;
    pthread_mutex_t lock;
    pthread_cond_t changed;

    _Atomic int fd; /* -1: not connected. Read without the lock by who waits, and by the fork handler */
    bool lost;
    uint64_t daemon_id, next_tag;
    uint64_t first_tag;            /* of this connection: those before it are over */
    struct rankd_mapping *mapping; /* the current one first, then retired ones; NULL: none */
    struct rankd_shm_submission *submissions;
    struct rankd_shm_completion *completions;
    uint32_t entries, submit_tail, complete_head;
    char *slot_memory; /* descriptor and reply of each slot, at the arena's beginning */
    struct rankd_slot *slots;

    bool reading; /* a thread looks at ring and socket for all; complete_head is its, without the lock */
    char *packet; /* RANKD_PACKET_MAX bytes, of the thread that reads */

    struct {
        bool busy; /* a thread's call is under way: one at a time */
        bool owed; /* the daemon has the call `tag` and has not begun to answer: it takes no other before */
        enum rankd_answer_state state;
        uint32_t tag;
        int http_status;
        char *body;
        uint64_t bytes, got, room; /* of all of it, of what came, of `body` */
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

/* ring_encode.c: writes the descriptor; 0 if it does not fit. Offsets of data are from `shared`. */
size_t rankd_ring_encode(void *descriptor, const struct rankd_request *request, const struct rankd_slot *slot,
                         const void *shared);

/* ring_answer.c, both with the lock */
void rankd_ring_answer(struct rankd_ring *ring, const char *packet, size_t bytes);
void rankd_ring_call_over(struct rankd_ring *ring); /* the connection is */

/* ring_wait.c */
void rankd_ring_lose(struct rankd_ring *ring); /* with the lock; the connection is over */
/* With the lock, which is let go while waiting. Returns RANKD_OK as soon as ready(ring, arg),
 * RANKD_TIMEOUT, or RANKD_LOST. */
int rankd_ring_wait_for(struct rankd_ring *ring, bool (*ready)(struct rankd_ring *ring, uint64_t arg),
                        uint64_t arg, uint64_t until_ns);
/* Until some thread says that something has changed; false: the limit passed. With the lock, in the same way.
 */
bool rankd_ring_wait_change(struct rankd_ring *ring, uint64_t until_ns);
/* Takes completions; with the lock. Indices that can't be are the end of the connection. */
void rankd_ring_drain(struct rankd_ring *ring);
bool rankd_ring_has_room(struct rankd_ring *ring); /* for a submission; likewise */
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
