/* SPDX-License-Identifier: Apache-2.0 */
#ifdef RK_HIREDIS
#include "bank_store/redis_link.h"

#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

enum { ROOM = 256 << 10, PARTS_MOST = 1 << 18, ARRAY_MOST = 1 << 16, FLUSH_BYTES = 1 << 20, WORDS = 32 };

/* --- building replies for hiredis --- */

void rk_redis_reply_free(struct rk_redis_reply *reply)
{
    if (!reply)
        return;
    for (size_t i = 0; i < reply->parts; i++)
        rk_redis_reply_free(reply->part[i]);
    free((void *)reply->part);
    free(reply->text);
    free(reply);
}

bool rk_redis_reply_is(const struct rk_redis_reply *reply, const char *text)
{
    return reply && reply->type == RK_REPLY_TEXT && strcmp(reply->text, text) == 0;
}

bool rk_redis_error_begins(const struct rk_redis_reply *reply, const char *word)
{
    return reply && reply->type == RK_REPLY_ERROR && strncmp(reply->text, word, strlen(word)) == 0;
}

static void free_object(void *reply)
{
    rk_redis_reply_free(reply);
}

/* A new part, in its place in the array that it belongs to. NULL: no memory, or more parts than
 * allowed, which hiredis reports as no memory. */
static struct rk_redis_reply *new_part(const redisReadTask *task, enum rk_reply_type type)
{
    struct rk_redis_link *link = task->privdata;
    if (link->parts_left == 0)
        return NULL;
    link->parts_left--;
    struct rk_redis_reply *reply = calloc(1, sizeof *reply);
    if (!reply)
        return NULL;
    reply->type = type;
    if (task->parent) {
        struct rk_redis_reply *array = task->parent->obj;
        array->part[array->parts++] = reply;
    }
    return reply;
}

static void *create_text(const redisReadTask *task, char *text, size_t bytes)
{
    char *copy = malloc(bytes + 1);
    struct rk_redis_reply *reply =
        copy ? new_part(task, task->type == REDIS_REPLY_ERROR ? RK_REPLY_ERROR : RK_REPLY_TEXT) : NULL;
    if (!reply) {
        free(copy);
        return NULL;
    }
    memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    reply->text = copy;
    reply->bytes = bytes;
    return reply;
}

/* The elements are announced but have not arrived: their number is bounded before memory is
 * allocated. */
static void *create_array(const redisReadTask *task, int elements)
{
    const struct rk_redis_link *link = task->privdata;
    if (elements < 0 || elements > ARRAY_MOST || (size_t)elements >= link->parts_left)
        return NULL;
    struct rk_redis_reply **part = calloc((size_t)elements + 1, sizeof(struct rk_redis_reply *));
    struct rk_redis_reply *reply = part ? new_part(task, RK_REPLY_ARRAY) : NULL;
    if (!reply) {
        free((void *)part);
        return NULL;
    }
    reply->part = part;
    return reply;
}

static void *create_integer(const redisReadTask *task, long long value)
{
    struct rk_redis_reply *reply = new_part(task, RK_REPLY_INTEGER);
    if (reply)
        reply->integer = value;
    return reply;
}

static void *create_nil(const redisReadTask *task)
{
    return new_part(task, RK_REPLY_NIL);
}

static redisReplyObjectFunctions functions = {create_text, create_array, create_integer, create_nil,
                                              free_object};

static bool begin_reader(struct rk_redis_link *link)
{
    link->reader = redisReaderCreateWithFunctions(&functions);
    if (!link->reader)
        return false;
    link->reader->privdata = link;
    link->parts_left = PARTS_MOST;
    return true;
}

struct rk_redis_reply *rk_redis_reply_parse(const void *bytes, size_t count, size_t most)
{
    struct rk_redis_link link = {.fd = -1};
    void *reply = NULL;
    if (count > most || !begin_reader(&link))
        return NULL;
    if (redisReaderFeed(link.reader, bytes, count) != REDIS_OK ||
        redisReaderGetReply(link.reader, &reply) != REDIS_OK)
        reply = NULL;
    redisReaderFree(link.reader);
    return reply;
}

/* --- waiting --- */

static enum rankd_status lost(struct rk_redis_link *link, const char *why, struct rk_err *err)
{
    link->broken = true;
    return rk_fail(err, RANKD_OVERLOADED, "the store at %s %s", link->where, why);
}

/* The deadline passed: true if there is a later one. */
static bool has_more_time(struct rk_redis_link *link)
{
    link->deadline_ns = link->prolong ? link->prolong(link->prolong_context) : 0;
    return link->deadline_ns != 0;
}

/* Until the socket is ready for `events`, or the deadline. */
static enum rankd_status wait_for(struct rk_redis_link *link, short events, struct rk_err *err)
{
    for (;;) {
        if (rk_now_ns() >= link->deadline_ns && !has_more_time(link))
            return lost(link, "did not answer in time", err);
        const uint64_t now = rk_now_ns();
        if (now >= link->deadline_ns)
            continue;
        const uint64_t ms = (link->deadline_ns - now) / 1000000 + 1;
        struct pollfd poll_of = {.fd = link->fd, .events = events};
        const int ready = poll(&poll_of, 1, ms > 60000 ? 60000 : (int)ms);
        if (ready > 0)
            return RANKD_OK;
        if (ready < 0 && errno != EINTR)
            return lost(link, strerror(errno), err);
    }
}

/* --- connecting --- */

static bool finish_connect(struct rk_redis_link *link, struct rk_err *err)
{
    int failed = 0;
    socklen_t size = sizeof failed;
    if (wait_for(link, POLLOUT, err) != RANKD_OK)
        return false;
    if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &failed, &size) != 0 || failed)
        (void)lost(link, strerror(failed ? failed : errno), err);
    return !link->broken;
}

static bool connect_to(struct rk_redis_link *link, const struct addrinfo *to, struct rk_err *err)
{
    link->broken = false;
    link->fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int yes = 1;
    if (link->fd < 0)
        return lost(link, strerror(errno), err) == RANKD_OK;
    (void)setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(link->fd, to->ai_addr, to->ai_addrlen) == 0 ||
        (errno == EINPROGRESS && finish_connect(link, err)))
        return true;
    if (err->status == RANKD_OK)
        (void)lost(link, strerror(errno), err);
    (void)close(link->fd);
    link->fd = -1;
    return false;
}

struct rk_redis_link *rk_redis_link_open(const struct rk_redis_address *at, uint64_t deadline_ns,
                                         struct rk_err *err)
{
    const struct addrinfo want = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    struct rk_redis_link *link = calloc(1, sizeof *link);
    if (!link || !(link->room = malloc(ROOM)) || !begin_reader(link)) {
        (void)rk_fail(err, RANKD_OVERLOADED, "no memory for a connection to the store");
        rk_redis_link_close(link);
        return NULL;
    }
    link->fd = -1;
    link->opened_ns = rk_now_ns();
    link->deadline_ns = deadline_ns;
    (void)snprintf(link->where, sizeof link->where, "%s:%s", at->host, at->port);
    const int unknown = getaddrinfo(at->host, at->port, &want, &found);
    bool open = false;
    struct rk_err why = {0};
    for (const struct addrinfo *to = found; !unknown && to && !open; to = to->ai_next) {
        why = (struct rk_err){0};
        open = connect_to(link, to, &why);
    }
    if (found)
        freeaddrinfo(found);
    if (open)
        return link;
    (void)rk_fail(err, RANKD_OVERLOADED, "%s",
                  unknown       ? "the store's host has no address"
                  : why.text[0] ? why.text
                                : "no address");
    rk_redis_link_close(link);
    return NULL;
}

void rk_redis_link_close(struct rk_redis_link *link)
{
    if (!link)
        return;
    if (link->fd >= 0)
        (void)close(link->fd);
    if (link->reader)
        redisReaderFree(link->reader);
    rk_text_free(&link->out);
    free(link->room);
    free(link);
}

/* --- out --- */

void rk_redis_begin(struct rk_redis_link *link, size_t count)
{
    rk_text_printf(&link->out, "*%zu\r\n", count);
}

void rk_redis_open_piece(struct rk_redis_link *link, size_t bytes)
{
    rk_text_printf(&link->out, "$%zu\r\n", bytes);
}

void rk_redis_close_piece(struct rk_redis_link *link)
{
    rk_text_puts(&link->out, "\r\n");
}

void rk_redis_add(struct rk_redis_link *link, const void *data, size_t bytes)
{
    rk_redis_open_piece(link, bytes);
    rk_text_add(&link->out, data, bytes);
    rk_redis_close_piece(link);
}

void rk_redis_end(struct rk_redis_link *link)
{
    link->unanswered++;
    struct rk_err ignored = {0};
    if (link->out.length - link->sent >= FLUSH_BYTES) /* the next call reports a failure */
        (void)!rk_redis_flush(link, &ignored);
}

void rk_redis_send(struct rk_redis_link *link, const struct rk_redis_piece *piece, size_t count)
{
    rk_redis_begin(link, count);
    for (size_t i = 0; i < count; i++)
        rk_redis_add(link, piece[i].data, piece[i].bytes);
    rk_redis_end(link);
}

void rk_redis_send_list(struct rk_redis_link *link, const char *const *word)
{
    struct rk_redis_piece piece[WORDS];
    size_t count = 0;
    for (; count < WORDS && word[count]; count++)
        piece[count] = (struct rk_redis_piece){word[count], strlen(word[count])};
    rk_redis_send(link, piece, count);
}

enum rankd_status rk_redis_flush(struct rk_redis_link *link, struct rk_err *err)
{
    if (link->out.failed) {
        link->broken = true;
        return rk_fail(err, RANKD_OVERLOADED, "no memory for a command to the store");
    }
    if (link->broken)
        return lost(link, "was lost", err);
    while (link->sent < link->out.length) {
        const ssize_t sent = send(link->fd, link->out.data + link->sent, link->out.length - link->sent,
                                  MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0)
            link->sent += (size_t)sent;
        else if (errno == EAGAIN || errno == EINTR) {
            if (wait_for(link, POLLOUT, err) != RANKD_OK)
                return err->status;
        } else
            return lost(link, strerror(errno), err);
    }
    link->drained = link->drained || link->sent > 0;
    link->sent = link->out.length = 0;
    return RANKD_OK;
}

void rk_redis_flush_some(struct rk_redis_link *link)
{
    if (link->out.failed || link->broken)
        return;
    const ssize_t sent = send(link->fd, link->out.data + link->sent, link->out.length - link->sent,
                              MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0)
        link->sent += (size_t)sent;
    if (link->sent == link->out.length)
        link->sent = link->out.length = 0;
    link->drained = true;
}

/* --- in --- */

static enum rankd_status receive(struct rk_redis_link *link, size_t most, struct rk_err *err)
{
    for (;;) {
        if (link->drained && wait_for(link, POLLIN, err) != RANKD_OK)
            return err->status;
        const ssize_t got = recv(link->fd, link->room, ROOM, MSG_DONTWAIT);
        link->drained = got < (ssize_t)ROOM;
        if (got > 0) {
            link->unread += (size_t)got;
            if (link->unread > most + ROOM) {
                link->broken = true;
                return rk_fail(err, RANKD_INTERNAL,
                               "the store at %s sent a reply of more than %zu bytes where one of that "
                               "size cannot be",
                               link->where, most);
            }
            if (redisReaderFeed(link->reader, link->room, (size_t)got) == REDIS_OK)
                return RANKD_OK;
            return lost(link, "sent more than memory has room for", err);
        }
        if (got == 0)
            return lost(link, "closed the connection", err);
        if (errno != EAGAIN && errno != EINTR)
            return lost(link, strerror(errno), err);
    }
}

struct rk_redis_reply *rk_redis_next(struct rk_redis_link *link, size_t most, struct rk_err *err)
{
    void *reply = NULL;
    if (rk_redis_flush(link, err) != RANKD_OK)
        return NULL;
    for (;;) {
        if (redisReaderGetReply(link->reader, &reply) != REDIS_OK) {
            link->broken = true;
            (void)rk_fail(err, RANKD_INTERNAL, "the store at %s sent something that is not a reply: %.100s",
                          link->where, link->reader->errstr);
            return NULL;
        }
        if (reply)
            break;
        if (receive(link, most, err) != RANKD_OK)
            return NULL;
    }
    link->unread = link->reader->len - link->reader->pos;
    link->parts_left = PARTS_MOST;
    link->unanswered--;
    return reply;
}

#else
#include "bank_store/redis_link.h"

void rk_redis_reply_free(struct rk_redis_reply *reply)
{
    (void)reply;
}

struct rk_redis_reply *rk_redis_reply_parse(const void *bytes, size_t count, size_t most)
{
    (void)bytes, (void)count, (void)most;
    return NULL;
}
#endif
