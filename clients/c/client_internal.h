/* What a transport is to the calls of rankd.h. */
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
    /* wait with limit 0: RANKD_PENDING if it is not there */
    int (*wait)(rankd_client *client, uint64_t tag, uint64_t timeout_ns, struct rankd_reply *reply);
    int (*cancel)(rankd_client *client, uint64_t tag, bool discard);
    int (*call)(rankd_client *client, const char *method, const char *path, const void *body, size_t bytes,
                uint64_t timeout_ns, char **answer, size_t *answer_bytes, struct rankd_error *error);
    uint64_t (*daemon_id)(rankd_client *client);
};

/* First member of each transport's own struct. */
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

/* The sentence of a body like {"error": "…"}, or a piece of the body itself, into *error. */
int rankd_fail_json(struct rankd_error *error, int status, const char *body, size_t bytes);

/* *reply becomes a failed one with that sentence; returns `status`. */
int rankd_reply_fail(struct rankd_reply *reply, int status, const char *sentence);

/* CLOCK_MONOTONIC, ns; and a moment `timeout_ns` from now that saturates at UINT64_MAX. */
uint64_t rankd_now_ns(void);
uint64_t rankd_until(uint64_t timeout_ns);

/* From now until then, rounded up; an hour at most, after which one may ask again. 0: it is past. */
int rankd_milliseconds(uint64_t until_ns);

/* Room that an output may need at most, from the request's inputs; 0 if they do not tell. */
uint64_t rankd_output_room(const struct rankd_request *request, int port);

uint64_t rankd_dtype_bytes(int dtype); /* of an element; 0 outside the enumeration */

/* Whether the tensor is of one or two dimensions and of a type there is, and its bytes are what both need. */
bool rankd_fits(const struct rankd_tensor *tensor);

/* The same of an output that a daemon describes, which has the type that its port always has. */
bool rankd_output_fits(const struct rankd_tensor *output);

/* Whether a daemon may end a request, or a call, so: RANKD_OK or an error's status. Others would be taken for
 * the library's own. */
bool rankd_is_status(long status);

/* Checks what would otherwise be read out of bounds here, or what one of the transports has no way to say.
 * RANKD_MISUSE; RANKD_NOT_FOUND, RANKD_INVALID where a name is longer than any that the daemon knows. */
int rankd_check_request(const struct rankd_request *request, struct rankd_error *error);

extern const char *const rankd_dtype_names[RANKD_DTYPE_COUNT];
extern const char *const rankd_input_names[RANKD_IN_COUNT];
extern const char *const rankd_output_names[RANKD_OUT_COUNT];

#endif
