/* SPDX-License-Identifier: Apache-2.0 */
/* Folders and files that exist completely or not at all. */
#ifndef RK_BANK_FOLDERS_H
#define RK_BANK_FOLDERS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum rankd_status rk_folder_make(const char *path, struct rk_err *err) __attribute__((warn_unused_result));
void rk_folder_remove(const char *path); /* with its files, one level deep */
/* *replaced (may be NULL): true if the name may be the new file's, whatever is returned. */
enum rankd_status rk_file_replace(const char *folder, const char *name, const char *bytes, size_t count,
                                  bool *replaced, struct rk_err *err) __attribute__((warn_unused_result));

#endif
