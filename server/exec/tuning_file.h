/* SPDX-License-Identifier: Apache-2.0 */
/* The file of --tuning: lines `name = number` of kernels/tuning.def; `#` begins a comment. */
#ifndef RK_EXEC_TUNING_FILE_H
#define RK_EXEC_TUNING_FILE_H

#include <stdio.h>

#include "base/err.h"
#include "kernels/tuning.h"

/* Fills *tuning from the text, names that are not in it with their defaults. RANKD_INVALID names
 * the file, the line, what stands there and what may. */
enum rankd_status rk_tuning_parse(const char *path, const char *text, size_t bytes, struct rk_tuning *tuning,
                                  struct rk_err *err) __attribute__((warn_unused_result));

/* The same of a file. */
enum rankd_status rk_tuning_read(const char *path, struct rk_tuning *tuning, struct rk_err *err)
    __attribute__((warn_unused_result));

/* Whether the file of the option `tuning` can be used; "" can. */
enum rankd_status rk_tuning_check(const char *path, struct rk_err *err) __attribute__((warn_unused_result));

/* As a file that can be read back, with a comment on each. */
void rk_tuning_write(const struct rk_tuning *tuning, FILE *out);

#endif
