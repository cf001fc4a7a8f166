/* SPDX-License-Identifier: Apache-2.0 */
/* The strict framing of a connection: finds where each request begins and ends, before
 * libmicrohttpd sees the bytes (head.h has the reason). Heads are passed on complete and rewritten,
 * bodies unchanged, chunks without extensions and trailers.
 *
 * A refused message becomes one that libmicrohttpd can read: a refused head becomes a head of a few
 * bytes, a refused chunked body ends at that point. `refused` has the number of that request; later
 * data is dropped. So a refusal is answered in order, once, by the same code as all other
 * answers. */
#ifndef RK_HTTP_FRAMING_H
#define RK_HTTP_FRAMING_H

#include "http/head.h"

struct rk_framing {
    int state;         /* enum state of framing.c */
    size_t head_limit; /* bytes of a head, and of a trailer */
    struct rk_head head;
    uint64_t left;      /* remaining bytes of the body or of the chunk */
    unsigned digits;    /* of a chunk's size */
    unsigned extension; /* bytes of a chunk's extension */
    char line[24];      /* the size of a chunk as it is passed on */
    const char *out;    /* data to pass on before anything else is read */
    size_t out_bytes;
    uint64_t requests; /* heads that were passed on, including the replacement of a refused one */
    uint64_t refused;  /* number of the refused one, from 1; 0 = none */
    int http_status;   /* of the refusal */
    struct rk_err err;
};

struct rk_in {
    const char *at;
    size_t left;
};
struct rk_room {
    char *at;
    size_t left;
};

void rk_framing_start(struct rk_framing *framing, size_t head_limit);
void rk_framing_end(struct rk_framing *framing);

/* Reads bytes of the client from `in` and writes the data for libmicrohttpd to `room`, until `in`
 * is empty or `room` is full. */
void rk_framing_move(struct rk_framing *framing, struct rk_in *in, struct rk_room *room);

/* Number of bytes that rk_framing_move() would now pass on unchanged, so that they can be received
 * in their final place. rk_framing_passed() is then called with the number of received bytes. */
size_t rk_framing_plain(const struct rk_framing *framing);
void rk_framing_passed(struct rk_framing *framing, size_t bytes);

/* True if nothing has arrived since the last complete request. */
bool rk_framing_is_idle(const struct rk_framing *framing);

/* True if a part of a head has arrived. */
bool rk_framing_in_head(const struct rk_framing *framing);

#endif
