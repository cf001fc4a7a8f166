/* SPDX-License-Identifier: Apache-2.0 */
/* Requests on embeddings, with and without references and a bank. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bank/labels.h"
#include "check.h"
#include "engine.h"
#include "request/bank_view.h"
#include "sample.h"

static int retrieval_runs, on_device_runs;

struct retrieval {
    size_t batch, refs, bank, dim;
    int classes;
    enum rk_dtype dtype;
    bool normalize, gradient;
    bool stalls; /* λ moves nothing; only the first query, which has no loss, does not stall */
};

/* `exact`: small multiples of 1/4, whose inner products are exact in FP32 in any order. */
static float *vectors(size_t n, size_t dim, bool exact)
{
    float *x = room(n * dim * sizeof *x);
    for (size_t i = 0; i < n * dim; i++)
        x[i] = exact ? ((float)below(9) - 4) / 4 : (float)(unit() + unit() + unit() - 1.5);
    return x;
}

static int64_t *labels(size_t n, int classes)
{
    int64_t *x = room(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (int64_t)below((size_t)classes + 1) - (below(20) == 0);
    return x;
}

/* Separates the items of label 0 from the others by their first coordinate. */
static void tell_apart(float *x, const int64_t *label, size_t n, size_t dim)
{
    for (size_t i = 0; i < n; i++)
        x[i * dim] = label[i] == 0 ? 2 : -2;
}

/* The embeddings and labels of a request, and a bank of two chunks. */
struct content {
    float *x, *refs, *bank;
    int64_t *own, *ref, *stored;
    uint16_t *halves; /* the bank in FP16 or BF16 */
    struct rk_labels *index[2];
    struct rk_bank_chunk chunk[2];
    struct rk_bank_snapshot view;
};

static void normalize_rows(float *x, size_t n, size_t dim)
{
    for (size_t i = 0; i < n; i++) {
        double norm = 0;
        for (size_t d = 0; d < dim; d++)
            norm += (double)x[i * dim + d] * (double)x[i * dim + d];
        for (size_t d = 0; d < dim; d++)
            x[i * dim + d] = (float)((double)x[i * dim + d] / sqrt(norm));
    }
}

/* The chunks and the snapshot, from `bank` and `stored`. */
static void lay_out_bank(struct content *c, const struct retrieval *r)
{
    if (r->normalize)
        normalize_rows(c->bank, r->bank, r->dim);
    c->halves = room(r->bank * r->dim * sizeof *c->halves);
    for (size_t i = 0; i < r->bank * r->dim; i++)
        c->halves[i] = half_of(c->bank[i], r->dtype == RK_BF16);
    const char *rows = r->dtype == RK_FP32 ? (const char *)c->bank : (const char *)c->halves;
    const size_t width = r->dim * rk_dtype_size(r->dtype);
    const size_t begin[] = {0, r->bank / 3, r->bank};
    for (int k = 0; k < 2; k++) {
        const size_t items = begin[k + 1] - begin[k];
        c->index[k] = rk_labels_new(c->stored + begin[k], items);
        rk_labels_add(c->index[k], items);
        c->chunk[k] = (struct rk_bank_chunk){.first = 0,
                                             .items = items,
                                             .embeddings = rows + begin[k] * width,
                                             .labels = c->stored + begin[k],
                                             .by_label = c->index[k],
                                             .identity = draw() | 1};
    }
    c->view = (struct rk_bank_snapshot){
        .holds = RK_BANK_HOLDS_EMBEDDINGS,
        .items = r->bank,
        .embeddings = {
            .dtype = r->dtype, .dim = r->dim, .normalize = r->normalize, .chunks = 2, .chunk = c->chunk}};
}

/* A random request over random content. */
static void make_request(struct rk_request *request, struct content *c, const struct retrieval *r)
{
    request->params.axis = RK_AXIS_ROWS;
    request->params.interclass = 0; /* of scores alone */
    request->params.normalize = r->normalize;
    request->params.margin = below(2) ? 0.05 : 0;
    request->params.lambda = below(2) ? 1 : 0.05;
    request->outputs = 1u << RK_OUT_LOSS | 1u << RK_OUT_LIST_LOSS;
    if (r->gradient)
        request->outputs |= 1u << RK_OUT_GRADIENT | (r->refs ? 1u << RK_OUT_REF_GRADIENT : 0);
    c->x = vectors(r->batch, r->dim, !r->normalize);
    c->refs = vectors(r->refs, r->dim, !r->normalize);
    c->bank = vectors(r->bank, r->dim, !r->normalize);
    c->own = labels(r->batch, r->classes);
    c->ref = labels(r->refs, r->classes);
    c->stored = labels(r->bank, r->classes);
    if (r->stalls) {
        request->params.lambda = 1e-6;
        request->params.lambda_units = RK_UNITS_RANK;
        request->params.margin = 0.05;
        c->own[0] = 0;
        tell_apart(c->x, c->own, r->batch, r->dim);
        tell_apart(c->refs, c->ref, r->refs, r->dim);
        tell_apart(c->bank, c->stored, r->bank, r->dim);
        for (size_t d = 1; d < r->dim; d++)
            c->x[d] = 0;
    }
    request->in[RK_IN_EMBEDDINGS] = matrix(RK_FP32, r->batch, r->dim, c->x);
    request->in[RK_IN_LABELS] = (struct rk_tensor){RK_INT64, 1, {r->batch, 0}, c->own, r->batch * 8, false};
    if (r->refs) {
        request->in[RK_IN_REF_EMBEDDINGS] = matrix(RK_FP32, r->refs, r->dim, c->refs);
        request->in[RK_IN_REF_LABELS] =
            (struct rk_tensor){RK_INT64, 1, {r->refs, 0}, c->ref, r->refs * 8, false};
    }
    lay_out_bank(c, r);
    if (r->bank)
        request->bank_snapshot = &c->view;
}

static void free_content(struct content *c)
{
    rk_labels_free(c->index[0]);
    rk_labels_free(c->index[1]);
    free(c->x), free(c->refs), free(c->bank), free(c->own), free(c->ref), free(c->stored), free(c->halves);
}

/* The distance of the gradients from the CPU's, relative to their length. */
static double gradient_error(const struct rk_reply *cpu, const struct rk_reply *device)
{
    double apart = 0, size = 0;
    for (unsigned o = 0; o < RK_OUT_COUNT; o++) {
        if (!(cpu->outputs & 1u << o) || o == RK_OUT_LIST_LOSS)
            continue;
        const float *a = device->out[o].data, *b = cpu->out[o].data;
        for (size_t i = 0; i < cpu->out[o].bytes / sizeof *a; i++) {
            apart += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
            size += (double)b[i] * (double)b[i];
        }
    }
    return sqrt(apart / (size > 0 ? size : 1));
}

static bool same_outputs(uint32_t outputs, const struct rk_reply *a, const struct rk_reply *b)
{
    bool same = true;
    for (unsigned o = 0; o < RK_OUT_COUNT; o++)
        same &= !(outputs & 1u << o) || same_bytes(&a->out[o], &b->out[o]);
    return same;
}

/* Exact similarities leave only the order of the sums. Otherwise two BLAS differ in the last bits
 * of similarities, on which ranks may depend: the more, the more items are relevant. */
static bool agrees(const struct rk_reply *cpu, const struct rk_reply *device, double error,
                   const struct retrieval *r)
{
    const struct rk_info *a = &cpu->info, *b = &device->info;
    const bool exact = !r->normalize;
    if (!(error < (exact            ? 1e-6
                   : r->classes > 1 ? 0.1
                                    : 0.25)) ||
        !(fabs(a->loss - b->loss) <= (exact ? 1e-12 : 1e-4) * fabs(a->loss) + 1e-12))
        return false;
    return !exact || (a->lists_stalled == b->lists_stalled && a->lists_skipped == b->lists_skipped &&
                      a->number[RANKD_REPLY_PAIRS_JUMPED] == b->number[RANKD_REPLY_PAIRS_JUMPED]);
}

static void check_retrieval(struct rk_device *device, struct retrieval r)
{
    char line[256];
    struct sample s = {0};
    struct content content = {0};
    random_params(&s);
    make_request(&s.request, &content, &r);
    struct rk_scratch *scratch = rk_scratch_new(0);
    const struct rk_exec here = {.scratch = scratch}, there = {.scratch = scratch, .device = device};
    struct rk_reply cpu = {0}, device_reply = {0}, again = {0};
    struct rk_err err = {0};
    const bool good = rk_engine_run(&here, &s.request, &cpu, &err) == RANKD_OK &&
                      rk_engine_run(&there, &s.request, &device_reply, &err) == RANKD_OK &&
                      rk_engine_run(&there, &s.request, &again, &err) == RANKD_OK;
    const double error = good ? gradient_error(&cpu, &device_reply) : 0;
    const bool near = good && agrees(&cpu, &device_reply, error, &r);
    snprintf(line, sizeof line, "retrieval %s batch %zu refs %zu bank %zu dim %zu classes %d %s normalize %d",
             s.request.model->name, r.batch, r.refs, r.bank, r.dim, r.classes, rk_dtype_name(r.dtype),
             r.normalize);
    if (!near)
        printf("  %s: error %g, loss %.9g / %.9g\n", err.text, error, device_reply.info.loss, cpu.info.loss);
    report(near, line);
    strncat(line, ": the same request twice", sizeof line - strlen(line) - 1);
    report(good && same_outputs(cpu.outputs, &device_reply, &again), line);
    on_device_runs += good && device_reply.info.on_device;
    retrieval_runs++;
    rk_reply_clear(&cpu);
    rk_reply_clear(&device_reply);
    rk_reply_clear(&again);
    rk_scratch_free(scratch);
    free_content(&content);
}

void check_retrievals(struct rk_device *device, int runs, size_t most_items)
{
    for (int run = 0; run < 4 + runs / 10; run++) {
        static const enum rk_dtype dtypes[] = {RK_FP32, RK_FP16, RK_BF16};
        check_retrieval(device, (struct retrieval){.batch = 2 + below(300),
                                                   .refs = below(2) ? below(100) : 0,
                                                   .bank = below(4) ? 3 + below(most_items / 150) : 0,
                                                   .dim = 1 + below(150),
                                                   .classes = (int)(1 + below(60)),
                                                   .dtype = dtypes[below(3)],
                                                   .normalize = below(3) > 0,
                                                   .gradient = below(4) > 0});
    }
    /* Most queries have more relevant items than fit a block. */
    for (int run = 0; run < 5 + runs / 20; run++)
        check_retrieval(device, (struct retrieval){.batch = 3 + below(14),
                                                   .refs = below(2) ? below(100) : 0,
                                                   .bank = 8500 + below(6000),
                                                   .dim = 1 + below(150),
                                                   .classes = 1,
                                                   .dtype = RK_FP32,
                                                   .normalize = run % 2 && below(2),
                                                   .stalls = run % 2 == 0,
                                                   .gradient = run % 2 == 0 || below(2)});
    report(on_device_runs == retrieval_runs, "all retrieval runs on the device");
}
