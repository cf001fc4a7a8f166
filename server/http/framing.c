/* SPDX-License-Identifier: Apache-2.0 */
#include "http/framing.h"

#include <stdio.h>
#include <string.h>

enum framing_state {
    HEAD,
    BODY,       /* of a length that was announced */
    CHUNK_SIZE, /* its digits */
    CHUNK_EXTENSION,
    CHUNK_SIZE_LF,
    CHUNK,
    CHUNK_CR,
    CHUNK_LF,
    TRAILER,
    OVER /* refused: the rest is dropped */
};

/* DIGITS_MAX: more digits than a size has. EXTENSION_MAX: longer than any extension in use. */
enum { DIGITS_MAX = 15, EXTENSION_MAX = 256 };

/* Replaces a refused head. */
static const char stand_in[] = "GET / HTTP/1.1\r\nHost:\r\nConnection:close\r\n\r\n";
static const char last_chunk[] = "0\r\n\r\n", chunk_end[] = "\r\n", early_end[] = "\r\n0\r\n\r\n";

static void pass(struct rk_framing *framing, const char *bytes, size_t count)
{
    framing->out = bytes;
    framing->out_bytes = count;
}

static void refuse(struct rk_framing *framing, int http_status, const char *sentence)
{
    framing->refused = framing->requests;
    framing->http_status = http_status;
    (void)rk_fail(&framing->err, RANKD_INVALID, "%s", sentence);
    framing->state = OVER;
}

/* `end`: the bytes after which libmicrohttpd sees the end of the body. */
static void refuse_chunk(struct rk_framing *framing, const char *end, const char *sentence)
{
    pass(framing, end, strlen(end));
    refuse(framing, 400, sentence);
}

static void begin_chunk(struct rk_framing *framing)
{
    framing->state = CHUNK_SIZE;
    framing->left = 0;
    framing->digits = 0;
    framing->extension = 0;
}

static void read_head(struct rk_framing *framing, struct rk_in *in)
{
    size_t used;
    struct rk_head *head = &framing->head;
    const enum rk_head_step step = rk_head_read(head, in->at, in->left, &used);
    in->at += used;
    in->left -= used;
    if (step == RK_HEAD_MORE)
        return;
    framing->requests++;
    if (step == RK_HEAD_REFUSED) {
        pass(framing, stand_in, sizeof stand_in - 1);
        refuse(framing, head->http_status, head->err.text);
        return;
    }
    pass(framing, head->text, head->length);
    framing->left = head->body_bytes;
    framing->state = framing->left ? BODY : HEAD;
    if (head->chunked)
        begin_chunk(framing);
}

static void read_trailer(struct rk_framing *framing, struct rk_in *in)
{
    size_t used;
    const enum rk_head_step step = rk_head_read(&framing->head, in->at, in->left, &used);
    in->at += used;
    in->left -= used;
    if (step == RK_HEAD_MORE)
        return;
    pass(framing, last_chunk, sizeof last_chunk - 1);
    if (step == RK_HEAD_REFUSED) {
        refuse(framing, framing->head.http_status, framing->head.err.text);
        return;
    }
    rk_head_end(&framing->head);
    rk_head_start(&framing->head, framing->head_limit, false);
    framing->state = HEAD;
}

static int digit_of(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void read_size(struct rk_framing *framing, unsigned char c)
{
    const int digit = digit_of(c);
    if (digit >= 0 && framing->digits < DIGITS_MAX) {
        framing->left = framing->left * 16 + (unsigned)digit;
        framing->digits++;
    } else if (framing->digits && digit < 0 && (c == '\r' || c == ';')) {
        framing->state = c == ';' ? CHUNK_EXTENSION : CHUNK_SIZE_LF;
    } else {
        refuse_chunk(
            framing, last_chunk,
            "the size of a chunk must be 1 to 15 hexadecimal digits and end in CR LF, with an extension "
            "behind a semicolon if need be; it was something else");
    }
}

static void read_extension(struct rk_framing *framing, unsigned char c)
{
    if (c == '\r')
        framing->state = CHUNK_SIZE_LF;
    else if ((c < 0x20 && c != '\t') || c == 0x7f || ++framing->extension > EXTENSION_MAX)
        refuse_chunk(
            framing, last_chunk,
            "the extension of a chunk holds a control character, or more than 256 bytes; it must be text "
            "and end in CR LF");
}

static void end_size(struct rk_framing *framing, unsigned char c)
{
    if (c != '\n') {
        refuse_chunk(
            framing, last_chunk,
            "the line of a chunk's size holds a carriage return that no line feed follows; it must end in "
            "CR LF");
    } else if (framing->left == 0) {
        rk_head_start(&framing->head, framing->head_limit, true);
        framing->state = TRAILER;
    } else {
        const int length =
            snprintf(framing->line, sizeof framing->line, "%llx\r\n", (unsigned long long)framing->left);
        pass(framing, framing->line, (size_t)length);
        framing->state = CHUNK;
    }
}

static void end_chunk(struct rk_framing *framing, unsigned char c)
{
    if (c != (framing->state == CHUNK_CR ? '\r' : '\n')) {
        refuse_chunk(framing, early_end,
                     "a chunk is longer than its size, or CR LF does not follow it; it must");
    } else if (framing->state == CHUNK_CR) {
        framing->state = CHUNK_LF;
    } else {
        pass(framing, chunk_end, sizeof chunk_end - 1);
        begin_chunk(framing);
    }
}

static void read_chunk_byte(struct rk_framing *framing, struct rk_in *in)
{
    const unsigned char c = (unsigned char)*in->at++;
    in->left--;
    switch ((enum framing_state)framing->state) {
    case CHUNK_SIZE:
        read_size(framing, c);
        break;
    case CHUNK_EXTENSION:
        read_extension(framing, c);
        break;
    case CHUNK_SIZE_LF:
        end_size(framing, c);
        break;
    default:
        end_chunk(framing, c);
        break;
    }
}

static size_t copy(struct rk_room *room, const char *from, size_t count)
{
    const size_t bytes = count < room->left ? count : room->left;
    memcpy(room->at, from, bytes);
    room->at += bytes;
    room->left -= bytes;
    return bytes;
}

/* Passes on the pending bytes. After the last one the memory of the head is freed, so that an idle
 * connection has none. */
static void flush(struct rk_framing *framing, struct rk_room *room)
{
    const size_t bytes = copy(room, framing->out, framing->out_bytes);
    framing->out += bytes;
    framing->out_bytes -= bytes;
    if (framing->out_bytes || !framing->head.text || framing->state == TRAILER)
        return;
    rk_head_end(&framing->head);
    rk_head_start(&framing->head, framing->head_limit, false);
}

void rk_framing_move(struct rk_framing *framing, struct rk_in *in, struct rk_room *room)
{
    for (;;) {
        if (framing->out_bytes)
            flush(framing, room);
        const size_t plain = rk_framing_plain(framing);
        if (framing->out_bytes || in->left == 0 || (plain && room->left == 0))
            return;
        if (plain) {
            const size_t bytes = copy(room, in->at, in->left < plain ? in->left : plain);
            in->at += bytes;
            in->left -= bytes;
            rk_framing_passed(framing, bytes);
        } else if (framing->state == HEAD) {
            read_head(framing, in);
        } else if (framing->state == TRAILER) {
            read_trailer(framing, in);
        } else if (framing->state == OVER) {
            in->left = 0;
        } else {
            read_chunk_byte(framing, in);
        }
    }
}

size_t rk_framing_plain(const struct rk_framing *framing)
{
    const bool plain = (framing->state == BODY || framing->state == CHUNK) && !framing->out_bytes;
    return plain ? (size_t)framing->left : 0;
}

void rk_framing_passed(struct rk_framing *framing, size_t bytes)
{
    framing->left -= bytes;
    if (framing->left == 0)
        framing->state = framing->state == CHUNK ? CHUNK_CR : HEAD;
}

bool rk_framing_is_idle(const struct rk_framing *framing)
{
    return framing->state == HEAD && !rk_head_begun(&framing->head);
}

bool rk_framing_in_head(const struct rk_framing *framing)
{
    return framing->state == HEAD && rk_head_begun(&framing->head);
}

void rk_framing_start(struct rk_framing *framing, size_t head_limit)
{
    memset(framing, 0, sizeof *framing);
    framing->head_limit = head_limit;
    rk_head_start(&framing->head, head_limit, false);
    framing->state = HEAD;
}

void rk_framing_end(struct rk_framing *framing)
{
    rk_head_end(&framing->head);
}
