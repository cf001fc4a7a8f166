/* SPDX-License-Identifier: Apache-2.0 */
#include "bank/payload_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES = 2, UID_DIGITS = 32, SUFFIX_BYTES = 2 };

/* Where a payload lies. */
struct listed {
    uint64_t name[2], content, offset, bytes;
    int file;
};

struct rk_payload_cache {
    pthread_mutex_t lock;
    char path[FILES][PATH_MAX / 2];
    int fd[FILES];
    uint64_t end[FILES]; /* behind the last whole record */
    int current;
    uint64_t most;
    bool over; /* the bank was removed, or the disk refuses */
    struct listed *list;
    size_t count, room;
};

/* --- what is in a file --- */

/* The head of a record and its id. False: no whole record begins there. */
static bool read_head(int fd, uint64_t at, uint64_t size, struct rk_record_head *head, struct rk_batch_id *id)
{
    unsigned char both[sizeof *head + sizeof *id];
    if (pread(fd, both, sizeof both, (off_t)at) != (ssize_t)sizeof both)
        return false;
    memcpy(head, both, sizeof *head);
    memcpy(id, both + sizeof *head, sizeof *id);
    return head->magic == RK_RECORD_MAGIC && head->kind == RK_RECORD_BATCH &&
           head->payload_bytes >= sizeof *id && head->payload_bytes <= size - at - sizeof *head;
}

static bool add(struct rk_payload_cache *cache, const struct listed *one)
{
    if (cache->count == cache->room) {
        const size_t room = cache->room ? 2 * cache->room : 1024;
        struct listed *grown = realloc(cache->list, room * sizeof *grown);
        if (!grown)
            return false;
        cache->list = grown;
        cache->room = room;
    }
    cache->list[cache->count++] = *one;
    return true;
}

/* Up to the first that is not whole: that place is returned. `listing`: each is added to the
 * list. */
static uint64_t scan(struct rk_payload_cache *cache, int file, bool listing)
{
    struct rk_record_head head;
    struct rk_batch_id id;
    struct stat about;
    uint64_t at = 0;
    if (fstat(cache->fd[file], &about) != 0)
        return 0;
    const uint64_t size = (uint64_t)about.st_size;
    while (at + sizeof head + sizeof id <= size && read_head(cache->fd[file], at, size, &head, &id)) {
        const struct listed one = {.name = {id.name[0], id.name[1]},
                                   .content = id.content,
                                   .offset = at,
                                   .bytes = sizeof head + head.payload_bytes,
                                   .file = file};
        if (listing && !add(cache, &one))
            break;
        at += one.bytes;
    }
    return at;
}

/* --- open and close --- */

static bool is_uid(const char *uid)
{
    return strspn(uid, "0123456789abcdef") == UID_DIGITS && uid[UID_DIGITS] == '\0';
}

static int64_t written_ns(int fd)
{
    struct stat about;
    return fstat(fd, &about) == 0 ? (int64_t)about.st_mtim.tv_sec * 1000000000 + about.st_mtim.tv_nsec : 0;
}

struct rk_payload_cache *rk_payload_cache_open(const char *folder, const char *uid, uint64_t most,
                                               struct rk_err *err)
{
    struct rk_payload_cache *cache = is_uid(uid) ? calloc(1, sizeof *cache) : NULL;
    if (!cache) {
        (void)rk_fail(err, RANKD_INTERNAL, "no memory, or the bank's uid is not one that rankd draws");
        return NULL;
    }
    pthread_mutex_init(&cache->lock, NULL);
    cache->most = most;
    for (int i = 0; i < FILES; i++) {
        (void)snprintf(cache->path[i], sizeof cache->path[i], "%s/%s.%d", folder, uid, i);
        cache->fd[i] = open(cache->path[i], O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (cache->fd[i] < 0)
            (void)rk_fail(err, RANKD_INTERNAL, "%s cannot be used: %s", cache->path[i], strerror(errno));
    }
    if (err->status != RANKD_OK) {
        rk_payload_cache_close(cache);
        return NULL;
    }
    for (int i = 0; i < FILES; i++)
        cache->end[i] = scan(cache, i, false);
    cache->current = written_ns(cache->fd[1]) > written_ns(cache->fd[0]);
    return cache;
}

void rk_payload_cache_close(struct rk_payload_cache *cache)
{
    if (!cache)
        return;
    for (int i = 0; i < FILES; i++) {
        if (cache->fd[i] >= 0)
            (void)close(cache->fd[i]);
    }
    free(cache->list);
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}

/* --- writing --- */

/* True: all of it is there. What a failure leaves behind is no whole record, and is overwritten. */
static bool write_at(int fd, const char *bytes, size_t count, uint64_t at)
{
    while (count) {
        const ssize_t put = pwrite(fd, bytes, count, (off_t)at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return false;
        bytes += put;
        at += (uint64_t)put;
        count -= (size_t)put;
    }
    return true;
}

void rk_payload_cache_put(struct rk_payload_cache *cache, const void *payload, size_t bytes)
{
    if (!cache)
        return;
    pthread_mutex_lock(&cache->lock);
    if (!cache->over && cache->end[cache->current] && cache->end[cache->current] + bytes > cache->most) {
        cache->current = !cache->current;
        cache->end[cache->current] = 0;
        cache->over = ftruncate(cache->fd[cache->current], 0) != 0;
    }
    uint64_t *end = &cache->end[cache->current];
    if (!cache->over && write_at(cache->fd[cache->current], payload, bytes, *end))
        *end += bytes;
    else
        cache->over = true;
    pthread_mutex_unlock(&cache->lock);
}

/* --- reading --- */

static int by_name(const void *a, const void *b)
{
    const struct listed *x = a, *y = b;
    const uint64_t left[] = {x->name[1], x->name[0], x->content},
                   right[] = {y->name[1], y->name[0], y->content};
    for (int i = 0; i < 3; i++) {
        if (left[i] != right[i])
            return left[i] < right[i] ? -1 : 1;
    }
    return 0;
}

void rk_payload_cache_list(struct rk_payload_cache *cache)
{
    if (!cache)
        return;
    pthread_mutex_lock(&cache->lock);
    cache->count = 0;
    for (int i = 0; i < FILES && !cache->over; i++)
        (void)scan(cache, i, true);
    if (cache->count)
        qsort(cache->list, cache->count, sizeof *cache->list, by_name);
    pthread_mutex_unlock(&cache->lock);
}

void rk_payload_cache_forget(struct rk_payload_cache *cache)
{
    if (!cache)
        return;
    free(cache->list);
    cache->list = NULL;
    cache->count = cache->room = 0;
}

static const struct listed *find(const struct rk_payload_cache *cache, const struct rk_stored_entry *entry)
{
    const struct listed key = {.name = {entry->id.name[0], entry->id.name[1]}, .content = entry->id.content};
    const struct listed *one =
        cache && cache->count ? bsearch(&key, cache->list, cache->count, sizeof key, by_name) : NULL;
    return one && one->bytes == entry->bytes ? one : NULL;
}

bool rk_payload_cache_has(const struct rk_payload_cache *cache, const struct rk_stored_entry *entry)
{
    return find(cache, entry) != NULL;
}

void *rk_payload_cache_take(struct rk_payload_cache *cache, const struct rk_stored_entry *entry,
                            size_t *bytes)
{
    const struct listed *one = find(cache, entry);
    void *payload = one ? malloc(one->bytes) : NULL;
    if (payload &&
        pread(cache->fd[one->file], payload, one->bytes, (off_t)one->offset) == (ssize_t)one->bytes) {
        *bytes = one->bytes;
        return payload;
    }
    free(payload);
    return NULL;
}

/* --- the end --- */

void rk_payload_cache_remove(struct rk_payload_cache *cache)
{
    if (!cache)
        return;
    pthread_mutex_lock(&cache->lock);
    for (int i = 0; i < FILES && !cache->over; i++)
        (void)unlink(cache->path[i]);
    cache->over = true;
    pthread_mutex_unlock(&cache->lock);
}

void rk_payload_cache_sweep(const char *folder, bool (*keep)(const void *context, const char *uid),
                            const void *context)
{
    char path[PATH_MAX], uid[UID_DIGITS + 1];
    DIR *all = opendir(folder);
    for (struct dirent *entry; all && (entry = readdir(all));) {
        const char *name = entry->d_name;
        if (strlen(name) != UID_DIGITS + SUFFIX_BYTES)
            continue;
        memcpy(uid, name, UID_DIGITS);
        uid[UID_DIGITS] = '\0';
        if (is_uid(uid) && !keep(context, uid) &&
            (size_t)snprintf(path, sizeof path, "%s/%s", folder, name) < sizeof path)
            (void)unlink(path);
    }
    if (all)
        (void)closedir(all);
}
