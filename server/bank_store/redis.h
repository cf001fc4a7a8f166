/* SPDX-License-Identifier: Apache-2.0 */
/* A store that speaks the protocol of Redis (RESP2): Redis 7, Valkey. Keys, with one hash tag for a bank:
 *
 *     PREFIX:banks              names and uids of all banks
 *     PREFIX:daemons            when each daemon was heard of last, by the store's clock
 *     PREFIX:{BANK}:state       uid, config; generation g, version v, sub k, items e, chain c; t, base,
 * cleared PREFIX:{BANK}:index       a stream: the entries, by v-k PREFIX:{BANK}:ids         names of batches,
 * and where each stands in the index PREFIX:{BANK}:p:NAME:CONTENT  a payload; it lapses after ten minutes
 * unless its batch is appended PREFIX:{BANK}:tags        checkpoints; PREFIX:{BANK}:c:TAG:{state,index,ids}
 * their copies PREFIX:{BANK}:held        how many checkpoints hold a payload PREFIX:{BANK}:serves:UID  the
 * generation that each daemon serves PREFIX:{BANK}:gone        the uid of the last bank of that name that was
 * deleted, for a day
 *
 * Whatever changes a bank is one script (scripts.h), so it happens wholly or not. */
#ifndef RK_BANK_STORE_REDIS_H
#define RK_BANK_STORE_REDIS_H

#include "bank_store/bank_store.h"

struct rk_redis_options {
    const char *url;
    const char *password_file; /* "": none */
    const char *tail;          /* HOST:PORT of a replica to read from; "": the master */
    uint64_t timeout_ns;
    struct rk_stored_keep keep;
};

/* Does not connect yet. NULL with RANKD_INVALID for options that are none, RANKD_UNSUPPORTED where this rankd
 * was built without hiredis. */
struct rk_bank_store *rk_redis_store_open(const struct rk_redis_options *options, struct rk_err *err)
    __attribute__((warn_unused_result));

/* The text behind --bank-store in --help and sentences: whether this rankd can. */
bool rk_redis_store_built(void);

#endif
