/* What both transports must know of a request, and of what a daemon may answer. */
#ifndef RANKD_REQUEST_H
#define RANKD_REQUEST_H

#include <stdbool.h>

#include "rankd.h"

/* Checks what would otherwise be read out of bounds here, or what one of the transports has no way to say.
 * RANKD_MISUSE; RANKD_NOT_FOUND, RANKD_INVALID where a name is longer than any that the daemon knows. */
int rankd_check_request(const struct rankd_request *request, struct rankd_error *error);

/* Room that an output may need at most, from the request's inputs; 0 if they do not tell. */
uint64_t rankd_output_room(const struct rankd_request *request, int port);

/* Whether the tensor is of one or two dimensions and of a type there is, and its bytes are what both need. */
bool rankd_fits(const struct rankd_tensor *tensor);

/* The same of an output that a daemon describes, which has the type that its port always has. */
bool rankd_output_fits(const struct rankd_tensor *output);

/* Whether a daemon may end a request, or a call, so: RANKD_OK or an error's status. Others would be taken for
 * the library's own. */
bool rankd_is_status(long status);

#endif
