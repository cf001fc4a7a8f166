/* SPDX-License-Identifier: Apache-2.0 */
#include "http_memory.h"

#include <stdlib.h>

enum { ALIGN = 64 };

/* Before each piece. */
struct rankd_piece {
    struct rankd_piece *next;
};

void *rankd_http_take(struct rankd_piece **pieces, uint64_t bytes)
{
    if (bytes > SIZE_MAX - 3 * ALIGN)
        return NULL;
    struct rankd_piece *piece = aligned_alloc(ALIGN, ALIGN + (bytes + ALIGN) / ALIGN * ALIGN);
    if (piece == NULL)
        return NULL;
    piece->next = *pieces;
    *pieces = piece;
    return (char *)piece + ALIGN;
}

void rankd_http_give(struct rankd_piece **pieces, const void *memory)
{
    for (struct rankd_piece **link = pieces; *link != NULL; link = &(*link)->next) {
        struct rankd_piece *piece = *link;
        if ((char *)piece + ALIGN != (const char *)memory)
            continue;
        *link = piece->next;
        free(piece);
        return;
    }
}

void rankd_http_give_all(struct rankd_piece **pieces)
{
    while (*pieces != NULL) {
        struct rankd_piece *next = (*pieces)->next;
        free(*pieces);
        *pieces = next;
    }
}
