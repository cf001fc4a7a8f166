/* SPDX-License-Identifier: Apache-2.0 */
/* Functions that `loss` and `bench` share: a connection by --url or --socket, and the request's
 * parameters from --parameter. */
#ifndef RANKD_CTL_REQUEST_H
#define RANKD_CTL_REQUEST_H

#include "ctl.h"
#include "rankd.h"

/* Opens the client; NULL after printing the reason. */
rankd_client *rankd_ctl_open(const struct ctl *ctl, uint64_t arena_bytes);

/* Sends the request and waits for at most --timeout; then the request is abandoned, and the reply
 * says so. */
int rankd_ctl_infer(const struct ctl *ctl, rankd_client *client, const struct rankd_request *request,
                    struct rankd_reply *reply);

/* Whether the daemon says that --model has no gradient. False where it does not answer. */
bool rankd_ctl_is_metric(const struct ctl *ctl);

/* --parameter NAME=VALUE into `room`: a number, true or false, or else a text. Texts point into `room_text`,
 * which holds a copy. Returns their count; exits with 2 if one has no '='. */
struct ctl_parameters {
    struct rankd_parameter list[CTL_MAX_PARAMETERS];
    char text[CTL_MAX_PARAMETERS][256];
    size_t count;
};
void rankd_ctl_parameters(const struct ctl *ctl, struct ctl_parameters *parameters);

#endif
