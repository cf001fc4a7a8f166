/* Regions in use by one request: memory for their bytes, filled before it is computed and stored after. */
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

/* Writing past the end of an object that was cut would make it longer again, so its size is looked at first.
 * One that is cut between the two is made longer by no more than it was registered with. */
static bool has_place(const struct rk_held *held, size_t bytes)
{
    struct stat file;
    return fstat(held->region->fd, &file) == 0 &&
           (size_t)file.st_size >= held->region->offset + held->offset + bytes;
}

static enum rankd_status cut_short(struct rk_err *err, const char *what)
{
    return rk_fail(
        err, RANKD_INVALID,
        "%s is in shared memory that is shorter than it was when it was registered; register it again", what);
}

/* Memory of the request, charged to it; what it holds is not set. */
static void *take(struct rk_lease *lease, size_t bytes, const char *what, struct rk_err *err)
{
    if (rk_budget_reserve(lease->budget, lease->beside + lease->held_bytes, bytes, what, err) != RANKD_OK)
        return NULL;
    void *memory = aligned_alloc(ALIGN, (bytes / ALIGN + 1) * ALIGN);
    if (memory) {
        lease->held_bytes += bytes;
        return memory;
    }
    rk_budget_give(lease->budget, bytes);
    (void)rk_fail(err, RANKD_OVERLOADED, "no memory for %s; try again in a moment", what);
    return NULL;
}

/* A place in a region: where it lies on the card, or memory of the request for it. */
static enum rankd_status hold(struct rk_lease *lease, struct rk_held *held, const char *what,
                              struct rk_err *err)
{
    const struct rk_region *region = held->region;
    if (held->offset > region->bytes || held->bytes > region->bytes - held->offset)
        return rk_fail(err, RANKD_INVALID,
                       "%s takes %zu bytes at offset %zu; its shared memory region has %zu bytes", what,
                       held->bytes, held->offset, region->bytes);
    held->memory =
        region->device ? (char *)region->address + held->offset : take(lease, held->bytes, what, err);
    return held->memory ? RANKD_OK : err->status;
}

static void *find(struct rk_region_finder *finder, const char *name, size_t offset, size_t bytes,
                  enum rk_region_use use, const char *what, bool *on_card, struct rk_err *err)
{
    struct rk_lease *lease = (struct rk_lease *)finder;
    if (lease->count == sizeof lease->held / sizeof *lease->held) {
        (void)rk_fail(err, RANKD_INVALID, "the request has more tensors in shared memory than a model has");
        return NULL;
    }
    struct rk_held held = {
        .region = rk_regions_get(lease->regions, lease->owner, name), .offset = offset, .bytes = bytes};
    if (!held.region) {
        (void)rk_fail(err, RANKD_INVALID, "%s is in region \"%.64s\", which is not registered", what, name);
        return NULL;
    }
    if (hold(lease, &held, what, err) != RANKD_OK) {
        rk_regions_put(lease->regions, held.region);
        return NULL;
    }
    lease->held[lease->count++] = held;
    *on_card = held.region->device != NULL;
    if (*on_card)
        return held.memory;
    /* An output's place is looked at now already: better than after the batch was appended to a bank. */
    bool good = use == RK_REGION_READ
                    ? read_all(held.region->fd, held.memory, bytes, held.region->offset + offset)
                    : has_place(&held, bytes);
    if (!good) {
        (void)cut_short(err, what);
        return NULL;
    }
    return held.memory;
}

void rk_lease_start(struct rk_lease *lease, struct rk_regions *regions, const char *owner,
                    struct rk_budget *budget, size_t beside)
{
    *lease = (struct rk_lease){
        .finder = {find}, .regions = regions, .owner = owner, .budget = budget, .beside = beside};
}

void rk_lease_end(struct rk_lease *lease)
{
    for (size_t i = 0; i < lease->count; i++) {
        struct rk_held *held = &lease->held[i];
        const bool on_card = held->region->device != NULL;
        void *memory = on_card ? held->copy : held->memory;
        rk_regions_put(lease->regions, held->region);
        free(memory);
        if (memory)
            rk_budget_give(lease->budget, held->bytes);
    }
    lease->count = 0;
}

static enum rankd_status fetch(struct rk_lease *lease, struct rk_held *held, const char *what,
                               struct rk_err *err)
{
    const struct rk_device *device = held->region->device;
    char why[RK_DEVICE_WHY] = "";
    held->copy = take(lease, held->bytes, what, err);
    if (!held->copy)
        return err->status;
    if (device->plugin->fetch(device->card, held->copy, held->memory, held->bytes, why) == RK_CARD_DONE)
        return RANKD_OK;
    return rk_fail(err, RANKD_INTERNAL, "%s can't be read from the accelerator (%s); send it in host memory",
                   what, why);
}

enum rankd_status rk_lease_localize(struct rk_lease *lease, struct rk_request *request, struct rk_err *err)
{
    for (unsigned i = 0; i < RK_IN_COUNT; i++) {
        struct rk_tensor *in = &request->in[i];
        char what[80];
        if (!in->data || !in->on_card)
            continue;
        struct rk_held *held = lease->held;
        while (held->memory != in->data || held->bytes != in->bytes)
            held++;
        (void)snprintf(what, sizeof what, "input %s", rk_input_rows[i].name);
        if (!held->copy && fetch(lease, held, what, err) != RANKD_OK)
            return err->status;
        in->data = held->copy;
        in->on_card = false;
    }
    return RANKD_OK;
}

enum rankd_status rk_lease_store(struct rk_lease *lease, const void *memory, size_t bytes, const char *output,
                                 struct rk_err *err)
{
    const struct rk_held *held = lease->held;
    while (held->memory != memory)
        held++;
    if (held->region->device)
        return RANKD_OK;
    char what[80];
    (void)snprintf(what, sizeof what, "output %s", output);
    if (!has_place(held, bytes))
        return cut_short(err, what);
    if (write_all(held->region->fd, memory, bytes, held->region->offset + held->offset))
        return RANKD_OK;
    if (errno == ENOSPC)
        return rk_fail(err, RANKD_NO_SPACE,
                       "there is no memory left behind the region of %s, %zu bytes at offset %zu; the "
                       "machine's shared memory is full",
                       what, bytes, held->region->offset + held->offset);
    return rk_fail(err, RANKD_INTERNAL, "the region of %s can't be written: %s", what, strerror(errno));
}
