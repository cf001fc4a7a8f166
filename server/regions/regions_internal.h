/* SPDX-License-Identifier: Apache-2.0 */
/* A region, between the registry (regions.c) and the requests that use it (regions/binding.c). */
#ifndef RK_REGIONS_INTERNAL_H
#define RK_REGIONS_INTERNAL_H

#include "regions/regions.h"

struct rk_region {
    struct rk_region *next;   /* the registry's */
    unsigned users;           /* the registry itself while it is listed, and every request; under its lock */
    int fd;                   /* of a system region; else -1 */
    struct rk_device *device; /* of a region on the device; else NULL */
    void *address;            /* there */
    uint64_t ordinal;         /* its number, as registered */
    size_t offset, bytes;
    char owner[64], name[RK_REGION_NAME], key[RK_REGION_KEY];
};

/* The owner's region with one more user, or NULL. */
struct rk_region *rk_regions_get(struct rk_regions *regions, const char *owner, const char *name);
void rk_regions_put(struct rk_regions *regions, struct rk_region *region);

#endif
