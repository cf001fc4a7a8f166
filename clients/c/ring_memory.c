/* SPDX-License-Identifier: Apache-2.0 */
/* The ring transport's memory: mapped segments, the pieces of their arenas, and the references of
 * slots to them. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "error.h"
#include "ring_internal.h"

void rankd_ring_unmap(struct rankd_mapping *mapping)
{
    rankd_arena_close(&mapping->arena);
    (void)munmap(mapping->shared, mapping->bytes);
    free(mapping);
}

void rankd_ring_drop_retired(struct rankd_ring *ring)
{
    if (ring->mapping == NULL)
        return;
    for (struct rankd_mapping **link = &ring->mapping->next; *link != NULL;) {
        struct rankd_mapping *mapping = *link;
        if (mapping->arena.taken == 0) {
            *link = mapping->next;
            rankd_ring_unmap(mapping);
        } else {
            link = &mapping->next;
        }
    }
}

void rankd_ring_give(struct rankd_ring *ring, void *memory)
{
    if (memory == NULL)
        return;
    for (struct rankd_mapping *mapping = ring->mapping; mapping != NULL; mapping = mapping->next) {
        if (rankd_arena_give(&mapping->arena, memory))
            break;
    }
    rankd_ring_drop_retired(ring);
}

static bool lies_within(uint64_t offset, uint64_t size, uint64_t bytes)
{
    return offset <= bytes && size <= bytes - offset && offset % RANKD_SHM_ALIGN == 0;
}

/* The daemon wrote the header: it is copied, and the copy is validated before it is used. */
static bool read_layout(struct rankd_mapping *mapping)
{
    const volatile struct rankd_shm_segment *shared = mapping->shared;
    struct rankd_layout *layout = &mapping->layout;
    uint64_t bytes = mapping->bytes;
    *layout = (struct rankd_layout){.entries = shared->entries,
                                    .submissions_offset = shared->submissions_offset,
                                    .completions_offset = shared->completions_offset,
                                    .arena_offset = shared->arena_offset,
                                    .arena_bytes = shared->arena_bytes};
    uint64_t rings = (uint64_t)layout->entries * RANKD_SHM_ENTRY_BYTES;
    return shared->magic == RANKD_SHM_MAGIC && shared->version == RANKD_SHM_VERSION &&
           shared->segment_bytes == bytes && shared->entry_bytes == RANKD_SHM_ENTRY_BYTES &&
           layout->entries >= RANKD_SHM_ENTRIES_MIN && layout->entries <= RANKD_SHM_ENTRIES_MAX &&
           (layout->entries & (layout->entries - 1)) == 0 &&
           lies_within(layout->submissions_offset, rings, bytes) &&
           lies_within(layout->completions_offset, rings, bytes) &&
           lies_within(layout->arena_offset, layout->arena_bytes, bytes);
}

/* Pages beyond the end of a file would be bus errors, so the file must be sealed against
 * truncation. */
static bool is_there(int fd, uint64_t bytes)
{
    struct stat status;
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & F_SEAL_SHRINK) != 0 && bytes > RANKD_SHM_HEADER_BYTES &&
           fstat(fd, &status) == 0 && (uint64_t)status.st_size >= bytes;
}

int rankd_ring_map(struct rankd_ring *ring, int fd, uint64_t bytes, struct rankd_error *error)
{
    if (!is_there(fd, bytes))
        return rankd_fail(error, RANKD_UNREACHABLE,
                          "the daemon's segment is shorter than it says, or not sealed against that");
    struct rankd_mapping *mapping = calloc(1, sizeof *mapping);
    void *base = mapping != NULL ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (base == MAP_FAILED) {
        free(mapping);
        return rankd_fail(error, RANKD_NO_MEMORY, "a segment of %llu bytes can't be mapped",
                          (unsigned long long)bytes);
    }
    /* A forked child must not keep the segment of its parent alive, nor write into it. */
    (void)madvise(base, bytes, MADV_DONTFORK);
    (void)madvise(base, bytes, MADV_DONTDUMP);
    mapping->shared = base;
    mapping->bytes = bytes;
    int status = RANKD_OK;
    if (!read_layout(mapping))
        status = rankd_fail(error, RANKD_UNREACHABLE, "the daemon's segment is not one of rankd's");
    else if (!rankd_arena_open(&mapping->arena, (char *)base + mapping->layout.arena_offset,
                               mapping->layout.arena_bytes))
        status = rankd_fail(error, RANKD_NO_MEMORY, "out of memory");
    if (status != RANKD_OK) {
        rankd_ring_unmap(mapping);
        return status;
    }
    mapping->next = ring->mapping;
    ring->mapping = mapping;
    return RANKD_OK;
}

void rankd_ring_free_slot(struct rankd_ring *ring, struct rankd_slot *slot, bool keep_owned)
{
    for (int i = 0; i < RANKD_IN_COUNT; i++)
        rankd_ring_give(ring, slot->inputs[i]);
    for (int i = 0; i < RANKD_OUT_COUNT; i++) {
        bool keep = slot->outputs[i].owned && keep_owned;
        if ((slot->outputs[i].owned || slot->outputs[i].to != NULL) && !keep)
            rankd_ring_give(ring, slot->outputs[i].room);
    }
    memset(slot, 0, sizeof *slot);
}
