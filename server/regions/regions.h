/* SPDX-License-Identifier: Apache-2.0 */
/* Registered shared memory (the protocol's system shared memory extension): a client names a POSIX
 * shared memory object of this machine once, and its requests then give the offsets of their
 * tensors in it.
 *
 * A region belongs to the token that registered it, by the token's name in the file: requests,
 * status and unregister of other tokens do not see it, and two tokens may use one name. The object
 * belongs to a client, which may write to it or truncate it at any time. So it is never mapped:
 * inputs are read into memory of the request, outputs are computed there and written to the object
 * at the end. That is one copy more than a mapping would take; in return no access can fault, and
 * checked values do not change. (The ring is the way without copies.)
 *
 * A region may also be memory of the device that the client exported (the CUDA shared memory
 * extension): that is used in place. It can't be truncated, and the kernels' accesses are bounded
 * whatever its contents are. Both kinds share their names, limits and owners. */
#ifndef RK_REGIONS_H
#define RK_REGIONS_H

#include <stddef.h>

#include "base/budget.h"
#include "base/err.h"
#include "base/text.h"
#include "codec/infer_request.h"
#include "config/config.h"

struct rk_access;
struct rk_device;
struct rk_regions;
struct rk_region;

enum { RK_REGION_NAME = 128, RK_REGION_KEY = 256 };

/* *regions is NULL where --allow-shm-regions is not given. RANKD_INVALID without tokens. `config`
 * and `access` are used until the stop. */
enum rankd_status rk_regions_start(const struct rk_config *config, struct rk_access *access,
                                   struct rk_regions **regions, struct rk_err *err)
    __attribute__((warn_unused_result));
void rk_regions_stop(struct rk_regions *regions); /* NULL is fine */

/* Registers `bytes` bytes at `offset` of the object `key`, with or without its leading "/", as
 * `name` of `owner`. RANKD_INVALID: a key outside the prefix; an object that does not exist, is no
 * regular file, belongs to a foreign user or is too short. RANKD_CONFLICT: the owner has the name
 * already. RANKD_OVERLOADED: too many regions. */
enum rankd_status rk_regions_register(struct rk_regions *regions, const char *owner, const char *name,
                                      const char *key, size_t offset, size_t bytes, struct rk_err *err)
    __attribute__((warn_unused_result));

/* The same for memory of device number `ordinal` by its inter-process handle (RK_DEVICE_HANDLE
 * bytes). RANKD_UNSUPPORTED: there is no device. RANKD_INVALID: another device than the daemon's, a
 * handle that can't be opened, fewer bytes behind it than registered. */
enum rankd_status rk_regions_register_device(struct rk_regions *regions, struct rk_device *device,
                                             const char *owner, const char *name, const unsigned char *handle,
                                             uint64_t ordinal, size_t bytes, struct rk_err *err)
    __attribute__((warn_unused_result));

/* After the tokens were read again: removes regions of tokens that are gone or may no longer infer,
 * and so could not unregister them. Requests that use such a region complete normally. `regions`
 * NULL is fine. Returns how many. */
size_t rk_regions_sweep(struct rk_regions *regions);

enum rk_region_kind { RK_REGION_SYSTEM, RK_REGION_DEVICE };

/* Removes the owner's region `name` of the kind; with NULL all of the owner's of the kind. A
 * missing one is no error. Requests that use it complete normally. */
void rk_regions_unregister(struct rk_regions *regions, const char *owner, enum rk_region_kind kind,
                           const char *name);

/* Writes the owner's regions of the kind, or the one of this name, as a JSON array.
 * RANKD_NOT_FOUND: there is none of the name. */
enum rankd_status rk_regions_show(struct rk_regions *regions, const char *owner, enum rk_region_kind kind,
                                  const char *name, struct rk_text *out, struct rk_err *err)
    __attribute__((warn_unused_result));

/* The regions that one request uses. */
struct rk_region_bindings {
    struct rk_region_finder finder; /* for rk_wire_request_parse() */
    struct rk_regions *regions;
    const char *owner;
    struct rk_budget *budget;
    size_t beside;     /* bytes that the request has reserved already */
    size_t held_bytes; /* and for what is held here */
    size_t count;
    struct rk_region_binding {
        struct rk_region *region;
        size_t offset, bytes;
        void *memory; /* here, or of a region on the device its address there */
        void *copy;   /* here, of what lies there: rk_region_bindings_localize() */
    } binding[RK_IN_COUNT + RK_OUT_COUNT];
};

/* `owner` and `budget` outlive the bindings. rk_region_bindings_end() must follow, after the last
 * use of what it found. */
void rk_region_bindings_start(struct rk_region_bindings *bindings, struct rk_regions *regions,
                              const char *owner, struct rk_budget *budget, size_t beside);
void rk_region_bindings_end(struct rk_region_bindings *bindings); /* a zeroed one is fine */

/* Copies inputs on the device to host memory: for requests that the device does not compute, and
 * for batches that are appended. RANKD_OVERLOADED, RANKD_INTERNAL (the device does not answer). */
enum rankd_status rk_region_bindings_localize(struct rk_region_bindings *bindings, struct rk_request *request,
                                              struct rk_err *err) __attribute__((warn_unused_result));

/* Writes the first `bytes` bytes of memory that was found for an output to its place.
 * RANKD_INVALID: the object is shorter than it was. RANKD_NO_SPACE: the machine has no memory for
 * it. Outputs on the device are there already. */
enum rankd_status rk_region_bindings_store(struct rk_region_bindings *bindings, const void *memory,
                                           size_t bytes, const char *output, struct rk_err *err)
    __attribute__((warn_unused_result));

#endif
