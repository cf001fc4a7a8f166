/* SPDX-License-Identifier: Apache-2.0 */
/* The status of a request: one set of codes for the engine, the daemon, the wire and the clients.
 *
 * The numbers are those of HTTP, so that no mapping is needed; 0 is success (HTTP: 200).
 * Completions of the ring use the same numbers. */
#ifndef RANKD_STATUS_H
#define RANKD_STATUS_H

enum rankd_status {
    RANKD_OK = 0,
    RANKD_INVALID = 400,      /* a bad argument, or the thing exists already */
    RANKD_UNAUTHORIZED = 401, /* no token, or a wrong one */
    RANKD_FORBIDDEN = 403,    /* not with this token, or a foreign Origin or unknown Host */
    RANKD_NOT_FOUND = 404,    /* no such model, bank, checkpoint, URL */
    RANKD_WRONG_VERB = 405,   /* the URL exists, not with this verb */
    RANKD_CONFLICT = 409,     /* a bank of another configuration, generation or batch content */
    RANKD_TOO_LARGE = 413,    /* over a limit on size */
    RANKD_CANCELLED = 499,    /* cancelled by its client before it was computed */
    RANKD_INTERNAL = 500,     /* a fault of the daemon */
    RANKD_UNSUPPORTED = 501,  /* not built in, or switched off */
    RANKD_OVERLOADED = 503,   /* no room now, or shutting down: try again after a while */
    RANKD_DEADLINE = 504,     /* the deadline of the request passed before its answer */
    RANKD_NO_SPACE = 507      /* no room for an append */
};

#endif
