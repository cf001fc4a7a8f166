/* An error as the daemon sends it: over HTTP and in the ring's control channel alike. */
#ifndef RANKD_ERROR_BODY_H
#define RANKD_ERROR_BODY_H

#include "rankd.h"

/* The sentence of a body like {"error": "…"}, or a piece of the body itself, into *error (which may be NULL);
 * returns `status`. */
int rankd_fail_json(struct rankd_error *error, int status, const char *body, size_t bytes);

#endif
