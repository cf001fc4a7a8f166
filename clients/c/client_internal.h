/* The interface between rankd.h and the transports. */
#ifndef RANKD_CLIENT_INTERNAL_H
#define RANKD_CLIENT_INTERNAL_H

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

int rankd_ring_open(const char *path, const struct rankd_options *options, rankd_client **client,
                    struct rankd_error *error);
int rankd_http_open(const char *url, const struct rankd_options *options, rankd_client **client,
                    struct rankd_error *error);

/* Sets *error (which may be NULL) and returns `status`. */
int rankd_fail(struct rankd_error *error, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Copies the sentence of a body like {"error": "…"}, or else the beginning of the body, to *error. */
int rankd_fail_json(struct rankd_error *error, int status, const char *body, size_t bytes);

/* Makes *reply a failed one with this sentence; returns `status`. */
int rankd_reply_fail(struct rankd_reply *reply, int status, const char *sentence);

/* CLOCK_MONOTONIC, ns; and a moment `timeout_ns` from now that saturates at UINT64_MAX. */
uint64_t rankd_now_ns(void);
uint64_t rankd_until(uint64_t timeout_ns);

/* Milliseconds from now until `until_ns`, rounded up; at most an hour, so that callers ask again. 0: past. */
int rankd_milliseconds(uint64_t until_ns);

/* Upper bound of the bytes of an output, from the inputs of the request; 0 if unknown. */
uint64_t rankd_output_room(const struct rankd_request *request, int port);

uint64_t rankd_dtype_bytes(int dtype); /* of an element; 0 outside the enumeration */

/* True if the tensor has one or two dimensions, a known type, and bytes that match both. */
bool rankd_fits(const struct rankd_tensor *tensor);

/* The same for an output that a daemon describes, which must have the type of its port. */
bool rankd_output_fits(const struct rankd_tensor *output);

/* True if a daemon may report this status for a request or a call: RANKD_OK or a rankd_status. Others would
 * be mistaken for statuses of the library. */
bool rankd_is_status(long status);

/* Checks pointers and sizes that would be read out of bounds here, and values that a transport can't express.
 * RANKD_MISUSE; RANKD_NOT_FOUND or RANKD_INVALID for a name longer than any that the daemon knows. */
int rankd_check_request(const struct rankd_request *request, struct rankd_error *error);

extern const char *const rankd_dtype_names[RANKD_DTYPE_COUNT];
extern const char *const rankd_input_names[RANKD_IN_COUNT];
extern const char *const rankd_output_names[RANKD_OUT_COUNT];

#endif
