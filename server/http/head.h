/* The strict reading of a request's head, byte by byte, before libmicrohttpd sees any of it.
 *
 * libmicrohttpd is lenient: it takes white space before a colon, folded lines, bare line feeds, two lengths.
 * Two readers of such a head, a proxy and rankd, may disagree on where it ends and what it asks for. So a
 * byte that the grammar of RFC 9112 does not allow at its place is refused here, and what is passed on is
 * rewritten: the request line, and of the fields only those that rankd reads, each without the white space
 * around its value. Nothing that libmicrohttpd would have to interpret is left. */
#ifndef RK_HTTP_HEAD_H
#define RK_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Stands in the head that is passed on for the first `?` of the target, because libmicrohttpd would take
 * memory for each argument that follows a `?`. No target can hold it. */
#define RK_HEAD_QUERY '\x01'

enum { RK_HEAD_HEADER_TOO_LARGE = 431 }; /* the one HTTP status that only a head has */

enum rk_head_step { RK_HEAD_MORE, RK_HEAD_DONE, RK_HEAD_REFUSED };

/* The fields that are passed on: a field that the daemon is to read has a row in head.c and a number here. */
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
    bool trailer;        /* the fields behind a chunked body: of the same grammar, none is passed on */
    size_t limit, taken; /* bytes that it may have, and has so far */
    char *text;          /* what is passed on, complete after RK_HEAD_DONE; malloc'ed */
    size_t length, room; /* of `text` */
    size_t mark, colon;  /* where in `text` the part that is being read begins; the colon of that line */
    bool old;            /* HTTP/1.0 */
    bool options;        /* the method is OPTIONS, which alone may ask for `*` */
    unsigned seen[RK_FIELD_COUNT];
    bool chunked;        /* after RK_HEAD_DONE: the body is chunked */
    uint64_t body_bytes; /* after RK_HEAD_DONE: of a body that is not */
    int http_status;     /* after RK_HEAD_REFUSED: 400, 413 or 431 */
    struct rk_err err;   /* after RK_HEAD_REFUSED: the sentence */
};

/* Begins a head of at most `limit` bytes, or the trailer of a chunked body. Overwrites *head. */
void rk_head_start(struct rk_head *head, size_t limit, bool trailer);

/* Reads up to `count` bytes and sets *used to how many it took; those behind the head are left. After
 * RK_HEAD_DONE or RK_HEAD_REFUSED nothing may be read before the next start. Empty lines before a request
 * line are skipped. */
enum rk_head_step rk_head_read(struct rk_head *head, const char *bytes, size_t count, size_t *used)
    __attribute__((warn_unused_result));

/* True if some of the head has arrived. */
bool rk_head_begun(const struct rk_head *head);

/* Frees `text`. */
void rk_head_end(struct rk_head *head);

/* True if `text` is host[:port] as RFC 3986 writes it (a name, an IPv4 address, an IPv6 address in brackets),
 * without user. An empty host is one. */
bool rk_head_is_authority(const char *text, size_t length) __attribute__((warn_unused_result));

/* Of a target in absolute form ("http://host:port/path"): points *authority at the host, sets *length to the
 * bytes of host[:port], and returns what follows: "", or what begins with `/` or a query. Of any other
 * target: returns it, with *length 0. */
const char *rk_head_target(const char *target, const char **authority, size_t *length);

#endif
