/* SPDX-License-Identifier: Apache-2.0 */
/* The value of --bank-store: redis://[USER@]HOST[:PORT][/PREFIX] or
 * redis+sentinel://HOST[:PORT],…/NAME[/PREFIX]. */
#ifndef RK_BANK_STORE_REDIS_URL_H
#define RK_BANK_STORE_REDIS_URL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum { RK_REDIS_HOSTS = 8, RK_REDIS_HOST_BYTES = 256, RK_REDIS_WORD_BYTES = 65 };

struct rk_redis_address {
    char host[RK_REDIS_HOST_BYTES], port[6];
};

struct rk_redis_url {
    bool sentinel;                              /* the addresses are Sentinels' */
    struct rk_redis_address at[RK_REDIS_HOSTS]; /* `count` of them; one without Sentinel */
    size_t count;
    char master[RK_REDIS_WORD_BYTES]; /* its name in the Sentinels' configuration */
    char prefix[RK_REDIS_WORD_BYTES]; /* of all keys; "rankd" if none is given */
    char user[RK_REDIS_WORD_BYTES];   /* "": none */
};

/* RANKD_INVALID, or RANKD_UNSUPPORTED (rediss). */
enum rankd_status rk_redis_url_parse(const char *text, struct rk_redis_url *url, struct rk_err *err)
    __attribute__((warn_unused_result));

/* HOST[:PORT], of `length` bytes. */
bool rk_redis_address_parse(const char *text, size_t length, const char *port, struct rk_redis_address *out)
    __attribute__((warn_unused_result));

#endif
