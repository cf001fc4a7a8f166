/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/device.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/metrics.h"
#include "device/device.h"

#define PLUGIN "rankd-cuda.so"

enum { DEVICE_NONE = -2, DEVICE_ANY = -1, DEVICE_DIGITS = 3 };

/* Which device: a number, or one of the above. False: no such word. */
static bool parse(const char *text, int *ordinal)
{
    const char *digits = strncmp(text, "cuda:", 5) == 0 ? text + 5 : NULL;
    if (digits) {
        const size_t length = strlen(digits);
        *ordinal = atoi(digits); // NOLINT(cert-err34-c): digits alone, and few
        return length > 0 && length <= DEVICE_DIGITS && strspn(digits, "0123456789") == length;
    }
    *ordinal = strcmp(text, "auto") == 0 ? DEVICE_ANY : strcmp(text, "cuda") == 0 ? 0 : DEVICE_NONE;
    return *ordinal != DEVICE_NONE || strcmp(text, "cpu") == 0;
}

enum rankd_status rk_device_setting_check(const char *text, struct rk_err *err)
{
    int ordinal;
    if (parse(text, &ordinal))
        return RANKD_OK;
    return rk_fail(
        err, RANKD_INVALID,
        "device is '%.64s'; it must be auto, cpu, cuda or cuda:N, N being a device's number from 0", text);
}

/* Beside the daemon's binary, or where a package puts libraries. */
static void find_plugin(const struct rk_config *config, char *path, size_t size)
{
    char self[RK_CONFIG_TEXT] = "";
    if (config->device_plugin[0]) {
        (void)snprintf(path, size, "%s", config->device_plugin);
        return;
    }
    const ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash = length > 0 ? strrchr(self, '/') : NULL;
    if (slash)
        *slash = '\0';
    (void)snprintf(path, size, "%s/" PLUGIN, self);
    if (access(path, R_OK) != 0)
        (void)snprintf(path, size, "%s/../lib/rankd/" PLUGIN, self);
}

/* A device's driver provides one of these files. They are checked first, because a plugin and its
 * libraries take a while to load. */
static bool has_driver(void)
{
    static const char *const places[] = {"/dev/nvidiactl", "/dev/nvidia0", "/proc/driver/nvidia/version",
                                         "/dev/dxg"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (access(places[i], F_OK) == 0)
            return true;
    return false;
}

static void log_device(struct rk_log *log, const char *name, const char *why)
{
    const struct rk_field fields[] = {{"device", name, 0}, {"why", why, 0}};
    rk_log_line(log, RK_LOG_INFO, "device", fields, *why ? 2 : 1);
}

enum rankd_status rk_device_start(const struct rk_config *config, struct rk_log *log,
                                  struct rk_device **device, struct rk_err *err)
{
    char path[2 * RK_CONFIG_TEXT];
    int ordinal;
    *device = NULL;
    if (rk_device_setting_check(config->device, err) != RANKD_OK)
        return err->status;
    (void)parse(config->device, &ordinal);
    if (ordinal == DEVICE_NONE || (ordinal == DEVICE_ANY && !has_driver()))
        return RANKD_OK;
    struct rk_device *opened = calloc(1, sizeof *opened);
    if (!opened)
        return rk_fail(err, RANKD_INTERNAL, "no memory");
    struct rk_err why = {0};
    find_plugin(config, path, sizeof path);
    if (rk_device_open(opened, path, ordinal == DEVICE_ANY ? 0 : ordinal, config->device_bytes, &why) ==
        RANKD_OK) {
        opened->always = ordinal != DEVICE_ANY;
        *device = opened;
        log_device(log, opened->name, "");
        return RANKD_OK;
    }
    free(opened);
    if (ordinal != DEVICE_ANY)
        return rk_fail(err, why.status, "device is '%s': %s", config->device, why.text);
    log_device(log, "cpu", why.text);
    return RANKD_OK;
}

void rk_device_stop(struct rk_device *device)
{
    if (device)
        rk_device_close(device);
    free(device);
}

const char *rk_device_state(const struct rk_device *device)
{
    return atomic_load(&device->lost) ? "lost" : atomic_load(&device->failing) ? "degraded" : "ready";
}

void rk_device_metrics_write(void *source, struct rk_text *out)
{
    struct rk_device *device = source;
    const struct rk_device_memory memory = device->plugin->memory(device->handle);
    char named[RK_DEVICE_NAME + 16];
    (void)snprintf(named, sizeof named, "{name=\"%s\"}", device->name);
#define NONE ""
#define NAME named
#define COUNTER "counter"
#define GAUGE "gauge"
#define RK_DEVICE_METRIC(name, type, label, value, help)                                                     \
    rk_metric_line(out, name, type, label, (double)(value), help);
#include "exec/device.def"
}
