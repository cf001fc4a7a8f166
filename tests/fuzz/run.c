/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "kernels/kernel.h"
#include "request/request.h"
#include "targets.h"

enum { ROWS = 12, COLUMNS = 96 };

/* Bytes of the input, one after the other; zeros after its end. */
struct fuzz_stream {
    const uint8_t *at;
    size_t left;
};

static uint8_t byte(struct fuzz_stream *stream)
{
    if (stream->left == 0)
        return 0;
    stream->left--;
    return *stream->at++;
}

static void fill(struct fuzz_stream *stream, void *to, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        ((uint8_t *)to)[i] = byte(stream);
}

/* Repeats the rest of the input, so that a few bytes make a large tensor. */
static void repeat(const struct fuzz_stream *stream, void *to, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        ((uint8_t *)to)[i] = stream->left ? stream->at[i % stream->left] : 0;
}

static void put(struct rk_request *request, enum rk_input which, enum rk_dtype dtype, size_t rows,
                size_t columns, void *data)
{
    request->in[which] = (struct rk_tensor){.dtype = dtype,
                                            .rank = 2,
                                            .shape = {rows, columns},
                                            .data = data,
                                            .bytes = rows * columns * rk_dtype_size(dtype)};
}

/* Turns bytes into targets that are none or few errors, so that fuzzing gets past them. */
static void make_targets(uint8_t *targets, enum rk_dtype dtype, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int target = targets[i] % 8 == 7 ? -1 : targets[i] % 8 > 4;
        if (dtype == RK_BOOL || dtype == RK_UINT8)
            target = target == 1;
        targets[i] = (uint8_t)target;
    }
}

static void set_parameters(struct rk_request *request, struct fuzz_stream *stream)
{
    struct rk_params *p = &request->params;
    uint8_t choices = byte(stream), plain = byte(stream);
    p->lambda_scope = choices & 1;
    p->lambda_units = choices >> 1 & 1;
    p->average = (choices >> 2 & 3) % 3;
    p->axis = choices >> 4 & 1;
    p->transform = (choices >> 5 & 3) % 3;
    p->gradient_scale = (choices ^ plain) & 1;
    p->mark_stalled = plain >> 1 & 1;
    /* Small valid numbers, or arbitrary bits, which are checked as if they were sent. */
    p->lambda = ldexp(1, plain % 16 - 8);
    p->margin = plain / 16 % 4 * 0.125;
    p->interclass = plain / 64 * 0.25;
    if (choices >> 7) {
        fill(stream, &p->lambda, sizeof p->lambda);
        p->given |= 1u << RK_PARAM_lambda;
        if (request->model->loss) {
            fill(stream, &p->margin, sizeof p->margin);
            fill(stream, &p->interclass, sizeof p->interclass);
            p->given |= 1u << RK_PARAM_margin | 1u << RK_PARAM_interclass;
        }
    }
}

static void run(const struct rk_request *request, const struct rk_kernels *kernels, struct rk_reply *reply,
                struct rk_err *err)
{
    struct rk_scratch *scratch = rk_scratch_new(64u << 20);
    assert(scratch);
    struct rk_exec exec = {.scratch = scratch, .kernels = kernels};
    *reply = (struct rk_reply){0};
    *err = (struct rk_err){0};
    enum rankd_status status = rk_engine_run(&exec, request, reply, err);
    assert(status == err->status && status != RANKD_INTERNAL &&
           (status == RANKD_OK) == (err->text[0] == '\0'));
    rk_scratch_free(scratch);
}

static void same(const struct rk_reply *a, const struct rk_reply *b)
{
    assert(a->outputs == b->outputs);
    assert(fabs(a->info.loss - b->info.loss) <= 1e-12 * fabs(b->info.loss));
    assert(a->info.lists_skipped == b->info.lists_skipped && a->info.lists_stalled == b->info.lists_stalled);
    assert(a->info.gradient_nonzero == b->info.gradient_nonzero);
    for (unsigned o = RK_OUT_GRADIENT; o < RK_OUT_COUNT; o++) {
        if (!(a->outputs >> o & 1u) || o == RK_OUT_LIST_LOSS)
            continue;
        assert(a->out[o].bytes == b->out[o].bytes);
        assert(memcmp(a->out[o].data, b->out[o].data, a->out[o].bytes) == 0);
    }
}

/* Every set of kernels of this machine gives the same as the reference, down to the sentence of a
 * refusal. */
static void compare(const struct rk_request *request)
{
    static const char *const sets[] = {"scalar", "avx2", "avx512"};
    struct rk_reply reference, reply;
    struct rk_err reference_err, err;
    run(request, rk_kernels_named("reference"), &reference, &reference_err);
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        const struct rk_kernels *kernels = rk_kernels_named(sets[i]);
        if (!kernels)
            continue;
        run(request, kernels, &reply, &err);
        assert(err.status == reference_err.status && strcmp(err.text, reference_err.text) == 0);
        if (err.status == RANKD_OK)
            same(&reply, &reference);
        rk_reply_clear(&reply);
    }
    rk_reply_clear(&reference);
}

void rk_fuzz_run(const uint8_t *data, size_t bytes)
{
    static const enum rk_dtype score_types[] = {RK_FP32, RK_FP16, RK_BF16, RK_FP64};
    static const enum rk_dtype target_types[] = {RK_INT8,  RK_BOOL,  RK_UINT8, RK_INT8,
                                                 RK_INT64, RK_INT32, RK_FP32,  RK_INT8};
    struct fuzz_stream stream = {data, bytes};
    struct rk_request request = {.model = &rk_models[byte(&stream) % rk_model_count],
                                 .params = rk_params_default()};
    uint8_t types = byte(&stream);
    enum rk_dtype score_type = score_types[types & 3], target_type = target_types[types >> 2 & 7];
    size_t rows = 1 + byte(&stream) % ROWS, columns = 1 + byte(&stream) % COLUMNS, n = rows * columns;
    request.outputs = byte(&stream) & request.model->outputs & ~(1u << RK_OUT_REF_GRADIENT);
    set_parameters(&request, &stream);
    /* Blocks of exactly their size, so that a sanitizer detects a read beyond one. */
    void *scores = malloc(n * rk_dtype_size(score_type)), *other = malloc(n * 8);
    assert(scores && other);
    repeat(&stream, scores, n * rk_dtype_size(score_type));
    repeat(&stream, other, n * 8);
    if (request.model->loss && rk_dtype_size(target_type) == 1 && types >> 5)
        make_targets(other, target_type, n);
    put(&request, RK_IN_SCORES, score_type, rows, columns, scores);
    if (request.model->loss)
        put(&request, RK_IN_TARGETS, target_type, rows, columns, other);
    else if (request.model->inputs_scores >> RK_IN_UPSTREAM & 1u)
        put(&request, RK_IN_UPSTREAM, RK_FP32, rows, columns, other);
    compare(&request);
    free(scores);
    free(other);
}
