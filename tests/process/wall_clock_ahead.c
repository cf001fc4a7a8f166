/* SPDX-License-Identifier: Apache-2.0 */
/* LD_PRELOAD: the wall clock as a process reads it is an hour ahead of the kernel's. For code that
 * waits until a date, this is the same as a clock that is set back by an hour each time after the
 * date was read. */
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>

enum { AHEAD_S = 3600 };

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(clock, now);
    if (code == 0 && clock == CLOCK_REALTIME)
        now->tv_sec += AHEAD_S;
    return code;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    (void)zone;
    struct timespec exact;
    if (clock_gettime(CLOCK_REALTIME, &exact) != 0)
        return -1;
    *now = (struct timeval){exact.tv_sec, exact.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *out)
{
    struct timespec exact;
    (void)clock_gettime(CLOCK_REALTIME, &exact);
    if (out)
        *out = exact.tv_sec;
    return exact.tv_sec;
}
