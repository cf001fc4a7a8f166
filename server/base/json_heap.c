/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json_heap.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>

/* Pieces double in size, so that a document of any size takes few, up to a size that wastes little
 * at the end. */
enum { FIRST_PIECE = 16384, LARGEST_PIECE = 8 << 20 };
enum { ALIGN = sizeof(void *) }; /* Jansson's types need no more */

struct rk_json_piece {
    struct rk_json_piece *next;
    size_t bytes;
    char memory[];
};

static _Thread_local struct rk_json_heap *open_heap;

static size_t next_piece(const struct rk_json_heap *heap, size_t wanted)
{
    size_t bytes = heap->held < FIRST_PIECE ? FIRST_PIECE : heap->held;
    bytes = bytes > LARGEST_PIECE ? LARGEST_PIECE : bytes;
    wanted += sizeof(struct rk_json_piece);
    return wanted > bytes ? wanted : bytes;
}

static bool grow_heap(struct rk_json_heap *heap, size_t wanted)
{
    const size_t bytes = next_piece(heap, wanted);
    if (heap->budget && rk_budget_reserve(heap->budget, heap->beside + heap->held, bytes, "the request",
                                          &heap->err) != RANKD_OK)
        return false;
    struct rk_json_piece *piece = malloc(bytes);
    if (!piece) {
        if (heap->budget)
            rk_budget_give(heap->budget, bytes);
        (void)rk_fail(&heap->err, RANKD_OVERLOADED,
                      "no memory for the JSON of the request; try again in a moment");
        return false;
    }
    piece->next = heap->pieces;
    piece->bytes = bytes;
    heap->pieces = piece;
    heap->held += bytes;
    heap->at = piece->memory;
    heap->end = (char *)piece + bytes;
    return true;
}

static void *take_block(size_t bytes)
{
    struct rk_json_heap *heap = open_heap;
    if (!heap)
        return malloc(bytes);
    /* Jansson does not notice that the text of a token could not grow, and reads it up to a quote
     * that is not there. It stops at the next block that it does not get. (No document is of half
     * of the memory.) */
    if (heap->err.status != RANKD_OK || bytes > SIZE_MAX / 2)
        return NULL;
    bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    if (bytes > (size_t)(heap->end - heap->at) && !grow_heap(heap, bytes))
        return NULL;
    void *memory = heap->at;
    heap->at += bytes;
    return memory;
}

static void give(void *memory)
{
    if (!open_heap)
        free(memory);
}

struct rk_json_heap_mark rk_json_heap_mark(void)
{
    const struct rk_json_heap *heap = open_heap;
    return heap ? (struct rk_json_heap_mark){heap->pieces, heap->at} : (struct rk_json_heap_mark){0};
}

/* Of the pieces since then the newest stays: a value that does not fit into the one before would
 * otherwise make it again each time. */
void rk_json_heap_back(struct rk_json_heap_mark mark)
{
    struct rk_json_heap *heap = open_heap;
    if (!heap || heap->pieces == mark.piece) {
        if (heap)
            heap->at = mark.at;
        return;
    }
    struct rk_json_piece *newest = heap->pieces;
    while (newest->next != mark.piece) {
        struct rk_json_piece *piece = newest->next;
        newest->next = piece->next;
        heap->held -= piece->bytes;
        if (heap->budget)
            rk_budget_give(heap->budget, piece->bytes);
        free(piece);
    }
    heap->at = newest->memory;
}

void rk_json_heap_install(void)
{
    json_set_alloc_funcs(take_block, give);
}

void rk_json_heap_open(struct rk_json_heap *heap, struct rk_budget *budget, size_t beside)
{
    *heap = (struct rk_json_heap){.budget = budget, .beside = beside};
    open_heap = heap;
}

void rk_json_heap_close(struct rk_json_heap *heap)
{
    open_heap = NULL;
    while (heap->pieces) {
        struct rk_json_piece *piece = heap->pieces;
        heap->pieces = piece->next;
        free(piece);
    }
    if (heap->budget)
        rk_budget_give(heap->budget, heap->held);
    heap->held = 0;
}

size_t rk_json_heap_held(void)
{
    return open_heap ? open_heap->held : 0;
}

void rk_json_heap_beside(size_t bytes)
{
    if (open_heap)
        open_heap->beside += bytes;
}

bool rk_json_heap_refused(struct rk_err *err)
{
    if (!open_heap || open_heap->err.status == RANKD_OK)
        return false;
    (void)rk_fail(err, open_heap->err.status, "%s", open_heap->err.text);
    return true;
}
