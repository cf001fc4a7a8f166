#include "exec/gauges.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "app.h"
#include "base/budget.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "exec/worker_pool.h"

static void write_gauge(struct rk_text *out, const char *name, const char *type, double value,
                        const char *help)
{
    rk_text_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %.15g\n", name, help, name, type, name, value);
}

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + 1e-6 * (double)time.tv_usec;
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

static void write_process(const struct rk_app *app, struct rk_text *out)
{
    struct rusage used;
    struct rlimit files;
    getrusage(RUSAGE_SELF, &used);
    getrlimit(RLIMIT_NOFILE, &files);
    write_gauge(out, "process_start_time_seconds", "gauge", app->started_unix,
                "When the daemon was started, Unix time.");
    write_gauge(out, "process_cpu_seconds_total", "counter", seconds(used.ru_utime) + seconds(used.ru_stime),
                "CPU time of user and system.");
    write_gauge(out, "process_resident_memory_bytes", "gauge", resident_bytes(), "Memory that is in use.");
    write_gauge(out, "process_open_fds", "gauge", open_files(), "Open file descriptors.");
    write_gauge(out, "process_max_fds", "gauge", (double)files.rlim_cur,
                "File descriptors that may be open.");
}

void rk_gauges_write(struct rk_app *app, struct rk_text *out)
{
    rk_text_puts(out, "# HELP rankd_build_info The version that runs; the value is always 1.\n"
                      "# TYPE rankd_build_info gauge\nrankd_build_info{version=\"" RK_VERSION "\"} 1\n");
    write_gauge(out, "rankd_ready", "gauge", atomic_load(&app->ready), "1 while requests are taken.");
    write_gauge(out, "rankd_queue_waiting", "gauge", (double)rk_worker_pool_waiting(app->workers),
                "Requests that wait for a worker.");
    write_gauge(
        out, "rankd_queue_parked", "gauge", (double)rk_worker_pool_parked(app->workers),
        "Requests that wait for a bank's disk, or for an earlier request of their batch_id; no worker is "
        "held.");
    write_gauge(out, "rankd_queue_limit", "gauge", (double)app->config.queue_requests,
                "Requests that may wait for a worker.");
    write_gauge(out, "rankd_workers", "gauge", (double)app->config.workers, "Threads that compute.");
    write_gauge(out, "rankd_workers_busy", "gauge", (double)rk_worker_pool_running(app->workers),
                "Workers that compute now.");
    write_gauge(out, "rankd_budget_used_bytes", "gauge", (double)rk_budget_used(app->budget),
                "Memory that requests have reserved.");
    write_gauge(out, "rankd_budget_limit_bytes", "gauge", (double)rk_budget_limit(app->budget),
                "Memory that requests may reserve.");
    write_gauge(out, "rankd_heap_held_bytes", "gauge", (double)rk_memory_held(),
                "Memory that is allocated: for requests, banks, and the daemon itself.");
    write_gauge(out, "rankd_log_lines_dropped_total", "counter", (double)rk_log_dropped(app->log),
                "Lines of the log that were dropped because it was not read fast enough.");
    write_process(app, out);
}
