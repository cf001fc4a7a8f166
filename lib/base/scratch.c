/* SPDX-License-Identifier: Apache-2.0 */
#include "base/scratch.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/saturate.h"

#if defined(__SANITIZE_ADDRESS__)
#define POISONED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISONED 1
#endif
#endif
#ifdef POISONED
#include <sanitizer/asan_interface.h>
#define GAP ALIGN /* between two takes, so that an overrun is seen */
#else
#define GAP ((size_t)0)
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

#define ALIGN ((size_t)64)

static size_t whole_pages(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return bytes > SIZE_MAX - page ? SIZE_MAX / page * page : (bytes + page - 1) / page * page;
}

/* The machine's memory: more could not be used. */
static size_t machine_memory(void)
{
    return (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
}

/* One range of addresses: reserved once, given memory by the kernel as it is touched, so that
 * growing moves nothing and a mark is an offset. */
struct rk_scratch *rk_scratch_new(size_t limit)
{
    struct rk_scratch *scratch = calloc(1, sizeof *scratch);
    if (!scratch)
        return NULL;
    size_t most = machine_memory();
    size_t want = whole_pages(limit && limit < most ? limit : most);
    size_t page = whole_pages(1);
    /* A limit on address space (ulimit -v) may refuse all of it; then less is reserved. */
    for (; want >= page; want = whole_pages(want / 4)) {
        void *base =
            mmap(NULL, want, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base != MAP_FAILED) {
            (void)madvise(base, want, MADV_HUGEPAGE);
            scratch->base = base;
            scratch->reserved = limit && limit < want ? limit : want;
            return scratch;
        }
        if (want == page)
            break;
    }
    free(scratch);
    return NULL;
}

void rk_scratch_free(struct rk_scratch *scratch)
{
    if (!scratch)
        return;
    ASAN_UNPOISON_MEMORY_REGION(scratch->base, scratch->held);
    (void)munmap(scratch->base, whole_pages(scratch->reserved));
    free(scratch);
}

void *rk_scratch_nowhere(void)
{
    static const _Alignas(64) char nowhere[ALIGN]; /* read-only, so that a write is seen */
    return (void *)(uintptr_t)nowhere;
}

static size_t room_of(size_t bytes)
{
    return bytes > SIZE_MAX - ALIGN - GAP ? SIZE_MAX : (bytes + ALIGN - 1) / ALIGN * ALIGN + GAP;
}

static void *measured(struct rk_scratch *scratch, size_t bytes)
{
    scratch->used = rk_size_add(scratch->used, room_of(bytes));
    if (scratch->used > scratch->peak)
        scratch->peak = scratch->used;
    return rk_scratch_nowhere();
}

void *rk_scratch_take(struct rk_scratch *scratch, size_t bytes)
{
    if (rk_scratch_measures(scratch))
        return measured(scratch, bytes);
    size_t left = scratch->reserved - scratch->used;
    if (bytes > left) {
        scratch->refused = bytes;
        return NULL;
    }
    size_t room = room_of(bytes);
    if (room > left)
        room = left;
    char *at = scratch->base + scratch->used;
    scratch->used += room;
    if (scratch->used > scratch->held)
        scratch->held = scratch->used;
    if (scratch->held > scratch->peak)
        scratch->peak = scratch->held;
    ASAN_UNPOISON_MEMORY_REGION(at, bytes);
    ASAN_POISON_MEMORY_REGION(at + bytes, room - bytes);
    return at;
}

void *rk_scratch_array(struct rk_scratch *scratch, size_t count, size_t size)
{
    return rk_scratch_take(scratch, rk_size_times(count, size));
}

size_t rk_scratch_mark(const struct rk_scratch *scratch)
{
    return scratch->used;
}

void rk_scratch_release(struct rk_scratch *scratch, size_t mark)
{
    if (!rk_scratch_measures(scratch))
        ASAN_POISON_MEMORY_REGION(scratch->base + mark, scratch->used - mark);
    scratch->used = mark;
}

size_t rk_scratch_held(const struct rk_scratch *scratch)
{
    return scratch->held;
}

size_t rk_scratch_peak(const struct rk_scratch *scratch)
{
    return scratch->peak;
}

void rk_scratch_trim(struct rk_scratch *scratch, size_t keep)
{
    keep = whole_pages(keep);
    if (keep >= scratch->held)
        return;
    (void)madvise(scratch->base + keep, whole_pages(scratch->held) - keep, MADV_DONTNEED);
    scratch->held = keep;
}

enum rankd_status rk_fail_scratch(struct rk_err *err, const struct rk_scratch *scratch)
{
    return rk_fail(
        err, RANKD_OVERLOADED,
        "no memory for %zu bytes of intermediate results; try again later, or send fewer or shorter lists",
        scratch->refused);
}
