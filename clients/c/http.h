/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP transport, for the table of transports. */
#ifndef RANKD_HTTP_H
#define RANKD_HTTP_H

#include "transport.h"

/* http://HOST:PORT or https://HOST:PORT. Connects at the first request. */
int rankd_http_open(const char *url, const struct rankd_options *options, rankd_client **client,
                    struct rankd_error *error);

#endif
