/* SPDX-License-Identifier: Apache-2.0 */
/* A connection to a Redis server: commands go out in a pipeline, replies come back in order.
 * hiredis parses them; the socket is our own, so that every wait has a deadline and every size a
 * limit. Memory is allocated for bytes that have arrived, not for announced ones, and no reply has
 * more parts or bytes than its reader allows.
 *
 * One thread at a time. After any failure the connection is unusable: `broken`. */
#ifndef RK_BANK_STORE_REDIS_LINK_H
#define RK_BANK_STORE_REDIS_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bank_store/redis_url.h"
#include "base/err.h"
#include "base/text.h"

enum rk_reply_type { RK_REPLY_TEXT, RK_REPLY_ARRAY, RK_REPLY_INTEGER, RK_REPLY_NIL, RK_REPLY_ERROR };

/* A reply in one piece of memory per part; rk_redis_reply_free(). */
struct rk_redis_reply {
    enum rk_reply_type type;
    long long integer;
    char *text; /* NUL-terminated behind its bytes */
    size_t bytes;
    struct rk_redis_reply **part; /* none of them is NULL */
    size_t parts;
};
void rk_redis_reply_free(struct rk_redis_reply *reply); /* NULL is fine */
/* Whether it is that text; whether it is an error that begins with that word. False for NULL. */
bool rk_redis_reply_is(const struct rk_redis_reply *reply, const char *text);
bool rk_redis_error_begins(const struct rk_redis_reply *reply, const char *word);

struct redisReader;
struct rk_redis_link {
    int fd;
    struct redisReader *reader;
    struct rk_text out; /* commands, sent and not sent */
    size_t sent;        /* bytes of them that were sent */
    char *room;         /* for received bytes */
    size_t unread;      /* bytes received for the reply in progress */
    size_t parts_left;  /* of it */
    uint64_t opened_ns;
    uint64_t deadline_ns; /* of every wait, CLOCK_MONOTONIC; the user sets it */
    /* The user's: asked for a later deadline when that has passed; 0: there is none. NULL:
     * likewise. */
    uint64_t (*prolong)(void *context);
    void *prolong_context;
    size_t unanswered; /* commands */
    bool broken;
    bool drained;      /* probably nothing is left to read */
    unsigned epoch;    /* the user's */
    uint64_t begun_ns; /* the user's: the time when its group was sent, */
    enum rk_redis_wait {
        RK_REDIS_WAIT_NONE,
        RK_REDIS_WAIT,
        RK_REDIS_WAITAOF
    } wait;       /* and the kind of wait with it */
    bool scripts; /* they were loaded; the user's */
    char where[RK_REDIS_HOST_BYTES + 8];
};

/* Connects. NULL and RANKD_OVERLOADED with the reason. */
struct rk_redis_link *rk_redis_link_open(const struct rk_redis_address *at, uint64_t deadline_ns,
                                         struct rk_err *err) __attribute__((warn_unused_result));
void rk_redis_link_close(struct rk_redis_link *link); /* NULL is fine */

/* Adds a command, which the next flush or wait sends. */
struct rk_redis_piece {
    const void *data;
    size_t bytes;
};
void rk_redis_send(struct rk_redis_link *link, const struct rk_redis_piece *piece, size_t count);
/* The same piece by piece: begin, `count` pieces, end. A long piece is written in place into
 * link->out, between open and close. */
void rk_redis_begin(struct rk_redis_link *link, size_t count);
void rk_redis_add(struct rk_redis_link *link, const void *data, size_t bytes);
void rk_redis_open_piece(struct rk_redis_link *link, size_t bytes);
void rk_redis_close_piece(struct rk_redis_link *link);
void rk_redis_end(struct rk_redis_link *link);
/* The same of strings, up to a NULL; `word` as an array, or one by one. */
void rk_redis_send_list(struct rk_redis_link *link, const char *const *word);
#define rk_redis_send_words(link, ...) rk_redis_send_list(link, (const char *const[]){__VA_ARGS__})

/* Sends the added commands. */
enum rankd_status rk_redis_flush(struct rk_redis_link *link, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Sends as much of them as is possible without waiting; the next flush reports a failure. */
void rk_redis_flush_some(struct rk_redis_link *link);

/* Sends the added commands and reads the next reply, of at most `most` bytes. NULL on failure:
 * RANKD_OVERLOADED, or RANKD_INTERNAL if it is not a reply or too large. An error of the server is
 * a reply. */
struct rk_redis_reply *rk_redis_next(struct rk_redis_link *link, size_t most, struct rk_err *err)
    __attribute__((warn_unused_result));

/* For the fuzz target: parses received bytes. NULL: not a complete reply. */
struct rk_redis_reply *rk_redis_reply_parse(const void *bytes, size_t count, size_t most);

#endif
