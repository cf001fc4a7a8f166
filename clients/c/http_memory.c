/* Memory from rankd_alloc() over HTTP: plain memory, remembered so that rankd_close() can free it. */
#include <stdlib.h>

#include "http_internal.h"

enum { ALIGN = 64 };

/* Before each piece. */
struct rankd_piece {
    struct rankd_piece *next;
};

void *rankd_http_take(struct rankd_http *http, uint64_t bytes)
{
    if (bytes > SIZE_MAX - 3 * ALIGN)
        return NULL;
    struct rankd_piece *piece = aligned_alloc(ALIGN, ALIGN + (bytes + ALIGN) / ALIGN * ALIGN);
    if (piece == NULL)
        return NULL;
    piece->next = http->pieces;
    http->pieces = piece;
    return (char *)piece + ALIGN;
}

void rankd_http_give(struct rankd_http *http, const void *memory)
{
    for (struct rankd_piece **link = &http->pieces; *link != NULL; link = &(*link)->next) {
        struct rankd_piece *piece = *link;
        if ((char *)piece + ALIGN != (const char *)memory)
            continue;
        *link = piece->next;
        free(piece);
        return;
    }
}

void rankd_http_give_all(struct rankd_http *http)
{
    while (http->pieces != NULL) {
        struct rankd_piece *next = http->pieces->next;
        free(http->pieces);
        http->pieces = next;
    }
}
