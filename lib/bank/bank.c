/* SPDX-License-Identifier: Apache-2.0 */
#include "bank/bank.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "bank/holder.h"
#include "bank/kind.h"
#include "bank/versions.h"
#include "bank/window.h"

struct rk_bank {
    struct rk_bank_shape shape;
    size_t chunk_items;
    uint64_t seed;           /* of the label indexes */
    pthread_mutex_t lock;    /* protects everything below; held for moments */
    struct rk_chunk **chunk; /* oldest first */
    size_t chunks, chunk_room;
    uint64_t base; /* no item before it is known */
    bool whole;    /* and none before it belongs to this generation */
    struct rk_bank_position now;
    struct rk_holder *current;
    size_t reserved; /* items with reserved room that are not appended yet */
    size_t reservations;
    struct rk_versions versions; /* up to `now`, of this generation */
};

/* --- views --- */

static uint64_t window_start(const struct rk_bank *bank, uint64_t end)
{
    return rk_window_start(bank->base, bank->shape.capacity, end);
}

static uint64_t oldest(const struct rk_bank *bank)
{
    return bank->chunks ? bank->chunk[0]->first : bank->now.end;
}

const struct rk_bank_snapshot *rk_bank_hold(struct rk_bank *bank)
{
    pthread_mutex_lock(&bank->lock);
    struct rk_holder *holder = bank->current;
    atomic_fetch_add(&holder->refs, 1);
    pthread_mutex_unlock(&bank->lock);
    return &holder->view;
}

const struct rk_bank_snapshot *rk_bank_hold_at(struct rk_bank *bank, struct rk_bank_position point)
{
    struct rk_holder *holder = NULL;
    pthread_mutex_lock(&bank->lock);
    /* A window that began before the base would be shorter than the original's. */
    bool truncated = !bank->whole && point.end < bank->base + bank->shape.capacity;
    bool there = point.generation == bank->now.generation && point.end <= bank->now.end &&
                 point.end >= bank->base && !truncated && window_start(bank, point.end) >= oldest(bank);
    if (there && (holder = rk_holder_new(&bank->shape, bank->chunks)))
        rk_holder_fill(holder, &bank->shape, bank->chunk, bank->chunks, point, window_start(bank, point.end));
    pthread_mutex_unlock(&bank->lock);
    return holder ? &holder->view : NULL;
}

/* The index of the oldest version that is stored completely, or else of the oldest that appended an
 * item which is still stored; the number of versions if there is none. The lock is held. */
static size_t first_version(const struct rk_bank *bank, bool whole)
{
    size_t low = 0, high = bank->versions.count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const uint64_t end = rk_versions_at(&bank->versions, middle)->end;
        if (whole ? window_start(bank, end) < oldest(bank) : end <= oldest(bank))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct rk_bank_snapshot *rk_bank_hold_version(struct rk_bank *bank, uint64_t version,
                                                    uint64_t *oldest_of)
{
    pthread_mutex_lock(&bank->lock);
    const struct rk_version *known = rk_versions_find(&bank->versions, version);
    const struct rk_bank_position point = {bank->now.generation, version, known ? known->end : 0};
    const size_t first = first_version(bank, true);
    *oldest_of =
        first < bank->versions.count ? rk_versions_at(&bank->versions, first)->version : bank->now.version;
    pthread_mutex_unlock(&bank->lock);
    return known ? rk_bank_hold_at(bank, point) : NULL;
}

void rk_bank_set_tag(struct rk_bank *bank, const unsigned char tag[RK_VERSION_TAG_BYTES])
{
    pthread_mutex_lock(&bank->lock);
    struct rk_version *newest = rk_versions_find(&bank->versions, bank->now.version);
    if (newest)
        memcpy(newest->tag, tag, sizeof newest->tag);
    pthread_mutex_unlock(&bank->lock);
}

bool rk_bank_tag_of(struct rk_bank *bank, uint64_t version, unsigned char tag[RK_VERSION_TAG_BYTES])
{
    pthread_mutex_lock(&bank->lock);
    const struct rk_version *known = rk_versions_find(&bank->versions, version);
    if (known)
        memcpy(tag, known->tag, sizeof known->tag);
    pthread_mutex_unlock(&bank->lock);
    return known != NULL;
}

uint64_t rk_bank_oldest_version(struct rk_bank *bank)
{
    pthread_mutex_lock(&bank->lock);
    const size_t first = first_version(bank, false);
    const uint64_t found = first < bank->versions.count ? rk_versions_at(&bank->versions, first)->version : 0;
    pthread_mutex_unlock(&bank->lock);
    return found;
}

void rk_bank_release(const struct rk_bank_snapshot *view)
{
    rk_holder_drop((struct rk_holder *)(uintptr_t)view);
}

struct rk_bank_position rk_bank_snapshot_position(const struct rk_bank_snapshot *view)
{
    return (struct rk_bank_position){view->generation, view->version, rk_holder_of(view)->end};
}

/* The sequence number where the items of versions after `version` begin; false if it is not known
 * any more. The lock is held. */
static bool start_after(const struct rk_bank *bank, uint64_t version, const struct rk_holder *holder,
                        uint64_t *start)
{
    const uint64_t from = holder->end - holder->view.items;
    const struct rk_version *known = rk_versions_find(&bank->versions, version);
    const struct rk_version *oldest_known = rk_versions_at(&bank->versions, 0);
    *start = known && known->end > from ? known->end : from;
    return known || (version < oldest_known->version && from >= oldest_known->end);
}

const struct rk_bank_snapshot *rk_bank_hold_newer(struct rk_bank *bank, const struct rk_bank_snapshot *view,
                                                  uint64_t versions)
{
    struct rk_holder *part = NULL;
    const struct rk_holder *whole = rk_holder_of(view);
    const struct rk_bank_position point = rk_bank_snapshot_position(view);
    uint64_t start = whole->end;
    pthread_mutex_lock(&bank->lock);
    bool there = versions == 0 || versions > point.version ||
                 (point.generation == bank->now.generation &&
                  start_after(bank, point.version - versions, whole, &start));
    if (versions > point.version)
        start = whole->end - view->items;
    if (there && (part = rk_holder_new(&bank->shape, whole->chunks)))
        rk_holder_narrow(part, &bank->shape, whole, start);
    pthread_mutex_unlock(&bank->lock);
    return part ? &part->view : NULL;
}

size_t rk_bank_snapshot_chunks(const struct rk_bank_snapshot *view)
{
    return rk_holder_of(view)->chunks;
}

enum rankd_status rk_bank_snapshot_batch(const struct rk_bank_shape *shape,
                                         const struct rk_bank_snapshot *view, size_t c,
                                         struct rk_batch *batch, struct rk_err *err)
{
    const struct rk_held_chunk *held = &rk_holder_of(view)->held[c];
    memset(batch, 0, sizeof *batch);
    if (rk_batch_take(shape, held->items, batch, err) == RANKD_OK)
        rk_chunk_read(shape, held->chunk, held->first, batch);
    return err->status;
}

/* --- the bank --- */

struct rk_bank *rk_bank_new(const struct rk_bank_shape *shape)
{
    struct rk_bank *bank = calloc(1, sizeof *bank);
    if (!bank)
        return NULL;
    bank->shape = *shape;
    bank->chunk_items = rk_chunk_items(shape);
    bank->seed = rk_labels_seed();
    bank->now = (struct rk_bank_position){.generation = 1};
    bank->whole = true;
    bank->current = rk_holder_new(&bank->shape, 0);
    if (!bank->current || !rk_versions_reserve(&bank->versions, 1)) {
        rk_holder_drop(bank->current);
        free(bank);
        return NULL;
    }
    rk_versions_push(&bank->versions, 0, 0);
    rk_holder_fill(bank->current, &bank->shape, bank->chunk, bank->chunks, bank->now, 0);
    pthread_mutex_init(&bank->lock, NULL);
    return bank;
}

static void drop_chunks(struct rk_bank *bank, size_t count)
{
    for (size_t i = 0; i < count; i++)
        rk_chunk_drop(bank->chunk[i]);
    bank->chunks -= count;
    memmove((void *)bank->chunk, (void *)(bank->chunk + count), bank->chunks * sizeof *bank->chunk);
}

void rk_bank_free(struct rk_bank *bank)
{
    if (!bank)
        return;
    rk_holder_drop(bank->current);
    if (bank->chunks)
        drop_chunks(bank, bank->chunks);
    rk_versions_free(&bank->versions);
    free((void *)bank->chunk);
    pthread_mutex_destroy(&bank->lock);
    free(bank);
}

/* Makes room for `items` behind the newest one: empty chunks, which no view shows yet. */
static bool make_room(struct rk_bank *bank, size_t items)
{
    const struct rk_chunk *last = bank->chunks ? bank->chunk[bank->chunks - 1] : NULL;
    uint64_t first = last ? last->first + last->room : bank->now.end;
    size_t have = (size_t)(first - bank->now.end);
    size_t more = items > have ? (items - have + bank->chunk_items - 1) / bank->chunk_items : 0;
    if (bank->chunks + more > bank->chunk_room) {
        size_t room = (bank->chunks + more) * 2;
        struct rk_chunk **grown = realloc((void *)bank->chunk, room * sizeof(struct rk_chunk *));
        if (!grown)
            return false;
        bank->chunk = grown;
        bank->chunk_room = room;
    }
    for (size_t i = 0; i < more; i++) {
        struct rk_chunk *chunk =
            rk_chunk_new(&bank->shape, bank->chunk_items, first + i * bank->chunk_items, bank->seed);
        if (!chunk) {
            while (i-- > 0)
                rk_chunk_drop(bank->chunk[--bank->chunks]);
            return false;
        }
        bank->chunk[bank->chunks++] = chunk;
    }
    return true;
}

/* Drops chunks whose items all come before the window and its slack. */
static void evict(struct rk_bank *bank)
{
    uint64_t keep = bank->shape.capacity + rk_chunk_slack(&bank->shape);
    uint64_t from = bank->now.end > keep ? bank->now.end - keep : 0;
    size_t gone = 0;
    while (gone + 1 < bank->chunks && bank->chunk[gone]->first + bank->chunk[gone]->room <= from)
        gone++;
    if (gone)
        drop_chunks(bank, gone);
}

struct rk_bank_reservation {
    struct rk_holder *holder; /* for the version, with a place for each chunk that it may show */
    size_t items;
};

struct rk_bank_reservation *rk_bank_reserve(struct rk_bank *bank, size_t items, struct rk_err *err)
{
    struct rk_bank_reservation *room = malloc(sizeof *room);
    pthread_mutex_lock(&bank->lock);
    size_t before = bank->chunks;
    struct rk_holder *holder = NULL;
    if (room && rk_versions_reserve(&bank->versions, bank->reservations + 1) &&
        make_room(bank, bank->reserved + items) && (holder = rk_holder_new(&bank->shape, bank->chunks))) {
        *room = (struct rk_bank_reservation){holder, items};
        bank->reserved += items;
        bank->reservations++;
    } else {
        while (bank->chunks > before)
            rk_chunk_drop(bank->chunk[--bank->chunks]);
    }
    pthread_mutex_unlock(&bank->lock);
    if (holder)
        return room;
    free(room);
    (void)rk_fail(err, RANKD_OVERLOADED, "no memory for %zu more items in the bank", items);
    return NULL;
}

void rk_bank_unreserve(struct rk_bank *bank, struct rk_bank_reservation *room)
{
    if (!room)
        return;
    pthread_mutex_lock(&bank->lock);
    bank->reserved -= room->items;
    bank->reservations--;
    pthread_mutex_unlock(&bank->lock);
    rk_holder_drop(room->holder);
    free(room);
}

/* Writes the items into the chunks behind the newest one. */
static void fill_chunks(struct rk_bank *bank, const struct rk_batch *batch)
{
    size_t i = bank->chunks;
    while (i > 0 && bank->chunk[i - 1]->used < bank->chunk[i - 1]->room)
        i--;
    for (size_t done = 0; done < batch->items; i++) {
        size_t room = bank->chunk[i]->room - bank->chunk[i]->used, left = batch->items - done;
        size_t count = room < left ? room : left;
        rk_chunk_fill(&bank->shape, bank->chunk[i], batch, done, count);
        done += count;
    }
}

void rk_bank_append_reserved(struct rk_bank *bank, const struct rk_batch *batch, uint64_t version,
                             struct rk_bank_reservation *room)
{
    pthread_mutex_lock(&bank->lock);
    fill_chunks(bank, batch);
    bank->reserved -= room->items;
    bank->reservations--;
    bank->now.end += batch->items;
    bank->now.version = version;
    rk_versions_push(&bank->versions, version, bank->now.end);
    evict(bank);
    rk_holder_fill(room->holder, &bank->shape, bank->chunk, bank->chunks, bank->now,
                   window_start(bank, bank->now.end));
    struct rk_holder *old = bank->current;
    bank->current = room->holder;
    pthread_mutex_unlock(&bank->lock);
    rk_holder_drop(old);
    free(room);
}

enum rankd_status rk_bank_append(struct rk_bank *bank, const struct rk_batch *batch, uint64_t version,
                                 struct rk_err *err)
{
    struct rk_bank_reservation *room = rk_bank_reserve(bank, batch->items, err);
    if (!room)
        return err->status;
    rk_bank_append_reserved(bank, batch, version, room);
    return RANKD_OK;
}

void rk_bank_reset_reserved(struct rk_bank *bank, struct rk_bank_position point, bool whole,
                            struct rk_bank_reservation *room)
{
    pthread_mutex_lock(&bank->lock);
    if (bank->chunks)
        drop_chunks(bank, bank->chunks);
    bank->reservations--;
    bank->now = point;
    rk_versions_clear(&bank->versions);
    rk_versions_push(&bank->versions, point.version, point.end);
    bank->base = point.end;
    bank->whole = whole || point.end == 0;
    rk_holder_fill(room->holder, &bank->shape, bank->chunk, bank->chunks, point, point.end);
    struct rk_holder *old = bank->current;
    bank->current = room->holder;
    pthread_mutex_unlock(&bank->lock);
    rk_holder_drop(old);
    free(room);
}

enum rankd_status rk_bank_reset(struct rk_bank *bank, struct rk_bank_position point, bool whole,
                                struct rk_err *err)
{
    struct rk_bank_reservation *room = rk_bank_reserve(bank, 0, err);
    if (!room)
        return err->status;
    rk_bank_reset_reserved(bank, point, whole, room);
    return RANKD_OK;
}

enum rankd_status rk_bank_set_generation(struct rk_bank *bank, uint64_t generation, struct rk_err *err)
{
    pthread_mutex_lock(&bank->lock);
    struct rk_holder *holder = rk_holder_new(&bank->shape, bank->chunks), *old = bank->current;
    if (holder) {
        bank->now.generation = generation;
        rk_holder_fill(holder, &bank->shape, bank->chunk, bank->chunks, bank->now,
                       window_start(bank, bank->now.end));
        bank->current = holder;
    }
    pthread_mutex_unlock(&bank->lock);
    if (!holder)
        return rk_fail(err, RANKD_OVERLOADED, "no memory to raise the bank's generation");
    rk_holder_drop(old);
    return RANKD_OK;
}

struct rk_bank_position rk_bank_now(struct rk_bank *bank)
{
    pthread_mutex_lock(&bank->lock);
    struct rk_bank_position now = bank->now;
    pthread_mutex_unlock(&bank->lock);
    return now;
}

const struct rk_bank_shape *rk_bank_shape_of(const struct rk_bank *bank)
{
    return &bank->shape;
}

uint64_t rk_bank_oldest(struct rk_bank *bank)
{
    pthread_mutex_lock(&bank->lock);
    uint64_t first = oldest(bank);
    pthread_mutex_unlock(&bank->lock);
    return first;
}

size_t rk_bank_items(struct rk_bank *bank)
{
    pthread_mutex_lock(&bank->lock);
    size_t items = bank->current->view.items;
    pthread_mutex_unlock(&bank->lock);
    return items;
}

size_t rk_bank_bytes(struct rk_bank *bank)
{
    pthread_mutex_lock(&bank->lock);
    size_t bytes = 0;
    for (size_t i = 0; i < bank->chunks; i++)
        bytes += bank->chunk[i]->bytes;
    pthread_mutex_unlock(&bank->lock);
    return bytes;
}
