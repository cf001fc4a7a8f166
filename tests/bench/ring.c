/* SPDX-License-Identifier: Apache-2.0 */
/* The ring beside its peers in one run: the call within the process, HTTP with binary tensors, a
 * bare socket.
 *
 *     ring SOCKET-PATH HTTP-URL PID [SECONDS]      the daemon PID listens on both, with one worker: all sides
 *                                                  compute with one thread
 *     ring SOCKET-PATH HTTP-URL PID --neighbours   the small request alone, beside 0, 1 and 2 busy processes
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"
#include "rankd.h"
#include "request/request.h"

enum { SMALL = 128, WARM = 200, MANY = 4000 };

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double show(const char *what, uint64_t *ns, size_t count)
{
    qsort(ns, count, sizeof *ns, by_size);
    double p50 = (double)ns[count / 2] / 1e3;
    printf("%-34s p50 %10.1f us   p99 %10.1f us\n", what, p50, (double)ns[count * 99 / 100] / 1e3);
    return p50;
}

struct batch {
    size_t rows, columns;
    float *scores, *gradient;
    signed char *targets;
    long long *indices;
};

static void fill(struct batch *batch)
{
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < batch->rows * batch->columns; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        batch->scores[i] = (float)(x >> 40) / 16777216.0f;
        batch->targets[i] = (x & 0xffff) < 65536 / (batch->columns / 16);
    }
}

static struct batch make(rankd_client *client, size_t rows, size_t columns)
{
    size_t count = rows * columns;
    struct batch batch = {rows,
                          columns,
                          rankd_alloc(client, 4 * count),
                          rankd_alloc(client, 4 * count),
                          rankd_alloc(client, count),
                          rankd_alloc(client, 8 * count / 8)};
    if (batch.scores == NULL || batch.gradient == NULL || batch.targets == NULL || batch.indices == NULL)
        exit(2);
    fill(&batch);
    return batch;
}

static void describe(const struct batch *batch, bool sparse, struct rankd_tensor inputs[2],
                     struct rankd_tensor outputs[2], struct rankd_request *request)
{
    size_t count = batch->rows * batch->columns;
    inputs[0] = (struct rankd_tensor){RANKD_IN_SCORES, RANKD_FP32, 2, {batch->rows, batch->columns},
                                      batch->scores,   4 * count};
    inputs[1] = (struct rankd_tensor){RANKD_IN_TARGETS, RANKD_INT8, 2, {batch->rows, batch->columns},
                                      batch->targets,   count};
    outputs[0] =
        sparse
            ? (struct rankd_tensor){.port = RANKD_OUT_GRADIENT_INDICES,
                                    .data = batch->indices,
                                    .bytes = count}
            : (struct rankd_tensor){.port = RANKD_OUT_GRADIENT, .data = batch->gradient, .bytes = 4 * count};
    outputs[1] =
        (struct rankd_tensor){.port = RANKD_OUT_GRADIENT_VALUES, .data = batch->gradient, .bytes = 4 * count};
    *request = (struct rankd_request){.model = "ap",
                                      .inputs = inputs,
                                      .input_count = 2,
                                      .outputs = outputs,
                                      .output_count = sparse ? 2 : 1};
}

/* The times of `count` requests, after a tenth of them. */
static void time_client(const char *what, rankd_client *client, const struct batch *batch, bool sparse,
                        size_t count, uint64_t *ns)
{
    struct rankd_tensor inputs[2], outputs[2];
    struct rankd_request request;
    struct rankd_reply reply;
    describe(batch, sparse, inputs, outputs, &request);
    for (size_t i = 0; i < count + count / 10; i++) {
        uint64_t begun = now_ns();
        if (rankd_infer(client, &request, &reply) != RANKD_OK) {
            fprintf(stderr, "%s: %s\n", what, reply.error);
            exit(2);
        }
        if (i >= count / 10)
            ns[i - count / 10] = now_ns() - begun;
        rankd_reply_clear(client, &reply);
    }
}

static double by_client(const char *what, rankd_client *client, const struct batch *batch, bool sparse,
                        size_t count)
{
    uint64_t *ns = calloc(count, sizeof *ns);
    time_client(what, client, batch, sparse, count, ns);
    double p50 = show(what, ns, count);
    free(ns);
    return p50;
}

/* The daemon's count of copied bytes of ring clients' tensors. */
static unsigned long long copied_bytes(rankd_client *client)
{
    static const char name[] = "\nrankd_ring_copied_bytes_total ";
    char *metrics = NULL;
    struct rankd_error error;
    if (rankd_call(client, "GET", "/metrics", NULL, 0, 10000000000u, &metrics, NULL, &error) != RANKD_OK) {
        fprintf(stderr, "/metrics: %s\n", error.text);
        exit(2);
    }
    const char *line = strstr(metrics, name);
    if (line == NULL)
        exit(2);
    unsigned long long bytes = strtoull(line + sizeof name - 1, NULL, 10);
    free(metrics);
    return bytes;
}

static void by_client_once(rankd_client *client, const struct batch *batch)
{
    struct rankd_tensor inputs[2], outputs[2];
    struct rankd_request request;
    struct rankd_reply reply;
    describe(batch, false, inputs, outputs, &request);
    if (rankd_infer(client, &request, &reply) != RANKD_OK) {
        fprintf(stderr, "%s\n", reply.error);
        exit(2);
    }
    rankd_reply_clear(client, &reply);
}

static void time_in_process(const char *what, const struct batch *batch, bool sparse, size_t count,
                            uint64_t *ns)
{
    struct rk_scratch *scratch = rk_scratch_new(0);
    struct rk_exec exec = {.scratch = scratch};
    size_t n = batch->rows * batch->columns;
    struct rk_request request = {.model = rk_model_find("ap"), .params = rk_params_default()};
    request.in[RK_IN_SCORES] = (struct rk_tensor){.dtype = RK_FP32,
                                                  .rank = 2,
                                                  .shape = {batch->rows, batch->columns},
                                                  .data = batch->scores,
                                                  .bytes = 4 * n};
    request.in[RK_IN_TARGETS] = (struct rk_tensor){.dtype = RK_INT8,
                                                   .rank = 2,
                                                   .shape = {batch->rows, batch->columns},
                                                   .data = batch->targets,
                                                   .bytes = n};
    request.outputs =
        sparse ? 1u << RK_OUT_GRADIENT_INDICES | 1u << RK_OUT_GRADIENT_VALUES : 1u << RK_OUT_GRADIENT;
    for (size_t i = 0; i < count + count / 10; i++) {
        struct rk_reply reply = {0};
        struct rk_err err = {0};
        reply.out[RK_OUT_GRADIENT] = (struct rk_out){.data = batch->gradient, .capacity = 4 * n};
        if (sparse) {
            reply.out[RK_OUT_GRADIENT] = (struct rk_out){0};
            reply.out[RK_OUT_GRADIENT_INDICES] = (struct rk_out){.data = batch->indices, .capacity = n};
            reply.out[RK_OUT_GRADIENT_VALUES] = (struct rk_out){.data = batch->gradient, .capacity = 4 * n};
        }
        uint64_t begun = now_ns();
        if (rk_engine_run(&exec, &request, &reply, &err) != RANKD_OK) {
            fprintf(stderr, "%s: %s\n", what, err.text);
            exit(2);
        }
        if (i >= count / 10)
            ns[i - count / 10] = now_ns() - begun;
    }
    rk_scratch_free(scratch);
}

static double in_process(const char *what, const struct batch *batch, bool sparse, size_t count)
{
    uint64_t *ns = calloc(count, sizeof *ns);
    time_in_process(what, batch, sparse, count, ns);
    double p50 = show(what, ns, count);
    free(ns);
    return p50;
}

/* The bare cost of waking another process on this machine. */
static void ping_pong(void)
{
    int ends[2];
    char byte = 0;
    static uint64_t ns[MANY];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) != 0)
        exit(2);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        while (read(ends[1], &byte, 1) == 1 && write(ends[1], &byte, 1) == 1)
            continue;
        _exit(0);
    }
    close(ends[1]);
    for (size_t i = 0; i < MANY; i++) {
        uint64_t begun = now_ns();
        if (write(ends[0], &byte, 1) != 1 || read(ends[0], &byte, 1) != 1)
            exit(2);
        ns[i] = now_ns() - begun;
    }
    close(ends[0]);
    (void)waitpid(child, NULL, 0);
    show("bare socket ping-pong", ns, MANY);
}

static rankd_client *open_client(const char *url, uint64_t arena, uint32_t spin_us)
{
    struct rankd_options options = {.arena_bytes = arena, .spin_us = spin_us};
    struct rankd_error error;
    rankd_client *client;
    if (rankd_open(url, &options, &client, &error) != RANKD_OK) {
        fprintf(stderr, "%s\n", error.text);
        exit(2);
    }
    return client;
}

/* One client process: `depth` requests in flight for `seconds`; reports how many were answered. */
static void load(const char *url, unsigned depth, double seconds, int out)
{
    rankd_client *client = open_client(url, 16 << 20, 0);
    struct batch batches[16];
    uint64_t tags[16], done = 0;
    struct rankd_reply reply;
    struct rankd_tensor inputs[2], outputs[2];
    struct rankd_request request;
    for (unsigned i = 0; i < depth; i++) {
        batches[i] = make(client, SMALL, SMALL);
        describe(&batches[i], false, inputs, outputs, &request);
        (void)rankd_submit(client, &request, &tags[i], NULL);
    }
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
    for (unsigned i = 0; now_ns() < end; i = (i + 1) % depth, done++) {
        if (rankd_wait(client, tags[i], UINT64_MAX, &reply) != RANKD_OK)
            break;
        describe(&batches[i], false, inputs, outputs, &request);
        (void)rankd_submit(client, &request, &tags[i], NULL);
    }
    if (write(out, &done, sizeof done) != (ssize_t)sizeof done)
        _exit(2);
    _exit(0);
}

static void many(const char *url, unsigned clients, unsigned depth, double seconds)
{
    int pipes[2];
    uint64_t total = 0, least = UINT64_MAX, most = 0, done;
    if (pipe(pipes) != 0)
        exit(2);
    fflush(stdout);
    for (unsigned i = 0; i < clients; i++) {
        if (fork() == 0)
            load(url, depth, seconds, pipes[1]);
    }
    for (unsigned i = 0; i < clients; i++) {
        if (read(pipes[0], &done, sizeof done) != (ssize_t)sizeof done)
            exit(2);
        total += done;
        least = done < least ? done : least;
        most = done > most ? done : most;
        (void)wait(NULL);
    }
    close(pipes[0]);
    close(pipes[1]);
    printf("%u sleeping clients, depth %2u: %8.0f requests/s, slowest/fastest %.2f\n", clients, depth,
           (double)total / seconds, (double)least / (double)most);
}

/* Seconds of CPU that a process has used, from /proc (proc(5): utime and stime are the 14th and
 * 15th field). */
static double cpu_seconds(const char *pid)
{
    char path[64], text[1024] = "";
    (void)snprintf(path, sizeof path, "/proc/%s/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL || fread(text, 1, sizeof text - 1, file) == 0)
        exit(2);
    (void)fclose(file);
    unsigned long user = 0, system = 0;
    const char *rest = strrchr(text, ')');
    if (rest == NULL ||
        sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        exit(2);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static void idle(const char *url, const char *pid)
{
    enum { CLIENTS = 8, SECONDS = 10 };
    rankd_client *clients[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = open_client(url, 16 << 20, i % 2 ? 2000 : 0);
        struct batch batch = make(clients[i], SMALL, SMALL);
        by_client_once(clients[i], &batch);
    }
    (void)sleep(1);
    double before = cpu_seconds(pid);
    (void)sleep(SECONDS);
    printf("idle daemon, %d connected clients: %.1f %% CPU over %d s\n", CLIENTS,
           (cpu_seconds(pid) - before) / SECONDS * 100, SECONDS);
    for (int i = 0; i < CLIENTS; i++)
        rankd_close(clients[i]);
}

enum { SIDES = 4, TURNS = 10, CALLS = 200, NEIGHBOURS = 2 };

static pid_t be_busy(void)
{
    pid_t child = fork();
    if (child == 0) {
        for (volatile unsigned turns = 0;; turns++)
            continue;
    }
    return child;
}

/* All transports by turns, so that other work of the machine disturbs them alike. */
static void beside(unsigned neighbours, const char *ring, const char *http)
{
    static const char *const names[SIDES] = {"in-process call", "ring, spinning 50 us", "ring, sleeping",
                                             "HTTP, binary"};
    static uint64_t ns[SIDES][TURNS * CALLS];
    pid_t busy[NEIGHBOURS];
    rankd_client *clients[SIDES] = {NULL, open_client(ring, 16 << 20, 50), open_client(ring, 16 << 20, 0),
                                    open_client(http, 0, 0)};
    struct batch batches[SIDES];
    for (int side = 0; side < SIDES; side++)
        batches[side] = make(clients[side ? side : 1], SMALL, SMALL);
    for (unsigned i = 0; i < neighbours; i++)
        busy[i] = be_busy();
    for (size_t turn = 0; turn < TURNS; turn++) {
        time_in_process(names[0], &batches[0], false, CALLS, ns[0] + turn * CALLS);
        for (int side = 1; side < SIDES; side++)
            time_client(names[side], clients[side], &batches[side], false, CALLS, ns[side] + turn * CALLS);
    }
    for (unsigned i = 0; i < neighbours; i++) {
        (void)kill(busy[i], SIGKILL);
        (void)waitpid(busy[i], NULL, 0);
    }
    printf("ap, %d x %d, beside %u busy processes\n", SMALL, SMALL, neighbours);
    for (int side = 0; side < SIDES; side++)
        (void)show(names[side], ns[side], TURNS * CALLS);
    for (int side = 1; side < SIDES; side++)
        rankd_close(clients[side]);
}

int main(int count, char **arguments)
{
    char url[256];
    if (count < 4)
        return 2;
    double seconds = count > 4 ? atof(arguments[4]) : 1.0;
    (void)snprintf(url, sizeof url, "unix:%s", arguments[1]);
    if (count > 4 && strcmp(arguments[4], "--neighbours") == 0) {
        for (unsigned neighbours = 0; neighbours <= NEIGHBOURS; neighbours++)
            beside(neighbours, url, arguments[2]);
        return 0;
    }
    rankd_client *spinning = open_client(url, 320u << 20, 2000), *sleeping = open_client(url, 16 << 20, 0);
    rankd_client *http = open_client(arguments[2], 0, 0);
    struct batch small = make(spinning, SMALL, SMALL), asleep = make(sleeping, SMALL, SMALL);
    struct batch over_http = make(http, SMALL, SMALL), large = make(spinning, 256, 65536);
    printf("ap, %d x %d\n", SMALL, SMALL);
    double base = in_process("in-process call", &small, false, MANY);
    double ring = by_client("ring, spinning", spinning, &small, false, MANY);
    double slow = by_client("ring, sleeping", sleeping, &asleep, false, MANY);
    double wire = by_client("HTTP, binary", http, &over_http, false, MANY / 4);
    ping_pong();
    printf("overhead: spinning %.1f us, sleeping %.1f us, HTTP %.1f us = %.1f x spinning\n", ring - base,
           slow - base, wire - base, (wire - base) / (ring - base));
    printf("ap, 256 x 65536 FP32\n");
    double dense = in_process("in-process, dense", &large, false, 20);
    unsigned long long copied = copied_bytes(spinning);
    double ring_dense = by_client("ring, dense", spinning, &large, false, 20);
    double sparse = in_process("in-process, sparse", &large, true, 20);
    double ring_sparse = by_client("ring, sparse", spinning, &large, true, 20);
    printf("ratio: dense %.3f, sparse %.3f\n", ring_dense / dense, ring_sparse / sparse);
    printf("bytes of tensors that the daemon copied for these ring requests "
           "(rankd_ring_copied_bytes_total): %llu\n",
           copied_bytes(spinning) - copied);
    idle(url, arguments[3]);
    for (unsigned clients = 1; clients <= 8; clients *= 2) {
        for (unsigned depth = 1; depth <= 16; depth *= 4)
            many(url, clients, depth, seconds);
    }
    rankd_close(spinning);
    rankd_close(sleeping);
    rankd_close(http);
    return 0;
}
