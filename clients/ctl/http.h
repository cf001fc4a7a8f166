/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's control API, for rankctl: one call, one JSON value or text. Over HTTP, or over the
 * daemon's socket where --socket (or a URL of the form unix:PATH) names it. */
#ifndef RANKD_CTL_HTTP_H
#define RANKD_CTL_HTTP_H

#include <jansson.h>

#include "ctl.h"

struct ctl_http; /* one connection, kept open between calls */

/* Exits with a sentence if the address is not valid, or there is no memory. */
struct ctl_http *rankd_ctl_http_open(const struct ctl *ctl);
void rankd_ctl_http_close(struct ctl_http *http);

/* Sends the request (`body` NULL = none) and returns the answer's text, the caller's to free, if
 * the daemon said 200. Otherwise NULL, with a sentence in rankd_ctl_http_why(). */
char *rankd_ctl_http_text(struct ctl_http *http, const char *method, const char *path, const char *body);
const char *rankd_ctl_http_why(const struct ctl_http *http);

/* The address, for sentences. */
const char *rankd_ctl_http_url(const struct ctl_http *http);

/* Whether this rankctl would use HTTP for the URL: it was built with HTTP, and the URL is not a
 * socket. */
bool rankd_ctl_http_speaks(const char *url);

/* The same as a JSON value, the caller's (json_decref); an empty body is an empty object. NULL as
 * above. */
json_t *rankd_ctl_http_json(struct ctl_http *http, const char *method, const char *path, const char *body);

/* A text member of an answer, for printing; "?" if it is missing or not a text. */
const char *rankd_ctl_http_string(const json_t *object, const char *key);

/* The state of a bank for tables: "read-only", "ready", or the daemon's state of a bank in a
 * store. */
const char *rankd_ctl_bank_state(const json_t *bank);

/* Whether the answer is an array of objects. */
bool rankd_ctl_http_is_list(const json_t *answer);

#endif
