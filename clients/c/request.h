/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of requests and answers that both transports use. */
#ifndef RANKD_REQUEST_H
#define RANKD_REQUEST_H

#include <stdbool.h>

#include "rankd.h"

/* Checks pointers and sizes that would be read out of bounds here, and values that a transport
 * can't express. RANKD_MISUSE; RANKD_NOT_FOUND or RANKD_INVALID for a name longer than any that the
 * daemon knows. */
int rankd_check_request(const struct rankd_request *request, struct rankd_error *error);

/* Upper bound of the bytes of an output, from the inputs of the request; 0 if unknown. */
uint64_t rankd_output_room(const struct rankd_request *request, int port);

/* True if the tensor has one or two dimensions, a known type, and bytes that match both. */
bool rankd_fits(const struct rankd_tensor *tensor);

/* The same for an output that a daemon describes, which must have the type of its port. */
bool rankd_output_fits(const struct rankd_tensor *output);

/* True if a daemon may report this status for a request or a call: RANKD_OK or a rankd_status.
 * Others would be mistaken for statuses of the library. */
bool rankd_is_status(long status);

#endif
