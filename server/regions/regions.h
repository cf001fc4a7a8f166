/* SPDX-License-Identifier: Apache-2.0 */
/* Registered shared memory (the protocol's system shared memory extension): a client names a POSIX shared
 * memory object of this machine once, and its requests then say where in it their tensors are.
 *
 * A region belongs to the token that registered it, by the token's name in the file: nobody else's requests,
 * status or unregister see it, and two tokens may use one name. The object belongs to a client who may write
 * to it or cut it short at any time. So it is never mapped: inputs are read into memory of the request,
 * outputs are computed there and written to the object at the end. That is one copy more than a mapping would
 * take; in return no access can fault, and what was checked stays as it was. (The ring is the way without
 * copies.)
 *
 * A region may also be memory of the device that the client exported (the CUDA shared memory extension):
 * that is used where it lies. It can't be cut short, and what the kernels read of it is bounded whatever
 * stands there. Both kinds share their names, limits and owners. */
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

/* *regions is NULL where --allow-shm-regions is not given. RANKD_INVALID without tokens. `config` and
 * `access` are used until the stop. */
enum rankd_status rk_regions_start(const struct rk_config *config, struct rk_access *access,
                                   struct rk_regions **regions, struct rk_err *err)
    __attribute__((warn_unused_result));
void rk_regions_stop(struct rk_regions *regions); /* NULL is fine */

/* Registers `bytes` bytes at `offset` of the object `key`, with or without its leading "/", as `name` of
 * `owner`. RANKD_INVALID: a key outside the prefix, an object that is not there, is no regular file, belongs
 * to a stranger or is too short. RANKD_CONFLICT: the owner has the name already. RANKD_OVERLOADED: too many
 * regions. */
enum rankd_status rk_regions_register(struct rk_regions *regions, const char *owner, const char *name,
                                      const char *key, size_t offset, size_t bytes, struct rk_err *err)
    __attribute__((warn_unused_result));

/* The same for memory of device number `ordinal` by its inter-process handle (RK_DEVICE_HANDLE bytes).
 * RANKD_UNSUPPORTED: there is no device. RANKD_INVALID: another device than the daemon's, a handle that
 * can't be opened, fewer bytes behind it than registered. */
enum rankd_status rk_regions_register_device(struct rk_regions *regions, struct rk_device *device,
                                             const char *owner, const char *name, const unsigned char *handle,
                                             uint64_t ordinal, size_t bytes, struct rk_err *err)
    __attribute__((warn_unused_result));

/* After the tokens were read again: forgets what belongs to a token that is gone or may no longer infer, and
 * so could not unregister it. Requests that use it end undisturbed. `regions` NULL is fine. Returns how many.
 */
size_t rk_regions_sweep(struct rk_regions *regions);

enum rk_region_kind { RK_REGION_SYSTEM, RK_REGION_DEVICE };

/* Forgets the owner's region `name` of the kind, all of the owner's of the kind with NULL. One that is not
 * there is forgotten already. Requests that use it end undisturbed. */
void rk_regions_unregister(struct rk_regions *regions, const char *owner, enum rk_region_kind kind,
                           const char *name);

/* Writes the owner's regions of the kind, or the one of this name, as a JSON array. RANKD_NOT_FOUND: there is
 * none of the name. */
enum rankd_status rk_regions_show(struct rk_regions *regions, const char *owner, enum rk_region_kind kind,
                                  const char *name, struct rk_text *out, struct rk_err *err)
    __attribute__((warn_unused_result));

/* What one request uses of them. */
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

/* `owner` and `budget` outlive the bindings. rk_region_bindings_end() must follow, after the last use of what
 * it found. */
void rk_region_bindings_start(struct rk_region_bindings *bindings, struct rk_regions *regions,
                              const char *owner, struct rk_budget *budget, size_t beside);
void rk_region_bindings_end(struct rk_region_bindings *bindings); /* a zeroed one is fine */

/* Brings inputs that lie on the device here: for requests that are not computed there, and whose batch is
 * kept. RANKD_OVERLOADED, RANKD_INTERNAL (the device does not answer). */
enum rankd_status rk_region_bindings_localize(struct rk_region_bindings *bindings, struct rk_request *request,
                                              struct rk_err *err) __attribute__((warn_unused_result));

/* Writes the first `bytes` bytes of memory that was found for an output to its place. RANKD_INVALID: the
 * object is shorter than it was. RANKD_NO_SPACE: the machine has no memory for it. What lies on the device is
 * there already. */
enum rankd_status rk_region_bindings_store(struct rk_region_bindings *bindings, const void *memory,
                                           size_t bytes, const char *output, struct rk_err *err)
    __attribute__((warn_unused_result));

#endif
