/* SPDX-License-Identifier: Apache-2.0 */
#include "device/device.h"

#include <dlfcn.h>
#include <string.h>

#include "request/check.h"
#include "request/empty.h"

enum rankd_status rk_device_open(struct rk_device *device, const char *path, int ordinal, size_t limit,
                                 struct rk_err *err)
{
    char why[RK_DEVICE_WHY] = "";
    memset(device, 0, sizeof *device);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return rk_fail(err, RANKD_UNSUPPORTED, "no device can be used without its plugin: %s", dlerror());
    rk_plugin_entry *entry;
    void *symbol = dlsym(library, RK_PLUGIN_SYMBOL);
    memcpy(&entry, &symbol, sizeof entry); /* C has no conversion from an object's address to a function's */
    const struct rk_device_plugin *plugin = symbol ? entry() : NULL;
    if (!plugin || plugin->version != RK_PLUGIN_VERSION || plugin->vocabulary != RK_PLUGIN_VOCABULARY) {
        dlclose(library);
        return rk_fail(err, RANKD_UNSUPPORTED, "%s is not a plugin of this version of rankd", path);
    }
    device->handle = plugin->open(ordinal, limit, device->name, why);
    if (!device->handle) {
        dlclose(library);
        return rk_fail(err, RANKD_UNSUPPORTED, "device %d can't be used: %s", ordinal, why);
    }
    device->plugin = plugin;
    device->ordinal = ordinal;
    device->library = library;
    return RANKD_OK;
}

void rk_device_close(struct rk_device *device)
{
    if (device->plugin)
        device->plugin->close(device->handle);
    /* The library stays: a driver's threads may still run in it. */
    memset(device, 0, sizeof *device);
}

static bool on_device(const struct rk_request *request, const struct rk_reply *reply)
{
    bool found = false;
    for (unsigned i = 0; i < RK_IN_COUNT; i++)
        found |= request->in[i].data && request->in[i].on_device;
    for (unsigned o = 0; o < RK_OUT_COUNT; o++)
        found |= reply->out[o].data && reply->out[o].on_device;
    return found;
}

/* Only requests on scores, without a bank, with items to rank, and with nothing that the plugin
 * does not know. */
static bool can_take(const struct rk_device *device, const struct rk_request *request)
{
    return !rk_request_embeds(request) && !request->bank_snapshot && !rk_batch_is_empty(request) &&
           rk_device_knows(device, request, request->model->loss ? RK_DEVICE_SCORES : RK_DEVICE_RANK);
}

/* Lists of this length or more are faster on the device, including the transfer both ways. Measured
 * on an H200 beside its host (AVX-512; one thread, 8 threads; then the device; forward and
 * backward, data in host memory, ms):
 *   1 x 1M, P = 100      4.4    2.8    1.3        256 x 65,536, P = 3,000   232     42     20
 *   1 x 1M, P = 1 %      8.5    5.5    1.3        256 x 65,536, P = 8        31      7.4   20
 *   1 x 10M, P = 1 %   245     66     13          256 x 4,096, P = 8          1.8    1.0    1.1
 * How many items are relevant is not known before they are counted: with very few of them, eight
 * idle threads are faster than the bus, and one is not. */
#define LEAST_ITEMS ((size_t)1 << 15)
#define LEAST_SCORES ((size_t)1 << 17)

bool rk_device_chosen(const struct rk_device *device, const struct rk_request *request,
                      const struct rk_reply *reply)
{
    if (atomic_load_explicit(&device->lost, memory_order_relaxed) || !can_take(device, request))
        return false;
    const struct rk_tensor *scores = &request->in[RK_IN_SCORES];
    const size_t items = scores->shape[request->params.axis == RK_AXIS_COLUMNS ? 0 : 1];
    const size_t all = scores->shape[0] * scores->shape[1];
    /* No crossover was measured for sorting, so ranks are computed where their scores are. */
    const bool faster = request->model->loss && items >= LEAST_ITEMS && all >= LEAST_SCORES;
    return device->always || on_device(request, reply) || faster;
}

enum rk_device_outcome rk_device_note(struct rk_device *device, enum rk_device_outcome outcome)
{
    const bool failed = outcome == RK_DEVICE_FAILED || outcome == RK_DEVICE_LOST;
    if (failed)
        atomic_fetch_add_explicit(&device->failures, 1, memory_order_relaxed);
    if (failed || outcome == RK_DEVICE_DONE)
        atomic_store_explicit(&device->failing, failed, memory_order_relaxed);
    if (outcome == RK_DEVICE_LOST)
        atomic_store_explicit(&device->lost, true, memory_order_relaxed);
    return outcome;
}
