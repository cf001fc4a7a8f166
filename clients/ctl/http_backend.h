/* SPDX-License-Identifier: Apache-2.0 */
/* The transports of the control API for rankctl: libcurl (http_curl.c) or the daemon's socket
 * (http_socket.c). */
#ifndef RANKD_CTL_HTTP_BACKEND_H
#define RANKD_CTL_HTTP_BACKEND_H

#include "http.h"

struct ctl_backend {
    /* As rankd_ctl_http_text(). */
    char *(*text)(struct ctl_http *http, const char *method, const char *path, const char *body);
    void (*close)(struct ctl_http *http); /* frees it */
};

/* The beginning of a backend's own struct. */
struct ctl_http {
    const struct ctl_backend *backend;
    char url[2048]; /* for sentences */
    char why[4608]; /* of the last call that failed */
};

/* Each exits with a sentence if the address is not valid, or there is no memory. */
struct ctl_http *rankd_ctl_curl_open(const struct ctl *ctl);   /* --url */
struct ctl_http *rankd_ctl_socket_open(const struct ctl *ctl); /* --socket; connects at the first call */

#endif
