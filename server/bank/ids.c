#include "bank/ids.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

bool rk_ids_init(struct rk_ids *ids)
{
    *ids = (struct rk_ids){.entry = calloc(RK_IDS_MAX, sizeof *ids->entry)};
    return ids->entry != NULL;
}

void rk_ids_free(struct rk_ids *ids)
{
    free(ids->entry);
    *ids = (struct rk_ids){0};
}

void rk_ids_clear(struct rk_ids *ids)
{
    ids->count = ids->next = 0;
}

void rk_ids_add(struct rk_ids *ids, const struct rk_batch_id *id)
{
    ids->entry[ids->next] = *id;
    ids->next = (ids->next + 1) % RK_IDS_MAX;
    ids->count += ids->count < RK_IDS_MAX;
}

/* Newest first: a retry comes soon. */
const struct rk_batch_id *rk_ids_find(const struct rk_ids *ids, const uint64_t name[2])
{
    for (size_t i = 1; i <= ids->count; i++) {
        const struct rk_batch_id *id = &ids->entry[(ids->next + RK_IDS_MAX - i) % RK_IDS_MAX];
        if (id->name[0] == name[0] && id->name[1] == name[1])
            return id;
    }
    return NULL;
}

size_t rk_ids_copy(const struct rk_ids *ids, struct rk_batch_id *out)
{
    for (size_t i = 0; i < ids->count; i++)
        out[i] = ids->entry[(ids->next + RK_IDS_MAX - ids->count + i) % RK_IDS_MAX];
    return ids->count;
}

void rk_ids_name(const char *batch_id, uint64_t name[2])
{
    XXH128_hash_t hash = XXH3_128bits(batch_id, strlen(batch_id));
    name[0] = hash.low64;
    name[1] = hash.high64 | 1; /* all zero is "none" */
}
