/* SPDX-License-Identifier: Apache-2.0 */
/* Writing to a descriptor whose other end belongs to an outsider, who may never read. */
#ifndef RK_BASE_PATIENT_H
#define RK_BASE_PATIENT_H

#include <stddef.h>
#include <sys/types.h>

/* Waits at most `patience_ms` until the descriptor takes bytes, then writes some of them, PIPE_BUF at most: a
 * pipe that takes any takes as many at once. Returns how many were written; 0: it took none in that time; -1:
 * errno says why it never will. Async-signal-safe. */
ssize_t rk_patient_write(int fd, const void *bytes, size_t count, int patience_ms);

#endif
