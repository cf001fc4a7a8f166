/* The strict framing of a connection: where each request begins and ends, told from the bytes themselves
 * before libmicrohttpd sees them (head.h says why). Heads are passed on whole and rewritten, bodies as they
 * are, chunks without their extensions and trailers.
 *
 * A message that is refused becomes one that libmicrohttpd can read: a refused head becomes a head of a few
 * bytes, a chunked body that is refused ends where it is. `refused` tells the front which request that was;
 * what the client sends afterwards is dropped. So a refusal is answered in its turn, once, by the same code
 * as all else. */
#ifndef RK_HTTP_FRAMING_H
#define RK_HTTP_FRAMING_H

#include "http/head.h"

struct rk_framing {
    int state;         /* enum state of framing.c */
    size_t head_limit; /* bytes of a head, and of a trailer */
    struct rk_head head;
    uint64_t left;      /* bytes of the body, or of the chunk, that are still to come */
    unsigned digits;    /* of a chunk's size */
    unsigned extension; /* bytes of a chunk's extension */
    char line[24];      /* a chunk's size as it is passed on */
    const char *out;    /* what is to be passed on before anything else is read */
    size_t out_bytes;
    uint64_t requests; /* heads that were passed on, a refused one's stand-in among them */
    uint64_t refused;  /* which of them was refused, counted from 1; 0 = none */
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

/* Takes bytes as the client sent them and passes on what libmicrohttpd may have of them, until `in` is empty
 * or `room` is full. */
void rk_framing_move(struct rk_framing *framing, struct rk_in *in, struct rk_room *room);

/* Bytes that rk_framing_move() would now pass on unchanged, so that they may be received where they are to
 * lie; rk_framing_passed() tells how many were. */
size_t rk_framing_plain(const struct rk_framing *framing);
void rk_framing_passed(struct rk_framing *framing, size_t bytes);

/* True if nothing of a request has arrived since the last one was whole. */
bool rk_framing_is_idle(const struct rk_framing *framing);

/* True if some of a head has arrived that is not whole yet. */
bool rk_framing_in_head(const struct rk_framing *framing);

#endif
