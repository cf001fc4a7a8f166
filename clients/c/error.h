/* SPDX-License-Identifier: Apache-2.0 */
/* Failures as a status with one sentence. */
#ifndef RANKD_ERROR_H
#define RANKD_ERROR_H

#include "rankd.h"

/* Sets *error (which may be NULL) and returns `status`. */
int rankd_fail(struct rankd_error *error, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Makes *reply a failed one with this sentence; returns `status`. */
int rankd_reply_fail(struct rankd_reply *reply, int status, const char *sentence);

#endif
