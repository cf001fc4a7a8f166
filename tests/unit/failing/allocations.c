/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/failing/allocations.h"

atomic_size_t fail_at, allocations; /* some libraries have threads */
atomic_long living;

void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *at, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
char *__real_strdup(const char *text);
void __real_free(void *at);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *at, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
char *__wrap_strdup(const char *text);

void make_fail(size_t n)
{
    allocations = 0;
    fail_at = n;
}

void *counted(void *memory)
{
    living += memory != NULL;
    return memory;
}

void *__wrap_malloc(size_t size)
{
    return ++allocations == fail_at ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return ++allocations == fail_at ? NULL : counted(__real_calloc(count, size));
}

void *__wrap_realloc(void *at, size_t size)
{
    if (++allocations == fail_at)
        return NULL;
    void *memory = __real_realloc(at, size);
    living += at == NULL && memory != NULL;
    return memory;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return ++allocations == fail_at ? NULL : counted(__real_aligned_alloc(alignment, size));
}

char *__wrap_strdup(const char *text)
{
    return ++allocations == fail_at ? NULL : counted(__real_strdup(text));
}

void __wrap_free(void *at)
{
    living -= at != NULL;
    __real_free(at);
}
