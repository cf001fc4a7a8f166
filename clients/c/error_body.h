/* SPDX-License-Identifier: Apache-2.0 */
/* Errors in the format of the daemon, over HTTP and on the control channel of the ring. */
#ifndef RANKD_ERROR_BODY_H
#define RANKD_ERROR_BODY_H

#include "rankd.h"

/* Copies the sentence of a body like {"error": "…"}, or else the beginning of the body, to *error
 * (which may be NULL); returns `status`. */
int rankd_fail_json(struct rankd_error *error, int status, const char *body, size_t bytes);

#endif
