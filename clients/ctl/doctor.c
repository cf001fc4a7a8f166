/* SPDX-License-Identifier: Apache-2.0 */
/* rankctl doctor: checks this machine for rankd. Each check tells what it found and, if that is a
 * problem, what to do. It changes nothing and needs no daemon. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <math.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "http.h"
#include "table.h"

enum { CLOCK_MS = 5000 };

enum finding { FINE, SLOWER, BROKEN };

struct report {
    int found[BROKEN + 1];
};

__attribute__((format(printf, 5, 6))) static void tell(struct report *report, enum finding finding,
                                                       const char *what, const char *remedy,
                                                       const char *format, ...)
{
    static const char *const mark[] = {"ok  ", "warn", "FAIL"};
    report->found[finding]++;
    printf("%s  %-16s ", mark[finding], what);
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    if (finding != FINE && remedy[0])
        printf("%23s-> %s\n", "", remedy);
}

/* The first line of a file; "" if it can't be read. */
static const char *line_of(const char *path, char *room, int size)
{
    FILE *file = fopen(path, "re");
    room[0] = 0;
    if (file && fgets(room, size, file))
        room[strcspn(room, "\n")] = 0;
    if (file)
        fclose(file);
    return room;
}

static void look_at_cpu(struct report *report)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
#if defined __x86_64__
    __builtin_cpu_init();
    bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    bool middle =
        __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    tell(report, wide || middle ? FINE : SLOWER, "CPU",
         "a CPU with AVX2 counts several times faster; results are the same", "%ld cores, %s kernels", cores,
         wide     ? "AVX-512"
         : middle ? "AVX2"
                  : "scalar");
#else
    tell(report, FINE, "CPU", "", "%ld cores, scalar kernels", cores);
#endif
}

static void look_at_uring(struct report *report)
{
    char room[32];
    struct io_uring_params parameters = {0};
    int fd = (int)syscall(SYS_io_uring_setup, 4, &parameters);
    int why = errno;
    if (fd >= 0) {
        close(fd);
        tell(report, FINE, "io_uring", "", "works");
        return;
    }
    const char *disabled = line_of("/proc/sys/kernel/io_uring_disabled", room, sizeof room);
    if (disabled[0] && disabled[0] != '0')
        tell(report, SLOWER, "io_uring", "sysctl kernel.io_uring_disabled=0; until then rankd uses epoll",
             "switched off (kernel.io_uring_disabled = %s)", disabled);
    else
        tell(report, SLOWER, "io_uring",
             "in a container, give it deploy/docker/seccomp.json; until then rankd uses epoll", "refused: %s",
             strerror(why));
}

static void look_at_huge_pages(struct report *report)
{
    char room[128];
    const char *mode = line_of("/sys/kernel/mm/transparent_hugepage/enabled", room, sizeof room);
    bool never = strstr(mode, "[never]") || !mode[0];
    tell(report, never ? SLOWER : FINE, "huge pages",
         "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled speeds up large banks a little", "%s",
         mode[0] ? mode : "this kernel has none");
}

static void look_at_limits(struct report *report)
{
    struct rlimit files = {0}, locked = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_MEMLOCK, &locked);
    tell(report, files.rlim_max < 2048 ? SLOWER : FINE, "open files",
         "ulimit -n 8192, or LimitNOFILE=8192 in the unit", "%llu, at most %llu",
         (unsigned long long)files.rlim_cur, (unsigned long long)files.rlim_max);

    char room[64];
    const char *memory = line_of("/sys/fs/cgroup/memory.max", room, sizeof room);
    if (!memory[0])
        memory = line_of("/sys/fs/cgroup/memory/memory.limit_in_bytes", room, sizeof room);
    double limit = strtod(memory, NULL),
           machine = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    if (limit <= 0 || limit > machine)
        limit = machine;
    char bytes[16];
    rankd_ctl_bytes(bytes, limit);
    tell(report, limit < 1e9 ? SLOWER : FINE, "memory",
         "below 1 GB lower the byte budget of rankd, or it may be killed", "%s", bytes);
}

static void look_at_shared_memory(struct report *report)
{
    int fd = memfd_create("rankctl-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    bool made = fd >= 0 && fallocate(fd, 0, 0, 1 << 20) == 0;
    int why = errno;
    if (fd >= 0)
        close(fd);
    tell(report, made ? FINE : BROKEN, "memfd",
         "the ring needs memfd_create and fallocate: allow them in the seccomp profile", "%s",
         made ? "works" : strerror(why));

    struct statvfs shm;
    if (statvfs("/dev/shm", &shm) != 0) {
        tell(report, SLOWER, "/dev/shm", "mount a tmpfs there, if clients register shared-memory regions",
             "%s", strerror(errno));
        return;
    }
    double room = (double)shm.f_bavail * (double)shm.f_frsize;
    char bytes[16];
    rankd_ctl_bytes(bytes, room);
    tell(report, room < 256e6 ? SLOWER : FINE, "/dev/shm",
         "docker run --shm-size=1g, if clients register shared-memory regions", "%s free", bytes);
}

static void look_at_gpu(struct report *report)
{
    bool device = access("/dev/nvidia0", R_OK | W_OK) == 0;
    void *library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (library)
        dlclose(library);
    if (!device && !library)
        tell(report, FINE, "GPU", "", "none; rankd runs on the CPU");
    else if (device && library)
        tell(report, FINE, "GPU", "", "device and driver are there");
    else
        tell(report, SLOWER, "GPU", "docker run --gpus all, or install the driver of the same version", "%s",
             device ? "/dev/nvidia0 is there, libcuda.so.1 is not"
                    : "libcuda.so.1 is there, /dev/nvidia0 is not");
}

/* Within `seconds`, which also limits connect(). */
static bool connects(int fd, const struct sockaddr *address, socklen_t size, double seconds)
{
    struct timeval limit = {(time_t)seconds, (suseconds_t)(1e6 * (seconds - floor(seconds)))};
    return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0 &&
           connect(fd, address, size) == 0;
}

/* True if a TCP connection to --url is accepted. */
static bool somebody_listens(const char *url, double seconds)
{
    char host[256] = "", port[8] = "80";
    const char *at = strstr(url, "://");
    if (sscanf(at ? at + 3 : url, "%255[^:/]:%7[0-9]", host, port) < 1)
        return false;
    struct addrinfo want = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    if (getaddrinfo(host, port, &want, &found) != 0)
        return false;
    bool yes = false;
    for (struct addrinfo *a = found; a && !yes; a = a->ai_next) {
        int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        yes = fd >= 0 && connects(fd, a->ai_addr, a->ai_addrlen, seconds);
        if (fd >= 0)
            close(fd);
    }
    freeaddrinfo(found);
    return yes;
}

static void look_at_port(struct report *report, const struct ctl *ctl)
{
    struct ctl asked = *ctl;
    asked.socket = "";
    if (!rankd_ctl_http_speaks(ctl->url))
        return;
    if (!somebody_listens(ctl->url, rankd_ctl_timeout(ctl))) {
        tell(report, FINE, "port", "", "no program answers at %s: it is free for rankd", ctl->url);
        return;
    }
    struct ctl_http *http = rankd_ctl_http_open(&asked);
    json_t *about = rankd_ctl_http_json(http, "GET", "/v2", NULL);
    const char *name = json_string_value(json_object_get(about, "name"));
    if (name && strcmp(name, "rankd") == 0)
        tell(report, FINE, "port", "", "rankd %s answers at %s", rankd_ctl_http_string(about, "version"),
             ctl->url);
    else
        tell(report, BROKEN, "port", "stop it, or give rankd another port with --http",
             "another program answers at %s (%s)", ctl->url, name ? name : rankd_ctl_http_why(http));
    json_decref(about);
    rankd_ctl_http_close(http);
}

static void look_at_socket(struct report *report, const char *path, double seconds)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!path[0])
        return;
    if (strlen(path) >= sizeof address.sun_path) {
        tell(report, BROKEN, "socket", "choose a shorter path", "%s has more than %zu bytes", path,
             sizeof address.sun_path - 1);
        return;
    }
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    bool reached = fd >= 0 && connects(fd, (struct sockaddr *)&address, sizeof address, seconds);
    int why = errno;
    if (fd >= 0)
        close(fd);
    if (reached)
        tell(report, FINE, "socket", "", "%s can be reached", path);
    else
        tell(report, BROKEN, "socket",
             why == EACCES
                 ? "run as rankd's user, or be in the group of its socket"
                 : "start rankd with --socket there; from a container, mount the folder that holds it",
             "%s: %s", path,
             why == EAGAIN || why == EINPROGRESS ? "no program takes the connection" : strerror(why));
}

static void look_at_data(struct report *report, const char *path)
{
    struct statvfs disk;
    if (!path[0])
        return;
    if (access(path, R_OK | W_OK | X_OK) != 0 || statvfs(path, &disk) != 0) {
        tell(report, BROKEN, "data",
             "the folder must exist and be its user's: install -d -o rankd -g rankd -m 750 DIR", "%s: %s",
             path, strerror(errno));
        return;
    }
    double room = (double)disk.f_bavail * (double)disk.f_frsize;
    char bytes[16];
    rankd_ctl_bytes(bytes, room);
    tell(report, room < 1e9 ? SLOWER : FINE, "data",
         "banks that find no room refuse appends or go on undurably", "%s free in %s", bytes, path);
}

static long long number_in(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

static bool is_in(const json_t *object, const char *key, const char *text)
{
    return strcmp(rankd_ctl_http_string(object, key), text) == 0;
}

/* The server that holds the daemon's banks. */
static void look_at_server(struct report *report, const json_t *store)
{
    const long long replicas = number_in(store, "replicas"), awaited = number_in(store, "replicas_awaited"),
                    clock_ms = number_in(store, "clock_ms");
    const bool master = is_in(store, "role", "master"),
               keeps = is_in(store, "maxmemory_policy", "noeviction");
    tell(report, master && keeps ? FINE : BROKEN, "bank store",
         "appends need a master that evicts nothing: maxmemory-policy noeviction",
         "%s %s at %s, %s, %s; %lld daemons use it", rankd_ctl_http_string(store, "product"),
         rankd_ctl_http_string(store, "version"), rankd_ctl_http_string(store, "server"),
         rankd_ctl_http_string(store, "role"), rankd_ctl_http_string(store, "maxmemory_policy"),
         number_in(store, "daemons"));
    tell(report, replicas < awaited ? BROKEN : FINE, "its replicas",
         "appends are refused: start replicas, or lower --bank-store-replicas",
         "%lld follow it, and each append waits for %lld", replicas, awaited);
    tell(report, is_in(store, "appendonly", "no") ? SLOWER : FINE, "its disk",
         "appendonly yes, or a server that starts again is empty", "appendonly %s, appendfsync %s, %s",
         rankd_ctl_http_string(store, "appendonly"), rankd_ctl_http_string(store, "appendfsync"),
         json_is_true(json_object_get(store, "waitaof")) ? "WAITAOF" : "no WAITAOF");
    tell(report, clock_ms < -CLOCK_MS || clock_ms > CLOCK_MS ? SLOWER : FINE, "its clock",
         "set both by NTP: batch names are kept for ten minutes by its clock", "%+.3f s from the daemon's",
         (double)clock_ms / 1e3);
}

/* The state of the daemon's copies. */
static void look_at_copies(struct report *report, const json_t *banks)
{
    size_t i;
    json_t *bank;
    int served = 0;
    json_array_foreach(banks, i, bank)
    {
        const char *name = rankd_ctl_http_string(bank, "name"), *state = rankd_ctl_bank_state(bank);
        const bool fine = strcmp(state, "current") == 0 || strcmp(state, "behind") == 0;
        served += fine;
        if (!fine)
            tell(report, strcmp(state, "stale") == 0 || strcmp(state, "joining") == 0 ? SLOWER : BROKEN,
                 "bank in it", "docs/howto/bank-store.md says what each state means", "%s is %s", name,
                 state);
        if (number_in(bank, "forks") > 0)
            tell(report, SLOWER, "bank in it",
                 "the store lost batches that had been applied: wait for all replicas that can be promoted",
                 "%s was forked %lld times since the daemon's start", name, number_in(bank, "forks"));
    }
    tell(report, FINE, "banks in it", "", "%d are served by this daemon", served);
}

/* The daemon's report on the store of its banks, if it answers and has one. */
static void look_at_store(struct report *report, const struct ctl *ctl)
{
    if (!ctl->socket[0] && strncmp(ctl->url, "unix:", 5) != 0 && !rankd_ctl_http_speaks(ctl->url))
        return;
    struct ctl_http *http = rankd_ctl_http_open(ctl);
    json_t *about = rankd_ctl_http_json(http, "GET", "/v2", NULL);
    const bool rankd = is_in(about, "name", "rankd");
    json_t *store = rankd ? rankd_ctl_http_json(http, "GET", "/v2/store", NULL) : NULL;
    if (rankd && !store && !strstr(rankd_ctl_http_why(http), "are not in a store"))
        tell(report, BROKEN, "bank store", "start it, or correct --bank-store", "%s",
             rankd_ctl_http_why(http));
    json_t *banks = store ? rankd_ctl_http_json(http, "GET", "/v2/banks", NULL) : NULL;
    if (store)
        look_at_server(report, store);
    if (rankd_ctl_http_is_list(banks))
        look_at_copies(report, banks);
    json_decref(banks);
    json_decref(store);
    json_decref(about);
    rankd_ctl_http_close(http);
}

int rankd_ctl_doctor(struct ctl *ctl)
{
    struct report report = {0};
    if (ctl->arguments_count)
        return rankd_ctl_fail(2, "doctor takes no arguments, and got '%s'", ctl->arguments[0]);
    look_at_cpu(&report);
    look_at_uring(&report);
    look_at_huge_pages(&report);
    look_at_limits(&report);
    look_at_shared_memory(&report);
    look_at_gpu(&report);
    look_at_port(&report, ctl);
    look_at_socket(&report, ctl->socket, rankd_ctl_timeout(ctl));
    look_at_data(&report, ctl->data);
    look_at_store(&report, ctl);
    printf("%d fine, %d to improve, %d broken\n", report.found[FINE], report.found[SLOWER],
           report.found[BROKEN]);
    return report.found[BROKEN] ? 1 : 0;
}
