/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/quota.h"

#include <pthread.h>
#include <stdlib.h>

/* There are at most as many uids as connections, so the table never grows. */
struct account {
    uid_t uid;
    size_t connections, bytes;
};

struct rk_quota {
    struct rk_quota_limits limits;
    pthread_mutex_t lock;
    size_t connections, bytes;
    struct account accounts[];
};

struct rk_quota *rk_quota_new(const struct rk_quota_limits *limits)
{
    struct rk_quota *quota = calloc(1, sizeof *quota + limits->connections * sizeof quota->accounts[0]);
    if (quota == NULL)
        return NULL;
    quota->limits = *limits;
    (void)pthread_mutex_init(&quota->lock, NULL);
    return quota;
}

void rk_quota_free(struct rk_quota *quota)
{
    if (quota == NULL)
        return;
    (void)pthread_mutex_destroy(&quota->lock);
    free(quota);
}

/* The uid's account, or a free one that becomes its account. */
static struct account *account_of(struct rk_quota *quota, uid_t uid)
{
    struct account *unused = NULL;
    for (size_t i = 0; i < quota->limits.connections; i++) {
        struct account *account = &quota->accounts[i];
        if (account->connections > 0 && account->uid == uid)
            return account;
        if (account->connections == 0 && unused == NULL)
            unused = account;
    }
    if (unused != NULL)
        *unused = (struct account){.uid = uid};
    return unused;
}

enum rankd_status rk_quota_connect(struct rk_quota *quota, uid_t uid, struct rk_err *err)
{
    enum rankd_status status = RANKD_OK;
    (void)pthread_mutex_lock(&quota->lock);
    struct account *account = account_of(quota, uid);
    if (account == NULL || quota->connections >= quota->limits.connections) {
        status = rk_fail(err, RANKD_OVERLOADED,
                         "there are %zu ring clients already; more want a higher --ring-connections",
                         quota->limits.connections);
    } else if (account->connections >= quota->limits.uid_connections) {
        status = rk_fail(err, RANKD_OVERLOADED,
                         "this uid has %zu ring clients already; more want a higher --ring-uid-segments",
                         quota->limits.uid_connections);
    } else {
        account->connections++;
        quota->connections++;
    }
    (void)pthread_mutex_unlock(&quota->lock);
    return status;
}

void rk_quota_disconnect(struct rk_quota *quota, uid_t uid)
{
    (void)pthread_mutex_lock(&quota->lock);
    account_of(quota, uid)->connections--;
    quota->connections--;
    (void)pthread_mutex_unlock(&quota->lock);
}

enum rankd_status rk_quota_take(struct rk_quota *quota, uid_t uid, size_t bytes, struct rk_err *err)
{
    enum rankd_status status = RANKD_OK;
    (void)pthread_mutex_lock(&quota->lock);
    struct account *account = account_of(quota, uid);
    if (bytes > quota->limits.bytes - quota->bytes) {
        status = rk_fail(err, RANKD_OVERLOADED,
                         "a segment of %zu bytes does not fit: of --ring-bytes=%zu, %zu are taken", bytes,
                         quota->limits.bytes, quota->bytes);
    } else if (bytes > quota->limits.uid_bytes - account->bytes) {
        status = rk_fail(err, RANKD_OVERLOADED,
                         "a segment of %zu bytes does not fit: of --ring-uid-bytes=%zu, this uid has %zu",
                         bytes, quota->limits.uid_bytes, account->bytes);
    } else {
        account->bytes += bytes;
        quota->bytes += bytes;
    }
    (void)pthread_mutex_unlock(&quota->lock);
    return status;
}

void rk_quota_give(struct rk_quota *quota, uid_t uid, size_t bytes)
{
    (void)pthread_mutex_lock(&quota->lock);
    account_of(quota, uid)->bytes -= bytes;
    quota->bytes -= bytes;
    (void)pthread_mutex_unlock(&quota->lock);
}
