/* SPDX-License-Identifier: Apache-2.0 */
/* Files as a whole: durable names, copies, second names. */
#ifndef RK_STORE_FILES_H
#define RK_STORE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* RANKD_NO_SPACE where errno says that the disk is full, otherwise RANKD_INTERNAL. */
enum rankd_status rk_file_failed(struct rk_err *err, const char *what, const char *path);

/* Makes the entries of a folder durable: fsync of the folder itself. */
enum rankd_status rk_sync_folder(const char *path, struct rk_err *err) __attribute__((warn_unused_result));

/* Copies the first `bytes` bytes of `fd` to a new file. With RANKD_OK the file is on disk, except
 * for its name. Otherwise there is no such file. */
enum rankd_status rk_file_copy(int fd, uint64_t bytes, const char *to, struct rk_err *err)
    __attribute__((warn_unused_result));

/* A second name for a file that is on disk; a copy if the file system allows no further name. */
enum rankd_status rk_file_link(const char *from, const char *to, struct rk_err *err)
    __attribute__((warn_unused_result));

/* The whole of a small file, at most size - 1 bytes, with a NUL behind them; false if there is
 * none, it can't be read, or it is longer. */
bool rk_file_read(const char *path, char *text, size_t size, size_t *bytes)
    __attribute__((warn_unused_result));

#endif
