/* SPDX-License-Identifier: Apache-2.0 */
/* With --data: payloads of a bank in a store, kept on this daemon's disk, so that a start need not
 * fetch them. Two files, DIR/UID.0 and DIR/UID.1, hold records as the store has them. They are
 * written one after the other: when one is full, the other begins anew. A cache is never trusted:
 * what is taken from it is checked against the entry of the store's index like what comes from
 * there, and a file that is torn or damaged is good up to that point. Nothing waits for the
 * disk. */
#ifndef RK_BANK_PAYLOAD_CACHE_H
#define RK_BANK_PAYLOAD_CACHE_H

#include "bank_store/bank_store.h"

struct rk_payload_cache;

/* `most`: bytes of each file. NULL: the files can't be made, or `uid` is none of 32 hexadecimal
 * digits; *err has the reason. */
struct rk_payload_cache *rk_payload_cache_open(const char *folder, const char *uid, uint64_t most,
                                               struct rk_err *err) __attribute__((warn_unused_result));
void rk_payload_cache_close(struct rk_payload_cache *cache); /* NULL is fine, here and below */

/* Keeps a payload. One that finds no room ends the file. Any thread. */
void rk_payload_cache_put(struct rk_payload_cache *cache, const void *payload, size_t bytes);

/* What is there, for a while: the caller's until rk_payload_cache_forget(). One thread. */
void rk_payload_cache_list(struct rk_payload_cache *cache);
void rk_payload_cache_forget(struct rk_payload_cache *cache);
bool rk_payload_cache_has(const struct rk_payload_cache *cache, const struct rk_stored_entry *entry);
/* The payload of the entry, malloc'ed, unchecked. NULL: it is not listed. */
void *rk_payload_cache_take(struct rk_payload_cache *cache, const struct rk_stored_entry *entry,
                            size_t *bytes) __attribute__((warn_unused_result));

/* The bank is no more: its files go, and nothing is kept any more. */
void rk_payload_cache_remove(struct rk_payload_cache *cache);
/* Removes files of banks that `keep` does not know. */
void rk_payload_cache_sweep(const char *folder, bool (*keep)(const void *context, const char *uid),
                            const void *context);

#endif
