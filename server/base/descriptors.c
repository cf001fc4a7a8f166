/* SPDX-License-Identifier: Apache-2.0 */
#include "base/descriptors.h"

#include <fcntl.h>
#include <stddef.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "config/config.h"

enum { OTHERS = 16 };

static struct rlimit limits(void)
{
    struct rlimit files = {1024, 1024};
    (void)getrlimit(RLIMIT_NOFILE, &files);
    return files;
}

void rk_descriptors_raise(void)
{
    struct rlimit files = limits();
    if (files.rlim_cur == files.rlim_max)
        return;
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
}

/* The lowest free number: at the start it is close to the number of open ones. */
static uint64_t open_now(void)
{
    const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        (void)close(fd);
    return fd >= 0 ? (uint64_t)fd : OTHERS;
}

uint64_t rk_descriptors_for(uint64_t wanted, uint64_t spare, struct rk_log *log)
{
    const uint64_t limit = limits().rlim_cur, others = open_now() + OTHERS + spare;
    const uint64_t have = limit > others ? limit - others : 1;
    if (have >= wanted)
        return wanted;
    rk_log_say(log, RK_LOG_WARN, "http",
               "connections is %llu, but the process may have %llu descriptors (ulimit -n): %llu connections "
               "are taken",
               (unsigned long long)wanted, (unsigned long long)limit, (unsigned long long)have);
    return have;
}

bool rk_descriptors_left(void)
{
    const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        (void)close(fd);
    return fd >= 0;
}
