/* A descriptor, copied out of the segment, into a request whose tensors lie in the segment. */
#ifndef RK_RING_DESCRIPTOR_H
#define RK_RING_DESCRIPTOR_H

#include <stddef.h>

#include "request/request.h"
#include "ring/segment.h"

/* `copy` is the daemon's own copy of `bytes` bytes, aligned for uint64_t. Checks every field but the values
 * in the tensors; inputs of *request and outputs of *reply (data and capacity) then point into the segment's
 * arena, each wholly inside. `id` gets the request's own name. Both structs are set whatever the outcome.
 * RANKD_INVALID names the field. */
enum rankd_status rk_descriptor_parse(const struct rk_shm_segment *segment, const void *copy, size_t bytes,
                                      struct rk_request *request, struct rk_reply *reply, char id[65],
                                      struct rk_err *err) __attribute__((warn_unused_result));

/* What the client is told of a reply, over `block` in the segment. `block` is written, never read. */
void rk_descriptor_answer(struct rankd_shm_reply *block, const struct rk_reply *reply,
                          const struct rk_err *err);

#endif
