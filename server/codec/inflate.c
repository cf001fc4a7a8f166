/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/inflate.h"

#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

enum { WINDOW_GZIP = 15 + 16, WINDOW_ZLIB = 15, WINDOW_RAW = -15 };

bool rk_encoding_parse(const char *name, enum rk_encoding *out)
{
    if (!name || !*name || strcasecmp(name, "identity") == 0)
        *out = RK_ENCODING_NONE;
    else if (strcasecmp(name, "gzip") == 0 || strcasecmp(name, "x-gzip") == 0)
        *out = RK_ENCODING_GZIP;
    else if (strcasecmp(name, "deflate") == 0)
        *out = RK_ENCODING_DEFLATE;
    else
        return false;
    return true;
}

/* True if `accept` lists `word` without q=0. */
static bool accepts(const char *accept, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = accept; at && *at;) {
        at += strspn(at, " \t,");
        size_t name = strcspn(at, " \t,;");
        size_t item = strcspn(at, ",");
        if (name == length && strncasecmp(at, word, length) == 0) {
            const char *quality = memchr(at, '=', item);
            return !quality || strtod(quality + 1, NULL) > 0;
        }
        at += item;
    }
    return false;
}

enum rk_encoding rk_encoding_accepted(const char *accept)
{
    if (accepts(accept, "gzip"))
        return RK_ENCODING_GZIP;
    return accepts(accept, "deflate") ? RK_ENCODING_DEFLATE : RK_ENCODING_NONE;
}

/* zlib counts in 32 bits: input and output are handed over in pieces. */
static uInt piece(size_t bytes)
{
    return bytes > UINT_MAX ? UINT_MAX : (uInt)bytes;
}

static int window_of(enum rk_encoding encoding, const unsigned char *in, size_t bytes)
{
    if (encoding == RK_ENCODING_GZIP)
        return WINDOW_GZIP;
    bool zlib = bytes >= 2 && (in[0] & 0x0f) == 8 && ((unsigned)in[0] << 8 | in[1]) % 31 == 0;
    return zlib ? WINDOW_ZLIB : WINDOW_RAW;
}

/* Grows *out to twice its size, at most `limit` (> *room). */
static bool grow(unsigned char **out, size_t *room, size_t limit)
{
    size_t want = *room > limit / 2 ? limit : *room * 2;
    unsigned char *more = realloc(*out, want);
    if (!more)
        return false;
    *out = more;
    *room = want;
    return true;
}

/* A gzip file is one member or several, one after the other (RFC 1952 §2.2). True if another one
 * follows. */
static bool next_member(z_stream *stream, enum rk_encoding encoding, const unsigned char *in, size_t bytes)
{
    return encoding == RK_ENCODING_GZIP && bytes >= 2 && in[0] == 0x1f && in[1] == 0x8b &&
           inflateReset(stream) == Z_OK;
}

static enum rankd_status inflate_all(z_stream *stream, enum rk_encoding encoding, const unsigned char *in,
                                     size_t in_bytes, size_t limit, unsigned char **out, size_t *done,
                                     size_t room, struct rk_err *err)
{
    size_t used = 0;
    for (;;) {
        uInt give = piece(in_bytes - used), take = piece(room - *done);
        stream->next_in = (unsigned char *)(uintptr_t)(in + used);
        stream->avail_in = give;
        stream->next_out = *out + *done;
        stream->avail_out = take;
        int code = inflate(stream, Z_NO_FLUSH);
        used += give - stream->avail_in;
        *done += take - stream->avail_out;
        if (code == Z_STREAM_END && next_member(stream, encoding, in + used, in_bytes - used))
            continue;
        if (code == Z_STREAM_END)
            return used == in_bytes
                       ? RANKD_OK
                       : rk_fail(err, RANKD_INVALID,
                                 "the compressed body (gzip or deflate) is followed by %zu other bytes",
                                 in_bytes - used);
        if (code == Z_MEM_ERROR)
            return rk_fail(err, RANKD_OVERLOADED, "out of memory while inflating the body");
        if (code != Z_OK && code != Z_BUF_ERROR)
            return rk_fail(err, RANKD_INVALID, "the body is not valid gzip or deflate data: %s",
                           stream->msg ? stream->msg : "broken");
        if (*done < room && used == in_bytes)
            return rk_fail(err, RANKD_INVALID, "the body is gzip or deflate data that ends too early");
        if (*done < room)
            continue;
        if (room == limit)
            return rk_fail(err, RANKD_TOO_LARGE,
                           "the body inflates to more than the %zu bytes that are allowed", limit);
        if (!grow(out, &room, limit))
            return rk_fail(err, RANKD_OVERLOADED, "out of memory while inflating the body");
    }
}

enum rankd_status rk_inflate(enum rk_encoding encoding, const void *in, size_t in_bytes, size_t limit,
                             void **out, size_t *out_bytes, struct rk_err *err)
{
    z_stream stream = {0};
    size_t room = in_bytes < limit / 4 ? in_bytes * 4 : limit;
    room = room < 1024 ? (limit < 1024 ? limit : 1024) : room;
    unsigned char *bytes = malloc(room ? room : 1);
    if (!bytes || inflateInit2(&stream, window_of(encoding, in, in_bytes)) != Z_OK) {
        free(bytes);
        return rk_fail(err, RANKD_OVERLOADED, "out of memory while inflating the body");
    }
    size_t done = 0;
    enum rankd_status status = inflate_all(&stream, encoding, in, in_bytes, limit, &bytes, &done, room, err);
    inflateEnd(&stream);
    if (status != RANKD_OK) {
        free(bytes);
        return status;
    }
    *out = bytes;
    *out_bytes = done;
    return RANKD_OK;
}

enum rankd_status rk_deflate(enum rk_encoding encoding, const void *in, size_t in_bytes, void **out,
                             size_t *out_bytes, struct rk_err *err)
{
    z_stream stream = {0};
    int window = encoding == RK_ENCODING_GZIP ? WINDOW_GZIP : WINDOW_ZLIB;
    if (in_bytes > UINT_MAX / 2)
        return rk_fail(err, RANKD_TOO_LARGE,
                       "a reply of %zu bytes cannot be compressed; ask for it uncompressed", in_bytes);
    /* Level 1: a reply is compressed for one reader, over a fast network. */
    if (deflateInit2(&stream, 1, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return rk_fail(err, RANKD_OVERLOADED, "out of memory while compressing the reply");
    uLong room = deflateBound(&stream, (uLong)in_bytes);
    unsigned char *bytes = malloc(room);
    if (!bytes) {
        deflateEnd(&stream);
        return rk_fail(err, RANKD_OVERLOADED, "out of memory while compressing the reply");
    }
    stream.next_in = (unsigned char *)(uintptr_t)in;
    stream.avail_in = (uInt)in_bytes;
    stream.next_out = bytes;
    stream.avail_out = (uInt)room;
    (void)deflate(&stream, Z_FINISH);
    *out_bytes = room - stream.avail_out;
    *out = bytes;
    deflateEnd(&stream);
    return RANKD_OK;
}
