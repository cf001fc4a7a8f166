/* SPDX-License-Identifier: Apache-2.0 */
/* A batch of embeddings against a large bank: time beside the bare sgemm of the same shape, and
 * memory beside the inputs.
 *
 *   retrieval [queries [items [dim [relevant [random|clusters [fp32|fp16|bf16 [repeats]]]]]]]
 *
 * One thread. `random`: nothing learned yet, relevant items are anywhere. `clusters`: items of a
 * class lie around a centre, as after training. */
#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "bank/labels.h"
#include "request/bank_view.h"
#include "retrieval/retrieval.h"

#define CHUNK ((size_t)16384)

struct options {
    size_t queries, items, dim, relevant, repeats;
    int clusters;
    enum rk_dtype dtype;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t next(uint64_t *seed)
{
    uint64_t x = *seed += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* About normal: the sum of four uniform numbers, variance 1/3. */
static float bell(uint64_t *seed)
{
    uint64_t x = next(seed);
    float sum = 0;
    for (int i = 0; i < 4; i++, x >>= 16)
        sum += (float)(x & 0xffff) * (1.0f / 65536) - 0.5f;
    return sum;
}

/* A unit vector; with clusters, near the centre of the class. */
static void draw(const struct options *o, int64_t label, float *row, uint64_t *seed)
{
    uint64_t own = (uint64_t)label * 0x632be59bd9b4e019u;
    double norm = 0;
    for (size_t k = 0; k < o->dim; k++) {
        row[k] = bell(seed) + (o->clusters ? bell(&own) : 0);
        norm += (double)row[k] * (double)row[k];
    }
    for (size_t k = 0; k < o->dim; k++)
        row[k] = (float)((double)row[k] / sqrt(norm));
}

static uint16_t narrow(enum rk_dtype dtype, float x)
{
    if (dtype == RK_FP16) {
        _Float16 half = (_Float16)x;
        uint16_t bits;
        memcpy(&bits, &half, sizeof bits);
        return bits;
    }
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static struct rk_bank_chunk make_chunk(const struct options *o, size_t first, size_t count, size_t classes,
                                       uint64_t *seed)
{
    size_t size = rk_dtype_size(o->dtype);
    char *rows = aligned_alloc(64, CHUNK * o->dim * size);
    int64_t *labels = malloc(CHUNK * sizeof *labels);
    float *row = malloc(o->dim * sizeof *row);
    for (size_t i = 0; i < count; i++) {
        labels[i] = (int64_t)((first + i) * 7919 % classes);
        draw(o, labels[i], row, seed);
        for (size_t k = 0; k < o->dim; k++) {
            uint16_t half = narrow(o->dtype, row[k]);
            memcpy(rows + (i * o->dim + k) * size,
                   o->dtype == RK_FP32 ? (const void *)&row[k] : (const void *)&half, size);
        }
    }
    free(row);
    struct rk_labels *index = rk_labels_new(labels, CHUNK);
    rk_labels_add(index, count);
    return (struct rk_bank_chunk){.items = count, .embeddings = rows, .labels = labels, .by_label = index};
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *t, size_t n)
{
    qsort(t, n, sizeof *t, compare);
    return t[n / 2];
}

/* The product alone, in pieces that fit memory: a tile of 4096 items whose memory is reused. (One
 * product of the whole shape takes as long or longer: its result goes to memory.) */
static double bare(const struct options *o, const float *queries, const struct rk_bank_chunk *chunk,
                   size_t chunks, float *wide, float *out)
{
    double start = now();
    for (size_t c = 0; c < chunks; c++)
        for (size_t i = 0; i < chunk[c].items; i += 4096) {
            size_t n = chunk[c].items - i < 4096 ? chunk[c].items - i : 4096;
            const float *rows = o->dtype == RK_FP32 ? (const float *)chunk[c].embeddings + i * o->dim : wide;
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)o->queries, (int)n, (int)o->dim, 1,
                        queries, (int)o->dim, rows, (int)o->dim, 0, out, (int)n);
        }
    return now() - start;
}

static long rss_kib(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

static struct options options_of(int argc, char **argv)
{
    struct options o = {
        .queries = 256, .items = 1000000, .dim = 128, .relevant = 8, .repeats = 5, .dtype = RK_FP32};
    size_t *number[] = {&o.queries, &o.items, &o.dim, &o.relevant};
    for (int i = 1; i < argc && i <= 4; i++)
        *number[i - 1] = (size_t)strtoull(argv[i], NULL, 10);
    o.clusters = argc > 5 && strcmp(argv[5], "clusters") == 0;
    if (argc > 6)
        o.dtype = strcmp(argv[6], "fp16") == 0 ? RK_FP16 : strcmp(argv[6], "bf16") == 0 ? RK_BF16 : RK_FP32;
    if (argc > 7)
        o.repeats = (size_t)strtoull(argv[7], NULL, 10);
    return o;
}

/* Runs the product alone and the request by turns, and prints their median times and the memory. */
static int measure(const struct options *o, const struct rk_request *request)
{
    const struct rk_bank_embeddings *bank = &request->bank_snapshot->embeddings;
    const float *queries = request->in[RK_IN_EMBEDDINGS].data;
    struct rk_exec exec = {.scratch = rk_scratch_new(0)};
    double sgemm[64], ours[64];
    float *wide = aligned_alloc(64, 4096 * o->dim * sizeof *wide);
    memset(wide, 0, 4096 * o->dim * sizeof *wide);
    float *out = aligned_alloc(64, 4096 * o->queries * sizeof *out);
    struct rk_reply reply = {0};
    (void)bare(o, queries, bank->chunk, bank->chunks, wide, out);
    long before = rss_kib();
    for (size_t r = 0; r < o->repeats && r < 64; r++) {
        sgemm[r] = bare(o, queries, bank->chunk, bank->chunks, wide, out);
        struct rk_err err = {0};
        rk_reply_clear(&reply);
        double start = now();
        if (rk_retrieval_run(&exec, request, &reply, &err) != RANKD_OK) {
            fprintf(stderr, "%s\n", err.text);
            return 1;
        }
        ours[r] = now() - start;
    }
    double base = median(sgemm, o->repeats), time = median(ours, o->repeats);
    printf("%zu x %zu x %zu %s, %zu relevant, %s: loss %.4f, sgemm %.3f s, retrieval %.3f s (%.2f x), "
           "scratch %.1f MiB, "
           "peak RSS +%.1f MiB\n",
           o->queries, o->items, o->dim, rk_dtype_name(o->dtype), o->relevant,
           o->clusters ? "clusters" : "random", reply.info.loss, base, time, time / base,
           (double)rk_scratch_peak(exec.scratch) / 1048576, (double)(rss_kib() - before) / 1024);
    return 0;
}

int main(int argc, char **argv)
{
    const struct options o = options_of(argc, argv);
    openblas_set_num_threads(1);

    uint64_t seed = 1;
    size_t chunks = (o.items + CHUNK - 1) / CHUNK, classes = o.items / o.relevant;
    struct rk_bank_chunk *chunk = malloc(chunks * sizeof *chunk);
    for (size_t c = 0; c < chunks; c++)
        chunk[c] = make_chunk(&o, c * CHUNK, o.items - c * CHUNK < CHUNK ? o.items - c * CHUNK : CHUNK,
                              classes, &seed);
    float *queries = aligned_alloc(64, o.queries * o.dim * sizeof *queries);
    int64_t *labels = malloc(o.queries * sizeof *labels);
    for (size_t q = 0; q < o.queries; q++) {
        labels[q] = (int64_t)(q % classes);
        draw(&o, labels[q], queries + q * o.dim, &seed);
    }
    struct rk_bank_snapshot view = {
        .holds = RK_BANK_HOLDS_EMBEDDINGS, .items = o.items, .version = 1, .generation = 1};
    view.embeddings = (struct rk_bank_embeddings){
        .dtype = o.dtype, .dim = o.dim, .normalize = true, .chunks = chunks, .chunk = chunk};
    struct rk_request request = {
        .model = rk_model_find("ap"), .params = rk_params_default(), .bank_snapshot = &view};
    request.in[RK_IN_EMBEDDINGS] = (struct rk_tensor){.dtype = RK_FP32,
                                                      .rank = 2,
                                                      .shape = {o.queries, o.dim},
                                                      .data = queries,
                                                      .bytes = o.queries * o.dim * 4};
    request.in[RK_IN_LABELS] = (struct rk_tensor){
        .dtype = RK_INT64, .rank = 1, .shape = {o.queries}, .data = labels, .bytes = o.queries * 8};
    request.outputs = 1u << RK_OUT_LOSS | 1u << RK_OUT_GRADIENT;
    return measure(&o, &request);
}
