/* SPDX-License-Identifier: Apache-2.0 */
/* From the copy of a descriptor to a request whose tensors are in the segment. */
#ifndef RK_RING_DESCRIPTOR_H
#define RK_RING_DESCRIPTOR_H

#include <stddef.h>

#include "request/request.h"
#include "ring/segment.h"

/* `copy` is the daemon's own copy of `bytes` bytes, aligned for uint64_t. Checks every field except
 * the values of tensors. Inputs of *request and outputs of *reply (data and capacity) then point
 * into the arena, each wholly inside. `id` gets the id of the request. Both structs are set in any
 * case. RANKD_INVALID names the field. */
enum rankd_status rk_descriptor_parse(const struct rk_shm_segment *segment, const void *copy, size_t bytes,
                                      struct rk_request *request, struct rk_reply *reply, char id[65],
                                      struct rk_err *err) __attribute__((warn_unused_result));

/* Writes status, error and numbers of a reply to `block` in the segment. `block` is never read. */
void rk_descriptor_answer(struct rankd_shm_reply *block, const struct rk_reply *reply,
                          const struct rk_err *err);

#endif
