/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's side of the ring: one thread with a loop, its clients (peers), and their requests
 * (jobs). Shared declarations of front.c, accept.c, peer.c, hello.c, job.c, control.c and spin.c.
 *
 * A peer is reference-counted: by operations of the loop on its socket or pidfd, and by jobs in the
 * work queue. The release of the last reference unmaps the segment and closes the socket; this may
 * happen on a worker. */
#ifndef RK_RING_INTERNAL_H
#define RK_RING_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "api/transport.h"
#include "device/device.h"
#include "exec/infer.h"
#include "exec/worker_pool.h"
#include "rankd_spin.h"
#include "ring/loop.h"
#include "ring/quota.h"
#include "ring/segment.h"

struct rk_peer;

enum rk_ring_job_state {
    RK_RING_JOB_FREE,
    RK_RING_JOB_WAITING, /* submitted, not started */
    RK_RING_JOB_CANCELLED,
    RK_RING_JOB_RUNNING
};

/* A request that is taken from the ring and not completed. */
struct rk_ring_job {
    struct rk_job job;
    struct rk_peer *peer;
    _Atomic int state; /* enum rk_ring_job_state */
    uint64_t tag;
    struct rankd_shm_reply *block; /* in the segment, or NULL */
    struct rk_request request;
    struct rk_reply reply;
    struct rk_infer_meta meta;
    char id[65];
};

/* A call on the control channel: at most one per peer. */
struct rk_ring_call {
    struct rk_job job;
    atomic_bool busy;     /* from the CALL packet to its answer */
    size_t waiting_bytes; /* size of a packet that arrived before the send of the last page completed; it is
                             in the buffer of the peer */
    struct rk_ring_call *next; /* in the list of answered calls */
    uint32_t tag;
    char *request; /* the verb, NUL, the path, NUL, the query if there is one, NUL, the body */
    const char *path, *query, *body; /* in it */
    size_t body_bytes;
    struct rk_answer answer;
    struct rk_op send;
    char *page; /* RANKD_PACKET_MAX bytes while an answer is kept */
};

enum rk_peer_state { RK_PEER_GREETING, RK_PEER_OPEN, RK_PEER_GONE };

struct rk_peer {
    struct rk_front *front;
    struct rk_peer *next, *previous; /* in the list of the front; loop thread only */
    _Atomic uint32_t references;
    _Atomic int state; /* enum rk_peer_state */
    int fd, pid_fd;
    uid_t uid;
    struct rk_principal who;
    uint64_t hello_until_ns;
    struct rk_op receive, watch;
    char *packet; /* RANKD_PACKET_MAX + 1 bytes */

    struct rk_shm_segment segment;
    struct rk_pin_candidate memory; /* of the segment */
    size_t quota_bytes;
    pthread_mutex_t completing; /* guards the completion side of the segment, and the next two */
    uint32_t outstanding;
    struct rk_ring_job *jobs; /* one per entry, and one per thread that may be finishing one */
    uint32_t job_count;
    struct rk_client_queue client_queue; /* jobs that wait for a worker */
    uint32_t spin_wanted_ns, spin_granted_ns;
    struct rk_ring_call call;
};

struct rk_front {
    const struct rk_transport_env *env;
    struct rk_loop *loop;
    struct rk_quota *quota;
    pthread_t thread;
    char path[108];
    int listener;
    struct rk_op accept;
    uint64_t accept_again_ns; /* 0: the accept is pending */
    atomic_bool stop;
    uid_t own_uid;
    struct rk_peer *peers;   /* those in state GREETING or OPEN */
    _Atomic uint32_t living; /* peers that are not freed */
    pthread_mutex_t ending;  /* held by a worker from the end of a peer to its last access to the front */
    uint64_t alone_ns;       /* since when there is no peer; 0: there is one */
    bool leaving;            /* lingered long enough: takes no connections any more */
    unsigned spinners, spinner_limit;
    struct rankd_spin spin;
    struct rk_worker worker;   /* of the loop, for small requests */
    uint64_t complaint_ns;     /* time of the last logged violation */
    pthread_mutex_t answering; /* guards `answered` */
    struct rk_ring_call *answered;
};

/* peer.c */
void rk_peer_hang_up(struct rk_peer *peer, const char *why); /* `why` NULL: no violation */
void rk_peer_hold(struct rk_peer *peer);
void rk_peer_release(struct rk_peer *peer);
static inline bool rk_peer_open(struct rk_peer *peer)
{
    return atomic_load_explicit(&peer->state, memory_order_relaxed) == RK_PEER_OPEN;
}
void rk_peer_ring(struct rk_peer *peer);            /* doorbell, if the client sleeps */
void rk_ring_call_clear(struct rk_ring_call *call); /* frees the request and the kept answer */

/* accept.c: the connection owns fd from here. */
void rk_peer_accept(struct rk_front *front, int fd);

/* hello.c: answers the first packet. False: the peer was refused. */
bool rk_hello_answer(struct rk_peer *peer, size_t bytes);

/* job.c: takes up to `limit` submissions of an open peer. Returns their number. */
unsigned rk_job_take(struct rk_peer *peer, unsigned limit);

/* control.c */
/* Handles the packet in peer->packet. False: it stays there, and the receive is started again after
 * it is handled. */
bool rk_control_packet(struct rk_peer *peer, size_t bytes);
void rk_control_answers(struct rk_front *front); /* sends the answers of workers */

/* spin.c: grants the right to spin. */
void rk_spin_join(struct rk_peer *peer);
void rk_spin_leave(struct rk_peer *peer);
/* True if no peer with the right to spin waits for an answer. */
bool rk_spin_may_loop(const struct rk_front *front);

#endif
