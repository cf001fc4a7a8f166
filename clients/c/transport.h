/* SPDX-License-Identifier: Apache-2.0 */
/* The interface between rankd.h and the transports, and the URL prefix of each transport. */
#ifndef RANKD_TRANSPORT_H
#define RANKD_TRANSPORT_H

#include <stdatomic.h>
#include <stdbool.h>

#include "rankd.h"

struct rankd_transport {
    void (*close)(rankd_client *client);
    void (*forked)(rankd_client *client); /* in the child of a fork; async-signal-safe calls only */
    int (*reconnect)(rankd_client *client, struct rankd_error *error);
    void *(*alloc)(rankd_client *client, uint64_t bytes);
    void (*release)(rankd_client *client, void *memory);
    void (*arena)(rankd_client *client, uint64_t *bytes, uint64_t *largest_free);
    int (*submit)(rankd_client *client, const struct rankd_request *request, uint64_t *tag,
                  struct rankd_error *error);
    /* wait with timeout 0: RANKD_PENDING if there is no reply yet */
    int (*wait)(rankd_client *client, uint64_t tag, uint64_t timeout_ns, struct rankd_reply *reply);
    int (*cancel)(rankd_client *client, uint64_t tag, bool discard);
    int (*call)(rankd_client *client, const char *method, const char *path, const void *body, size_t bytes,
                uint64_t timeout_ns, char **answer, size_t *answer_bytes, struct rankd_error *error);
    uint64_t (*daemon_id)(rankd_client *client);
};

/* First member of the struct of each transport. */
struct rankd_client {
    const struct rankd_transport *transport;
    atomic_bool forked;
    struct rankd_client *next, *previous; /* all clients of the process, for the fork handler */
};

/* One row of the table in client.c. */
struct rankd_transport_kind {
    const char *prefix; /* of its URLs */
    /* `url` includes the prefix. On success the caller owns *client, and its `transport` is set. */
    int (*open)(const char *url, const struct rankd_options *options, rankd_client **client,
                struct rankd_error *error);
};

#endif
