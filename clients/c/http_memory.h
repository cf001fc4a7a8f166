/* Memory from rankd_alloc() over HTTP: plain memory, remembered so that rankd_close() can free it. *pieces is
 * a client's list, NULL at first. Not thread-safe. */
#ifndef RANKD_HTTP_MEMORY_H
#define RANKD_HTTP_MEMORY_H

#include <stdint.h>

struct rankd_piece;

void *rankd_http_take(struct rankd_piece **pieces, uint64_t bytes); /* 64-byte aligned; NULL: out of memory */
void rankd_http_give(struct rankd_piece **pieces,
                     const void *memory); /* what is not of the list is left alone */
void rankd_http_give_all(struct rankd_piece **pieces);

#endif
