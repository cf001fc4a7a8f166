/* SPDX-License-Identifier: Apache-2.0 */
/* Declarations shared by the names and contents of the disk (disk.c) and the calls (calls.c). */
#ifndef TEST_DISK_INTERNAL_H
#define TEST_DISK_INTERNAL_H

#include "unit/disk/disk.h"

enum { DISK_NAME_BYTES = 80 };

struct node;

struct disk_entry {
    char name[DISK_NAME_BYTES];
    struct node *node;
};

/* The names of a folder, or the bytes of a file; the present ones, or those on disk. */
struct side {
    struct disk_entry *entry;
    size_t entries;
    unsigned char *bytes;
    size_t size;
};

struct node {
    bool is_folder;
    size_t links;
    struct side now, durable;
    struct node *next; /* in the list of all nodes */
    size_t number;     /* of the digest in progress; 0: not met yet */
};

/* A change of a folder's names that is not on disk: `from` loses its name, `to` has that of
 * `node`. */
struct change {
    struct node *folder;
    char from[DISK_NAME_BYTES], to[DISK_NAME_BYTES]; /* "" = none */
    struct node *node;
};

/* The folder of a path, and the last name of the path; NULL if there is none. "/disk" itself:
 * "". */
struct node *disk_parent(const char *path, const char **name);
struct node *disk_find(const char *path);
struct node *disk_lookup(const struct side *side, const char *name);
struct node *disk_new(bool is_folder);
void disk_copy_name(char to[DISK_NAME_BYTES], const char *name); /* a name that is too long ends the test */

/* Changes the names of a folder; the change is on disk after disk_sync_folder(). */
void disk_rename(struct node *folder, const char *from, const char *to, struct node *node);
void disk_sync_folder(struct node *folder);
void disk_sync_file(struct node *file);
void disk_resize(struct side *side, size_t size);

/* Counts a change. False: the disk has stopped; *half if it stops within this one. */
bool disk_may_change(bool *half);

struct node *disk_all(void);
const struct change *disk_pending(size_t *count); /* in the order in which they were made */

/* calls.c */
void disk_close_all(void);

#endif
