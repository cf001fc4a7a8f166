/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/tune.h"

#include "engine.h"
#include "exec/compute_pool.h"
#include "exec/tuning_file.h"
#include "kernels/kernel.h"
#include "request/out.h"
#include "request/request.h"
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TURNS = 15, ITEMS_MOST = 1 << 21, CANDIDATES = 3 };

/* Room for the largest lists, and what a run needs. */
struct tune_bench {
    float *scores, *gradient;
    int8_t *targets;
    struct rk_scratch *scratch;
    struct rk_pool *pool; /* NULL: the machine has one processor */
    FILE *out;
};

/* Lists to time. */
struct tune_shape {
    size_t lists, items, relevant;
    bool threads;
};

/* SplitMix64. */
static uint64_t next(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static void draw(struct tune_bench *b, const struct tune_shape *shape)
{
    uint64_t state = 1;
    const size_t all = shape->lists * shape->items;
    for (size_t i = 0; i < all; i++)
        b->scores[i] = (float)(next(&state) >> 40) * 0x1p-24f;
    memset(b->targets, 0, all);
    for (size_t l = 0; l < shape->lists; l++) {
        for (size_t k = 0; k < shape->relevant; k++)
            b->targets[l * shape->items + k * shape->items / shape->relevant] = 1;
    }
}

/* Of this thread's processor time, on a busy machine steadier than the clock's; with more threads
 * by that. */
static uint64_t now_of(const struct tune_shape *shape)
{
    struct timespec now;
    (void)clock_gettime(shape->threads ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* One request with that tuning, in nanoseconds. */
static enum rankd_status time_once(struct tune_bench *b, const struct tune_shape *shape,
                                   const struct rk_tuning *tuning, uint64_t *ns, struct rk_err *err)
{
    const struct rk_exec exec = {.pool = shape->threads ? b->pool : NULL, .scratch = b->scratch};
    struct rk_request request = {.model = rk_model_find("ap"),
                                 .params = rk_params_default(),
                                 .outputs = RK_OUT_BIT(RK_OUT_GRADIENT) | RK_OUT_BIT(RK_OUT_LOSS)};
    struct rk_reply reply = {0};
    request.in[RK_IN_SCORES] = (struct rk_tensor){.dtype = RK_FP32,
                                                  .rank = 2,
                                                  .shape = {shape->lists, shape->items},
                                                  .data = b->scores,
                                                  .bytes = shape->lists * shape->items * sizeof(float)};
    request.in[RK_IN_TARGETS] = (struct rk_tensor){.dtype = RK_INT8,
                                                   .rank = 2,
                                                   .shape = {shape->lists, shape->items},
                                                   .data = b->targets,
                                                   .bytes = shape->lists * shape->items};
    reply.out[RK_OUT_GRADIENT] =
        (struct rk_out){.data = b->gradient, .capacity = ITEMS_MOST * sizeof *b->gradient};
    rk_tuning_use(tuning);
    const uint64_t start = now_of(shape);
    const enum rankd_status status = rk_engine_run(&exec, &request, &reply, err);
    *ns = now_of(shape) - start;
    rk_reply_clear(&reply);
    return status;
}

/* The least time of each tuning, which take turns: another program on the machine disturbs all
 * alike. */
static enum rankd_status race(struct tune_bench *b, const struct tune_shape *shape,
                              const struct rk_tuning *tuning, size_t count, uint64_t *best,
                              struct rk_err *err)
{
    draw(b, shape);
    for (size_t c = 0; c < count; c++)
        best[c] = UINT64_MAX;
    for (int turn = 0; turn < TURNS; turn++) {
        for (size_t c = 0; c < count; c++) {
            uint64_t ns;
            if (time_once(b, shape, &tuning[c], &ns, err) != RANKD_OK)
                return err->status;
            best[c] = ns < best[c] ? ns : best[c];
        }
    }
    return RANKD_OK;
}

/* Whether `mine` beats `other` by more than chance. */
static bool is_faster(uint64_t mine, uint64_t other)
{
    return (double)mine < 0.95 * (double)other;
}

static void say(const struct tune_bench *b, const char *name, const struct tune_shape *shape, uint64_t value,
                uint64_t ns)
{
    (void)fprintf(b->out, "# %s %" PRIu64 ": %zu lists of %zu items, %zu relevant: %.1f us\n", name, value,
                  shape->lists, shape->items, shape->relevant, (double)ns / 1e3);
}

/* The most relevant items for which comparing is faster than what comes after it. */
static enum rankd_status tune_compare(struct tune_bench *b, struct rk_tuning *tuning, struct rk_err *err)
{
    uint32_t most = 8;
    for (uint32_t p = 16; p <= 256; p *= 2) {
        const struct tune_shape shape = {.lists = 32, .items = 4096, .relevant = p};
        struct rk_tuning both[2] = {*tuning, *tuning};
        uint64_t best[2];
        both[0].compare = p;
        both[1].compare = p / 2;
        if (race(b, &shape, both, 2, best, err) != RANKD_OK)
            return err->status;
        say(b, "compare", &shape, p, best[0]);
        say(b, "compare", &shape, p / 2, best[1]);
        if (best[0] > best[1])
            break;
        most = p;
    }
    tuning->compare = most;
    return RANKD_OK;
}

/* The fewest relevant items, half of a list, for which sorting the others is faster. */
static enum rankd_status tune_merge(struct tune_bench *b, struct rk_tuning *tuning, struct rk_err *err)
{
    for (uint32_t p = 1 << 15; p <= 1 << 19; p *= 2) {
        const struct tune_shape shape = {.lists = 1, .items = 2 * (size_t)p, .relevant = p};
        struct rk_tuning both[2] = {*tuning, *tuning};
        uint64_t best[2];
        both[0].merge = p;
        both[1].merge = 2 * p;
        if (race(b, &shape, both, 2, best, err) != RANKD_OK)
            return err->status;
        say(b, "merge", &shape, p, best[0]);
        say(b, "merge", &shape, 2 * p, best[1]);
        tuning->merge = 2 * p;
        if (is_faster(best[0], best[1])) {
            tuning->merge = p;
            break;
        }
    }
    return RANKD_OK;
}

/* The first guess, half of it, or twice as much. */
static enum rankd_status pick_buckets(struct tune_bench *b, struct rk_tuning *tuning, uint32_t guess,
                                      struct rk_err *err)
{
    const struct tune_shape shape = {.lists = 1, .items = ITEMS_MOST, .relevant = ITEMS_MOST / 100};
    struct rk_tuning three[CANDIDATES] = {*tuning, *tuning, *tuning};
    uint64_t best[CANDIDATES];
    size_t chosen = 0;
    three[0].buckets = guess;
    three[1].buckets = guess / 2;
    three[2].buckets = guess * 2;
    if (race(b, &shape, three, CANDIDATES, best, err) != RANKD_OK)
        return err->status;
    for (size_t c = 0; c < CANDIDATES; c++) {
        say(b, "buckets", &shape, three[c].buckets, best[c]);
        chosen = is_faster(best[c], best[0]) && best[c] < best[chosen] ? c : chosen;
    }
    tuning->buckets = three[chosen].buckets;
    return RANKD_OK;
}

/* The least number of items for each of two threads that beats one thread, if any does. */
static enum rankd_status tune_grain(struct tune_bench *b, struct rk_tuning *tuning, struct rk_err *err)
{
    for (uint32_t grain = 1 << 13; b->pool && grain <= 1 << 19; grain *= 2) {
        const struct tune_shape shape = {1, 2 * (size_t)grain, grain / 50, true};
        struct rk_tuning both[2] = {*tuning, *tuning};
        uint64_t best[2];
        both[0].grain = grain;
        both[1].grain = 4 * grain; /* one thread */
        if (race(b, &shape, both, 2, best, err) != RANKD_OK)
            return err->status;
        say(b, "grain", &shape, grain, best[0]);
        say(b, "grain", &shape, 4 * grain, best[1]);
        if ((double)best[0] < 0.8 * (double)best[1]) { /* less is not worth another thread's time */
            tuning->grain = grain;
            break;
        }
    }
    return RANKD_OK;
}

/* The largest power of two up to that, within bounds. */
static uint32_t power_up_to(long value, uint32_t least, uint32_t most)
{
    uint32_t power = least;
    while (power < most && value / 2 >= (long)power)
        power *= 2;
    return power;
}

/* Bytes of the cache of that level as the first processor sees it; 0 where the system does not say.
 * (In a virtual machine sysconf() may say what the host has.) */
static long cache_bytes(int level)
{
    char path[64];
    long kilobytes = 0;
    (void)snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", level);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    char text[32];
    if (fgets(text, sizeof text, file))
        kilobytes = strtol(text, NULL, 10);
    (void)fclose(file);
    return kilobytes > 0 && kilobytes < LONG_MAX / 1024 ? kilobytes * 1024 : 0;
}

/* Sizes by the caches that the system tells of; the defaults where it does not. */
static enum rankd_status tune_caches(struct tune_bench *b, struct rk_tuning *tuning, struct rk_err *err)
{
    enum { BUCKET = 8, ITEM = 8 /* bytes */, LEAST = 1 << 14, MOST = 1 << 22 };
    const long second = cache_bytes(2), third = cache_bytes(3);
    const uint32_t buckets = second > 0 ? power_up_to(second / BUCKET, LEAST, MOST) : tuning->buckets;
    (void)fprintf(b->out, "# caches: %ld and %ld bytes\n", second, third);
    tuning->far = third > 0 ? power_up_to(third / ITEM, 1 << 18, 1 << 28) : tuning->far;
    return pick_buckets(b, tuning, buckets, err);
}

static enum rankd_status tune_all(struct tune_bench *b, struct rk_tuning *tuning, struct rk_err *err)
{
    if (tune_compare(b, tuning, err) != RANKD_OK || tune_caches(b, tuning, err) != RANKD_OK ||
        tune_merge(b, tuning, err) != RANKD_OK)
        return err->status;
    return tune_grain(b, tuning, err);
}

enum rankd_status rk_tune(FILE *out, struct rk_err *err)
{
    struct rk_tuning tuning = rk_tuning_default;
    struct rk_compute_pool *helper = NULL;
    struct tune_bench b = {.scores = malloc(ITEMS_MOST * sizeof(float)),
                           .gradient = malloc(ITEMS_MOST * sizeof(float)),
                           .targets = malloc(ITEMS_MOST),
                           .scratch = rk_scratch_new(0),
                           .out = out};
    if (!b.scores || !b.gradient || !b.targets || !b.scratch)
        (void)rk_fail(err, RANKD_OVERLOADED, "no memory for the lists that are timed");
    else if (sysconf(_SC_NPROCESSORS_ONLN) > 1 && (helper = rk_compute_pool_start(1, err)))
        b.pool = rk_compute_pool_threads(helper);
    if (err->status == RANKD_OK) {
        (void)fprintf(out, "# Made by rankd --tune, instruction set %s. Results do not depend on it.\n",
                      rk_kernels()->name);
        if (tune_all(&b, &tuning, err) == RANKD_OK)
            rk_tuning_write(&tuning, out);
    }
    rk_compute_pool_stop(helper);
    rk_scratch_free(b.scratch);
    free(b.targets);
    free(b.gradient);
    free(b.scores);
    return err->status;
}
