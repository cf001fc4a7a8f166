/* SPDX-License-Identifier: Apache-2.0 */
/* Regions in use by one request: memory for their bytes, filled before it is computed and stored
 * after. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/budget.h"
#include "device/device.h"
#include "regions/regions_internal.h"

enum { ALIGN = 64 };

static bool read_all(int fd, char *into, size_t bytes, size_t at)
{
    while (bytes > 0) {
        ssize_t got = pread(fd, into, bytes, (off_t)at);
        if (got <= 0) {
            if (got < 0 && errno == EINTR)
                continue;
            return false;
        }
        into += got, bytes -= (size_t)got, at += (size_t)got;
    }
    return true;
}

static bool write_all(int fd, const char *from, size_t bytes, size_t at)
{
    while (bytes > 0) {
        ssize_t put = pwrite(fd, from, bytes, (off_t)at);
        if (put <= 0) {
            if (put < 0 && errno == EINTR)
                continue;
            return false;
        }
        from += put, bytes -= (size_t)put, at += (size_t)put;
    }
    return true;
}

/* Writing past the end of a truncated object would extend it, so its size is checked first. One
 * that is truncated in between is extended to its registered size at most. */
static bool has_place(const struct rk_region_binding *binding, size_t bytes)
{
    struct stat file;
    return fstat(binding->region->fd, &file) == 0 &&
           (size_t)file.st_size >= binding->region->offset + binding->offset + bytes;
}

static enum rankd_status cut_short(struct rk_err *err, const char *what)
{
    return rk_fail(
        err, RANKD_INVALID,
        "%s is in shared memory that is shorter than it was when it was registered; register it again", what);
}

/* Memory of the request, charged to it, uninitialised. */
static void *take(struct rk_region_bindings *bindings, size_t bytes, const char *what, struct rk_err *err)
{
    if (rk_budget_reserve(bindings->budget, bindings->beside + bindings->held_bytes, bytes, what, err) !=
        RANKD_OK)
        return NULL;
    void *memory = aligned_alloc(ALIGN, (bytes / ALIGN + 1) * ALIGN);
    if (memory) {
        bindings->held_bytes += bytes;
        return memory;
    }
    rk_budget_give(bindings->budget, bytes);
    (void)rk_fail(err, RANKD_OVERLOADED, "no memory for %s; try again in a moment", what);
    return NULL;
}

/* A range in a region: its address on the device, or memory of the request for it. */
static enum rankd_status hold(struct rk_region_bindings *bindings, struct rk_region_binding *binding,
                              const char *what, struct rk_err *err)
{
    const struct rk_region *region = binding->region;
    if (binding->offset > region->bytes || binding->bytes > region->bytes - binding->offset)
        return rk_fail(err, RANKD_INVALID,
                       "%s takes %zu bytes at offset %zu; its shared memory region has %zu bytes", what,
                       binding->bytes, binding->offset, region->bytes);
    binding->memory = region->device ? (char *)region->address + binding->offset
                                     : take(bindings, binding->bytes, what, err);
    return binding->memory ? RANKD_OK : err->status;
}

static void *find_bound(struct rk_region_finder *finder, const char *name, size_t offset, size_t bytes,
                        enum rk_region_use use, const char *what, bool *on_device, struct rk_err *err)
{
    struct rk_region_bindings *bindings = (struct rk_region_bindings *)finder;
    if (bindings->count == sizeof bindings->binding / sizeof *bindings->binding) {
        (void)rk_fail(err, RANKD_INVALID, "the request has more tensors in shared memory than a model has");
        return NULL;
    }
    struct rk_region_binding binding = {
        .region = rk_regions_get(bindings->regions, bindings->owner, name), .offset = offset, .bytes = bytes};
    if (!binding.region) {
        (void)rk_fail(err, RANKD_INVALID, "%s is in region \"%.64s\", which is not registered", what, name);
        return NULL;
    }
    if (hold(bindings, &binding, what, err) != RANKD_OK) {
        rk_regions_put(bindings->regions, binding.region);
        return NULL;
    }
    bindings->binding[bindings->count++] = binding;
    *on_device = binding.region->device != NULL;
    if (*on_device)
        return binding.memory;
    /* An output's range is checked now, before the batch may be appended to a bank. */
    bool good = use == RK_REGION_READ
                    ? read_all(binding.region->fd, binding.memory, bytes, binding.region->offset + offset)
                    : has_place(&binding, bytes);
    if (!good) {
        (void)cut_short(err, what);
        return NULL;
    }
    return binding.memory;
}

void rk_region_bindings_start(struct rk_region_bindings *bindings, struct rk_regions *regions,
                              const char *owner, struct rk_budget *budget, size_t beside)
{
    *bindings = (struct rk_region_bindings){
        .finder = {find_bound}, .regions = regions, .owner = owner, .budget = budget, .beside = beside};
}

void rk_region_bindings_end(struct rk_region_bindings *bindings)
{
    for (size_t i = 0; i < bindings->count; i++) {
        struct rk_region_binding *binding = &bindings->binding[i];
        const bool on_device = binding->region->device != NULL;
        void *memory = on_device ? binding->copy : binding->memory;
        rk_regions_put(bindings->regions, binding->region);
        free(memory);
        if (memory)
            rk_budget_give(bindings->budget, binding->bytes);
    }
    bindings->count = 0;
}

static enum rankd_status fetch(struct rk_region_bindings *bindings, struct rk_region_binding *binding,
                               const char *what, struct rk_err *err)
{
    const struct rk_device *device = binding->region->device;
    char why[RK_DEVICE_WHY] = "";
    binding->copy = take(bindings, binding->bytes, what, err);
    if (!binding->copy)
        return err->status;
    if (device->plugin->fetch(device->handle, binding->copy, binding->memory, binding->bytes, why) ==
        RK_DEVICE_DONE)
        return RANKD_OK;
    return rk_fail(err, RANKD_INTERNAL, "%s can't be read from the device (%s); send it in host memory", what,
                   why);
}

enum rankd_status rk_region_bindings_localize(struct rk_region_bindings *bindings, struct rk_request *request,
                                              struct rk_err *err)
{
    for (unsigned i = 0; i < RK_IN_COUNT; i++) {
        struct rk_tensor *in = &request->in[i];
        char what[80];
        if (!in->data || !in->on_device)
            continue;
        struct rk_region_binding *binding = bindings->binding;
        while (binding->memory != in->data || binding->bytes != in->bytes)
            binding++;
        (void)snprintf(what, sizeof what, "input %s", rk_input_rows[i].name);
        if (!binding->copy && fetch(bindings, binding, what, err) != RANKD_OK)
            return err->status;
        in->data = binding->copy;
        in->on_device = false;
    }
    return RANKD_OK;
}

enum rankd_status rk_region_bindings_store(struct rk_region_bindings *bindings, const void *memory,
                                           size_t bytes, const char *output, struct rk_err *err)
{
    const struct rk_region_binding *binding = bindings->binding;
    while (binding->memory != memory)
        binding++;
    if (binding->region->device)
        return RANKD_OK;
    char what[80];
    (void)snprintf(what, sizeof what, "output %s", output);
    if (!has_place(binding, bytes))
        return cut_short(err, what);
    if (write_all(binding->region->fd, memory, bytes, binding->region->offset + binding->offset))
        return RANKD_OK;
    if (errno == ENOSPC)
        return rk_fail(err, RANKD_NO_SPACE,
                       "there is no memory left behind the region of %s, %zu bytes at offset %zu; the "
                       "machine's shared memory is full",
                       what, bytes, binding->region->offset + binding->offset);
    return rk_fail(err, RANKD_INTERNAL, "the region of %s can't be written: %s", what, strerror(errno));
}
