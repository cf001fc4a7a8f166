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
    bool stalls; /* λ moves nothing, and the first query has no loss: the only one that does not stall */
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

/* By the first coordinate, those of label 0 from others. */
static void tell_apart(float *x, const int64_t *label, size_t n, size_t dim)
{
    for (size_t i = 0; i < n; i++)
        x[i * dim] = label[i] == 0 ? 2 : -2;
}

static void check_retrieval(struct rk_device *device, struct retrieval r)
{
    char line[256];
    struct sample s = {0};
    random_params(&s);
    s.request.params.axis = RK_AXIS_ROWS;
    s.request.params.interclass = 0; /* of scores alone */
    s.request.params.normalize = r.normalize;
    s.request.params.margin = below(2) ? 0.05 : 0;
    s.request.params.lambda = below(2) ? 1 : 0.05;
    s.request.outputs = 1u << RK_OUT_LOSS | 1u << RK_OUT_LIST_LOSS;
    if (r.gradient)
        s.request.outputs |= 1u << RK_OUT_GRADIENT | (r.refs ? 1u << RK_OUT_REF_GRADIENT : 0);
    const bool exact = !r.normalize;
    float *x = vectors(r.batch, r.dim, exact), *refs = vectors(r.refs, r.dim, exact),
          *bank = vectors(r.bank, r.dim, exact);
    int64_t *own = labels(r.batch, r.classes), *ref = labels(r.refs, r.classes),
            *stored = labels(r.bank, r.classes);
    if (r.stalls) {
        s.request.params.lambda = 1e-6;
        s.request.params.lambda_units = RK_UNITS_RANK;
        s.request.params.margin = 0.05;
        own[0] = 0;
        tell_apart(x, own, r.batch, r.dim);
        tell_apart(refs, ref, r.refs, r.dim);
        tell_apart(bank, stored, r.bank, r.dim);
        for (size_t d = 1; d < r.dim; d++)
            x[d] = 0;
    }
    s.request.in[RK_IN_EMBEDDINGS] = matrix(RK_FP32, r.batch, r.dim, x);
    s.request.in[RK_IN_LABELS] = (struct rk_tensor){RK_INT64, 1, {r.batch, 0}, own, r.batch * 8, false};
    if (r.refs) {
        s.request.in[RK_IN_REF_EMBEDDINGS] = matrix(RK_FP32, r.refs, r.dim, refs);
        s.request.in[RK_IN_REF_LABELS] = (struct rk_tensor){RK_INT64, 1, {r.refs, 0}, ref, r.refs * 8, false};
    }
    for (size_t i = 0; i < r.bank && r.normalize; i++) {
        double norm = 0;
        for (size_t d = 0; d < r.dim; d++)
            norm += (double)bank[i * r.dim + d] * (double)bank[i * r.dim + d];
        for (size_t d = 0; d < r.dim; d++)
            bank[i * r.dim + d] = (float)((double)bank[i * r.dim + d] / sqrt(norm));
    }
    uint16_t *halves = room(r.bank * r.dim * sizeof *halves);
    for (size_t i = 0; i < r.bank * r.dim; i++)
        halves[i] = half_of(bank[i], r.dtype == RK_BF16);
    const void *rows = r.dtype == RK_FP32 ? (const void *)bank : halves;
    const size_t first = r.bank / 3, width = r.dim * rk_dtype_size(r.dtype);
    struct rk_labels *index = rk_labels_new(stored, first),
                     *second = rk_labels_new(stored + first, r.bank - first);
    rk_labels_add(index, first);
    rk_labels_add(second, r.bank - first);
    const struct rk_bank_chunk chunks[] = {{.first = 0,
                                            .items = first,
                                            .embeddings = rows,
                                            .labels = stored,
                                            .by_label = index,
                                            .identity = draw() | 1},
                                           {.first = 0,
                                            .items = r.bank - first,
                                            .embeddings = (const char *)rows + first * width,
                                            .labels = stored + first,
                                            .by_label = second,
                                            .identity = draw() | 1}};
    const struct rk_bank_snapshot view = {
        .holds = RK_BANK_HOLDS_EMBEDDINGS,
        .items = r.bank,
        .embeddings = {
            .dtype = r.dtype, .dim = r.dim, .normalize = r.normalize, .chunks = 2, .chunk = chunks}};
    if (r.bank)
        s.request.bank_snapshot = &view;
    struct rk_scratch *scratch = rk_scratch_new(0);
    const struct rk_exec here = {.scratch = scratch}, there = {.scratch = scratch, .device = device};
    struct rk_reply cpu = {0}, device_reply = {0}, again = {0};
    struct rk_err err = {0};
    const bool good = rk_engine_run(&here, &s.request, &cpu, &err) == RANKD_OK &&
                      rk_engine_run(&there, &s.request, &device_reply, &err) == RANKD_OK &&
                      rk_engine_run(&there, &s.request, &again, &err) == RANKD_OK;
    double apart = 0, size = 0;
    bool repeats = good;
    for (unsigned o = 0; o < RK_OUT_COUNT && good; o++) {
        if (!(cpu.outputs & 1u << o))
            continue;
        const float *a = device_reply.out[o].data, *b = cpu.out[o].data;
        repeats &= same_bytes(&device_reply.out[o], &again.out[o]);
        for (size_t i = 0; i < cpu.out[o].bytes / sizeof *a && o != RK_OUT_LIST_LOSS; i++) {
            apart += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
            size += (double)b[i] * (double)b[i];
        }
    }
    snprintf(line, sizeof line, "retrieval %s batch %zu refs %zu bank %zu dim %zu classes %d %s normalize %d",
             s.request.model->name, r.batch, r.refs, r.bank, r.dim, r.classes, rk_dtype_name(r.dtype),
             r.normalize);
    /* Exact similarities leave only the order of the sums. Otherwise two BLAS differ in last bits of
     * similarities, and a rank may hang on one: more of them do where thousands of items are relevant. */
    const double error = sqrt(apart / (size > 0 ? size : 1)), inexact = r.classes > 1 ? 0.1 : 0.25;
    const bool near = good && error < (exact ? 1e-6 : inexact) &&
                      fabs(cpu.info.loss - device_reply.info.loss) <=
                          (exact ? 1e-12 : 1e-4) * fabs(cpu.info.loss) + 1e-12 &&
                      (!exact || (cpu.info.lists_stalled == device_reply.info.lists_stalled &&
                                  cpu.info.number[RANKD_REPLY_PAIRS_JUMPED] ==
                                      device_reply.info.number[RANKD_REPLY_PAIRS_JUMPED] &&
                                  cpu.info.lists_skipped == device_reply.info.lists_skipped));
    if (!near)
        printf("  %s: error %g, loss %.9g / %.9g\n", err.text, error, device_reply.info.loss, cpu.info.loss);
    report(near, line);
    strncat(line, ": the same request twice", sizeof line - strlen(line) - 1);
    report(repeats, line);
    on_device_runs += good && device_reply.info.on_device;
    retrieval_runs++;
    rk_reply_clear(&cpu);
    rk_reply_clear(&device_reply);
    rk_reply_clear(&again);
    rk_scratch_free(scratch);
    rk_labels_free(index);
    rk_labels_free(second);
    free(x), free(refs), free(bank), free(own), free(ref), free(stored), free(halves);
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
    /* More relevant items than a block has room for, of most queries. */
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
