#include "bank/bank.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "number.h"

/* Large enough that a tile of similarities is seldom cut, small enough that evicting in whole chunks wastes
 * little. */
enum { CHUNK_BYTES = 2 << 20, CHUNK_ITEMS_MIN = 64, CHUNK_ITEMS_MAX = 1 << 16 };

struct chunk {
    atomic_size_t refs;
    uint64_t first; /* sequence number of item 0 */
    uint64_t identity;
    size_t used, room, bytes;
    void *rows;
    int64_t *labels, *ids;
    struct rk_labels *by_label, *by_id;
    float *scores; /* [lists, room] */
    int8_t *targets;
    void *memory;
};

/* A view with what it holds. */
struct holder {
    struct rk_bank_view view; /* first: a view's address is its holder's */
    atomic_size_t refs;
    uint64_t end;
    size_t chunks;
    struct chunk **chunk;
    struct rk_bank_chunk *embeddings;
    struct rk_bank_scores_chunk *scores;
};

struct rk_bank {
    struct rk_bank_shape shape;
    size_t chunk_items;
    uint64_t seed;        /* of the label indexes */
    pthread_mutex_t lock; /* over everything below; held for moments */
    struct chunk **chunk; /* oldest first */
    size_t chunks, chunk_room;
    uint64_t base; /* no item before it is known */
    bool whole;    /* and none before it belongs to this generation */
    struct rk_bank_point now;
    struct holder *current;
};

/* --- shapes --- */

enum rankd_status rk_bank_shape_check(const struct rk_bank_shape *shape, struct rk_err *err)
{
    size_t bytes;
    if (shape->is_embeddings && (shape->dim == 0 || shape->dim > 65536))
        return rk_fail(err, RANKD_INVALID, "dim of the bank is %zu; it must be from 1 to 65536", shape->dim);
    if (!shape->is_embeddings && (shape->lists == 0 || shape->lists > 1000000))
        return rk_fail(err, RANKD_INVALID, "lists of the bank is %zu; it must be from 1 to 1000000",
                       shape->lists);
    if (shape->capacity == 0 || shape->capacity > 0x3fffffff)
        return rk_fail(err, RANKD_INVALID, "capacity of the bank is %zu; it must be from 1 to 1073741823",
                       shape->capacity);
    if (shape->dtype != RK_FP32 &&
        (!shape->is_embeddings || (shape->dtype != RK_FP16 && shape->dtype != RK_BF16)))
        return rk_fail(
            err, RANKD_INVALID, "datatype of the bank is %s; it must be %s", rk_dtype_name(shape->dtype),
            shape->is_embeddings ? "FP32, FP16 or BF16" : "FP32, because scores are kept as they came");
    if (__builtin_mul_overflow(shape->capacity, rk_batch_item_bytes(shape), &bytes) || bytes > SIZE_MAX / 8)
        return rk_fail(err, RANKD_INVALID, "a bank of %zu items of %zu bytes is more than can be addressed",
                       shape->capacity, rk_batch_item_bytes(shape));
    return RANKD_OK;
}

static size_t chunk_items_of(const struct rk_bank_shape *shape)
{
    size_t items = CHUNK_BYTES / rk_batch_item_bytes(shape);
    items = items < CHUNK_ITEMS_MIN ? CHUNK_ITEMS_MIN : items > CHUNK_ITEMS_MAX ? CHUNK_ITEMS_MAX : items;
    return items > shape->capacity ? shape->capacity : items;
}

/* Items kept beyond the capacity. */
static size_t slack_of(const struct rk_bank_shape *shape)
{
    return shape->capacity / 4 + chunk_items_of(shape);
}

static size_t aligned(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

static size_t chunk_bytes_of(const struct rk_bank_shape *shape, size_t room)
{
    size_t bytes = aligned(sizeof(struct chunk));
    if (!shape->is_embeddings)
        return bytes + aligned(shape->lists * room * sizeof(float)) + aligned(shape->lists * room);
    return bytes + aligned(room * shape->dim * rk_dtype_size(shape->dtype)) +
           2 * aligned(room * sizeof(int64_t)) + 2 * aligned(rk_labels_bytes(room));
}

size_t rk_bank_shape_bytes(const struct rk_bank_shape *shape)
{
    size_t room = chunk_items_of(shape);
    return ((shape->capacity + slack_of(shape)) / room + 2) * chunk_bytes_of(shape, room);
}

/* --- chunks --- */

static struct chunk *chunk_new(const struct rk_bank *bank, uint64_t first)
{
    const struct rk_bank_shape *shape = &bank->shape;
    size_t room = bank->chunk_items, bytes = chunk_bytes_of(shape, room);
    char *at = aligned_alloc(64, bytes);
    if (!at)
        return NULL;
    struct chunk *chunk = (struct chunk *)(void *)at;
    memset(chunk, 0, sizeof *chunk);
    static atomic_uint_fast64_t chunks; /* addresses come back, these numbers do not */
    *chunk = (struct chunk){.first = first,
                            .identity = atomic_fetch_add_explicit(&chunks, 1, memory_order_relaxed) + 1,
                            .room = room,
                            .bytes = bytes,
                            .memory = at};
    atomic_init(&chunk->refs, 1);
    at += aligned(sizeof *chunk);
    if (!shape->is_embeddings) {
        chunk->scores = (float *)(void *)at;
        chunk->targets = (int8_t *)(at + aligned(shape->lists * room * sizeof(float)));
        return chunk;
    }
    chunk->rows = at;
    at += aligned(room * shape->dim * rk_dtype_size(shape->dtype));
    chunk->labels = (int64_t *)(void *)at;
    at += aligned(room * sizeof(int64_t));
    chunk->ids = (int64_t *)(void *)at;
    at += aligned(room * sizeof(int64_t));
    chunk->by_label = rk_labels_at(at, chunk->labels, room, bank->seed);
    chunk->by_id = rk_labels_at(at + aligned(rk_labels_bytes(room)), chunk->ids, room, bank->seed);
    return chunk;
}

static void chunk_drop(struct chunk *chunk)
{
    if (atomic_fetch_sub(&chunk->refs, 1) == 1)
        free(chunk->memory);
}

/* Writes items from..from+count-1 of the batch behind what is there. */
static void chunk_fill(const struct rk_bank *bank, struct chunk *chunk, const struct rk_batch *batch,
                       size_t from, size_t count)
{
    const struct rk_bank_shape *shape = &bank->shape;
    size_t at = chunk->used;
    if (shape->is_embeddings) {
        size_t row = shape->dim * rk_dtype_size(shape->dtype);
        memcpy((char *)chunk->rows + at * row, (const char *)batch->rows + from * row, count * row);
        memcpy(chunk->labels + at, batch->labels + from, count * sizeof(int64_t));
        memcpy(chunk->ids + at, batch->ids + from, count * sizeof(int64_t));
        rk_labels_add(chunk->by_label, count);
        rk_labels_add(chunk->by_id, count);
    } else {
        for (size_t l = 0; l < shape->lists; l++) {
            size_t to = l * chunk->room + at, source = l * batch->items + from;
            memcpy(chunk->scores + to, batch->scores + source, count * sizeof(float));
            memcpy(chunk->targets + to, batch->targets + source, count);
        }
    }
    chunk->used += count;
}

/* --- views --- */

static struct holder *holder_new(const struct rk_bank *bank, size_t chunks)
{
    struct holder *holder = calloc(1, sizeof *holder);
    size_t width = bank->shape.is_embeddings ? sizeof *holder->embeddings : sizeof *holder->scores;
    void *views = calloc(chunks + 1, width);
    struct chunk **held = calloc(chunks + 1, sizeof(struct chunk *));
    if (!holder || !views || !held) {
        free(holder);
        free(views);
        free((void *)held);
        return NULL;
    }
    atomic_init(&holder->refs, 1);
    holder->chunk = held;
    if (bank->shape.is_embeddings)
        holder->embeddings = views;
    else
        holder->scores = views;
    return holder;
}

static void holder_drop(struct holder *holder)
{
    if (!holder || atomic_fetch_sub(&holder->refs, 1) != 1)
        return;
    for (size_t i = 0; i < holder->chunks; i++)
        chunk_drop(holder->chunk[i]);
    free((void *)holder->chunk);
    free(holder->embeddings);
    free(holder->scores);
    free(holder);
}

static void holder_add(const struct rk_bank *bank, struct holder *holder, struct chunk *chunk, size_t first,
                       size_t items)
{
    size_t at = holder->chunks++;
    atomic_fetch_add(&chunk->refs, 1);
    holder->chunk[at] = chunk;
    holder->view.items += items;
    if (bank->shape.is_embeddings)
        holder->embeddings[at] = (struct rk_bank_chunk){.first = first,
                                                        .items = items,
                                                        .embeddings = chunk->rows,
                                                        .identity = chunk->identity,
                                                        .labels = chunk->labels,
                                                        .ids = chunk->ids,
                                                        .by_label = chunk->by_label,
                                                        .by_id = chunk->by_id};
    else
        holder->scores[at] = (struct rk_bank_scores_chunk){.items = items,
                                                           .stride = chunk->room,
                                                           .scores = chunk->scores + first,
                                                           .targets = chunk->targets + first};
}

/* Fills a new holder with the window that ends at the point. The holder has room for every chunk of the bank.
 */
static void holder_fill(const struct rk_bank *bank, struct holder *holder, struct rk_bank_point point,
                        uint64_t start)
{
    for (size_t i = 0; i < bank->chunks; i++) {
        struct chunk *chunk = bank->chunk[i];
        uint64_t from = chunk->first > start ? chunk->first : start;
        uint64_t to = chunk->first + chunk->used < point.end ? chunk->first + chunk->used : point.end;
        if (from < to)
            holder_add(bank, holder, chunk, (size_t)(from - chunk->first), (size_t)(to - from));
    }
    struct rk_bank_view *view = &holder->view;
    holder->end = point.end;
    view->is_embeddings = bank->shape.is_embeddings;
    view->version = point.version;
    view->generation = point.generation;
    if (view->is_embeddings)
        view->embeddings = (struct rk_bank_embeddings){.dtype = bank->shape.dtype,
                                                       .dim = bank->shape.dim,
                                                       .normalize = bank->shape.normalize,
                                                       .chunks = holder->chunks,
                                                       .chunk = holder->embeddings};
    else
        view->scores = (struct rk_bank_scores){
            .lists = bank->shape.lists, .chunks = holder->chunks, .chunk = holder->scores};
}

static uint64_t window_start(const struct rk_bank *bank, uint64_t end)
{
    uint64_t start = end > bank->shape.capacity ? end - bank->shape.capacity : 0;
    return start > bank->base ? start : bank->base;
}

static uint64_t oldest(const struct rk_bank *bank)
{
    return bank->chunks ? bank->chunk[0]->first : bank->now.end;
}

const struct rk_bank_view *rk_bank_hold(struct rk_bank *bank)
{
    pthread_mutex_lock(&bank->lock);
    struct holder *holder = bank->current;
    atomic_fetch_add(&holder->refs, 1);
    pthread_mutex_unlock(&bank->lock);
    return &holder->view;
}

const struct rk_bank_view *rk_bank_hold_at(struct rk_bank *bank, struct rk_bank_point point)
{
    struct holder *holder = NULL;
    pthread_mutex_lock(&bank->lock);
    /* A window that begins before the base would come out shorter than the original's. */
    bool cut_short = !bank->whole && point.end < bank->base + bank->shape.capacity;
    bool there = point.generation == bank->now.generation && point.end <= bank->now.end &&
                 point.end >= bank->base && !cut_short && window_start(bank, point.end) >= oldest(bank);
    if (there && (holder = holder_new(bank, bank->chunks)))
        holder_fill(bank, holder, point, window_start(bank, point.end));
    pthread_mutex_unlock(&bank->lock);
    return holder ? &holder->view : NULL;
}

void rk_bank_release(struct rk_bank *bank, const struct rk_bank_view *view)
{
    (void)bank;
    holder_drop((struct holder *)(uintptr_t)view);
}

struct rk_bank_point rk_bank_view_point(const struct rk_bank_view *view)
{
    return (struct rk_bank_point){view->generation, view->version,
                                  ((const struct holder *)(const void *)view)->end};
}

/* --- the bank --- */

struct rk_bank *rk_bank_new(const struct rk_bank_shape *shape)
{
    struct rk_bank *bank = calloc(1, sizeof *bank);
    if (!bank)
        return NULL;
    bank->shape = *shape;
    bank->chunk_items = chunk_items_of(shape);
    bank->seed = rk_labels_seed();
    bank->now = (struct rk_bank_point){.generation = 1};
    bank->whole = true;
    bank->current = holder_new(bank, 0);
    if (!bank->current) {
        free(bank);
        return NULL;
    }
    holder_fill(bank, bank->current, bank->now, 0);
    pthread_mutex_init(&bank->lock, NULL);
    return bank;
}

static void drop_chunks(struct rk_bank *bank, size_t count)
{
    for (size_t i = 0; i < count; i++)
        chunk_drop(bank->chunk[i]);
    bank->chunks -= count;
    memmove((void *)bank->chunk, (void *)(bank->chunk + count), bank->chunks * sizeof *bank->chunk);
}

void rk_bank_free(struct rk_bank *bank)
{
    if (!bank)
        return;
    holder_drop(bank->current);
    if (bank->chunks)
        drop_chunks(bank, bank->chunks);
    free((void *)bank->chunk);
    pthread_mutex_destroy(&bank->lock);
    free(bank);
}

/* Makes room for `items` more behind the last chunk: new, empty chunks, which no view shows yet. */
static bool make_room(struct rk_bank *bank, size_t items)
{
    size_t have =
        bank->chunks ? bank->chunk[bank->chunks - 1]->room - bank->chunk[bank->chunks - 1]->used : 0;
    size_t more = items > have ? (items - have + bank->chunk_items - 1) / bank->chunk_items : 0;
    if (bank->chunks + more > bank->chunk_room) {
        size_t room = (bank->chunks + more) * 2;
        struct chunk **grown = realloc((void *)bank->chunk, room * sizeof(struct chunk *));
        if (!grown)
            return false;
        bank->chunk = grown;
        bank->chunk_room = room;
    }
    uint64_t first = bank->now.end + have;
    for (size_t i = 0; i < more; i++) {
        struct chunk *chunk = chunk_new(bank, first + i * bank->chunk_items);
        if (!chunk) {
            while (i-- > 0)
                chunk_drop(bank->chunk[--bank->chunks]);
            return false;
        }
        bank->chunk[bank->chunks++] = chunk;
    }
    return true;
}

/* Chunks whose items all lie before the window and its slack. */
static void evict(struct rk_bank *bank)
{
    uint64_t keep = bank->shape.capacity + slack_of(&bank->shape);
    uint64_t from = bank->now.end > keep ? bank->now.end - keep : 0;
    size_t gone = 0;
    while (gone + 1 < bank->chunks && bank->chunk[gone]->first + bank->chunk[gone]->used <= from)
        gone++;
    if (gone)
        drop_chunks(bank, gone);
}

enum rankd_status rk_bank_append(struct rk_bank *bank, const struct rk_batch *batch, uint64_t version,
                                 struct rk_err *err)
{
    pthread_mutex_lock(&bank->lock);
    size_t before = bank->chunks;
    struct holder *holder = NULL;
    if (!make_room(bank, batch->items) || !(holder = holder_new(bank, bank->chunks))) {
        while (bank->chunks > before)
            chunk_drop(bank->chunk[--bank->chunks]);
        pthread_mutex_unlock(&bank->lock);
        return rk_fail(err, RANKD_OVERLOADED, "no memory for %zu more items in the bank", batch->items);
    }
    size_t done = 0;
    for (size_t i = before ? before - 1 : 0; done < batch->items; i++) {
        size_t room = bank->chunk[i]->room - bank->chunk[i]->used, left = batch->items - done;
        size_t count = room < left ? room : left;
        if (count)
            chunk_fill(bank, bank->chunk[i], batch, done, count);
        done += count;
    }
    bank->now.end += batch->items;
    bank->now.version = version;
    evict(bank);
    holder_fill(bank, holder, bank->now, window_start(bank, bank->now.end));
    struct holder *old = bank->current;
    bank->current = holder;
    pthread_mutex_unlock(&bank->lock);
    holder_drop(old);
    return RANKD_OK;
}

enum rankd_status rk_bank_reset(struct rk_bank *bank, struct rk_bank_point point, bool whole,
                                struct rk_err *err)
{
    struct holder *holder = holder_new(bank, 0);
    if (!holder)
        return rk_fail(err, RANKD_OVERLOADED, "no memory to clear the bank");
    pthread_mutex_lock(&bank->lock);
    if (bank->chunks)
        drop_chunks(bank, bank->chunks);
    bank->now = point;
    bank->base = point.end;
    bank->whole = whole || point.end == 0;
    holder_fill(bank, holder, point, point.end);
    struct holder *old = bank->current;
    bank->current = holder;
    pthread_mutex_unlock(&bank->lock);
    holder_drop(old);
    return RANKD_OK;
}

enum rankd_status rk_bank_set_generation(struct rk_bank *bank, uint64_t generation, struct rk_err *err)
{
    pthread_mutex_lock(&bank->lock);
    struct holder *holder = holder_new(bank, bank->chunks), *old = bank->current;
    if (holder) {
        bank->now.generation = generation;
        holder_fill(bank, holder, bank->now, window_start(bank, bank->now.end));
        bank->current = holder;
    }
    pthread_mutex_unlock(&bank->lock);
    if (!holder)
        return rk_fail(err, RANKD_OVERLOADED, "no memory to raise the bank's generation");
    holder_drop(old);
    return RANKD_OK;
}

struct rk_bank_point rk_bank_now(struct rk_bank *bank)
{
    pthread_mutex_lock(&bank->lock);
    struct rk_bank_point now = bank->now;
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
