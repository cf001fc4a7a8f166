/* SPDX-License-Identifier: Apache-2.0 */
/* The calls of libc on paths under "/disk" and on the descriptors of its files. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit/disk/disk_internal.h"

enum { FIRST_FD = 1 << 20, FILES = 64, FOLDERS = 8 };

static struct node *open_node[FILES];
struct folder {
    struct node *node;
    size_t at;
    struct dirent entry;
};
static struct folder open_folder[FOLDERS];

void disk_close_all(void)
{
    memset((void *)open_node, 0, sizeof open_node);
    memset(open_folder, 0, sizeof open_folder);
}

size_t disk_open_files(void)
{
    size_t count = 0;
    for (size_t i = 0; i < FILES; i++)
        count += open_node[i] != NULL;
    for (size_t i = 0; i < FOLDERS; i++)
        count += open_folder[i].node != NULL;
    return count;
}

static bool is_ours(const char *path)
{
    return strncmp(path, "/disk", 5) == 0 && (path[5] == '/' || path[5] == '\0');
}

static int fail_with(int code)
{
    errno = code;
    return -1;
}

static struct node *node_of(int fd)
{
    return fd >= FIRST_FD && fd < FIRST_FD + FILES ? open_node[fd - FIRST_FD] : NULL;
}

#define REAL(type, name, ...)                                                                                \
    type __real_##name(__VA_ARGS__);                                                                         \
    type __wrap_##name(__VA_ARGS__);                                                                         \
    type __wrap_##name(__VA_ARGS__)

/* --- descriptors --- */

static int open_ours(const char *path, int flags)
{
    const char *name;
    bool half;
    struct node *folder = disk_parent(path, &name), *node = disk_find(path);
    int at = 0;
    if (!folder)
        return fail_with(ENOENT);
    if (node && (flags & O_CREAT) && (flags & O_EXCL))
        return fail_with(EEXIST);
    if (!node && !(flags & O_CREAT))
        return fail_with(ENOENT);
    while (at < FILES && open_node[at])
        at++;
    if (at == FILES)
        return fail_with(EMFILE);
    if ((!node || (flags & O_TRUNC)) && !disk_may_change(&half))
        return fail_with(EIO);
    if (!node)
        disk_rename(folder, "", name, node = disk_new(false));
    if (flags & O_TRUNC)
        disk_resize(&node->now, 0);
    open_node[at] = node;
    return FIRST_FD + at;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    int mode = flags & O_CREAT ? va_arg(args, int) : 0;
    va_end(args);
    return is_ours(path) ? open_ours(path, flags) : __real_open(path, flags, mode);
}

REAL(int, __open_2, const char *path, int flags)
{
    return is_ours(path) ? open_ours(path, flags) : __real___open_2(path, flags);
}

REAL(int, close, int fd)
{
    if (fd < FIRST_FD)
        return __real_close(fd);
    if (!node_of(fd))
        return fail_with(EBADF);
    open_node[fd - FIRST_FD] = NULL;
    return 0;
}

static ssize_t read_ours(int fd, void *to, size_t count, size_t offset)
{
    struct node *node = node_of(fd);
    if (!node || node->is_folder)
        return fail_with(EBADF);
    if (offset >= node->now.size)
        return 0;
    size_t got = node->now.size - offset < count ? node->now.size - offset : count;
    memcpy(to, node->now.bytes + offset, got);
    return (ssize_t)got;
}

REAL(ssize_t, pread, int fd, void *to, size_t count, off_t offset)
{
    return fd < FIRST_FD ? __real_pread(fd, to, count, offset) : read_ours(fd, to, count, (size_t)offset);
}

/* The store reads such files in one piece. */
REAL(ssize_t, read, int fd, void *to, size_t count)
{
    return fd < FIRST_FD ? __real_read(fd, to, count) : read_ours(fd, to, count, 0);
}

static ssize_t write_ours(int fd, const void *from, size_t count, size_t offset)
{
    struct node *node = node_of(fd);
    bool half = false;
    bool may = disk_may_change(&half);
    if (!node || node->is_folder)
        return fail_with(EBADF);
    size_t some = may ? count : half ? count / 2 : 0;
    if (some) {
        if (offset + some > node->now.size)
            disk_resize(&node->now, offset + some);
        memcpy(node->now.bytes + offset, from, some);
    }
    return may ? (ssize_t)count : fail_with(EIO);
}

REAL(ssize_t, pwrite, int fd, const void *from, size_t count, off_t offset)
{
    return fd < FIRST_FD ? __real_pwrite(fd, from, count, offset)
                         : write_ours(fd, from, count, (size_t)offset);
}

REAL(ssize_t, write, int fd, const void *from, size_t count)
{
    return fd < FIRST_FD ? __real_write(fd, from, count) : write_ours(fd, from, count, 0);
}

static int sync_ours(int fd)
{
    struct node *node = node_of(fd);
    bool half;
    if (!node)
        return fail_with(EBADF);
    if (!disk_may_change(&half))
        return fail_with(EIO);
    if (node->is_folder)
        disk_sync_folder(node);
    else
        disk_sync_file(node);
    return 0;
}

REAL(int, fsync, int fd)
{
    return fd < FIRST_FD ? __real_fsync(fd) : sync_ours(fd);
}

REAL(int, fdatasync, int fd)
{
    return fd < FIRST_FD ? __real_fdatasync(fd) : sync_ours(fd);
}

REAL(int, ftruncate, int fd, off_t size)
{
    struct node *node = node_of(fd);
    bool half;
    if (fd < FIRST_FD)
        return __real_ftruncate(fd, size);
    if (!node || !disk_may_change(&half))
        return fail_with(EIO);
    disk_resize(&node->now, (size_t)size);
    return 0;
}

static int describe(const struct node *node, struct stat *stat)
{
    if (!node)
        return fail_with(ENOENT);
    memset(stat, 0, sizeof *stat);
    stat->st_mode = node->is_folder ? S_IFDIR | 0700 : S_IFREG | 0600;
    stat->st_nlink = node->links;
    stat->st_size = (off_t)node->now.size;
    return 0;
}

REAL(int, fstat, int fd, struct stat *stat)
{
    return fd < FIRST_FD ? __real_fstat(fd, stat) : describe(node_of(fd), stat);
}

REAL(int, flock, int fd, int how)
{
    return fd < FIRST_FD ? __real_flock(fd, how) : 0;
}

/* --- names --- */

REAL(int, stat, const char *path, struct stat *stat)
{
    return is_ours(path) ? describe(disk_find(path), stat) : __real_stat(path, stat);
}

REAL(int, access, const char *path, int mode)
{
    if (!is_ours(path))
        return __real_access(path, mode);
    return disk_find(path) ? 0 : fail_with(ENOENT);
}

REAL(int, link, const char *from, const char *to)
{
    const char *name;
    bool half;
    if (!is_ours(from))
        return __real_link(from, to);
    struct node *folder = disk_parent(to, &name), *node = disk_find(from);
    if (!folder || !node)
        return fail_with(ENOENT);
    if (disk_lookup(&folder->now, name))
        return fail_with(EEXIST);
    if (!disk_may_change(&half))
        return fail_with(EIO);
    disk_rename(folder, "", name, node);
    return 0;
}

static int remove_ours(const char *path, bool want_folder)
{
    const char *name;
    bool half;
    struct node *folder = disk_parent(path, &name), *node = disk_find(path);
    if (!folder || !node)
        return fail_with(ENOENT);
    if (node->is_folder != want_folder)
        return fail_with(want_folder ? ENOTDIR : EISDIR);
    if (node->is_folder && node->now.entries)
        return fail_with(ENOTEMPTY);
    if (!disk_may_change(&half))
        return fail_with(EIO);
    disk_rename(folder, name, "", NULL);
    return 0;
}

REAL(int, unlink, const char *path)
{
    return is_ours(path) ? remove_ours(path, false) : __real_unlink(path);
}

REAL(int, rmdir, const char *path)
{
    return is_ours(path) ? remove_ours(path, true) : __real_rmdir(path);
}

REAL(int, mkdir, const char *path, mode_t mode)
{
    const char *name;
    bool half;
    if (!is_ours(path))
        return __real_mkdir(path, mode);
    struct node *folder = disk_parent(path, &name);
    if (!folder)
        return fail_with(ENOENT);
    if (!*name || disk_lookup(&folder->now, name))
        return fail_with(EEXIST);
    if (!disk_may_change(&half))
        return fail_with(EIO);
    disk_rename(folder, "", name, disk_new(true));
    return 0;
}

/* Within a folder alone: the store does no other. */
REAL(int, rename, const char *from, const char *to)
{
    const char *name, *other;
    bool half;
    if (!is_ours(from))
        return __real_rename(from, to);
    struct node *folder = disk_parent(from, &name), *node = disk_find(from);
    if (!folder || !node)
        return fail_with(ENOENT);
    if (disk_parent(to, &other) != folder)
        return fail_with(EXDEV);
    struct node *target = disk_lookup(&folder->now, other);
    if (target && target->is_folder && target->now.entries)
        return fail_with(ENOTEMPTY);
    if (!disk_may_change(&half))
        return fail_with(EIO);
    disk_rename(folder, name, other, node);
    return 0;
}

/* --- folders --- */

static struct folder *ours(DIR *dir)
{
    struct folder *folder = (struct folder *)(void *)dir;
    return folder >= open_folder && folder < open_folder + FOLDERS ? folder : NULL;
}

REAL(DIR *, opendir, const char *path)
{
    if (!is_ours(path))
        return __real_opendir(path);
    struct node *node = disk_find(path);
    if (!node || !node->is_folder) {
        errno = ENOENT;
        return NULL;
    }
    for (size_t i = 0; i < FOLDERS; i++) {
        if (!open_folder[i].node) {
            open_folder[i] = (struct folder){.node = node, .at = node->now.entries};
            return (DIR *)(void *)&open_folder[i];
        }
    }
    errno = EMFILE;
    return NULL;
}

/* From the last name to the first, so that one may be removed while they are read. */
REAL(struct dirent *, readdir, DIR *dir)
{
    struct folder *folder = ours(dir);
    if (!folder)
        return __real_readdir(dir);
    if (folder->at == 0 || folder->at > folder->node->now.entries)
        return NULL;
    disk_copy_name(folder->entry.d_name, folder->node->now.entry[--folder->at].name);
    return &folder->entry;
}

REAL(int, closedir, DIR *dir)
{
    struct folder *folder = ours(dir);
    if (!folder)
        return __real_closedir(dir);
    folder->node = NULL;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct dirent *const *)a)->d_name, (*(struct dirent *const *)b)->d_name);
}

REAL(int, scandir, const char *path, struct dirent ***list, int (*filter)(const struct dirent *),
     int (*compare)(const struct dirent **, const struct dirent **))
{
    if (!is_ours(path))
        return __real_scandir(path, list, filter, compare);
    struct node *node = disk_find(path);
    if (!node || !node->is_folder)
        return fail_with(ENOENT);
    *list = calloc(node->now.entries + 1, sizeof **list);
    for (size_t i = 0; *list && i < node->now.entries; i++) {
        (*list)[i] = calloc(1, sizeof ***list);
        if (!(*list)[i])
            abort();
        disk_copy_name((*list)[i]->d_name, node->now.entry[i].name);
    }
    qsort((void *)*list, node->now.entries, sizeof **list, by_name);
    return (int)node->now.entries;
}
