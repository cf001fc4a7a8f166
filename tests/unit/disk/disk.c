/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/disk/disk_internal.h"

#include <stdlib.h>
#include <string.h>

enum { PIECE = 64, CHANGES_MAX = 4096 };

static struct node *all, *root;
static struct change pending[CHANGES_MAX];
static size_t pendings, changes, stop_at;

/* --- names --- */

void disk_copy_name(char to[DISK_NAME_BYTES], const char *name)
{
    size_t length = strlen(name);
    if (length >= DISK_NAME_BYTES)
        abort();
    memcpy(to, name, length + 1);
}

struct node *disk_new(bool is_folder)
{
    struct node *node = calloc(1, sizeof *node);
    if (!node)
        abort();
    node->is_folder = is_folder;
    node->next = all;
    all = node;
    return node;
}

struct node *disk_lookup(const struct side *side, const char *name)
{
    for (size_t i = 0; i < side->entries; i++) {
        if (strcmp(side->entry[i].name, name) == 0)
            return side->entry[i].node;
    }
    return NULL;
}

static void set_entry(struct side *side, const char *name, struct node *node)
{
    size_t at = 0;
    while (at < side->entries && strcmp(side->entry[at].name, name) != 0)
        at++;
    if (!node) {
        if (at < side->entries)
            side->entry[at] = side->entry[--side->entries];
        return;
    }
    if (at == side->entries) {
        side->entry = realloc(side->entry, ++side->entries * sizeof *side->entry);
        if (!side->entry)
            abort();
    }
    disk_copy_name(side->entry[at].name, name);
    side->entry[at].node = node;
}

struct node *disk_parent(const char *path, const char **name)
{
    struct node *folder = root;
    const char *at = path + strlen("/disk");
    while (*at == '/')
        at++;
    for (const char *slash; folder && folder->is_folder && (slash = strchr(at, '/')); at = slash + 1) {
        char part[DISK_NAME_BYTES];
        const size_t length = (size_t)(slash - at) < sizeof part ? (size_t)(slash - at) : sizeof part - 1;
        memcpy(part, at, length); /* not snprintf(): most of the time is spent here */
        part[length] = '\0';
        if (part[0] && strcmp(part, ".") != 0)
            folder = disk_lookup(&folder->now, part);
    }
    *name = at;
    return folder && folder->is_folder ? folder : NULL;
}

struct node *disk_find(const char *path)
{
    const char *name;
    struct node *folder = disk_parent(path, &name);
    return folder && *name && strcmp(name, ".") != 0 ? disk_lookup(&folder->now, name) : folder;
}

static void apply(struct side *side, const struct change *change)
{
    if (change->from[0])
        set_entry(side, change->from, NULL);
    if (change->to[0])
        set_entry(side, change->to, change->node);
}

void disk_rename(struct node *folder, const char *from, const char *to, struct node *node)
{
    struct change *change = &pending[pendings++];
    struct node *replaced = *to ? disk_lookup(&folder->now, to) : NULL;
    if (pendings == CHANGES_MAX)
        abort();
    *change = (struct change){.folder = folder, .node = node};
    disk_copy_name(change->from, from);
    disk_copy_name(change->to, to);
    if (replaced)
        replaced->links--;
    if (*from)
        disk_lookup(&folder->now, from)->links--;
    if (*to)
        node->links++;
    apply(&folder->now, change);
}

void disk_sync_folder(struct node *folder)
{
    size_t left = 0;
    for (size_t i = 0; i < pendings; i++) {
        if (pending[i].folder == folder)
            apply(&folder->durable, &pending[i]);
        else
            pending[left++] = pending[i];
    }
    pendings = left;
}

/* --- contents --- */

void disk_resize(struct side *side, size_t size)
{
    side->bytes = realloc(side->bytes, size + 1);
    if (!side->bytes)
        abort();
    if (size > side->size)
        memset(side->bytes + side->size, 0, size - side->size);
    side->size = size;
}

void disk_sync_file(struct node *file)
{
    disk_resize(&file->durable, file->now.size);
    if (file->now.size)
        memcpy(file->durable.bytes, file->now.bytes, file->now.size);
}

/* --- stopping --- */

size_t disk_changes(void)
{
    return changes;
}

void disk_stop_at(size_t change)
{
    stop_at = change;
}

bool disk_has_stopped(void)
{
    return stop_at && changes >= stop_at;
}

bool disk_may_change(bool *half)
{
    if (disk_has_stopped())
        return false;
    changes++;
    *half = disk_has_stopped();
    return !*half;
}

void disk_after_kill(void)
{
    disk_close_all();
    stop_at = 0;
}

static bool draw(unsigned share, uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((*seed >> 33) % 100) < share;
}

/* Loses changes of names that are not on disk, in their order. A later change that removes a lost
 * name is impossible, and lost too. */
static void lose_names(unsigned share, uint64_t *seed)
{
    for (size_t i = 0; i < pendings; i++) {
        struct side *durable = &pending[i].folder->durable;
        bool possible = !pending[i].from[0] || disk_lookup(durable, pending[i].from);
        if (possible && draw(share, seed))
            apply(durable, &pending[i]);
    }
    pendings = 0;
}

static void lose_bytes(struct node *file, unsigned share, uint64_t *seed)
{
    struct side *now = &file->now, *durable = &file->durable;
    bool longer = draw(share, seed);
    if (longer)
        disk_resize(durable, now->size);
    for (size_t at = 0; at < durable->size && at < now->size; at += PIECE) {
        size_t end = at + PIECE;
        end = end < durable->size ? end : durable->size;
        end = end < now->size ? end : now->size;
        if (draw(share, seed))
            memcpy(durable->bytes + at, now->bytes + at, end - at);
    }
}

/* From now on the content is what is on disk. */
static void show(struct node *folder)
{
    struct side *now = &folder->now;
    now->entries = 0;
    for (size_t i = 0; i < folder->durable.entries; i++) {
        const struct disk_entry *entry = &folder->durable.entry[i];
        struct node *node = entry->node;
        set_entry(now, entry->name, node);
        node->links++;
        if (node->is_folder) {
            show(node);
        } else if (node->links == 1) {
            disk_resize(&node->now, node->durable.size);
            if (node->durable.size)
                memcpy(node->now.bytes, node->durable.bytes, node->durable.size);
        }
    }
}

void disk_after_power_cut(unsigned share, uint64_t *seed)
{
    disk_close_all();
    lose_names(share, seed);
    for (struct node *node = all; node; node = node->next) {
        if (!node->is_folder)
            lose_bytes(node, share, seed);
        node->links = 0;
    }
    show(root);
    stop_at = 0;
}

static void free_all(void)
{
    for (struct node *next; all; all = next) {
        next = all->next;
        free(all->now.entry);
        free(all->now.bytes);
        free(all->durable.entry);
        free(all->durable.bytes);
        free(all);
    }
}

void disk_reset(void)
{
    disk_close_all();
    free_all();
    pendings = changes = stop_at = 0;
    root = disk_new(true);
}

/* --- inspection --- */

struct node *disk_all(void)
{
    return all;
}

const struct change *disk_pending(size_t *count)
{
    *count = pendings;
    return pending;
}

static size_t count_names(const struct node *folder, const char *part)
{
    size_t count = 0;
    for (size_t i = 0; i < folder->now.entries; i++) {
        const struct disk_entry *entry = &folder->now.entry[i];
        count += strstr(entry->name, part) != NULL;
        if (entry->node->is_folder)
            count += count_names(entry->node, part);
    }
    return count;
}

size_t disk_files(const char *part)
{
    return count_names(root, part);
}

bool disk_flip(const char *path, size_t bit)
{
    struct node *file = disk_find(path);
    if (!file || file->is_folder || bit / 8 >= file->now.size)
        return false;
    file->now.bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
    return true;
}
