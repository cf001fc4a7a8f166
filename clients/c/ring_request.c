/* SPDX-License-Identifier: Apache-2.0 */
/* Requests over the ring: submit, take the reply, cancel. */
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "reply_numbers.h"
#include "request.h"
#include "ring_internal.h"

static const char lost_text[] = "the connection to the daemon broke; reconnect and send again";

static char *descriptor_of(struct rankd_ring *ring, const struct rankd_slot *slot)
{
    return ring->slot_memory + (size_t)(slot - ring->slots) * RANKD_SLOT_BYTES;
}

static struct rankd_shm_reply *reply_of(struct rankd_ring *ring, const struct rankd_slot *slot)
{
    return (struct rankd_shm_reply *)(void *)(descriptor_of(ring, slot) + RANKD_SHM_DESCRIPTOR_MAX);
}

/* ---- Submit ---- */

static int take_input(struct rankd_ring *ring, const struct rankd_tensor *input, void **copy)
{
    struct rankd_arena *arena = &ring->mapping->arena;
    if (rankd_arena_has(arena, input->data, input->bytes))
        return RANKD_OK;
    *copy = rankd_arena_take(arena, input->bytes);
    if (*copy == NULL)
        return RANKD_NO_MEMORY;
    if (input->bytes != 0)
        memcpy(*copy, input->data, input->bytes);
    return RANKD_OK;
}

static int take_output(struct rankd_ring *ring, const struct rankd_request *request,
                       const struct rankd_tensor *output, struct rankd_slot *slot)
{
    struct rankd_arena *arena = &ring->mapping->arena;
    uint64_t bytes = output->bytes;
    if (output->data == NULL && bytes == 0)
        bytes = rankd_output_room(request, output->port);
    slot->outputs[output->port].bytes = bytes;
    if (output->data != NULL && rankd_arena_has(arena, output->data, bytes)) {
        slot->outputs[output->port].room = output->data;
        return RANKD_OK;
    }
    slot->outputs[output->port].room = rankd_arena_take(arena, bytes);
    if (slot->outputs[output->port].room == NULL)
        return RANKD_NO_MEMORY;
    slot->outputs[output->port].to = output->data;
    slot->outputs[output->port].owned = output->data == NULL;
    return RANKD_OK;
}

static int place(struct rankd_ring *ring, const struct rankd_request *request, struct rankd_slot *slot,
                 struct rankd_error *error)
{
    int status = RANKD_OK;
    for (size_t i = 0; i < request->input_count && status == RANKD_OK; i++)
        status = take_input(ring, &request->inputs[i], &slot->inputs[i]);
    for (size_t i = 0; i < request->output_count && status == RANKD_OK; i++)
        status = take_output(ring, request, &request->outputs[i], slot);
    if (status != RANKD_OK)
        return rankd_fail(
            error, status,
            "the arena of %llu bytes, the largest free piece %llu, has no room for this request's tensors",
            (unsigned long long)ring->mapping->arena.bytes,
            (unsigned long long)rankd_arena_largest(&ring->mapping->arena));
    return RANKD_OK;
}

static struct rankd_slot *free_slot(struct rankd_ring *ring)
{
    for (uint32_t i = 0; i < ring->entries; i++) {
        /* Slots are used in turn, so that tags grow by one; the tag determines the slot. */
        struct rankd_slot *slot = &ring->slots[ring->next_tag % ring->entries];
        if (slot->state == RANKD_SLOT_FREE && ring->next_tag != 0)
            return slot;
        ring->next_tag++;
    }
    return NULL;
}

static void publish(struct rankd_ring *ring, const struct rankd_shm_submission *entry)
{
    ring->submissions[ring->submit_tail % ring->entries] = *entry;
    ring->submit_tail++;
    atomic_store_explicit(&ring->mapping->shared->submit_tail, ring->submit_tail, memory_order_release);
    rankd_ring_ring(ring);
}

static int submit(struct rankd_ring *ring, const struct rankd_request *request, uint64_t *tag,
                  struct rankd_error *error)
{
    if (ring->lost || atomic_load(&ring->fd) < 0)
        return rankd_fail(error, RANKD_LOST, lost_text);
    rankd_ring_drain(ring);
    struct rankd_slot *slot = free_slot(ring);
    bool has_room = rankd_ring_has_room(ring);
    if (ring->lost)
        return rankd_fail(error, RANKD_LOST, lost_text);
    if (slot == NULL || !has_room)
        return rankd_fail(error, RANKD_OVERLOADED, "all %u entries of the ring are in use", ring->entries);
    memset(slot, 0, sizeof *slot);
    int status = place(ring, request, slot, error);
    char *descriptor = descriptor_of(ring, slot);
    const char *shared = (const char *)ring->mapping->shared;
    size_t bytes = status == RANKD_OK ? rankd_ring_encode(descriptor, request, slot, shared) : 0;
    if (bytes == 0) {
        rankd_ring_free_slot(ring, slot, false);
        return status != RANKD_OK
                   ? status
                   : rankd_fail(error, RANKD_MISUSE, "names and texts of the request are too long");
    }
    slot->state = RANKD_SLOT_SUBMITTED;
    slot->tag = *tag = ring->next_tag++;
    struct rankd_shm_submission entry = {.operation = RANKD_OP_INFER,
                                         .descriptor_bytes = (uint32_t)bytes,
                                         .tag = slot->tag,
                                         .timeout_ns = request->timeout_ns,
                                         .descriptor_offset = (uint64_t)(descriptor - shared),
                                         .reply_offset = (uint64_t)((char *)reply_of(ring, slot) - shared)};
    publish(ring, &entry);
    return RANKD_OK;
}

int rankd_ring_submit(rankd_client *client, const struct rankd_request *request, uint64_t *tag,
                      struct rankd_error *error)
{
    struct rankd_ring *ring = rankd_ring_of(client);
    (void)pthread_mutex_lock(&ring->lock);
    int status = submit(ring, request, tag, error);
    (void)pthread_mutex_unlock(&ring->lock);
    return status;
}

/* ---- Take the reply ---- */

static void take_numbers(const struct rankd_shm_reply *block, const struct rankd_shm_completion *completion,
                         struct rankd_reply *reply)
{
    reply->status = (int)completion->status;
    if (reply->status != RANKD_OK)
        (void)snprintf(reply->error, sizeof reply->error, "%.*s", RANKD_ERROR_BYTES - 1, block->error);
    reply->loss = block->loss;
    reply->lists = block->lists;
    reply->lists_skipped = block->lists_skipped;
    reply->has_gradient = (block->has & RANKD_HAS_GRADIENT) != 0;
    reply->lists_stalled = block->lists_stalled;
    reply->gradient_nonzero = block->gradient_nonzero;
    reply->has_bank = (block->has & RANKD_HAS_BANK) != 0;
    reply->bank_items = block->bank_items;
    reply->bank_version = block->bank_version;
    reply->bank_version_appended = block->bank_version_appended;
    reply->bank_generation = block->bank_generation;
    reply->gradient_dropped = block->gradient_dropped;
    reply->queue_ns = completion->queue_ns;
    reply->compute_ns = completion->compute_ns;
    char chain[sizeof block->bank_chain + 1] = {0};
    memcpy(chain, block->bank_chain, sizeof block->bank_chain);
    rankd_reply_keep(reply, block->numbers, block->number,
                     (block->has & RANKD_HAS_CHAIN) != 0 ? chain : NULL);
}

/* False: the daemon's description of the output is impossible: not written, of a shape that its
 * bytes contradict, or larger than its room. */
static bool take_output_of(const struct rankd_slot *slot, const struct rankd_shm_reply *block, int port,
                           struct rankd_reply *reply)
{
    const struct rankd_shm_result *result = &block->results[port];
    struct rankd_tensor *output = &reply->outputs[port];
    *output = (struct rankd_tensor){.port = port,
                                    .dtype = (int)result->dtype,
                                    .rank = (int)result->rank,
                                    .shape = {result->shape[0], result->shape[1]},
                                    .bytes = result->bytes};
    if (reply->status != RANKD_OK)
        return true;
    if ((block->outputs & 1u << port) == 0 || !rankd_output_fits(output) ||
        output->bytes > slot->outputs[port].bytes)
        return false;
    output->data = slot->outputs[port].to != NULL ? slot->outputs[port].to : slot->outputs[port].room;
    if (slot->outputs[port].to != NULL && result->bytes != 0)
        memcpy(slot->outputs[port].to, slot->outputs[port].room, result->bytes);
    if (slot->outputs[port].owned)
        reply->owned |= 1u << port;
    return true;
}

/* The reply's block is copied before it is read, because the daemon may change it meanwhile. */
static void take_reply(struct rankd_ring *ring, struct rankd_slot *slot, struct rankd_reply *reply)
{
    struct rankd_shm_reply block = *reply_of(ring, slot);
    memset(reply, 0, sizeof *reply);
    take_numbers(&block, &slot->completion, reply);
    bool good = rankd_is_status(reply->status);
    for (int port = 0; port < RANKD_OUT_COUNT && good; port++)
        good = slot->outputs[port].room == NULL || take_output_of(slot, &block, port, reply);
    if (!good) {
        (void)rankd_reply_fail(reply, RANKD_PROTOCOL, "the daemon's reply is not one to this request");
        rankd_ring_free_slot(ring, slot, false);
        return;
    }
    for (int port = 0; port < RANKD_OUT_COUNT; port++) {
        if ((reply->owned & 1u << port) == 0 && slot->outputs[port].owned) {
            rankd_ring_give(ring, slot->outputs[port].room);
            slot->outputs[port].room = NULL;
        }
    }
    rankd_ring_free_slot(ring, slot, true);
}

/* The request with this tag whose reply may still be taken; NULL: none. */
static struct rankd_slot *slot_of(struct rankd_ring *ring, uint64_t tag)
{
    struct rankd_slot *slot = ring->entries != 0 ? &ring->slots[tag % ring->entries] : NULL;
    bool takes = slot != NULL && (slot->state == RANKD_SLOT_SUBMITTED || slot->state == RANKD_SLOT_COMPLETED);
    return takes && slot->tag == tag ? slot : NULL;
}

static bool is_completed(struct rankd_ring *ring, uint64_t tag)
{
    const struct rankd_slot *slot = slot_of(ring, tag);
    return slot == NULL || slot->state == RANKD_SLOT_COMPLETED;
}

/* Another thread may have reconnected after this thread's submit: earlier requests are lost, which
 * is no mistake of the caller. */
static int state_of(struct rankd_ring *ring, uint64_t tag)
{
    if (slot_of(ring, tag) != NULL)
        return RANKD_OK;
    return ring->lost || (tag != 0 && tag < ring->first_tag) ? RANKD_LOST : RANKD_MISUSE;
}

int rankd_ring_wait(rankd_client *client, uint64_t tag, uint64_t timeout_ns, struct rankd_reply *reply)
{
    struct rankd_ring *ring = rankd_ring_of(client);
    (void)pthread_mutex_lock(&ring->lock);
    int status = state_of(ring, tag);
    if (status == RANKD_OK)
        status = rankd_ring_wait_for(ring, is_completed, tag, timeout_ns == 0 ? 0 : rankd_until(timeout_ns));
    struct rankd_slot *slot = slot_of(ring, tag);
    if (status == RANKD_MISUSE) {
        (void)rankd_reply_fail(reply, status, "no request that is outstanding has this tag");
    } else if (status == RANKD_TIMEOUT) {
        status = timeout_ns == 0 ? RANKD_PENDING : RANKD_TIMEOUT;
        (void)rankd_reply_fail(reply, status, "the reply is not there yet");
    } else if (status == RANKD_LOST || slot == NULL) {
        status = rankd_reply_fail(reply, RANKD_LOST, lost_text);
        if (slot != NULL)
            rankd_ring_free_slot(ring, slot, false);
    } else {
        take_reply(ring, slot, reply);
        status = reply->status;
    }
    (void)pthread_mutex_unlock(&ring->lock);
    return status;
}

int rankd_ring_cancel(rankd_client *client, uint64_t tag, bool discard)
{
    struct rankd_ring *ring = rankd_ring_of(client);
    int status = RANKD_OK;
    (void)pthread_mutex_lock(&ring->lock);
    struct rankd_slot *slot = slot_of(ring, tag);
    if (slot == NULL) {
        status = state_of(ring, tag);
    } else if (slot->state == RANKD_SLOT_COMPLETED || ring->lost) {
        if (discard)
            rankd_ring_free_slot(ring, slot, false);
    } else {
        struct rankd_shm_submission entry = {.operation = RANKD_OP_CANCEL, .cancel_tag = tag};
        if (rankd_ring_has_room(ring))
            publish(ring, &entry);
        else
            status = ring->lost ? RANKD_LOST : RANKD_OVERLOADED;
        if (discard)
            slot->state = RANKD_SLOT_DISCARDED;
    }
    (void)pthread_mutex_unlock(&ring->lock);
    return status;
}
