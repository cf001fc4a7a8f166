/* SPDX-License-Identifier: Apache-2.0 */
#include "bank_store/redis.h"

#ifdef RK_HIREDIS
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bank_store/redis_internal.h"

static void close_store(struct rk_bank_store *store)
{
    struct rk_redis *redis = rk_redis_of(store);
    while (redis->idle_count)
        rk_redis_link_close(redis->idle[--redis->idle_count]);
    rk_redis_link_close(redis->tail);
    pthread_mutex_destroy(&redis->lock);
    free(redis);
}

static const struct rk_bank_store_ops ops = {
    .close = close_store,
    .check = rk_redis_check,
    .about = rk_redis_about,
    .survey = rk_redis_survey,
    .state = rk_redis_state,
    .create = rk_redis_create,
    .remove = rk_redis_remove,
    .begin = rk_redis_append_begin,
    .append = rk_redis_append,
    .tail = rk_redis_tail,
    .index = rk_redis_index,
    .payloads = rk_redis_payloads,
    .clear = rk_redis_clear,
    .checkpoint = rk_redis_checkpoint,
    .checkpoints = rk_redis_checkpoints,
    .restore = rk_redis_restore,
    .forget = rk_redis_forget,
    .serves = rk_redis_serves,
    .count_behind = rk_redis_count_behind,
};

struct rk_bank_store *rk_redis_store_open(const struct rk_redis_options *options, struct rk_err *err)
{
    struct rk_redis *redis = calloc(1, sizeof *redis);
    if (!redis) {
        (void)rk_fail(err, RANKD_OVERLOADED, "no memory for the store");
        return NULL;
    }
    redis->store.ops = &ops;
    redis->timeout_ns = options->timeout_ns;
    redis->keep = options->keep;
    (void)snprintf(redis->password_file, sizeof redis->password_file, "%s", options->password_file);
    if (rk_redis_url_parse(options->url, &redis->url, err) == RANKD_OK && options->tail[0] &&
        !rk_redis_address_parse(options->tail, strlen(options->tail), "6379", &redis->replica))
        (void)rk_fail(err, RANKD_INVALID, "bank-store-tail is \"%.200s\"; it must be HOST:PORT",
                      options->tail);
    if (err->status != RANKD_OK) {
        free(redis);
        return NULL;
    }
    pthread_mutex_init(&redis->lock, NULL);
    return &redis->store;
}

bool rk_redis_store_built(void)
{
    return true;
}

#else
#include "bank_store/redis_url.h"

struct rk_bank_store *rk_redis_store_open(const struct rk_redis_options *options, struct rk_err *err)
{
    struct rk_redis_url url;
    if (rk_redis_url_parse(options->url, &url, err) == RANKD_OK)
        (void)rk_fail(
            err, RANKD_UNSUPPORTED,
            "bank-store is \"%.200s\", and this rankd was built without hiredis, the library that it "
            "takes; install libhiredis-dev and build rankd again",
            options->url);
    return NULL;
}

bool rk_redis_store_built(void)
{
    return false;
}
#endif
