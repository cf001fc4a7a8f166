/* SPDX-License-Identifier: Apache-2.0 */
/* The shared-memory transport, for the table of transports. */
#ifndef RANKD_RING_H
#define RANKD_RING_H

#include "transport.h"

/* unix:PATH or unix://PATH. Connects at once. */
int rankd_ring_open(const char *url, const struct rankd_options *options, rankd_client **client,
                    struct rankd_error *error);

#endif
