/* SPDX-License-Identifier: Apache-2.0 */
/* Limits on the connections and bytes of ring clients, in total and per uid. Any thread. */
#ifndef RK_RING_QUOTA_H
#define RK_RING_QUOTA_H

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

struct rk_quota;

struct rk_quota_limits {
    size_t connections, uid_connections; /* at one time */
    size_t bytes, uid_bytes;             /* of segments */
};

struct rk_quota *rk_quota_new(const struct rk_quota_limits *limits); /* NULL if out of memory */
void rk_quota_free(struct rk_quota *quota);                          /* NULL is fine */

/* Each take is matched by one give with the same uid and size. A connection is taken first, the
 * bytes of its segment once their number is known. RANKD_OVERLOADED, with the limit in the
 * sentence, if a limit is reached. */
enum rankd_status rk_quota_connect(struct rk_quota *quota, uid_t uid, struct rk_err *err)
    __attribute__((warn_unused_result));
void rk_quota_disconnect(struct rk_quota *quota, uid_t uid);
enum rankd_status rk_quota_take(struct rk_quota *quota, uid_t uid, size_t bytes, struct rk_err *err)
    __attribute__((warn_unused_result));
void rk_quota_give(struct rk_quota *quota, uid_t uid, size_t bytes);

#endif
