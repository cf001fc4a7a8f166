/* SPDX-License-Identifier: Apache-2.0 */
/* The cost of an append without rankd: SET, EVALSHA of the daemon's own script and WAIT, by
 * hiredis alone.
 *
 *     bench-store-bare HOST PORT SCRIPT WRITERS SECONDS REPLICAS
 *
 * Prints batches per second and the median time of one in microseconds. */
#include <hiredis/hiredis.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/store_times.h"

enum { PAYLOAD = 32 * (128 * 4 + 16) + 128 };

static const char *host, *replicas;
static int port;
static double seconds;
static char script[65536];
static atomic_size_t appended;

static void expect(redisContext *redis, int type)
{
    redisReply *reply = NULL;
    if (redisGetReply(redis, (void **)&reply) != REDIS_OK || !reply || reply->type != type) {
        fprintf(stderr, "bare: %s\n", reply && reply->str ? reply->str : redis->errstr);
        exit(1);
    }
    freeReplyObject(reply);
}

static void append_one(redisContext *redis, const char *sha, const char *payload, int writer, size_t n)
{
    char name[33], key[96], bytes[16], oldest[24];
    (void)snprintf(name, sizeof name, "%08x%08x%016zx", (unsigned)getpid(), (unsigned)writer + 1, n);
    (void)snprintf(key, sizeof key, "bare:{b}:p:%s:0123456789abcdef", name);
    (void)snprintf(bytes, sizeof bytes, "%d", PAYLOAD);
    const size_t done = atomic_fetch_add(&appended, 1); /* a bank of 512 items needs the newest 16 and some */
    (void)snprintf(oldest, sizeof oldest, "%zu", done > 24 ? done - 24 : 0);
    redisAppendCommand(redis, "SET %s %b NX EX 600", key, payload, (size_t)PAYLOAD);
    redisAppendCommand(redis,
                       "EVALSHA %s 5 bare:{b}:state bare:{b}:index bare:{b}:ids bare:{b}:held %s u %s "
                       "0123456789abcdef 1 32 %s 1 %s 0 %s 65536 1000000 600000 bare:{b}:p:",
                       sha, key, name, bytes, "1", oldest);
    redisAppendCommand(redis, "WAIT %s 5000", replicas);
    expect(redis, REDIS_REPLY_STATUS);
    expect(redis, REDIS_REPLY_ARRAY);
    expect(redis, REDIS_REPLY_INTEGER);
}

static void *write_all(void *arg)
{
    struct store_writer *writer = arg;
    static char payload[PAYLOAD];
    redisContext *redis = redisConnect(host, port);
    redisReply *loaded = redis && !redis->err ? redisCommand(redis, "SCRIPT LOAD %s", script) : NULL;
    if (!loaded || loaded->type != REDIS_REPLY_STRING) {
        fprintf(stderr, "bare: the script is not taken\n");
        exit(1);
    }
    const double end = store_now_us() + seconds * 1e6;
    for (double begun = store_now_us(); begun < end && writer->count < STORE_TIMES_MOST;
         begun = store_now_us()) {
        append_one(redis, loaded->str, payload, (int)writer->number, writer->count);
        writer->time_us[writer->count++] = store_now_us() - begun;
    }
    freeReplyObject(loaded);
    redisFree(redis);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 7)
        return 2;
    host = argv[1];
    port = atoi(argv[2]);
    seconds = atof(argv[5]);
    replicas = argv[6];
    FILE *file = fopen(argv[3], "r");
    if (!file || fread(script, 1, sizeof script - 1, file) == 0)
        return 2;
    (void)fclose(file);
    redisContext *redis = redisConnect(host, port);
    freeReplyObject(redisCommand(redis, "DEL bare:{b}:state bare:{b}:index bare:{b}:ids"));
    freeReplyObject(redisCommand(redis, "HSET bare:{b}:state uid u g 1 v 0 e 0 k 0 t 1 c %s",
                                 "0123456789abcdef0123456789abcdef"));
    redisFree(redis);
    store_write(atoi(argv[4]), NULL, 0, write_all, seconds);
    return 0;
}
