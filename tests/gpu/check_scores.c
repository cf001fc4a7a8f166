/* SPDX-License-Identifier: Apache-2.0 */
/* Requests on scores. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "engine.h"

static bool near_floats(const struct rk_out *a, const struct rk_out *b)
{
    const float *x = a->data, *y = b->data;
    if (a->bytes != b->bytes)
        return false;
    for (size_t i = 0; i < a->bytes / sizeof *x; i++)
        if (!(isnan(x[i]) && isnan(y[i])) && !(fabsf(x[i] - y[i]) <= 1e-6f * fabsf(y[i])))
            return false;
    return true;
}

static const char *difference(const struct rk_reply *device_reply, const struct rk_reply *cpu)
{
    static char text[128];
    const struct rk_info *a = &device_reply->info, *b = &cpu->info;
    if (!(fabs(a->loss - b->loss) <= 1e-12 * fabs(b->loss))) {
        snprintf(text, sizeof text, "loss %.17g, not %.17g", a->loss, b->loss);
        return text;
    }
    if (a->lists != b->lists || a->lists_skipped != b->lists_skipped || a->has_gradient != b->has_gradient)
        return "lists";
    if (a->lists_stalled != b->lists_stalled || a->gradient_nonzero != b->gradient_nonzero) {
        snprintf(text, sizeof text, "stalled %zu/%zu, nonzero %zu/%zu", a->lists_stalled, b->lists_stalled,
                 a->gradient_nonzero, b->gradient_nonzero);
        return text;
    }
    if (a->numbers != b->numbers ||
        (b->numbers && a->number[RANKD_REPLY_PAIRS_JUMPED] != b->number[RANKD_REPLY_PAIRS_JUMPED]))
        return "pairs_jumped";
    if (device_reply->outputs != cpu->outputs)
        return "outputs";
    for (unsigned o = 0; o < RK_OUT_COUNT; o++) {
        if (!(device_reply->outputs & 1u << o))
            continue;
        const bool loss = o == RK_OUT_LOSS || o == RK_OUT_LIST_LOSS;
        if (!(loss ? near_floats : same_bytes)(&device_reply->out[o], &cpu->out[o]))
            return rk_output_rows[o].name;
    }
    return NULL;
}

void compare(struct rk_device *device, const struct rk_kernels *kernels, const struct sample *s,
             bool on_device)
{
    char line[1200];
    struct rk_scratch *scratch = rk_scratch_new(0);
    const struct rk_exec here = {.scratch = scratch, .kernels = kernels},
                         there = {.scratch = scratch, .device = device};
    struct rk_reply cpu = {0}, device_reply = {0};
    struct rk_err err = {0};
    const bool cpu_good = rk_engine_run(&here, &s->request, &cpu, &err) == RANKD_OK;
    struct rk_err device_err = {0};
    const bool device_good = rk_engine_run(&there, &s->request, &device_reply, &device_err) == RANKD_OK;
    const char *what = cpu_good != device_good ? "status"
                       : !cpu_good             ? (strcmp(err.text, device_err.text) ? "sentence" : NULL)
                       : on_device && !device_reply.info.on_device ? "it did not run on the device"
                                                                   : difference(&device_reply, &cpu);
    snprintf(line, sizeof line, "%.500s: %s %.400s", s->text, what ? what : "", device_err.text);
    report(!what, line);
    rk_reply_clear(&cpu);
    rk_reply_clear(&device_reply);
    rk_scratch_free(scratch);
}

static void check_scores(struct rk_device *device, size_t lists, size_t items, double share, int kind,
                         bool good_model)
{
    static const enum rk_dtype scores[] = {RK_FP32, RK_FP32, RK_FP16, RK_BF16, RK_FP64};
    static const enum rk_dtype targets[] = {RK_INT8, RK_INT8, RK_BOOL, RK_UINT8, RK_INT32, RK_INT64, RK_FP32};
    struct sample s = {0};
    random_params(&s);
    const bool by_column = s.request.params.axis == RK_AXIS_COLUMNS;
    const size_t rows = by_column ? items : lists, columns = by_column ? lists : items;
    const enum rk_dtype score = scores[below(5)], target = targets[below(7)];
    const double ignored = below(2) ? 0.1 : 0;
    fill(&s, score, target, rows, columns, kind, share, ignored, good_model);
    const struct rk_params *p = &s.request.params;
    snprintf(s.text, sizeof s.text,
             "%s %s %s [%zu, %zu] axis %d share %g ignored %g kind %d lambda %g units %d scope %d margin %g "
             "average %d weight %d interclass %g outputs %x",
             s.request.model->name, rk_dtype_name(score), rk_dtype_name(target), rows, columns, p->axis,
             share, ignored, kind, p->lambda, p->lambda_units, p->lambda_scope, p->margin, p->average,
             p->transform, p->interclass, s.request.outputs);
    const bool small = rows * columns < 20000;
    compare(device, rk_kernels_named(small ? "reference" : "scalar"), &s, true);
    free(s.scores);
    free(s.targets);
}

/* rank and rank_vjp: every item is moved, by an upstream of any size and sign. */
static void check_rank(struct rk_device *device, size_t rows, size_t columns, int kind)
{
    static const enum rk_dtype scores[] = {RK_FP32, RK_FP16, RK_BF16, RK_FP64};
    const unsigned gradient = 1u << RK_OUT_GRADIENT, ranks = 1u << RK_OUT_RANKS,
                   sparse = 1u << RK_OUT_GRADIENT_INDICES | 1u << RK_OUT_GRADIENT_VALUES;
    const unsigned sets[] = {gradient, ranks | gradient, sparse, sparse | gradient | ranks, ranks};
    struct sample s = {0};
    random_params(&s);
    const enum rk_dtype dtype = scores[below(4)];
    const size_t n = rows * columns;
    fill(&s, dtype, RK_INT8, rows, columns, kind, 0, 0, false);
    s.upstream = room(n * sizeof(float));
    const double size = below(2) ? 1 : 1e-6;
    for (size_t i = 0; i < n; i++)
        ((float *)s.upstream)[i] = below(4) ? (float)((unit() - 0.5) * size) : 0;
    const bool vjp = below(3) > 0;
    s.request.model = rk_model_find(vjp ? "rank_vjp" : "rank");
    s.request.in[RK_IN_TARGETS] = (struct rk_tensor){0};
    if (vjp)
        s.request.in[RK_IN_UPSTREAM] = matrix(RK_FP32, rows, columns, s.upstream);
    s.request.outputs = vjp ? sets[below(5)] : ranks;
    const struct rk_params given = s.request.params;
    s.request.params = rk_params_default();
    s.request.params.lambda = given.lambda;
    s.request.params.lambda_units = given.lambda_units;
    snprintf(s.text, sizeof s.text, "%s %s [%zu, %zu] kind %d lambda %g units %d outputs %x",
             s.request.model->name, rk_dtype_name(dtype), rows, columns, kind, given.lambda,
             given.lambda_units, s.request.outputs);
    compare(device, NULL, &s, true);
    if (n > 5 && vjp) {
        ((float *)s.upstream)[5] = below(2) ? NAN : INFINITY;
        strncat(s.text, " bad upstream", sizeof s.text - strlen(s.text) - 1);
        compare(device, NULL, &s, false);
    }
    free(s.scores);
    free(s.targets);
    free(s.upstream);
}

static void check_random(struct rk_device *device, int runs, size_t most_items)
{
    static const size_t sides[] = {1, 2, 3, 16, 33, 100, 128, 513, 1000, 4096, 5000, 20000};
    static const double shares[] = {0, 0.001, 0.01, 0.1, 0.5, 1};
    for (int run = 0; run < runs; run++) {
        size_t lists = sides[below(12)], items = sides[below(12)];
        if (lists * items > most_items)
            lists = most_items < 40 * items ? 1 + most_items / 40 / items : 40;
        check_scores(device, lists, items, shares[below(6)], (int)below(6), below(2));
    }
    for (int run = 0; run < runs / 4 + 1; run++) {
        const size_t columns = sides[below(12)], rows = sides[below(12)];
        check_rank(device, rows * columns > most_items ? 1 + below(2) : rows, columns, (int)below(6));
    }
    /* One list over the whole device, with few, some, many and very many relevant items. */
    static const double long_shares[] = {0, 2e-6, 2e-5, 1e-3, 0.01, 0.05, 0.5, 1};
    const bool is_short = runs < 10;
    for (int run = 0; run < (is_short ? 2 : 8 + runs / 10); run++) {
        const size_t more = most_items > WHOLE_DEVICE ? most_items / 3 : WHOLE_DEVICE / 32;
        const size_t n = WHOLE_DEVICE + 1 + below(more);
        check_scores(device, most_items < ITEMS ? 1 : 1 + below(2), n,
                     long_shares[is_short ? 3 + 2 * run : run % 8], (int)below(6), below(2));
    }
}

static void check_sentences(struct rk_device *device)
{
    struct sample s = {0};
    random_params(&s);
    fill(&s, RK_FP32, RK_INT8, 30, 200, 0, 0.05, 0, false);
    ((float *)s.scores)[1234] = NAN;
    ((int8_t *)s.targets)[1234] = 0;
    snprintf(s.text, sizeof s.text, "a NaN is refused as on the CPU");
    compare(device, NULL, &s, false);
    ((int8_t *)s.targets)[777] = 2;
    snprintf(s.text, sizeof s.text, "a bad target is refused as on the CPU");
    compare(device, NULL, &s, false);
    free(s.scores);
    free(s.targets);
}

void check_requests(struct rk_device *device, int runs, size_t most_items)
{
    check_random(device, runs, most_items);
    check_sentences(device);
}
