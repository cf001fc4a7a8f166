/* SPDX-License-Identifier: Apache-2.0 */
/* Where each of a bank's recent versions ended, so that a request may ask for one by its number,
 * and a tag that its owner gives it. The newest RK_VERSIONS_MOST are known. The bank's lock is
 * held. */
#ifndef RK_BANK_VERSIONS_H
#define RK_BANK_VERSIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RK_VERSIONS_MOST = 65536, RK_VERSION_TAG_BYTES = 16 };

struct rk_version {
    uint64_t version, end; /* sequence number behind its newest item */
    unsigned char tag[RK_VERSION_TAG_BYTES];
};

/* A ring; zero is empty. Versions in it follow each other by 1. */
struct rk_versions {
    struct rk_version *entry; /* [room], a power of two */
    size_t room, first, count;
};

/* Room for one more; false if out of memory, nothing happened. Then a push can't fail. */
bool rk_versions_reserve(struct rk_versions *versions, size_t more) __attribute__((warn_unused_result));
/* Adds the newest version. It replaces one of the same number. If it does not follow the newest
 * known one, older versions are forgotten. */
void rk_versions_push(struct rk_versions *versions, uint64_t version, uint64_t end);
void rk_versions_clear(struct rk_versions *versions);
void rk_versions_free(struct rk_versions *versions);

struct rk_version *rk_versions_find(const struct rk_versions *versions, uint64_t version); /* or NULL */
/* Number i, oldest first, of `count`. */
struct rk_version *rk_versions_at(const struct rk_versions *versions, size_t i);

#endif
