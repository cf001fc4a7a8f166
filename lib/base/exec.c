#include "base/exec.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

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

/* A stack in one range of addresses: reserved once, given memory by the kernel as it is touched, so that
 * growing moves nothing and a mark is an offset. */
struct rk_scratch {
    char *base;
    size_t reserved;
    size_t used; /* the top of the stack */
    size_t held; /* touched, not yet given back */
    size_t peak;
};

static size_t whole_pages(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return bytes > SIZE_MAX - page ? SIZE_MAX / page * page : (bytes + page - 1) / page * page;
}

/* As much as the machine has memory: more could not be used. */
static size_t machine_memory(void)
{
    return (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
}

struct rk_scratch *rk_scratch_new(size_t limit)
{
    struct rk_scratch *scratch = calloc(1, sizeof *scratch);
    if (!scratch)
        return NULL;
    size_t most = machine_memory();
    size_t want = whole_pages(limit && limit < most ? limit : most);
    size_t page = whole_pages(1);
    /* A limit on address space (ulimit -v) may refuse it all; then less has to do. */
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

void *rk_scratch_take(struct rk_scratch *scratch, size_t bytes)
{
    size_t left = scratch->reserved - scratch->used;
    if (bytes > left)
        return NULL;
    size_t room = (bytes + ALIGN - 1) / ALIGN * ALIGN + GAP;
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

size_t rk_scratch_mark(const struct rk_scratch *scratch)
{
    return scratch->used;
}

void rk_scratch_release(struct rk_scratch *scratch, size_t mark)
{
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

enum rankd_status rk_exec_check(const struct rk_exec *exec, struct rk_err *err)
{
    if (exec->deadline_ns == 0)
        return RANKD_OK;
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    if ((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec < exec->deadline_ns)
        return RANKD_OK;
    return rk_fail(
        err, RANKD_DEADLINE,
        "the deadline passed while the request was computed; allow more time, or send fewer lists");
}
