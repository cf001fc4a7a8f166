/* SPDX-License-Identifier: Apache-2.0 */
/* Strict reading of the head of a request, byte by byte, before libmicrohttpd sees it.
 *
 * libmicrohttpd is lenient: it accepts white space before a colon, folded lines, bare line feeds,
 * two lengths. Two readers of such a head, a proxy and rankd, may disagree on its end and its
 * meaning. So a byte that the grammar of RFC 9112 forbids at its place is refused here, and the
 * head is rewritten: the request line, and only the fields that rankd reads, without white space
 * around their values. libmicrohttpd has nothing left to interpret. */
#ifndef RK_HTTP_HEAD_H
#define RK_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Replaces the first `?` of the target in the rewritten head, because libmicrohttpd would allocate
 * memory for each argument after a `?`. No target can contain it. */
#define RK_HEAD_QUERY '\x01'

enum { RK_HEAD_HEADER_TOO_LARGE = 431 }; /* the HTTP status that only a head has */

enum rk_head_step { RK_HEAD_MORE, RK_HEAD_DONE, RK_HEAD_REFUSED };

/* The fields that are passed on. A field that the daemon reads has a row in head.c and a number
 * here. */
enum rk_head_field {
    RK_FIELD_HOST,
    RK_FIELD_LENGTH,
    RK_FIELD_TRANSFER,
    RK_FIELD_EXPECT,
    RK_FIELD_CONNECTION,
    RK_FIELD_ORIGIN,
    RK_FIELD_AUTHORIZATION,
    RK_FIELD_ENCODING,
    RK_FIELD_ACCEPT,
    RK_FIELD_JSON_LENGTH,
    RK_FIELD_COUNT
};

struct rk_head {
    int state;           /* enum state of head.c */
    bool trailer;        /* the fields after a chunked body: the same grammar, none is passed on */
    size_t limit, taken; /* most bytes, and bytes so far */
    char *text;          /* the rewritten head, complete after RK_HEAD_DONE; malloc'ed */
    size_t length, room; /* of `text` */
    size_t mark, colon;  /* offsets in `text`: the part in reading; the colon of that line */
    bool old;            /* HTTP/1.0 */
    bool options;        /* the method is OPTIONS, which alone may ask for `*` */
    unsigned seen[RK_FIELD_COUNT];
    bool chunked;        /* after RK_HEAD_DONE: the body is chunked */
    uint64_t body_bytes; /* after RK_HEAD_DONE: size of a body that is not chunked */
    int http_status;     /* after RK_HEAD_REFUSED: 400, 413 or 431 */
    struct rk_err err;   /* after RK_HEAD_REFUSED: the sentence */
};

/* Begins a head of at most `limit` bytes, or the trailer of a chunked body. Overwrites *head. */
void rk_head_start(struct rk_head *head, size_t limit, bool trailer);

/* Reads up to `count` bytes and sets *used to the number of bytes of the head among them. After
 * RK_HEAD_DONE or RK_HEAD_REFUSED nothing may be read before the next start. Empty lines before a
 * request line are skipped. */
enum rk_head_step rk_head_read(struct rk_head *head, const char *bytes, size_t count, size_t *used)
    __attribute__((warn_unused_result));

/* True if a part of the head has arrived. */
bool rk_head_begun(const struct rk_head *head);

/* Frees `text`. */
void rk_head_end(struct rk_head *head);

/* True if `text` is host[:port] as RFC 3986 writes it (a name, an IPv4 address, an IPv6 address in
 * brackets), without user. An empty host is valid. */
bool rk_head_is_authority(const char *text, size_t length) __attribute__((warn_unused_result));

/* Of a target in absolute form ("http://host:port/path"): points *authority at the host, sets
 * *length to the bytes of host[:port], and returns what follows: "", or what begins with `/` or a
 * query. Of any other target: returns it, with *length 0. */
const char *rk_head_target(const char *target, const char **authority, size_t *length);

#endif
