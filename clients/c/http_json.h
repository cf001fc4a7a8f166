/* Requests and replies as the Open Inference Protocol writes them, with binary tensors. */
#ifndef RANKD_HTTP_JSON_H
#define RANKD_HTTP_JSON_H

#include "client_internal.h"

/* The body: JSON head, then the inputs' bytes. malloc'ed; *json_bytes is the head's length. NULL: out of
 * memory, or a number that JSON can't write. */
char *rankd_http_encode(const struct rankd_request *request, size_t *json_bytes, size_t *bytes);

/* Where an output of a request goes. */
struct rankd_http_room {
    bool wanted;
    void *to; /* NULL: malloc'ed, the reply's */
    uint64_t bytes;
};

/* Reads the body of a 200. Returns the reply's status: RANKD_OK, RANKD_INVALID (an output does not fit its
 * room), RANKD_LOST (not a reply of rankd's). */
int rankd_http_decode(const char *body, size_t bytes, size_t json_bytes, const struct rankd_http_room *rooms,
                      struct rankd_reply *reply);

#endif
