/* SPDX-License-Identifier: Apache-2.0 */
/* The state of the disk as a digest: two disks with equal digests answer all later calls alike. */
#include <string.h>

#include "unit/disk/disk_internal.h"

static size_t met;

static void add_number(struct XXH3_state_s *into, size_t number)
{
    (void)XXH3_128bits_update(into, &number, sizeof number);
}

static void add_name(struct XXH3_state_s *into, const char *name)
{
    (void)XXH3_128bits_update(into, name, strlen(name) + 1);
}

static void add_node(struct XXH3_state_s *into, struct node *node);

static void add_side(struct XXH3_state_s *into, const struct side *side)
{
    add_number(into, side->size);
    if (side->size)
        (void)XXH3_128bits_update(into, side->bytes, side->size);
    add_number(into, side->entries);
    for (size_t i = 0; i < side->entries; i++) {
        add_name(into, side->entry[i].name);
        add_node(into, side->entry[i].node);
    }
}

/* A node that was met before is its number: a file of two names is one file. */
static void add_node(struct XXH3_state_s *into, struct node *node)
{
    bool is_new = node && !node->number;
    if (is_new)
        node->number = ++met;
    add_number(into, node ? node->number : 0);
    if (!is_new)
        return;
    add_number(into, node->is_folder);
    add_side(into, &node->now);
    add_side(into, &node->durable);
}

void disk_digest(struct XXH3_state_s *into)
{
    size_t pendings;
    const struct change *pending = disk_pending(&pendings);
    met = 0;
    for (struct node *node = disk_all(); node; node = node->next)
        node->number = 0;
    add_node(into, disk_find("/disk"));
    add_number(into, pendings);
    for (size_t i = 0; i < pendings; i++) {
        add_node(into, pending[i].folder);
        add_name(into, pending[i].from);
        add_name(into, pending[i].to);
        add_node(into, pending[i].node);
    }
}
