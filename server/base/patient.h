/* SPDX-License-Identifier: Apache-2.0 */
/* Writes to a descriptor whose reader may never read. */
#ifndef RK_BASE_PATIENT_H
#define RK_BASE_PATIENT_H

#include <stddef.h>
#include <sys/types.h>

/* Waits at most `patience_ms` until the descriptor takes bytes, then writes some of them, PIPE_BUF
 * at most, because a pipe that is writable takes that many. Returns how many were written; 0: none
 * in that time; -1: an error, in errno. Async-signal-safe. */
ssize_t rk_patient_write(int fd, const void *bytes, size_t count, int patience_ms);

#endif
