/* SPDX-License-Identifier: Apache-2.0 */
/* librankd: rank-based losses and their blackbox gradients, computed by the rankd daemon.
 *
 *     struct rankd_error error;
 *     rankd_client *client;
 *     if (rankd_open("unix:/run/rankd/ring", NULL, &client, &error) != 0) …
 *
 * A client talks to one daemon, over shared memory on the same machine (unix:PATH) or over HTTP
 * (http://host:port), with the same functions. Over shared memory nothing is serialised: the daemon
 * reads and writes tensors in memory from rankd_alloc() in place; other tensors are copied once, in
 * the library.
 *
 * Every function that returns an int returns 0 (RANKD_OK), a status of the daemon (rankd_status.h)
 * or one of enum rankd_client_status; then `struct rankd_error`, if any, has one sentence. It may
 * be NULL. Other pointers may be NULL only if documented. Elsewhere, including the client, NULL is
 * RANKD_MISUSE, and functions that return no status return NULL or 0, or do nothing.
 *
 * Answers are validated, over HTTP as in shared memory: an answer that is malformed or does not
 * match the request is RANKD_PROTOCOL. The library allocates at most the bytes that have arrived,
 * and at most the size that the request may need. Time limits hold for a request as a whole, by
 * CLOCK_MONOTONIC, in any number of pieces.
 *
 * Threads: all functions but rankd_close() may be called on one client from any number of threads
 * at once. Any thread may wait for any tag, but only one for each.
 *
 * Fork: a child must open a client of its own. On an inherited one every call fails with
 * RANKD_FORKED; the library has closed the child's copy of the socket, and memory from
 * rankd_alloc() is not mapped in the child: an access there is a segmentation fault. So a
 * DataLoader worker neither keeps nor sees the segment of a trainer. */
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

/* Errors on the way to the daemon. Below 100, so that they do not overlap enum rankd_status. */
enum rankd_client_status {
    RANKD_PENDING = 1,     /* not completed yet; not an error */
    RANKD_TIMEOUT = 2,     /* the limit of the caller passed; the request continues */
    RANKD_UNREACHABLE = 3, /* no connection; nothing was sent */
    RANKD_LOST = 4,      /* the connection broke; the request may have been executed. See rankd_reconnect() */
    RANKD_FORKED = 5,    /* the client belongs to the parent process */
    RANKD_MISUSE = 6,    /* an argument is wrong; nothing was sent */
    RANKD_NO_MEMORY = 7, /* no room, in the arena or in the process */
    RANKD_PROTOCOL = 8   /* the answer is not from rankd; the request may have been executed */
};

struct rankd_error {
    int status;
    char text[512];
};

typedef struct rankd_client rankd_client;

/* Fill with zeros, then set members; 0 and NULL mean the default. */
struct rankd_options {
    uint64_t arena_bytes; /* of shared memory; default 64 MiB. The daemon has bounds */
    uint32_t entries;     /* requests that may be outstanding; default 64 */
    uint32_t
        spin_us; /* longest spin of a wait before it sleeps, if the daemon grants it; 0 = sleep at once */
    uint64_t connect_timeout_ns; /* default 10 s */
    const char *token;           /* over HTTP: sent as a bearer token */
};

/* `url`: unix:PATH, http://host:port or https://host:port; copied, like all of *options (NULL: the
 * defaults). On success the caller owns *client and frees it with rankd_close(). Errors:
 * RANKD_UNREACHABLE, RANKD_FORBIDDEN (the daemon refuses this uid), RANKD_OVERLOADED (it has no
 * room), RANKD_MISUSE (also a token with characters other than printable ASCII), RANKD_NO_MEMORY
 * (in the process, or an arena too small for the descriptors of the entries). HTTP connects at the
 * first request. A request that changes state (an append without batch_id, a call other than GET)
 * is sent once, and is RANKD_LOST if the connection breaks before its answer; any other is sent at
 * most twice. */
RANKD_API int rankd_open(const char *url, const struct rankd_options *options, rankd_client **client,
                         struct rankd_error *error);

/* Closes the connection and frees everything, including memory from rankd_alloc(). No other call on
 * the client may be in progress. NULL is fine. */
RANKD_API void rankd_close(rankd_client *client);

/* Connects again after RANKD_LOST. Earlier tags are over: waits for them return RANKD_LOST. Memory
 * that was allocated before stays readable and writable until it is freed; in a request it is
 * copied like other memory. Does nothing on a working connection. */
RANKD_API int rankd_reconnect(rankd_client *client, struct rankd_error *error);

/* 64-byte aligned memory that the daemon can read and write in place (over HTTP: plain memory). Not
 * cleared. NULL if the arena has no room. Freed by rankd_free() (NULL is fine) or rankd_close(). */
RANKD_API void *rankd_alloc(rankd_client *client, uint64_t bytes);
RANKD_API void rankd_free(rankd_client *client, void *memory);

/* Bytes of the arena, and of its largest free piece. Over HTTP both are UINT64_MAX. Either may be
 * NULL. */
RANKD_API void rankd_arena(rankd_client *client, uint64_t *bytes, uint64_t *largest_free);

/* A row-major matrix or vector. */
struct rankd_tensor {
    int port;          /* enum rankd_input, or enum rankd_output for an output */
    int dtype;         /* enum rankd_dtype; ignored for the outputs of a request */
    int rank;          /* 1 or 2; likewise */
    uint64_t shape[2]; /* likewise */
    void *data;        /* NULL for an output: the library allocates. An input of 0 bytes may have NULL */
    uint64_t bytes; /* exact size of an input; room of an output (0 with data NULL: the needed size); size of
                       a result */
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
    const char *id;    /* name of the request for logs, up to 63 bytes; NULL = none */
    const struct rankd_tensor *inputs;
    size_t input_count;
    const struct rankd_tensor *outputs; /* the requested ones */
    size_t output_count;
    const struct rankd_parameter *parameters;
    size_t parameter_count;
    uint64_t timeout_ns; /* deadline in the daemon (RANKD_DEADLINE); 0 = the limit of the daemon */
};

struct rankd_reply {
    int status;
    char error[512]; /* a sentence if status is not 0, else "" */
    double loss;     /* of the request; over HTTP from the output, NaN if that was not requested */
    uint64_t lists, lists_skipped;
    int has_gradient; /* the next two are valid */
    uint64_t lists_stalled, gradient_nonzero;
    int has_bank; /* the rest is valid */
    uint64_t bank_items, bank_version, bank_version_appended, bank_generation;
    double gradient_dropped;
    uint64_t queue_ns, compute_ns; /* in the daemon; over HTTP 0 */

    struct rankd_tensor outputs[RANKD_OUT_COUNT]; /* by enum rankd_output; data NULL: absent. If the room was
                                                     too small, `bytes` is the needed size */
    unsigned owned;                               /* bits of the outputs whose memory belongs to the reply */
};

/* Sends a request. After the return the caller may free the struct and the memory that it points
 * at, except for tensors in memory from rankd_alloc() and memory of outputs: those must stay until
 * the reply is taken. *tag names the request (never 0). RANKD_OVERLOADED: all entries are in use;
 * RANKD_NO_MEMORY: the arena has no room for copies and outputs. */
RANKD_API int rankd_submit(rankd_client *client, const struct rankd_request *request, uint64_t *tag,
                           struct rankd_error *error);

/* Takes the reply if it has arrived: returns its status and fills *reply, to be freed with
 * rankd_reply_clear(). Otherwise RANKD_PENDING (poll), or RANKD_TIMEOUT after timeout_ns (wait;
 * UINT64_MAX = no limit). RANKD_LOST ends the request; *reply has the sentence and no outputs. */
RANKD_API int rankd_poll(rankd_client *client, uint64_t tag, struct rankd_reply *reply);
RANKD_API int rankd_wait(rankd_client *client, uint64_t tag, uint64_t timeout_ns, struct rankd_reply *reply);

/* rankd_submit() and rankd_wait() without limit. *reply has the sentence of a failure before the
 * send, too. */
RANKD_API int rankd_infer(rankd_client *client, const struct rankd_request *request,
                          struct rankd_reply *reply);

/* Cancels a request that has not started: it completes with RANKD_CANCELLED, and is waited for as
 * usual. RANKD_MISUSE: no outstanding request has this tag; RANKD_LOST: its connection ended. */
RANKD_API int rankd_cancel(rankd_client *client, uint64_t tag);

/* Cancels a request and discards its reply. Over HTTP the connection is closed, and the request may
 * have been executed. Over shared memory the daemon may write to memory of the caller until it has
 * finished the request. */
RANKD_API void rankd_forget(rankd_client *client, uint64_t tag);

/* A number of a good reply that has no member, by its name in rankd_numbers.def: "pairs_jumped", …
 * NaN where it says that there is none. RANKD_NOT_FOUND: this reply has no such number (no gradient
 * was requested, the daemon is older, or the request failed); RANKD_MISUSE: an argument is NULL.
 * *value is then left alone. Works on copies of the struct, too. */
RANKD_API int rankd_reply_number(const struct rankd_reply *reply, const char *name, double *value);

/* The chain of a bank in a store: 32 hexadecimal digits and a NUL that identify the history of the
 * version that was read; "" if it is no longer known. Equal generation, version and chain mean
 * equal items, on any daemon. RANKD_NOT_FOUND: this reply has no chain; RANKD_MISUSE: an argument
 * is NULL. *chain is then left alone. Works on copies of the struct, too. */
enum { RANKD_CHAIN_BYTES = 33 };
RANKD_API int rankd_reply_chain(const struct rankd_reply *reply, char chain[RANKD_CHAIN_BYTES]);

/* Frees the outputs whose memory belongs to the reply. May be called on a zeroed reply, and
 * twice. */
RANKD_API void rankd_reply_clear(rankd_client *client, struct rankd_reply *reply);

/* A control request, with paths and bodies of the HTTP API ("GET", "/v2/banks"). On 200 it returns
 * 0, and *answer is malloc'ed, NUL-terminated and owned by the caller; its length is *answer_bytes
 * (may be NULL). Otherwise it returns the status, with the sentence of the daemon in *error, and
 * *answer is NULL. A call that ended with RANKD_TIMEOUT may have been executed: over HTTP its
 * connection is closed; over shared memory it continues, and the next call waits for its end. */
RANKD_API int rankd_call(rankd_client *client, const char *method, const char *path, const void *body,
                         size_t body_bytes, uint64_t timeout_ns, char **answer, size_t *answer_bytes,
                         struct rankd_error *error);

/* A random number per start of the daemon; 0 over HTTP. */
RANKD_API uint64_t rankd_daemon_id(rankd_client *client);

/* The version of this library, such as "0.2.0". */
RANKD_API const char *rankd_version(void);

#ifdef __cplusplus
}
#endif

#endif
