/* SPDX-License-Identifier: Apache-2.0 */
#include "regions/regions_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/access.h"
#include "base/uids.h"
#include "device/device.h"

struct rk_regions {
    pthread_mutex_t lock;
    struct rk_region *first;
    size_t count;
    const struct rk_config *config;
    struct rk_access *access;
};

static void drop(struct rk_region *region)
{
    if (region->fd >= 0)
        (void)close(region->fd);
    if (region->address)
        region->device->plugin->unmap(region->device->handle, region->address);
    free(region);
}

static bool is_kind(const struct rk_region *region, enum rk_region_kind kind)
{
    return (region->device != NULL) == (kind == RK_REGION_DEVICE);
}

enum rankd_status rk_regions_start(const struct rk_config *config, struct rk_access *access,
                                   struct rk_regions **regions, struct rk_err *err)
{
    *regions = NULL;
    if (!config->allow_shm_regions)
        return RANKD_OK;
    if (!rk_access_has_tokens(access))
        return rk_fail(
            err, RANKD_INVALID,
            "allow-shm-regions is set without tokens; a region belongs to the token that registered it");
    if (config->shm_key_prefix[0] == '\0' || strchr(config->shm_key_prefix, '/'))
        return rk_fail(err, RANKD_INVALID,
                       "shm-key-prefix is '%s'; it must be the beginning of a name, without a slash",
                       config->shm_key_prefix);
    struct rk_regions *made = calloc(1, sizeof *made);
    if (!made)
        return rk_fail(err, RANKD_INTERNAL, "no memory");
    made->config = config;
    made->access = access;
    (void)pthread_mutex_init(&made->lock, NULL);
    *regions = made;
    return RANKD_OK;
}

void rk_regions_stop(struct rk_regions *regions)
{
    if (!regions)
        return;
    while (regions->first) {
        struct rk_region *region = regions->first;
        regions->first = region->next;
        drop(region);
    }
    (void)pthread_mutex_destroy(&regions->lock);
    free(regions);
}

/* The link to the owner's region; the end of the list if there is none. With the lock held. */
static struct rk_region **find_region(struct rk_regions *regions, const char *owner, const char *name)
{
    struct rk_region **at = &regions->first;
    while (*at && (strcmp((*at)->owner, owner) != 0 || strcmp((*at)->name, name) != 0))
        at = &(*at)->next;
    return at;
}

/* With the lock held. */
static void release(struct rk_region *region)
{
    if (--region->users == 0)
        drop(region);
}

static void unlist(struct rk_regions *regions, struct rk_region **at)
{
    struct rk_region *region = *at;
    *at = region->next;
    regions->count--;
    release(region);
}

struct rk_region *rk_regions_get(struct rk_regions *regions, const char *owner, const char *name)
{
    (void)pthread_mutex_lock(&regions->lock);
    struct rk_region *region = *find_region(regions, owner, name);
    if (region)
        region->users++;
    (void)pthread_mutex_unlock(&regions->lock);
    return region;
}

void rk_regions_put(struct rk_regions *regions, struct rk_region *region)
{
    (void)pthread_mutex_lock(&regions->lock);
    release(region);
    (void)pthread_mutex_unlock(&regions->lock);
}

/* --- registering --- */

static enum rankd_status check_key(const struct rk_config *config, const char *key, struct rk_err *err)
{
    const char *prefix = config->shm_key_prefix;
    if (strchr(key, '/') || strlen(key) >= RK_REGION_KEY - 1)
        return rk_fail(err, RANKD_INVALID,
                       "key is \"%.64s\"; it must be one name without a slash, after the leading one", key);
    if (strncmp(key, prefix, strlen(prefix)) != 0)
        return rk_fail(err, RANKD_INVALID,
                       "key is \"%.64s\"; keys must begin with \"%.64s\" (--shm-key-prefix)", key, prefix);
    return RANKD_OK;
}

static bool may_use(const struct rk_config *config, const struct stat *file)
{
    return S_ISREG(file->st_mode) &&
           (file->st_uid == geteuid() || rk_uids_have(config->ring_allow_uid, file->st_uid));
}

/* One sentence for every fault of the object: a more exact one would reveal what others have.
 * O_NOFOLLOW, O_NONBLOCK and O_CLOEXEC are shm_open's own. */
static int open_object(const struct rk_config *config, const char *key, struct stat *file, struct rk_err *err)
{
    char path[RK_REGION_KEY + 1];
    (void)snprintf(path, sizeof path, "/%s", key);
    int fd = shm_open(path, O_RDWR, 0);
    if (fd >= 0 && fstat(fd, file) == 0 && may_use(config, file))
        return fd;
    if (fd >= 0)
        (void)close(fd);
    (void)rk_fail(
        err, RANKD_INVALID,
        "key \"%.64s\" is no shared memory that this daemon may use; it must exist and belong to the "
        "daemon's user, or to one of --ring-allow-uid",
        key);
    return -1;
}

/* A ring client is the owner "uid N", which can't be a token's name: those have no blanks. */
static bool may_own(const struct rk_regions *regions, const char *owner)
{
    return strchr(owner, ' ') || rk_access_holds(regions->access, owner, RK_SCOPE_INFER);
}

static enum rankd_status add(struct rk_regions *regions, struct rk_region *region, struct rk_err *err)
{
    size_t own = 0;
    for (const struct rk_region *other = regions->first; other; other = other->next)
        own += strcmp(other->owner, region->owner) == 0;
    struct rk_region **end = find_region(regions, region->owner, region->name);
    if (*end)
        return rk_fail(err, RANKD_CONFLICT, "region \"%.64s\" is registered already; unregister it first",
                       region->name);
    if (own >= regions->config->shm_token_regions || regions->count >= regions->config->shm_regions)
        return rk_fail(
            err, RANKD_OVERLOADED,
            "%zu regions of this token are registered; a token may have %llu (--shm-token-regions), all "
            "together %llu (--shm-regions)",
            own, (unsigned long long)regions->config->shm_token_regions,
            (unsigned long long)regions->config->shm_regions);
    /* Its token may have been removed since the check, and after the sweep. */
    if (!may_own(regions, region->owner))
        return rk_fail(err, RANKD_UNAUTHORIZED, "the token '%s' was removed", region->owner);
    region->users = 1;
    *end = region;
    regions->count++;
    return RANKD_OK;
}

static struct rk_region *describe(const char *owner, const char *name, const char *key, size_t offset,
                                  size_t bytes)
{
    struct rk_region *region = calloc(1, sizeof *region);
    if (!region)
        return NULL;
    region->fd = -1;
    region->offset = offset;
    region->bytes = bytes;
    (void)snprintf(region->owner, sizeof region->owner, "%s", owner);
    (void)snprintf(region->name, sizeof region->name, "%s", name);
    (void)snprintf(region->key, sizeof region->key, "%s", key);
    return region;
}

static enum rankd_status check_name(const char *name, struct rk_err *err)
{
    if (strlen(name) < RK_REGION_NAME)
        return RANKD_OK;
    return rk_fail(err, RANKD_INVALID, "the region's name has %zu bytes; it may have %d", strlen(name),
                   RK_REGION_NAME - 1);
}

/* Lists it; or drops it, with the reason in *err. */
static enum rankd_status list(struct rk_regions *regions, struct rk_region *region, struct rk_err *err)
{
    (void)pthread_mutex_lock(&regions->lock);
    const enum rankd_status status = add(regions, region, err);
    (void)pthread_mutex_unlock(&regions->lock);
    if (status != RANKD_OK)
        drop(region);
    return status;
}

enum rankd_status rk_regions_register_device(struct rk_regions *regions, struct rk_device *device,
                                             const char *owner, const char *name, const unsigned char *handle,
                                             uint64_t ordinal, size_t bytes, struct rk_err *err)
{
    char why[RK_DEVICE_WHY] = "";
    void *address = NULL;
    size_t behind = 0;
    if (check_name(name, err) != RANKD_OK)
        return err->status;
    if (!device)
        return rk_fail(err, RANKD_UNSUPPORTED,
                       "this daemon uses no device (--device); send binary tensors, or use the ring");
    if (ordinal != (uint64_t)device->ordinal)
        return rk_fail(err, RANKD_INVALID, "device_id is %llu; this daemon uses device %d",
                       (unsigned long long)ordinal, device->ordinal);
    if (device->plugin->map(device->handle, handle, &address, &behind, why) != RK_DEVICE_DONE)
        return rk_fail(
            err, RANKD_INVALID,
            "raw_handle can't be opened (%s); it must be what cudaIpcGetMemHandle gave, of memory that "
            "another process of this machine still has",
            why);
    struct rk_region *region = describe(owner, name, "", 0, bytes);
    if (!region || bytes > behind) {
        device->plugin->unmap(device->handle, address);
        free(region);
        return region ? rk_fail(err, RANKD_INVALID, "byte_size is %zu; there are %zu bytes behind raw_handle",
                                bytes, behind)
                      : rk_fail(err, RANKD_OVERLOADED, "no memory for a region");
    }
    region->device = device;
    region->address = address;
    region->ordinal = ordinal;
    return list(regions, region, err);
}

enum rankd_status rk_regions_register(struct rk_regions *regions, const char *owner, const char *name,
                                      const char *key, size_t offset, size_t bytes, struct rk_err *err)
{
    struct stat file;
    const char *bare = *key == '/' ? key + 1 : key;
    if (check_name(name, err) != RANKD_OK)
        return err->status;
    if (check_key(regions->config, bare, err) != RANKD_OK)
        return err->status;
    int fd = open_object(regions->config, bare, &file, err);
    if (fd < 0)
        return err->status;
    struct rk_region *region = NULL;
    if (offset > (size_t)file.st_size || bytes > (size_t)file.st_size - offset)
        (void)rk_fail(err, RANKD_INVALID,
                      "offset is %zu and byte_size is %zu; the shared memory of key \"%.64s\" has %zu bytes",
                      offset, bytes, bare, (size_t)file.st_size);
    else if (!(region = describe(owner, name, key, offset, bytes)))
        (void)rk_fail(err, RANKD_OVERLOADED, "no memory for a region");
    if (!region) {
        (void)close(fd);
        return err->status;
    }
    region->fd = fd;
    return list(regions, region, err);
}

/* --- the owner's view --- */

void rk_regions_unregister(struct rk_regions *regions, const char *owner, enum rk_region_kind kind,
                           const char *name)
{
    (void)pthread_mutex_lock(&regions->lock);
    for (struct rk_region **at = &regions->first; *at;) {
        if (strcmp((*at)->owner, owner) == 0 && is_kind(*at, kind) &&
            (!name || strcmp((*at)->name, name) == 0))
            unlist(regions, at);
        else
            at = &(*at)->next;
    }
    (void)pthread_mutex_unlock(&regions->lock);
}

size_t rk_regions_sweep(struct rk_regions *regions)
{
    size_t swept = 0;
    if (!regions)
        return 0;
    (void)pthread_mutex_lock(&regions->lock);
    for (struct rk_region **at = &regions->first; *at;) {
        if (may_own(regions, (*at)->owner)) {
            at = &(*at)->next;
        } else {
            unlist(regions, at);
            swept++;
        }
    }
    (void)pthread_mutex_unlock(&regions->lock);
    return swept;
}

enum rankd_status rk_regions_show(struct rk_regions *regions, const char *owner, enum rk_region_kind kind,
                                  const char *name, struct rk_text *out, struct rk_err *err)
{
    size_t shown = 0;
    rk_json_open(out, NULL, '[');
    (void)pthread_mutex_lock(&regions->lock);
    for (const struct rk_region *region = regions->first; region; region = region->next) {
        if (strcmp(region->owner, owner) != 0 || !is_kind(region, kind) ||
            (name && strcmp(region->name, name) != 0))
            continue;
        rk_json_open(out, NULL, '{');
        rk_json_text(out, "name", region->name);
        if (kind == RK_REGION_DEVICE) {
            rk_json_uint(out, "device_id", region->ordinal);
        } else {
            rk_json_text(out, "key", region->key);
            rk_json_uint(out, "offset", region->offset);
        }
        rk_json_uint(out, "byte_size", region->bytes);
        rk_json_close(out, '}');
        shown++;
    }
    (void)pthread_mutex_unlock(&regions->lock);
    rk_json_close(out, ']');
    if (name && shown == 0)
        return rk_fail(err, RANKD_NOT_FOUND, "region \"%.64s\" is not registered", name);
    return RANKD_OK;
}
