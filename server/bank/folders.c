/* SPDX-License-Identifier: Apache-2.0 */
#include "bank/folders.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/files.h"

enum rankd_status rk_folder_make(const char *path, struct rk_err *err)
{
    return mkdir(path, 0700) == 0 || errno == EEXIST ? RANKD_OK
                                                     : rk_file_failed(err, "make the folder", path);
}

void rk_folder_remove(const char *path)
{
    char inside[PATH_MAX];
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            (size_t)snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name) < sizeof inside)
            (void)unlink(inside);
    }
    if (folder)
        (void)closedir(folder);
    (void)rmdir(path);
}

enum rankd_status rk_file_replace(const char *folder, const char *name, const char *bytes, size_t count,
                                  bool *replaced, struct rk_err *err)
{
    char path[PATH_MAX], temporary[PATH_MAX];
    bool ignored = false;
    replaced = replaced ? replaced : &ignored;
    *replaced = false;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    (void)snprintf(temporary, sizeof temporary, "%s/%s.tmp", folder, name);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return rk_file_failed(err, "create", temporary);
    ssize_t wrote = write(fd, bytes, count);
    bool good = wrote == (ssize_t)count && fsync(fd) == 0;
    if (!good) {
        if (wrote >= 0 && wrote < (ssize_t)count)
            errno = ENOSPC;
        (void)rk_file_failed(err, "write", temporary);
    }
    (void)close(fd);
    if (good && rename(temporary, path) != 0) {
        good = false;
        (void)rk_file_failed(err, "rename", temporary);
    }
    if (!good) {
        (void)unlink(temporary);
        return err->status;
    }
    *replaced = true;
    return rk_sync_folder(folder, err);
}
