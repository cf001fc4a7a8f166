/* SPDX-License-Identifier: Apache-2.0 */
/* A store that speaks the protocol of Redis (RESP2): Redis 7, Valkey. Keys, one hash tag per bank:
 *
 *     PREFIX:banks                    names and uids of all banks
 *     PREFIX:daemons                  the last report of each daemon, by the store's clock
 *     PREFIX:{BANK}:state             uid, config; generation g, version v, sub k, items e,
 *                                     chain c; t, base, cleared
 *     PREFIX:{BANK}:index             a stream: the entries, by v-k
 *     PREFIX:{BANK}:ids               names of batches, and the place of each in the index
 *     PREFIX:{BANK}:p:NAME:CONTENT    a payload; it expires after ten minutes unless its batch is
 *                                     appended
 *     PREFIX:{BANK}:tags              checkpoints
 *     PREFIX:{BANK}:c:TAG:{state,index,ids}   the copies of a checkpoint
 *     PREFIX:{BANK}:held              the number of checkpoints that hold a payload
 *     PREFIX:{BANK}:serves:UID        the generation that each daemon serves
 *     PREFIX:{BANK}:gone              the uid of the last deleted bank of that name, for a day
 *
 * Every change of a bank is one script (scripts.h): it happens completely or not at all. */
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

/* Does not connect yet. NULL with RANKD_INVALID for invalid options, or RANKD_UNSUPPORTED if this
 * rankd was built without hiredis. */
struct rk_bank_store *rk_redis_store_open(const struct rk_redis_options *options, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Whether this rankd was built with a Redis store, for --help and sentences. */
bool rk_redis_store_built(void);

#endif
