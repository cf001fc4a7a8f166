/* SPDX-License-Identifier: Apache-2.0 */
/* Files that an operator names, read whole. */
#ifndef RK_CONFIG_FILE_READ_H
#define RK_CONFIG_FILE_READ_H

#include <stddef.h>

#include "base/err.h"

/* The bytes of the regular file `path`, with a NUL behind them, for the caller to free. A pipe, a
 * device or a folder is refused, because reading it might never end. `option` names it in
 * sentences. NULL with RANKD_INVALID: it can't be opened or read, is no regular file, or has more
 * than `limit` bytes. */
char *rk_file_read_new(const char *option, const char *path, size_t limit, size_t *bytes, struct rk_err *err);

/* Clears and frees text that may hold a secret. NULL is allowed. */
void rk_file_forget(char *text, size_t bytes);

#endif
