/* The batch ids that a bank remembers: the last RK_IDS_MAX, independent of eviction, so that a retried
 * request is not appended twice. Not thread-safe: the bank's lock is held. */
#ifndef RK_BANK_IDS_H
#define RK_BANK_IDS_H

#include "store/record.h"

#define RK_IDS_MAX 4096

struct rk_ids {
    struct rk_batch_id *entry; /* [RK_IDS_MAX], a ring */
    size_t count, next;
};

bool rk_ids_init(struct rk_ids *ids) __attribute__((warn_unused_result));
void rk_ids_free(struct rk_ids *ids);
void rk_ids_clear(struct rk_ids *ids);
void rk_ids_add(struct rk_ids *ids, const struct rk_batch_id *id);

/* The entry of that name, or NULL. Valid until the next add. */
const struct rk_batch_id *rk_ids_find(const struct rk_ids *ids, const uint64_t name[2]);

/* Copies all, oldest first, to out[RK_IDS_MAX]; returns how many. */
size_t rk_ids_copy(const struct rk_ids *ids, struct rk_batch_id *out);

/* The name of a batch_id. */
void rk_ids_name(const char *batch_id, uint64_t name[2]);

#endif
