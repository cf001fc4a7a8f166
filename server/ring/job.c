/* SPDX-License-Identifier: Apache-2.0 */
/* From a submission to its completion. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "ring/descriptor.h"
#include "ring/ring_internal.h"

static struct rk_ring_job *job_of(struct rk_job *job)
{
    return (struct rk_ring_job *)((char *)job - offsetof(struct rk_ring_job, job));
}

static void publish(struct rk_peer *peer, const struct rankd_shm_completion *completion)
{
    (void)pthread_mutex_lock(&peer->completing);
    rk_shm_segment_complete(&peer->segment, completion);
    peer->outstanding--;
    (void)pthread_mutex_unlock(&peer->completing);
    rk_peer_ring(peer);
    rk_metric_add(peer->front->env->metrics, RK_METRIC_responses, RK_TRANSPORT_RING,
                  rk_metric_status(completion->status == 0 ? 200 : (int)completion->status), 1);
}

/* Ends the job: reply block, completion, and then work for which the client need not wait: metrics,
 * the log, and freeing the slot, which is why there are more slots than entries. */
static void complete(struct rk_ring_job *job, const struct rk_err *err)
{
    struct rk_peer *peer = job->peer;
    const struct rk_transport_env *env = peer->front->env;
    bool failed = err->status != RANKD_OK;
    struct rankd_shm_completion completion = {.tag = job->tag,
                                              .status = (uint32_t)err->status,
                                              .queue_ns = job->meta.queue_ns,
                                              .compute_ns = job->meta.compute_ns + job->meta.append_ns};
    rk_metric_add(env->metrics, RK_METRIC_ring_copied_bytes, 0, 0,
                  (int64_t)atomic_load_explicit(&job->meta.copied, memory_order_relaxed));
    if (job->block != NULL)
        rk_descriptor_answer(job->block, &job->reply, err);
    publish(peer, &completion);
    rk_reply_clear(&job->reply);
    rk_infer_done(&env->infer, &job->meta, &job->request, failed ? NULL : &job->reply.info, err->status,
                  err->text, 0);
    atomic_store_explicit(&job->state, RK_RING_JOB_FREE, memory_order_release);
    rk_peer_release(peer);
}

static void finish_with(struct rk_ring_job *job, enum rankd_status status, const char *sentence)
{
    struct rk_err err = {0};
    rk_fail(&err, status, "%s", sentence);
    complete(job, &err);
}

/* Also when it continues after a wait for a bank. */
static void infer_on(struct rk_job *base, struct rk_worker *worker)
{
    struct rk_ring_job *job = job_of(base);
    struct rk_err err = {0};
    if (rk_infer(&job->peer->front->env->infer, worker, &job->request, &job->meta, &job->reply, &err) ==
        RK_INFER_DONE)
        complete(job, &err);
}

static void run_job(struct rk_job *base, struct rk_worker *worker)
{
    struct rk_ring_job *job = job_of(base);
    int waiting = RK_RING_JOB_WAITING;
    if (!atomic_compare_exchange_strong(&job->state, &waiting, RK_RING_JOB_RUNNING)) {
        finish_with(job, RANKD_CANCELLED, "the request was taken back by its client");
        return;
    }
    if (!rk_peer_open(job->peer)) {
        finish_with(job, RANKD_CANCELLED, "the client is gone");
        return;
    }
    job->meta.queue_ns = rk_now_ns() - job->meta.received_ns - job->meta.parse_ns;
    infer_on(base, worker);
}

static void drop_job(struct rk_job *base, enum rankd_status why)
{
    finish_with(job_of(base), why,
                why == RANKD_DEADLINE ? "the request's deadline passed before it was computed"
                                      : "rankd is shutting down");
}

static uint64_t deadline(const struct rk_front *front, uint64_t now, uint64_t timeout_ns)
{
    uint64_t longest = front->env->config->request_timeout * 1000000u;
    if (longest != 0 && (timeout_ns == 0 || timeout_ns > longest))
        timeout_ns = longest;
    return timeout_ns == 0 || timeout_ns > UINT64_MAX - now ? 0 : now + timeout_ns;
}

static struct rk_ring_job *free_job(struct rk_peer *peer)
{
    for (uint32_t i = 0; i < peer->job_count; i++) {
        struct rk_ring_job *job = &peer->jobs[i];
        if (atomic_load_explicit(&job->state, memory_order_acquire) == RK_RING_JOB_FREE)
            return job;
    }
    return NULL;
}

/* The descriptor is copied once, and only the copy is read. */
static enum rankd_status parse(struct rk_ring_job *job, const struct rankd_shm_submission *entry,
                               struct rk_err *err)
{
    const struct rk_shm_segment *segment = &job->peer->segment;
    job->request = (struct rk_request){0};
    job->reply = (struct rk_reply){0};
    job->block =
        rk_shm_segment_at(segment, entry->reply_offset, sizeof(struct rankd_shm_reply), RANKD_SHM_ALIGN);
    if (job->block == NULL)
        return rk_fail(err, RANKD_INVALID,
                       "the reply's offset %" PRIu64 " is not in the arena or not aligned",
                       entry->reply_offset);
    if (entry->descriptor_bytes > RANKD_SHM_DESCRIPTOR_MAX)
        return rk_fail(err, RANKD_INVALID, "the descriptor has %" PRIu32 " bytes; it may have %d",
                       entry->descriptor_bytes, RANKD_SHM_DESCRIPTOR_MAX);
    const void *shared =
        rk_shm_segment_at(segment, entry->descriptor_offset, entry->descriptor_bytes, RANKD_SHM_ALIGN);
    if (shared == NULL)
        return rk_fail(err, RANKD_INVALID,
                       "the descriptor's offset %" PRIu64 " is not in the arena or not aligned",
                       entry->descriptor_offset);
    uint64_t copy[RANKD_SHM_DESCRIPTOR_MAX / sizeof(uint64_t)];
    memcpy(copy, shared, entry->descriptor_bytes);
    /* Only the copy is used from here on: the compiler must not read the original again. */
    atomic_signal_fence(memory_order_seq_cst);
    return rk_descriptor_parse(segment, copy, entry->descriptor_bytes, &job->request, &job->reply, job->id,
                               err);
}

static void infer(struct rk_peer *peer, const struct rankd_shm_submission *entry)
{
    struct rk_front *front = peer->front;
    struct rk_ring_job *job = free_job(peer);
    struct rk_err err = {0};
    uint64_t now = rk_now_ns();
    rk_peer_hold(peer);
    job->peer = peer;
    job->tag = entry->tag;
    job->meta = (struct rk_infer_meta){
        .transport = RK_TRANSPORT_RING, .who = &peer->who, .id = job->id, .received_ns = now};
    job->meta.deadline_ns = deadline(front, now, entry->timeout_ns);
    job->meta.job = &job->job;
    job->job = (struct rk_job){.run = run_job,
                               .drop = drop_job,
                               .resume = infer_on,
                               .deadline_ns = job->meta.deadline_ns,
                               .client_queue = &peer->client_queue};
    atomic_store_explicit(&job->state, RK_RING_JOB_WAITING, memory_order_relaxed);
    if (parse(job, entry, &err) != RANKD_OK) {
        complete(job, &err);
        return;
    }
    job->meta.parse_ns = rk_now_ns() - now;
    if (rk_infer_is_small(&job->request, front->env->config->ring_inline_items)) {
        run_job(&job->job, &front->worker);
        return;
    }
    job->meta.host_region = &peer->memory; /* pinning it takes a while: the loop must not */
    if (rk_worker_pool_submit(front->env->infer.workers, &job->job) != RANKD_OK)
        finish_with(job, RANKD_OVERLOADED, "the work queue is full or rankd is shutting down; try again");
}

static void cancel_job(struct rk_peer *peer, uint64_t tag)
{
    for (uint32_t i = 0; i < peer->job_count; i++) {
        int waiting = RK_RING_JOB_WAITING;
        struct rk_ring_job *job = &peer->jobs[i];
        if (atomic_load_explicit(&job->state, memory_order_acquire) == waiting && job->tag == tag)
            (void)atomic_compare_exchange_strong(&job->state, &waiting, RK_RING_JOB_CANCELLED);
    }
}

/* Room for the completion is made before the request is begun. */
static bool reserve(struct rk_peer *peer)
{
    (void)pthread_mutex_lock(&peer->completing);
    int64_t untaken = rk_shm_segment_untaken(&peer->segment);
    bool room = untaken >= 0 && (uint64_t)untaken + peer->outstanding < peer->segment.entries;
    if (room)
        peer->outstanding++;
    (void)pthread_mutex_unlock(&peer->completing);
    return room;
}

static void begin_job(struct rk_peer *peer, const struct rankd_shm_submission *entry)
{
    if (entry->operation == RANKD_OP_CANCEL) {
        cancel_job(peer, entry->cancel_tag);
        return;
    }
    if (!reserve(peer)) {
        rk_peer_hang_up(peer, "more requests are outstanding than the ring has entries");
        return;
    }
    if (entry->operation == RANKD_OP_INFER) {
        infer(peer, entry);
        return;
    }
    struct rankd_shm_completion completion = {
        .tag = entry->tag, .status = entry->operation == RANKD_OP_NOP ? RANKD_OK : RANKD_INVALID};
    publish(peer, &completion);
}

unsigned rk_job_take(struct rk_peer *peer, unsigned limit)
{
    unsigned count = 0;
    struct rankd_shm_submission entry;
    while (count < limit && rk_peer_open(peer)) {
        int rc = rk_shm_segment_take(&peer->segment, &entry);
        if (rc < 0)
            rk_peer_hang_up(peer, "the submission ring's tail is further ahead than the ring is long");
        if (rc <= 0)
            break;
        count++;
        begin_job(peer, &entry);
    }
    return count;
}
