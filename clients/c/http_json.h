/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and replies in the format of the Open Inference Protocol, with binary tensors. */
#ifndef RANKD_HTTP_JSON_H
#define RANKD_HTTP_JSON_H

#include <stdbool.h>

#include "rankd.h"

struct rankd_piece;

/* The body: JSON, then the bytes of the inputs. malloc'ed; *json_bytes is the length of the JSON.
 * NULL: out of memory. */
char *rankd_http_encode(const struct rankd_request *request, size_t *json_bytes, size_t *bytes);

/* The destination of an output of a request. */
struct rankd_http_room {
    bool wanted;
    void *to;       /* NULL: memory of the client, owned by the reply */
    uint64_t bytes; /* 0 with `to` NULL: the needed size */
};

/* Reads the body of a 200. Memory for outputs without a destination is added to *pieces
 * (http_memory.h). Returns the status of the reply: RANKD_OK, RANKD_INVALID (an output does not fit
 * its room), RANKD_NO_MEMORY, RANKD_PROTOCOL (malformed, or without a requested output). Outputs
 * that were not requested are skipped. */
int rankd_http_decode(struct rankd_piece **pieces, const char *body, size_t bytes, size_t json_bytes,
                      const struct rankd_http_room *rooms, struct rankd_reply *reply);

#endif
