/* SPDX-License-Identifier: Apache-2.0 */
/* Internals of the HTTP transport: single exchanges (http_transfer.c), memory (http_memory.c), and
 * the functions of rankd.h on top of them (http.c). */
#ifndef RANKD_HTTP_INTERNAL_H
#define RANKD_HTTP_INTERNAL_H

#include <curl/curl.h>
#include <pthread.h>

#include "http_json.h"
#include "http_memory.h"
#include "transport.h"

enum { RANKD_HTTP_SOCKETS = 256 };

/* One exchange: an inference or a control request. */
struct rankd_transfer {
    struct rankd_transfer *next;
    uint64_t tag;
    CURL *easy;
    struct curl_slist *headers;
    char *body;
    struct rankd_http_room rooms[RANKD_OUT_COUNT];
    bool started, done, discarded;
    bool incomplete; /* no memory for a header */
    bool once; /* it changes state: curl must not send it again, which it does if a reused connection closes
                  without an answer */
    unsigned sent; /* number of times that it was sent, or was about to be */
    CURLcode outcome;
    char detail[CURL_ERROR_SIZE];
    char *answer;
    size_t answer_bytes, most_bytes; /* a longer answer is refused */
    bool too_long;
    size_t json_bytes;
    enum {
        RANKD_LENGTH_NONE,
        RANKD_LENGTH_GOOD,
        RANKD_LENGTH_BAD
    } json_length; /* the header with the length of the JSON */
};

struct rankd_http {
    struct rankd_client base;
    char *url, *authorization;
    uint32_t most;
    long connect_ms;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    CURLM *multi;
    bool driving; /* a thread is in curl, without the lock */
    uint64_t next_tag;
    uint32_t count;
    struct rankd_transfer *transfers;
    struct rankd_piece *pieces;              /* memory from rankd_alloc(); with the lock */
    _Atomic int sockets[RANKD_HTTP_SOCKETS]; /* fd + 1 of those that are open; 0: none */
};

static inline struct rankd_http *rankd_http_of(rankd_client *client)
{
    return (struct rankd_http *)client;
}

/* Takes ownership of `body` in any case. NULL: out of memory. */
struct rankd_transfer *rankd_transfer_new(struct rankd_http *http, const char *method, const char *path,
                                          char *body, size_t bytes);
void rankd_transfer_header(struct rankd_transfer *transfer, const char *line);     /* sets `incomplete` */
void rankd_transfer_end(struct rankd_http *http, struct rankd_transfer *transfer); /* not yet enqueued */
void rankd_transfer_free(struct rankd_http *http,
                         struct rankd_transfer *transfer); /* with the lock; enqueued */

/* With the lock: discards the answer and closes the connection. */
void rankd_http_forget(struct rankd_http *http, struct rankd_transfer *transfer);

/* The HTTP status of a finished transfer, 200 or that of an error; or a client status with
 * *error. */
int rankd_transfer_outcome(struct rankd_transfer *transfer, struct rankd_error *error);

/* With the lock. The next driving thread begins the transfer. */
uint64_t rankd_http_enqueue(struct rankd_http *http, struct rankd_transfer *transfer);
/* With the lock. The transfer with this tag whose answer may still be taken; NULL: none. */
struct rankd_transfer *rankd_http_find(struct rankd_http *http, uint64_t tag);
/* With the lock, which is released meanwhile. False: the limit passed. */
bool rankd_http_wait_done(struct rankd_http *http, uint64_t tag, uint64_t until_ns);
void rankd_http_wake(struct rankd_http *http); /* with the lock: something was enqueued */

/* In a forked child: closes the connections of the parent. */
void rankd_http_forked(rankd_client *client);

#endif
