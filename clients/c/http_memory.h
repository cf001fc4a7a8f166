/* SPDX-License-Identifier: Apache-2.0 */
/* Memory from rankd_alloc() over HTTP: plain memory in a list, so that rankd_close() can free it.
 * *pieces is the list of a client, NULL at first. Not thread-safe. */
#ifndef RANKD_HTTP_MEMORY_H
#define RANKD_HTTP_MEMORY_H

#include <stdint.h>

struct rankd_piece;

void *rankd_http_take(struct rankd_piece **pieces, uint64_t bytes); /* 64-byte aligned; NULL: out of memory */
void rankd_http_give(struct rankd_piece **pieces, const void *memory); /* ignored if it is not in the list */
void rankd_http_give_all(struct rankd_piece **pieces);

#endif
