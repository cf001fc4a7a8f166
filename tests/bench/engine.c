/* SPDX-License-Identifier: Apache-2.0 */
/* Times one case of the engine, in process, on raw tensors from files; prints one line of JSON.
 *
 *   engine MODEL DTYPE Q N THREADS RUNS SCORES TARGETS|UPSTREAM [GRADIENT [OFFSETS]]
 *
 * With OFFSETS, a file of Q + 1 INT64, lists have different lengths, and N is their items together.
 * GRADIENT, a file that is written, may be "-" for none.
 *
 * GRADIENT_SCALE, LAMBDA, TOP_K and AXIS in the environment set those parameters; TUNING names a
 * file that `rankd
 * --tune` made.
 *
 * `floor` is the bare memory traffic of the same lists on the same buffers: scores and targets read
 * twice, the gradient written once, list by list. Runs of the two alternate, so that a noisy
 * machine disturbs both alike. `cpu_ms` is the time that the processor gave the runs: with one
 * thread the better measure on a machine that is busy. */
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine.h"
#include "exec/compute_pool.h"
#include "exec/tuning_file.h"
#include "kernels/kernel.h"
#include "unit/support/engine_call.h"

enum { RUNS_MAX = 1000 };

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* Reads into separate memory, like the body of a request. */
static void *read_file(const char *path, size_t bytes)
{
    char *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (data == MAP_FAILED || file < 0)
        die(path);
    for (size_t done = 0; done < bytes;) {
        ssize_t got = read(file, data + done, bytes - done);
        if (got <= 0)
            die(path);
        done += (size_t)got;
    }
    (void)close(file);
    return data;
}

static double read_clock(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

static uint64_t read_all(const char *data, size_t bytes)
{
    uint64_t sum = 0, word;
    size_t i = 0;
    for (; i + 8 <= bytes; i += 8) {
        memcpy(&word, data + i, 8);
        sum ^= word;
    }
    for (; i < bytes; i++)
        sum ^= (unsigned char)data[i];
    return sum;
}

struct bench {
    size_t q, n, score_size, second_size;
    const char *scores, *second; /* targets, or upstream */
    float *gradient;
    uint64_t kept; /* so that the compiler does not drop the reads */
};

static double floor_once(struct bench *b)
{
    double start = now();
    for (size_t l = 0; l < b->q; l++) {
        for (int twice = 0; twice < 2; twice++) {
            b->kept += read_all(b->scores + l * b->n * b->score_size, b->n * b->score_size);
            b->kept += read_all(b->second + l * b->n * b->second_size, b->n * b->second_size);
            __asm__ volatile("" ::: "memory");
        }
        memset(b->gradient + l * b->n, 0, b->n * sizeof(float));
    }
    return now() - start;
}

static double run_once(const struct bench *b, struct test_call *call)
{
    call->reply.out[RK_OUT_GRADIENT] =
        (struct rk_out){.data = b->gradient, .capacity = b->q * b->n * sizeof(float)};
    double start = now();
    if (rk_engine_run(&call->exec, &call->request, &call->reply, &call->err) != RANKD_OK) {
        fprintf(stderr, "%s\n", call->err.text);
        exit(1);
    }
    return now() - start;
}

static void print_times(const char *name, const double *ms, int runs)
{
    printf("\"%s\": [", name);
    for (int i = 0; i < runs; i++)
        printf("%s%.6f", i ? ", " : "", ms[i]);
    printf("], ");
}

static void use_tuning(const char *path)
{
    struct rk_tuning tuning;
    struct rk_err err = {0};
    if (!path)
        return;
    if (rk_tuning_read(path, &tuning, &err) != RANKD_OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(2);
    }
    rk_tuning_use(&tuning);
}

/* Parameters of the request that the environment names. */
static void take_parameters(struct test_call *call)
{
    if (getenv("GRADIENT_SCALE"))
        test_word(call, "gradient_scale", getenv("GRADIENT_SCALE"));
    if (getenv("LAMBDA"))
        test_number(call, "lambda", strtod(getenv("LAMBDA"), NULL));
    if (getenv("AXIS"))
        test_number(call, "axis", strtod(getenv("AXIS"), NULL));
    if (getenv("TOP_K"))
        test_number(call, "top_k", strtod(getenv("TOP_K"), NULL));
}

/* Runs the request and the bare reads and writes by turns, and prints their times and the
 * results. */
static void measure(struct bench *b, struct test_call *call, int runs)
{
    double ms[RUNS_MAX], floor_ms[RUNS_MAX], cpu_ms[RUNS_MAX];
    (void)floor_once(b);
    (void)run_once(b, call); /* warm-up: no measured run takes memory from the system */
    for (int i = 0; i < runs; i++) {
        floor_ms[i] = floor_once(b);
        const double cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID);
        ms[i] = run_once(b, call);
        cpu_ms[i] = read_clock(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    }
    printf("{\"cpu\": \"%s\", ", rk_kernels()->name);
    print_times("ms", ms, runs);
    print_times("floor_ms", floor_ms, runs);
    print_times("cpu_ms", cpu_ms, runs);
    printf("\"loss\": %.9g, \"nonzero\": %zu, \"scratch\": %zu, \"kept\": %" PRIu64 "}\n",
           call->reply.info.loss, call->reply.info.gradient_nonzero, rk_scratch_peak(call->exec.scratch),
           b->kept & 1);
}

static void write_gradient(const struct bench *b, const char *path)
{
    FILE *out = fopen(path, "wb");
    if (!out || fwrite(b->gradient, sizeof(float), b->q * b->n, out) != b->q * b->n || fclose(out) != 0)
        die(path);
}

/* A matrix, or with a file of `offsets` [lists + 1] flat lists. */
static void set_inputs(struct test_call *call, const struct bench *b, enum rk_dtype dtype, bool vjp,
                       const char *offsets, size_t lists)
{
    const enum rk_input second = vjp ? RK_IN_UPSTREAM : RK_IN_TARGETS;
    if (offsets) {
        test_vector(call, RK_IN_SCORES, dtype, b->n, b->scores);
        test_vector(call, second, vjp ? RK_FP32 : RK_INT8, b->n, b->second);
        test_vector(call, RK_IN_OFFSETS, RK_INT64, lists + 1,
                    read_file(offsets, (lists + 1) * sizeof(int64_t)));
    } else {
        test_input(call, RK_IN_SCORES, dtype, b->q, b->n, b->scores);
        test_input(call, second, vjp ? RK_FP32 : RK_INT8, b->q, b->n, b->second);
    }
}

int main(int argc, char **argv)
{
    if (argc < 9) {
        fprintf(stderr,
                "usage: %s MODEL DTYPE Q N THREADS RUNS SCORES TARGETS|UPSTREAM [GRADIENT [OFFSETS]]\n",
                argv[0]);
        return 2;
    }
    enum rk_dtype dtype;
    if (!rk_dtype_parse(argv[2], &dtype))
        return 2;
    bool vjp = strcmp(argv[1], "rank_vjp") == 0;
    const size_t lists = strtoull(argv[3], NULL, 10);
    const bool ragged = argc > 10;
    struct bench b = {.q = ragged ? 1 : lists,
                      .n = strtoull(argv[4], NULL, 10),
                      .score_size = rk_dtype_size(dtype),
                      .second_size = vjp ? 4 : 1};
    unsigned threads = (unsigned)strtoul(argv[5], NULL, 10);
    int runs = atoi(argv[6]) < RUNS_MAX ? atoi(argv[6]) : RUNS_MAX;
    b.scores = read_file(argv[7], b.q * b.n * b.score_size);
    b.second = read_file(argv[8], b.q * b.n * b.second_size);
    b.gradient = aligned_alloc(64, (b.q * b.n * sizeof(float) + 63) / 64 * 64);
    if (!b.gradient)
        die("gradient");
    struct test_call call;
    use_tuning(getenv("TUNING"));
    test_call_start(&call, argv[1], 0);
    take_parameters(&call);
    set_inputs(&call, &b, dtype, vjp, ragged ? argv[10] : NULL, lists);
    call.request.outputs = 1u << RK_OUT_GRADIENT | (vjp ? 0 : 1u << RK_OUT_LOSS);
    struct rk_err err = {0};
    struct rk_compute_pool *helpers = threads > 1 ? rk_compute_pool_start(threads - 1, &err) : NULL;
    if (helpers)
        call.exec.pool = rk_compute_pool_threads(helpers);
    else if (threads > 1)
        die(err.text);
    measure(&b, &call, runs);
    if (argc > 9 && strcmp(argv[9], "-") != 0)
        write_gradient(&b, argv[9]);
    return 0;
}
