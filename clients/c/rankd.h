/* librankd: rank-based losses and their blackbox gradients, computed by the rankd daemon.
 *
 *     struct rankd_error error;
 *     rankd_client *client;
 *     if (rankd_open("unix:/run/rankd/ring", NULL, &client, &error) != 0) …
 *
 * A client talks to one daemon, over shared memory on the same machine (unix:PATH) or over HTTP
 * (http://host:port), with the same calls. Over shared memory nothing is serialised; tensors that lie in
 * memory from rankd_alloc() are read and written by the daemon where they are, others are copied once, here.
 *
 * Every function that returns an int returns 0 (RANKD_OK), a status of the daemon's (rankd_status.h) or one
 * of enum rankd_client_status; where there is a `struct rankd_error` it then has one sentence. It may be
 * NULL. Another pointer may be NULL where this says so: anywhere else, the client included, NULL is
 * RANKD_MISUSE, and functions that return something else return NULL or 0, or do nothing.
 *
 * Answers are looked at before they are believed, over HTTP as in shared memory: one that is malformed, or
 * that is not what was asked for, is RANKD_PROTOCOL, and no more memory is taken than bytes of it have
 * arrived, nor more than what was asked for may need. Limits of time hold for a request as a whole, by
 * CLOCK_MONOTONIC, however many pieces its answer comes in.
 *
 * Threads: all functions but rankd_close() may be called on one client from any number of threads at once.
 * Any thread may wait for any tag, but only one for each.
 *
 * Fork: a child must open a client of its own. On an inherited one every call fails with RANKD_FORKED; the
 * library has closed the child's copy of the socket, and memory from rankd_alloc() is not mapped in the
 * child: touching it there is a segmentation fault. So a DataLoader's worker neither keeps nor sees a
 * trainer's segment. */
#ifndef RANKD_H
#define RANKD_H

#include <stddef.h>
#include <stdint.h>

#include "rankd_status.h"
#include "rankd_types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define RANKD_API __attribute__((visibility("default")))

/* What can happen on the way to the daemon. Below 100, so that they mix with enum rankd_status. */
enum rankd_client_status {
    RANKD_PENDING = 1,     /* not completed yet; not an error */
    RANKD_TIMEOUT = 2,     /* the caller's own limit passed; the request goes on */
    RANKD_UNREACHABLE = 3, /* no connection came about; nothing was sent */
    RANKD_LOST = 4,        /* the connection broke; what was sent may have been done. See rankd_reconnect() */
    RANKD_FORKED = 5,      /* the client belongs to the parent process */
    RANKD_MISUSE = 6,      /* an argument is wrong, seen before anything was sent */
    RANKD_NO_MEMORY = 7,   /* no room, in the arena or in the process */
    RANKD_PROTOCOL = 8     /* the answer is none of rankd's; what was sent may have been done */
};

struct rankd_error {
    int status;
    char text[512];
};

typedef struct rankd_client rankd_client;

/* Fill with zeros and set what matters; 0 and NULL mean the default. */
struct rankd_options {
    uint64_t arena_bytes; /* of shared memory; default 64 MiB. The daemon has bounds */
    uint32_t entries;     /* requests that may be outstanding; default 64 */
    uint32_t
        spin_us; /* longest spin of a wait before it sleeps, if the daemon grants it; 0 = sleep at once */
    uint64_t connect_timeout_ns; /* default 10 s */
    const char *token;           /* HTTP: sent as a bearer token */
};

/* `url`: unix:PATH, http://host:port or https://host:port; copied, as is all of *options (NULL: the
 * defaults). On success *client is the caller's and goes with rankd_close(). RANKD_UNREACHABLE,
 * RANKD_FORBIDDEN (the daemon does not want this uid), RANKD_OVERLOADED (it has no room), RANKD_MISUSE (of a
 * token, too, that is not of printable ASCII characters),
 * RANKD_NO_MEMORY (in the process, or an arena too small for the entries' descriptors). HTTP
 * connects at the first request. What changes something (an append without batch_id, a call other than GET)
 * is sent once, and is RANKD_LOST if the connection breaks before its answer; anything else at most twice. */
RANKD_API int rankd_open(const char *url, const struct rankd_options *options, rankd_client **client,
                         struct rankd_error *error);

/* Hangs up and frees everything, rankd_alloc()'s memory included. No other call may be under way. NULL is
 * fine. */
RANKD_API void rankd_close(rankd_client *client);

/* Connects anew after RANKD_LOST. Tags from before are over: RANKD_LOST to whoever waits for one. Memory that
 * was allocated before stays readable and writable until it is freed; used in a request, it is copied like
 * any other memory. On a connection that stands, does nothing. */
RANKD_API int rankd_reconnect(rankd_client *client, struct rankd_error *error);

/* 64-byte aligned memory that the daemon can read and write in place (over HTTP: plain memory). Not cleared.
 * NULL if the arena has no room. Freed by rankd_free(), NULL is fine there, or rankd_close(). */
RANKD_API void *rankd_alloc(rankd_client *client, uint64_t bytes);
RANKD_API void rankd_free(rankd_client *client, void *memory);

/* Bytes of the arena, and of its largest free piece. Over HTTP both are UINT64_MAX. Either may be NULL. */
RANKD_API void rankd_arena(rankd_client *client, uint64_t *bytes, uint64_t *largest_free);

/* A row-major matrix or vector. */
struct rankd_tensor {
    int port;          /* enum rankd_input, or enum rankd_output for an output */
    int dtype;         /* enum rankd_dtype; not looked at in an output's request */
    int rank;          /* 1 or 2; likewise */
    uint64_t shape[2]; /* likewise */
    void *data;        /* an output's NULL: the library takes the room. An input of 0 bytes may have NULL */
    uint64_t bytes; /* an input's exact size; an output's room (0 with data NULL: as much as it may need); a
                       result's size */
};

enum { RANKD_NUMBER = 1, RANKD_FLAG = 2, RANKD_TEXT = 3 };

struct rankd_parameter {
    const char *name; /* "lambda", … */
    int type;         /* RANKD_NUMBER, RANKD_FLAG or RANKD_TEXT */
    double number;    /* a flag is 0 or 1 */
    const char *text; /* with RANKD_TEXT */
};

struct rankd_request {
    const char *model; /* "ap", …; POST /v2/repository/index lists them */
    const char *id;    /* the request's own name for logs, up to 63 bytes; NULL = none */
    const struct rankd_tensor *inputs;
    size_t input_count;
    const struct rankd_tensor *outputs; /* those that are wanted */
    size_t output_count;
    const struct rankd_parameter *parameters;
    size_t parameter_count;
    uint64_t timeout_ns; /* the daemon gives up after so long (RANKD_DEADLINE); 0 = the daemon's own limit */
};

struct rankd_reply {
    int status;
    char error[512]; /* a sentence if status is not 0, else "" */
    double loss;     /* of the request; over HTTP that of the output, NaN where it was not asked for */
    uint64_t lists, lists_skipped;
    int has_gradient; /* the next two count */
    uint64_t lists_stalled, gradient_nonzero;
    int has_bank; /* the rest counts */
    uint64_t bank_items, bank_version, bank_version_appended, bank_generation;
    double gradient_dropped;
    uint64_t queue_ns, compute_ns; /* in the daemon; over HTTP 0 */

    struct rankd_tensor outputs[RANKD_OUT_COUNT]; /* by enum rankd_output; data NULL: not there. If the room
                                                     given was too small, `bytes` is what is needed */
    unsigned owned;                               /* bits of those whose memory is the reply's */
};

/* Sends a request. The struct and what it points at may go when this returns, but for tensors in memory from
 * rankd_alloc() and outputs' memory: those stay as they are until the reply was taken. *tag names the request
 * (never 0). RANKD_OVERLOADED: all entries are in use; RANKD_NO_MEMORY: the arena has no room for copies
 * and outputs. */
RANKD_API int rankd_submit(rankd_client *client, const struct rankd_request *request, uint64_t *tag,
                           struct rankd_error *error);

/* Takes the reply if it is there: returns its status and fills *reply, which then goes with
 * rankd_reply_clear(). RANKD_PENDING if not (poll), RANKD_TIMEOUT if it did not come within timeout_ns (wait;
 * UINT64_MAX = no limit). RANKD_LOST ends the request; *reply has the sentence, and no outputs. */
RANKD_API int rankd_poll(rankd_client *client, uint64_t tag, struct rankd_reply *reply);
RANKD_API int rankd_wait(rankd_client *client, uint64_t tag, uint64_t timeout_ns, struct rankd_reply *reply);

/* rankd_submit() and rankd_wait() without limit. A failure before anything was sent is in *reply as well. */
RANKD_API int rankd_infer(rankd_client *client, const struct rankd_request *request,
                          struct rankd_reply *reply);

/* Takes a request back if it was not started: it then completes with RANKD_CANCELLED, and is waited for as
 * usual. RANKD_MISUSE: nothing outstanding has this tag; RANKD_LOST: it went with its connection. */
RANKD_API int rankd_cancel(rankd_client *client, uint64_t tag);

/* Takes it back and forgets it: nobody will wait. Over HTTP its connection is closed, and it may have been
 * done. Over shared memory, memory that the caller gave may still be written to until the daemon is done with
 * it. */
RANKD_API void rankd_forget(rankd_client *client, uint64_t tag);

/* Frees outputs whose memory is the reply's. Fine on a zeroed reply, and twice. */
RANKD_API void rankd_reply_clear(rankd_client *client, struct rankd_reply *reply);

/* A control request, with paths and bodies of the HTTP API ("GET", "/v2/banks"). On 200, 0 is returned and
 * *answer is malloc'ed, NUL-terminated, the caller's to free(); its length is *answer_bytes (may be NULL).
 * Otherwise the status, with the daemon's sentence in *error, and *answer is NULL. A call that ended with
 * RANKD_TIMEOUT may have been done: over HTTP its connection is closed; over shared memory it goes on, and
 * the next one waits for its end. */
RANKD_API int rankd_call(rankd_client *client, const char *method, const char *path, const void *body,
                         size_t body_bytes, uint64_t timeout_ns, char **answer, size_t *answer_bytes,
                         struct rankd_error *error);

/* A number that is another one after each start of the daemon; 0 over HTTP. */
RANKD_API uint64_t rankd_daemon_id(rankd_client *client);

/* The version of this library, such as "0.2.0". */
RANKD_API const char *rankd_version(void);

#ifdef __cplusplus
}
#endif

#endif
