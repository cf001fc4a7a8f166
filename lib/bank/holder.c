/* SPDX-License-Identifier: Apache-2.0 */
#include "bank/holder.h"

#include <stdlib.h>

#include "bank/kind.h"

struct rk_holder *rk_holder_new(const struct rk_bank_shape *shape, size_t chunks)
{
    struct rk_holder *holder = calloc(1, sizeof *holder);
    void *views = calloc(chunks + 1, shape->kind->view_bytes);
    struct rk_held_chunk *held = calloc(chunks + 1, sizeof *held);
    if (!holder || !views || !held) {
        free(holder);
        free(views);
        free(held);
        return NULL;
    }
    atomic_init(&holder->refs, 1);
    holder->held = held;
    holder->views = views;
    return holder;
}

void rk_holder_drop(struct rk_holder *holder)
{
    if (!holder || atomic_fetch_sub(&holder->refs, 1) != 1)
        return;
    for (size_t i = 0; i < holder->chunks; i++)
        rk_chunk_drop(holder->held[i].chunk);
    free(holder->held);
    free(holder->views);
    free(holder);
}

static void add(const struct rk_bank_shape *shape, struct rk_holder *holder, struct rk_chunk *chunk,
                size_t first, size_t items)
{
    size_t at = holder->chunks++;
    atomic_fetch_add(&chunk->refs, 1);
    holder->held[at] = (struct rk_held_chunk){chunk, first, items};
    holder->view.items += items;
    shape->kind->show_chunk(chunk, first, items, holder->views, at);
}

void rk_holder_fill(struct rk_holder *holder, const struct rk_bank_shape *shape,
                    struct rk_chunk *const *chunk, size_t chunks, struct rk_bank_position point,
                    uint64_t start)
{
    for (size_t i = 0; i < chunks; i++) {
        struct rk_chunk *one = chunk[i];
        uint64_t from = one->first > start ? one->first : start;
        uint64_t to = one->first + one->used < point.end ? one->first + one->used : point.end;
        if (from < to)
            add(shape, holder, one, (size_t)(from - one->first), (size_t)(to - from));
    }
    struct rk_bank_snapshot *view = &holder->view;
    holder->end = point.end;
    view->holds = shape->kind->holds;
    view->version = point.version;
    view->generation = point.generation;
    shape->kind->show(shape, holder->views, holder->chunks, view);
}

void rk_holder_narrow(struct rk_holder *holder, const struct rk_bank_shape *shape,
                      const struct rk_holder *whole, uint64_t start)
{
    struct rk_bank_snapshot *view = &holder->view;
    for (size_t i = 0; i < whole->chunks; i++) {
        const struct rk_held_chunk *held = &whole->held[i];
        const uint64_t first = held->chunk->first + held->first;
        const uint64_t skip = start > first ? start - first : 0;
        if (skip < held->items)
            add(shape, holder, held->chunk, held->first + (size_t)skip, held->items - (size_t)skip);
    }
    holder->end = whole->end;
    view->holds = whole->view.holds;
    view->version = whole->view.version;
    view->generation = whole->view.generation;
    shape->kind->show(shape, holder->views, holder->chunks, view);
}
