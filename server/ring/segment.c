/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGE = 4096 };

static uint64_t rings_end(uint32_t entries)
{
    uint64_t end = RANKD_SHM_HEADER_BYTES + 2 * (uint64_t)entries * RANKD_SHM_ENTRY_BYTES;
    return (end + PAGE - 1) / PAGE * PAGE;
}

size_t rk_shm_segment_bytes(uint32_t entries, uint64_t arena_bytes)
{
    uint64_t start = rings_end(entries), limit = SIZE_MAX / 4;
    if (arena_bytes > limit - start)
        return 0;
    return (size_t)((start + arena_bytes + PAGE - 1) / PAGE * PAGE);
}

static int make_memfd(size_t bytes, struct rk_err *err)
{
    int fd = memfd_create("rankd-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        rk_fail(err, RANKD_OVERLOADED, "no memory file for a ring segment: %s", strerror(errno));
        return -1;
    }
    /* fallocate, not ftruncate: a hole is charged to the process that touches it first, at a time
     * of the client's choosing. */
    int rc = fallocate(fd, 0, 0, (off_t)bytes);
    if (rc == 0)
        rc = fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    if (rc != 0) {
        rk_fail(err, RANKD_OVERLOADED, "no room for a ring segment of %zu bytes: %s", bytes, strerror(errno));
        (void)close(fd);
        return -1;
    }
    return fd;
}

enum rankd_status rk_shm_segment_open(struct rk_shm_segment *segment, uint32_t entries, uint64_t arena_bytes,
                                      uint64_t daemon_id, int *fd, struct rk_err *err)
{
    size_t bytes = rk_shm_segment_bytes(entries, arena_bytes);
    *segment = (struct rk_shm_segment){.bytes = bytes, .entries = entries};
    *fd = make_memfd(bytes, err);
    if (*fd < 0)
        return err->status;
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    if (base == MAP_FAILED) {
        rk_fail(err, RANKD_OVERLOADED, "no address space for a ring segment of %zu bytes: %s", bytes,
                strerror(errno));
        (void)close(*fd);
        *fd = -1;
        return err->status;
    }
    (void)madvise(base, bytes, MADV_DONTDUMP);
    segment->shared = base;
    segment->arena_offset = (size_t)rings_end(entries);
    uint64_t completions = RANKD_SHM_HEADER_BYTES + (uint64_t)entries * RANKD_SHM_ENTRY_BYTES;
    segment->submissions = (void *)((char *)base + RANKD_SHM_HEADER_BYTES);
    segment->completions = (void *)((char *)base + completions);
    struct rankd_shm_segment *shared = segment->shared;
    shared->magic = RANKD_SHM_MAGIC;
    shared->version = RANKD_SHM_VERSION;
    shared->header_bytes = RANKD_SHM_HEADER_BYTES;
    shared->segment_bytes = bytes;
    shared->entries = entries;
    shared->entry_bytes = RANKD_SHM_ENTRY_BYTES;
    shared->submissions_offset = RANKD_SHM_HEADER_BYTES;
    shared->completions_offset = completions;
    shared->arena_offset = segment->arena_offset;
    shared->arena_bytes = bytes - segment->arena_offset;
    shared->daemon_id = daemon_id;
    return RANKD_OK;
}

/* Workers may be using the segment: its pages are replaced, so that it stays readable until
 * rk_shm_segment_close(). Past the C library, because ThreadSanitizer takes an mmap() for a write
 * to all of it. */
void rk_shm_segment_abandon(struct rk_shm_segment *segment)
{
    if (segment->shared != NULL)
        (void)syscall(SYS_mmap, segment->shared, segment->bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

void rk_shm_segment_close(struct rk_shm_segment *segment)
{
    if (segment->shared != NULL)
        (void)munmap(segment->shared, segment->bytes);
    *segment = (struct rk_shm_segment){0};
}

bool rk_shm_segment_has_submission(const struct rk_shm_segment *segment)
{
    return atomic_load_explicit(&segment->shared->submit_tail, memory_order_acquire) != segment->submit_head;
}

/* The entry is copied through a volatile view, so that the compiler can't read a field of it a
 * second time. */
static void copy_once(void *to, const void *from, size_t bytes)
{
    const volatile uint64_t *source = from;
    uint64_t *target = to;
    for (size_t i = 0; i < bytes / sizeof *target; i++)
        target[i] = source[i];
}

int rk_shm_segment_take(struct rk_shm_segment *segment, struct rankd_shm_submission *entry)
{
    uint32_t tail = atomic_load_explicit(&segment->shared->submit_tail, memory_order_acquire);
    uint32_t waiting = tail - segment->submit_head;
    if (waiting == 0)
        return 0;
    if (waiting > segment->entries)
        return -1;
    copy_once(entry, &segment->submissions[segment->submit_head % segment->entries], sizeof *entry);
    segment->submit_head++;
    atomic_store_explicit(&segment->shared->submit_head, segment->submit_head, memory_order_release);
    return 1;
}

int64_t rk_shm_segment_untaken(const struct rk_shm_segment *segment)
{
    uint32_t head = atomic_load_explicit(&segment->shared->complete_head, memory_order_acquire);
    uint32_t untaken = segment->complete_tail - head;
    return untaken > segment->entries ? -1 : (int64_t)untaken;
}

void rk_shm_segment_complete(struct rk_shm_segment *segment, const struct rankd_shm_completion *entry)
{
    segment->completions[segment->complete_tail % segment->entries] = *entry;
    segment->complete_tail++;
    atomic_store_explicit(&segment->shared->complete_tail, segment->complete_tail, memory_order_release);
}

bool rk_shm_segment_client_sleeps(struct rk_shm_segment *segment)
{
    atomic_thread_fence(memory_order_seq_cst);
    _Atomic uint32_t *word = &segment->shared->client_waiting;
    return atomic_load_explicit(word, memory_order_relaxed) == RANKD_ASLEEP &&
           atomic_exchange_explicit(word, RANKD_AWAKE, memory_order_relaxed) == RANKD_ASLEEP;
}

void rk_shm_segment_daemon_waits(struct rk_shm_segment *segment, enum rankd_waiting waiting)
{
    atomic_store_explicit(&segment->shared->daemon_waiting, (uint32_t)waiting, memory_order_relaxed);
}

void rk_shm_segment_grant_spin(struct rk_shm_segment *segment, uint32_t ns)
{
    atomic_store_explicit(&segment->shared->spin_ns, ns, memory_order_relaxed);
}

void *rk_shm_segment_at(const struct rk_shm_segment *segment, uint64_t offset, uint64_t bytes, size_t align)
{
    if (offset < segment->arena_offset || offset > segment->bytes || bytes > segment->bytes - offset)
        return NULL;
    return offset % align == 0 ? (char *)segment->shared + offset : NULL;
}
