/* The engine on a card against the CPU engine: gradients bit for bit, losses to 1e-12, everything else equal.
 * Needs a card and build/rankd-cuda.so; `make check-gpu` says that it was skipped where there is none.
 *
 *   gpu-check PLUGIN [RUNS [SEED [ITEMS]]]
 *
 * ITEMS: of a request, at most; an emulated card takes its time. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bank/view.h"
#include "device.h"
#include "kernel/kernel.h"
#include "kernel/score.h"
#include "request.h"

#define ITEMS 3000000
#define WHOLE_CARD 262144 /* items of a list that is longer are spread over the card */

static uint64_t state;
static size_t most_items = ITEMS;
static int passed, failed;
static int retrieval_runs, on_card_runs;

static uint64_t draw(void)
{
    state += 0x9e3779b97f4a7c15u;
    uint64_t z = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static size_t below(size_t n)
{
    return draw() % n;
}
static double unit(void)
{
    return (double)(draw() >> 11) * 0x1p-53;
}

static void report(bool good, const char *what)
{
    if (good)
        passed++;
    else
        failed++;
    if (!good)
        printf("FAILED: %s\n", what);
}

static void *room(size_t bytes)
{
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory) {
        puts("no memory");
        exit(1);
    }
    return memory;
}

/* --- requests on scores --- */

struct sample {
    struct rk_request request;
    char text[512];
    void *scores, *targets, *upstream;
};

static float score_of(int kind)
{
    switch (kind) {
    case 0:
        return (float)unit();
    case 1: /* heavy ties */
        return (float)below(7) / 4 - 1;
    case 2: /* all equal */
        return 0.25f;
    case 3: { /* extremes */
        static const float extreme[] = {INFINITY, -INFINITY, 0.0f,   -0.0f, 1e-45f,
                                        -1e-45f,  3e38f,     -3e38f, 1.0f};
        return below(3) ? extreme[below(9)] : (float)(unit() - 0.5);
    }
    case 4: /* a few ulps */
        return rk_float_of_bits(0x3f800000u + (uint32_t)below(40));
    default: /* wide */
        return (float)((unit() - 0.5) * exp(40 * (unit() - 0.5)));
    }
}

static uint16_t half_of(float x, bool brain)
{
    /* Any bits near x do for a test. */
    uint32_t bits = rk_float_bits(x);
    if (brain)
        return (uint16_t)(bits >> 16);
    if (isinf(x))
        return x > 0 ? 0x7c00 : 0xfc00;
    int exponent = (int)(bits >> 23 & 0xff) - 112;
    if (exponent <= 0)
        return (uint16_t)(bits >> 16 & 0x8000);
    if (exponent >= 31)
        return (uint16_t)((bits >> 16 & 0x8000) | 0x7bff);
    return (uint16_t)((bits >> 16 & 0x8000) | (uint32_t)exponent << 10 | (bits >> 13 & 0x3ff));
}

static void put_score(void *scores, enum rk_dtype dtype, size_t i, float x)
{
    if (dtype == RK_FP64)
        ((double *)scores)[i] = isfinite(x) ? (double)x * (1 + 1e-9 * unit()) : (double)x;
    else if (dtype == RK_FP32)
        ((float *)scores)[i] = x;
    else
        ((uint16_t *)scores)[i] = isnan(x) ? 0x7fff : half_of(x, dtype == RK_BF16);
}

static void put_target(void *targets, enum rk_dtype dtype, size_t i, int x)
{
    switch (dtype) {
    case RK_INT32:
        ((int32_t *)targets)[i] = x;
        break;
    case RK_INT64:
        ((int64_t *)targets)[i] = x;
        break;
    case RK_FP32:
        ((float *)targets)[i] = (float)x;
        break;
    default:
        ((int8_t *)targets)[i] = (int8_t)x;
        break;
    }
}

static struct rk_tensor matrix(enum rk_dtype dtype, size_t rows, size_t columns, const void *data)
{
    return (struct rk_tensor){.dtype = dtype,
                              .rank = 2,
                              .shape = {rows, columns},
                              .data = data,
                              .bytes = rows * columns * rk_dtype_size(dtype)};
}

static void fill(struct sample *s, enum rk_dtype score, enum rk_dtype target, size_t rows, size_t columns,
                 int kind, double share, double ignored, bool good_model)
{
    size_t n = rows * columns;
    const bool is_signed = target != RK_BOOL && target != RK_UINT8;
    s->scores = room(n * 8);
    s->targets = room(n * 8);
    for (size_t i = 0; i < n; i++) {
        int t = unit() < share ? 1 : is_signed && unit() < ignored ? -1 : 0;
        float x = score_of(kind);
        if (good_model && t == 1)
            x += 0.9f;
        if (t == -1 && below(2))
            x = NAN; /* ignored items may be anything */
        put_target(s->targets, target, i, t);
        put_score(s->scores, score, i, x);
    }
    s->request.in[RK_IN_SCORES] = matrix(score, rows, columns, s->scores);
    s->request.in[RK_IN_TARGETS] = matrix(target, rows, columns, s->targets);
}

static void random_params(struct sample *s)
{
    struct rk_params *params = &s->request.params;
    static const double lambdas[] = {1, 0.01, 4, 100, 1e-6, 1e6, 1e12};
    static const double margins[] = {0, 0, 0.02, 0.1, 1, 1e30};
    *params = rk_params_default();
    params->lambda = lambdas[below(7)];
    params->margin = margins[below(6)];
    params->lambda_scope = (int)below(2);
    params->lambda_units = (int)below(2);
    params->average = (int)below(3);
    params->axis = (int)below(3) ? RK_AXIS_ROWS : RK_AXIS_COLUMNS;
    params->weight = (int)below(3);
    params->interclass = below(3) ? 0 : below(3) ? unit() : 1;
    s->request.model = rk_model_find(below(2) ? "ap" : "recall");
    if (s->request.model->loss == rk_model_find("ap")->loss)
        params->weight = RK_WEIGHT_LOGLOG;
    const unsigned sparse = 1u << RK_OUT_GRADIENT_INDICES | 1u << RK_OUT_GRADIENT_VALUES;
    const unsigned sets[] = {1u << RK_OUT_GRADIENT, 0, sparse, sparse | 1u << RK_OUT_GRADIENT,
                             1u << RK_OUT_GRADIENT};
    s->request.outputs = 1u << RK_OUT_LOSS | 1u << RK_OUT_LIST_LOSS | sets[below(5)];
}

static bool same_bytes(const struct rk_out *a, const struct rk_out *b)
{
    return a->bytes == b->bytes && (a->bytes == 0 || memcmp(a->data, b->data, a->bytes) == 0);
}

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

static const char *difference(const struct rk_reply *card, const struct rk_reply *cpu)
{
    static char text[128];
    const struct rk_info *a = &card->info, *b = &cpu->info;
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
    if (card->outputs != cpu->outputs)
        return "outputs";
    for (unsigned o = 0; o < RK_OUT_COUNT; o++) {
        if (!(card->outputs & 1u << o))
            continue;
        const bool loss = o == RK_OUT_LOSS || o == RK_OUT_LIST_LOSS;
        if (!(loss ? near_floats : same_bytes)(&card->out[o], &cpu->out[o]))
            return rk_output_rows[o].name;
    }
    return NULL;
}

static void compare(struct rk_device *device, const struct rk_kernels *kernels, const struct sample *s,
                    bool on_card)
{
    char line[1200];
    struct rk_scratch *scratch = rk_scratch_new(0);
    const struct rk_exec here = {.scratch = scratch, .kernels = kernels},
                         there = {.scratch = scratch, .device = device};
    struct rk_reply cpu = {0}, card = {0};
    struct rk_err err = {0};
    const bool cpu_good = rk_run(&here, &s->request, &cpu, &err) == RANKD_OK;
    struct rk_err card_err = {0};
    const bool card_good = rk_run(&there, &s->request, &card, &card_err) == RANKD_OK;
    const char *what = cpu_good != card_good           ? "status"
                       : !cpu_good                     ? (strcmp(err.text, card_err.text) ? "sentence" : NULL)
                       : on_card && !card.info.on_card ? "it did not run on the card"
                                                       : difference(&card, &cpu);
    snprintf(line, sizeof line, "%.500s: %s %.400s", s->text, what ? what : "", card_err.text);
    report(!what, line);
    rk_reply_clear(&cpu);
    rk_reply_clear(&card);
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
             p->weight, p->interclass, s.request.outputs);
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

static void check_random(struct rk_device *device, int runs)
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
    /* One list over the whole card, with few, some, many and very many relevant items. */
    static const double long_shares[] = {0, 2e-6, 2e-5, 1e-3, 0.01, 0.05, 0.5, 1};
    const bool is_short = runs < 10;
    for (int run = 0; run < (is_short ? 2 : 8 + runs / 10); run++) {
        const size_t more = most_items > WHOLE_CARD ? most_items / 3 : WHOLE_CARD / 32;
        const size_t n = WHOLE_CARD + 1 + below(more);
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

/* --- retrieval --- */

struct retrieval {
    size_t batch, refs, bank, dim;
    int classes;
    enum rk_dtype dtype;
    bool normalize, gradient;
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

static void check_retrieval(struct rk_device *device, struct retrieval r)
{
    char line[256];
    struct sample s = {0};
    random_params(&s);
    s.request.params.axis = RK_AXIS_ROWS;
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
    const struct rk_bank_view view = {
        .is_embeddings = true,
        .items = r.bank,
        .embeddings = {
            .dtype = r.dtype, .dim = r.dim, .normalize = r.normalize, .chunks = 2, .chunk = chunks}};
    if (r.bank)
        s.request.memory = &view;
    struct rk_scratch *scratch = rk_scratch_new(0);
    const struct rk_exec here = {.scratch = scratch}, there = {.scratch = scratch, .device = device};
    struct rk_reply cpu = {0}, card = {0}, again = {0};
    struct rk_err err = {0};
    const bool good = rk_run(&here, &s.request, &cpu, &err) == RANKD_OK &&
                      rk_run(&there, &s.request, &card, &err) == RANKD_OK &&
                      rk_run(&there, &s.request, &again, &err) == RANKD_OK;
    double apart = 0, size = 0;
    bool repeats = good;
    for (unsigned o = 0; o < RK_OUT_COUNT && good; o++) {
        if (!(cpu.outputs & 1u << o))
            continue;
        const float *a = card.out[o].data, *b = cpu.out[o].data;
        repeats &= same_bytes(&card.out[o], &again.out[o]);
        for (size_t i = 0; i < cpu.out[o].bytes / sizeof *a && o != RK_OUT_LIST_LOSS; i++) {
            apart += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
            size += (double)b[i] * (double)b[i];
        }
    }
    snprintf(line, sizeof line, "retrieval %s batch %zu refs %zu bank %zu dim %zu classes %d %s normalize %d",
             s.request.model->name, r.batch, r.refs, r.bank, r.dim, r.classes, rk_dtype_name(r.dtype),
             r.normalize);
    /* Exact similarities leave only the order of the sums. Otherwise two BLAS differ in last bits of
     * similarities, and a rank may hang on one. */
    const double error = sqrt(apart / (size > 0 ? size : 1));
    const bool near =
        good && error < (exact ? 1e-6 : 0.1) &&
        fabs(cpu.info.loss - card.info.loss) <= (exact ? 1e-12 : 1e-4) * fabs(cpu.info.loss) + 1e-12 &&
        (!exact || (cpu.info.lists_stalled == card.info.lists_stalled &&
                    cpu.info.lists_skipped == card.info.lists_skipped));
    if (!near)
        printf("  %s: error %g, loss %.9g / %.9g\n", err.text, error, card.info.loss, cpu.info.loss);
    report(near, line);
    strncat(line, ": the same request twice", sizeof line - strlen(line) - 1);
    report(repeats, line);
    on_card_runs += good && card.info.on_card;
    retrieval_runs++;
    rk_reply_clear(&cpu);
    rk_reply_clear(&card);
    rk_reply_clear(&again);
    rk_scratch_free(scratch);
    rk_labels_free(index);
    rk_labels_free(second);
    free(x), free(refs), free(bank), free(own), free(ref), free(stored), free(halves);
}

int main(int argc, char **argv)
{
    struct rk_device device;
    struct rk_err err = {0};
    if (argc < 2) {
        puts("gpu-check PLUGIN [RUNS [SEED [ITEMS]]]");
        return 2;
    }
    if (rk_device_open(&device, argv[1], 0, 0, &err) != RANKD_OK) {
        printf("skipped: %s\n", err.text);
        return 77;
    }
    const int runs = argc > 2 ? atoi(argv[2]) : 200;
    state = argc > 3 ? (uint64_t)atoll(argv[3]) : 1;
    most_items = argc > 4 ? (size_t)atoll(argv[4]) : ITEMS;
    device.always = true;
    printf("on %s\n", device.name);
    check_random(&device, runs);
    check_sentences(&device);
    for (int run = 0; run < 4 + runs / 10; run++) {
        static const enum rk_dtype dtypes[] = {RK_FP32, RK_FP16, RK_BF16};
        check_retrieval(&device, (struct retrieval){.batch = 2 + below(300),
                                                    .refs = below(2) ? below(100) : 0,
                                                    .bank = below(4) ? 3 + below(most_items / 150) : 0,
                                                    .dim = 1 + below(150),
                                                    .classes = (int)(1 + below(60)),
                                                    .dtype = dtypes[below(3)],
                                                    .normalize = below(3) > 0,
                                                    .gradient = below(4) > 0});
    }
    /* More relevant items than a block has room for. */
    for (int run = 0; run < 2 + runs / 20; run++)
        check_retrieval(&device, (struct retrieval){.batch = 2 + below(5),
                                                    .refs = below(2) ? below(100) : 0,
                                                    .bank = 9000 + below(6000),
                                                    .dim = 1 + below(150),
                                                    .classes = 1 + (int)below(2),
                                                    .dtype = RK_FP32,
                                                    .normalize = below(2),
                                                    .gradient = below(4) > 0});
    report(on_card_runs == retrieval_runs, "all retrieval runs on the card");
    rk_device_close(&device);
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}
