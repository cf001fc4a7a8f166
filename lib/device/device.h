/* SPDX-License-Identifier: Apache-2.0 */
/* A device: another engine for whole requests, behind one table of functions. The CPU engine stays
 * the authority: what a device does not take, refuses or fails at is computed there, and bad input
 * gets its sentence there.
 *
 * A device is made by a plugin (device_plugin.h), so that one binary serves machines with and
 * without a device. All functions may be called from any threads at a time. */
#ifndef RK_DEVICE_H
#define RK_DEVICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "blackbox/blackbox.h"
#include "device/device_plugin.h"
#include "request/request.h"

/* The plugin's table, and its state. */
struct rk_device {
    const struct rk_device_plugin *plugin;
    struct rk_plugin_device *handle; /* the plugin's own */
    bool always;      /* every request that it can compute goes there, not only those that are faster there */
    atomic_bool lost; /* it will not answer this process again: no request goes there any more */
    atomic_bool failing; /* the last request that went there failed */
    atomic_uint_fast64_t failures;
    int ordinal; /* the device's number */
    char name[RK_DEVICE_NAME];
    void *library;
};

/* Loads a plugin and opens a device. `limit`: bytes of its memory that may be held, 0: half of what
 * is free. RANKD_UNSUPPORTED with a sentence where there is no such plugin or device; *device is
 * then zero. */
enum rankd_status rk_device_open(struct rk_device *device, const char *path, int ordinal, size_t limit,
                                 struct rk_err *err) __attribute__((warn_unused_result));

/* No call may be running. Fine on a zeroed device. */
void rk_device_close(struct rk_device *device);

/* True if the request (checked, on scores) goes to the device: the device can compute it, and
 * either is set to take all, or holds the data, or is faster than the CPU (measured crossovers,
 * device.c). */
bool rk_device_chosen(const struct rk_device *device, const struct rk_request *request,
                      const struct rk_reply *reply);

/* True if the plugin's call knows all that the request (checked, with its outputs chosen) asks
 * for. */
bool rk_device_knows(const struct rk_device *device, const struct rk_request *request,
                     enum rk_device_call call);

/* The loss of a request on its way to the plugin. */
struct rk_device_blackbox rk_device_blackbox_of(const struct rk_blackbox *box);

/* Computes such a request. RK_DEVICE_DONE: *reply is filled as by the CPU engine. Otherwise *reply
 * holds no owned memory; failures are counted. */
enum rk_device_outcome rk_device_scores(struct rk_device *device, const struct rk_exec *exec,
                                        const struct rk_request *request, struct rk_reply *reply);

/* Host memory with tensors of many requests, such as a client's shared segment. Once it is pinned,
 * the device reads and writes there itself, without copies by a worker. It is pinned once the
 * traffic through it equals its size, because locking its pages takes about as long as copying
 * them. */
struct rk_pin_candidate {
    void *base; /* page-aligned; the caller's */
    size_t bytes;
    atomic_size_t traffic_bytes; /* bytes of tensors in both directions so far, from 0 */
    atomic_int state;            /* enum rk_pin_state */
};
enum rk_pin_state { RK_PIN_NOT_YET, RK_PIN_TRIED, RK_PIN_DONE };

/* Pins it if that is worth it by now. Nothing changes for tensors elsewhere, or if it can't be
 * pinned. Any threads at a time. */
void rk_device_pin(struct rk_device *device, struct rk_pin_candidate *memory);
/* Before it is unmapped, with no request running that uses it. Fine where it was never pinned. */
void rk_device_unpin(struct rk_device *device, struct rk_pin_candidate *memory);

/* Keeps count of how a call of the plugin's ended; returns it. */
enum rk_device_outcome rk_device_note(struct rk_device *device, enum rk_device_outcome outcome);

/* Host copies, for the CPU engine, of tensors on the device. Zeroed before use. */
struct rk_local {
    void *copy[RK_IN_COUNT];
    struct rk_out given[RK_OUT_COUNT]; /* outputs that belong on the device */
};

/* Points the request at copies, and the outputs of the device at host memory. RANKD_OVERLOADED
 * (memory), RANKD_INTERNAL (the device does not answer). */
enum rankd_status rk_local_begin(struct rk_device *device, struct rk_request *request, struct rk_reply *reply,
                                 struct rk_local *local, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Frees the copies, and if `status` is RANKD_OK copies outputs to the device. Must be called in
 * every case.  */
enum rankd_status rk_local_end(struct rk_device *device, struct rk_request *request, struct rk_reply *reply,
                               struct rk_local *local, enum rankd_status status, struct rk_err *err)
    __attribute__((warn_unused_result));

/* A tensor of the device's in new host memory, or NULL and *err set. */
void *rk_device_fetch_new(struct rk_device *device, const void *on_device, size_t bytes, struct rk_err *err)
    __attribute__((warn_unused_result));

#endif
