/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/front.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/threads.h"
#include "ring/linger.h"
#include "ring/ring_internal.h"

enum { BURST = 4, BACKLOG = 128, TAKE_OVER_TRIES = 20, TAKE_OVER_PAUSE_US = 50000 };
static const uint64_t ACCEPT_PAUSE_NS = 100000000;

struct rk_ring {
    struct rk_front front;
};

/* ---- The loop's thread ---- */

static void accepted(struct rk_op *op, int result)
{
    struct rk_front *front = (struct rk_front *)((char *)op - offsetof(struct rk_front, accept));
    if (result >= 0 && (atomic_load(&front->stop) || front->leaving))
        (void)close(result);
    else if (result >= 0)
        rk_peer_accept(front, result);
    if (op->pending || result == -ECANCELED || front->leaving)
        return;
    /* Out of descriptors, for example: trying again at once would loop. */
    if (result < 0)
        front->accept_again_ns = rk_now_ns() + ACCEPT_PAUSE_NS;
    else
        rk_loop_accept(front->loop, op);
}

/* One turn over all clients; each gets at most one burst, so that no client keeps others
 * waiting. */
static unsigned serve(struct rk_front *front, unsigned burst)
{
    unsigned count = 0;
    struct rk_peer *next;
    for (struct rk_peer *peer = front->peers; peer != NULL; peer = next) {
        next = peer->next; /* hanging up takes a peer out of the list */
        if (rk_peer_open(peer))
            count += rk_job_take(peer, burst);
    }
    return count;
}

static void set_waiting(struct rk_front *front, enum rankd_waiting waiting)
{
    for (struct rk_peer *peer = front->peers; peer != NULL; peer = peer->next) {
        if (rk_peer_open(peer))
            rk_shm_segment_daemon_waits(&peer->segment, waiting);
    }
}

static bool anything_submitted(const struct rk_front *front)
{
    for (struct rk_peer *peer = front->peers; peer != NULL; peer = peer->next) {
        if (rk_peer_open(peer) && rk_shm_segment_has_submission(&peer->segment))
            return true;
    }
    return false;
}

/* Work that depends on the clock. Returns the time until the next one. */
static uint64_t look_at_clock(struct rk_front *front)
{
    uint64_t now = rk_now_ns(), next = rk_linger_look(front, now);
    if (front->accept_again_ns != 0 && now >= front->accept_again_ns) {
        front->accept_again_ns = 0;
        rk_loop_accept(front->loop, &front->accept);
    } else if (front->accept_again_ns != 0 && front->accept_again_ns - now < next) {
        next = front->accept_again_ns - now;
    }
    struct rk_peer *following;
    for (struct rk_peer *peer = front->peers; peer != NULL; peer = following) {
        following = peer->next;
        if (atomic_load(&peer->state) != RK_PEER_GREETING)
            continue;
        if (now >= peer->hello_until_ns)
            rk_peer_hang_up(peer, "it did not say hello in time");
        else if (peer->hello_until_ns - now < next)
            next = peer->hello_until_ns - now;
    }
    return next;
}

/* Polls the rings for a bounded time, unless a client with the right to spin waits. True: there is
 * work. */
static bool spin(struct rk_front *front)
{
    uint64_t most = front->env->config->ring_spin_us * 1000u, now = rk_now_ns();
    if (most == 0 || !rankd_spin_begin(&front->spin, now) || !rk_spin_may_loop(front))
        return false;
    const uint64_t until = now + most;
    do {
        for (unsigned i = 0; i < 16; i++) {
            if (anything_submitted(front)) {
                rankd_spin_met(&front->spin);
                return true;
            }
            __builtin_ia32_pause();
        }
        (void)sched_yield(); /* to a client that waits for this very CPU */
        now = rk_now_ns();
    } while (rankd_spin_goes_on(&front->spin, now) && now < until &&
             !atomic_load_explicit(&front->stop, memory_order_relaxed));
    return false;
}

static void sleep_until_rung(struct rk_front *front)
{
    uint64_t limit = look_at_clock(front);
    set_waiting(front, RANKD_ASLEEP);
    atomic_thread_fence(memory_order_seq_cst);
    bool work = anything_submitted(front) || atomic_load(&front->stop);
    (void)rk_loop_wait(front->loop, work ? 0 : limit);
    set_waiting(front, RANKD_AWAKE);
}

static void serve_clients(struct rk_front *front)
{
    while (!atomic_load(&front->stop)) {
        rk_control_answers(front);
        if (serve(front, BURST) != 0 || spin(front)) {
            (void)look_at_clock(front);
            (void)rk_loop_wait(front->loop, 0);
            continue;
        }
        sleep_until_rung(front);
    }
}

static bool is_idle(struct rk_peer *peer)
{
    (void)pthread_mutex_lock(&peer->completing);
    bool idle = peer->outstanding == 0;
    (void)pthread_mutex_unlock(&peer->completing);
    return idle && !atomic_load(&peer->call.busy) && !peer->call.send.pending;
}

/* After a stop: completes the taken requests, then closes every connection, then frees their
 * memory. */
static void finish(struct rk_front *front)
{
    rk_loop_cancel(front->loop, &front->accept);
    while (atomic_load_explicit(&front->living, memory_order_acquire) != 0) {
        rk_control_answers(front);
        struct rk_peer *next;
        for (struct rk_peer *peer = front->peers; peer != NULL; peer = next) {
            next = peer->next;
            if (is_idle(peer) || atomic_load(&front->env->lifecycle->force_shutdown))
                rk_peer_hang_up(peer, NULL);
        }
        (void)rk_loop_wait(front->loop, ACCEPT_PAUSE_NS / 10);
    }
}

static void *loop_thread(void *arg)
{
    struct rk_front *front = arg;
    (void)pthread_setname_np(pthread_self(), "rankd-ring");
    rk_loop_accept(front->loop, &front->accept);
    serve_clients(front);
    finish(front);
    return NULL;
}

/* ---- Start and stop ---- */

/* A socket without a listener was left by a killed daemon. Anything else belongs to another
 * process. */
static bool is_stale(const struct sockaddr_un *address)
{
    struct stat status;
    if (lstat(address->sun_path, &status) != 0 || !S_ISSOCK(status.st_mode))
        return false;
    /* The process that listens there may have a full backlog, and must not keep the daemon from
     * starting. */
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    bool stale = connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 && errno == ECONNREFUSED;
    (void)close(fd);
    return stale;
}

/* Removes the socket of a daemon that has ended or is ending: the kernel closes the files of an
 * io_uring some milliseconds after the process is gone, and until then the socket still takes
 * connections. */
static void take_over(const struct sockaddr_un *address)
{
    for (int i = 0; i < TAKE_OVER_TRIES && access(address->sun_path, F_OK) == 0; i++) {
        if (is_stale(address))
            (void)unlink(address->sun_path);
        else
            (void)usleep(TAKE_OVER_PAUSE_US);
    }
}

static enum rankd_status listen_at(struct rk_front *front, struct rk_err *err)
{
    const char *path = front->env->config->socket;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return rk_fail(err, RANKD_INVALID, "socket: '%s' has %zu bytes; a Unix socket's path may have %zu",
                       path, strlen(path), sizeof address.sun_path - 1);
    memcpy(address.sun_path, path, strlen(path) + 1);
    front->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (front->listener < 0)
        return rk_fail(err, RANKD_INTERNAL, "socket: %s", strerror(errno));
    take_over(&address);
    /* Access is decided by uid; the mode prevents other users from connecting at all if no other
     * uid is allowed. */
    mode_t mode = front->env->config->ring_allow_uid[0] != '\0' ? 0666 : 0600;
    if (bind(front->listener, (const struct sockaddr *)&address, sizeof address) != 0 ||
        chmod(path, mode) != 0 || listen(front->listener, BACKLOG) != 0)
        return rk_fail(err, RANKD_INVALID, "socket '%s' can't be listened on: %s", path, strerror(errno));
    memcpy(front->path, path, strlen(path) + 1);
    front->accept = (struct rk_op){.fd = front->listener, .done = accepted};
    return RANKD_OK;
}

static unsigned spinner_limit(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return cpus > 1 ? (unsigned)cpus - 1 : 0;
}

static void free_ring(struct rk_ring *ring)
{
    struct rk_front *front = &ring->front;
    rk_loop_free(front->loop);
    if (front->listener >= 0)
        (void)close(front->listener);
    if (front->path[0] != '\0')
        (void)unlink(front->path);
    rk_quota_free(front->quota);
    rk_scratch_free(front->worker.scratch);
    (void)pthread_mutex_destroy(&front->answering);
    (void)pthread_mutex_destroy(&front->ending);
    free(ring);
}

static enum rankd_status prepare(struct rk_front *front, struct rk_err *err)
{
    const struct rk_config *config = front->env->config;
    struct rk_quota_limits limits = {.connections = config->ring_connections,
                                     .uid_connections = config->ring_uid_segments,
                                     .bytes = config->ring_bytes,
                                     .uid_bytes = config->ring_uid_bytes};
    char note[160];
    front->own_uid = geteuid();
    front->spinner_limit = spinner_limit();
    front->quota = rk_quota_new(&limits);
    front->worker.scratch = rk_scratch_new(0);
    if (front->quota == NULL || front->worker.scratch == NULL)
        return rk_fail(err, RANKD_OVERLOADED, "out of memory for the ring");
    front->loop = rk_loop_new(config->io, note, sizeof note, err);
    if (front->loop == NULL)
        return err->status;
    if (note[0] != '\0')
        rk_log_say(front->env->log, RK_LOG_WARN, "ring", "%s", note);
    return listen_at(front, err);
}

enum rankd_status rk_ring_start(const struct rk_transport_env *env, struct rk_ring **started,
                                struct rk_err *err)
{
    *started = NULL;
    if (rk_linger_check(env->config, err) != RANKD_OK)
        return err->status;
    if (strcmp(env->config->socket, "off") == 0)
        return RANKD_OK;
    struct rk_ring *ring = calloc(1, sizeof *ring);
    if (ring == NULL)
        return rk_fail(err, RANKD_OVERLOADED, "out of memory for the ring");
    struct rk_front *front = &ring->front;
    front->env = env;
    front->listener = -1;
    (void)pthread_mutex_init(&front->answering, NULL);
    (void)pthread_mutex_init(&front->ending, NULL);
    if (prepare(front, err) != RANKD_OK) {
        free_ring(ring);
        return err->status;
    }
    /* It listens; what the front has, its path too, is the thread's from here on. */
    rk_log_say(env->log, RK_LOG_INFO, "ring", "listening on %s, by %s", front->path,
               rk_loop_name(front->loop));
    if (!rk_thread_start(&front->thread, "ring", loop_thread, front)) {
        free_ring(ring);
        return rk_fail(err, RANKD_INTERNAL, "no thread for the ring: %s", strerror(errno));
    }
    *started = ring;
    return RANKD_OK;
}

void rk_ring_stop(struct rk_ring *ring)
{
    if (ring == NULL)
        return;
    atomic_store(&ring->front.stop, true);
    rk_loop_wake(ring->front.loop);
    (void)pthread_join(ring->front.thread, NULL);
    (void)pthread_mutex_lock(&ring->front.ending); /* the thread that ended the last peer is done */
    (void)pthread_mutex_unlock(&ring->front.ending);
    free_ring(ring);
}
