/* SPDX-License-Identifier: Apache-2.0 */
#include "bank/versions.h"

#include <stdlib.h>
#include <string.h>

enum { LEAST = 64 };

struct rk_version *rk_versions_at(const struct rk_versions *versions, size_t i)
{
    return &versions->entry[(versions->first + i) & (versions->room - 1)];
}

bool rk_versions_reserve(struct rk_versions *versions, size_t more)
{
    size_t want = versions->count + more, room = versions->room ? versions->room : LEAST;
    if (want > RK_VERSIONS_MOST)
        want = RK_VERSIONS_MOST;
    while (room < want)
        room *= 2;
    if (room == versions->room)
        return true;
    struct rk_version *entry = malloc(room * sizeof *entry);
    if (!entry)
        return false;
    for (size_t i = 0; i < versions->count; i++)
        entry[i] = *rk_versions_at(versions, i);
    free(versions->entry);
    versions->entry = entry;
    versions->room = room;
    versions->first = 0;
    return true;
}

void rk_versions_push(struct rk_versions *versions, uint64_t version, uint64_t end)
{
    const struct rk_version *newest = versions->count ? rk_versions_at(versions, versions->count - 1) : NULL;
    if (newest && newest->version == version)
        versions->count--;
    else if (newest && newest->version + 1 != version)
        rk_versions_clear(versions);
    if (versions->count == versions->room || versions->count == RK_VERSIONS_MOST) {
        versions->first = (versions->first + 1) & (versions->room - 1);
        versions->count--;
    }
    *rk_versions_at(versions, versions->count++) = (struct rk_version){.version = version, .end = end};
}

void rk_versions_clear(struct rk_versions *versions)
{
    versions->first = versions->count = 0;
}

void rk_versions_free(struct rk_versions *versions)
{
    free(versions->entry);
    *versions = (struct rk_versions){0};
}

struct rk_version *rk_versions_find(const struct rk_versions *versions, uint64_t version)
{
    if (!versions->count)
        return NULL;
    const uint64_t first = rk_versions_at(versions, 0)->version;
    return version >= first && version - first < versions->count
               ? rk_versions_at(versions, (size_t)(version - first))
               : NULL;
}
