/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/gauges.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/budget.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "exec/worker_pool.h"

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + 1e-6 * (double)time.tv_usec;
}

static double cpu_seconds(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return seconds(used.ru_utime) + seconds(used.ru_stime);
}

/* Bytes of memory that are in use now, from /proc/self/statm; 0 if that can't be read. */
static double resident_bytes(void)
{
    uint64_t total, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file)
        return 0;
    if (fscanf(file, "%" SCNu64 " %" SCNu64, &total, &resident) !=
        2) // NOLINT(cert-err34-c): the kernel's own text
        resident = 0;
    (void)fclose(file);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static double open_files(void)
{
    DIR *folder = opendir("/proc/self/fd");
    if (!folder)
        return 0;
    double count = -3; /* ".", ".." and the folder itself */
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static double most_files(void)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    return (double)files.rlim_cur;
}

void rk_gauges_write(void *source, struct rk_text *out)
{
    const struct rk_gauge_sources *from = source;
#define NONE ""
#define VERSION "{version=\"" RK_VERSION "\"}"
#define COUNTER "counter"
#define GAUGE "gauge"
#define RK_GAUGE(name, type, label, value, help)                                                             \
    rk_metric_line(out, name, type, label, (double)(value), help);
#include "exec/gauges.def"
}
