/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/support/retrieval_oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "request/param.h"

struct entry {
    float y;
    bool relevant;
    size_t index;
    double gain; /* 0 of irrelevant ones */
};

/* Better first: higher score, irrelevant before relevant, lower gain, lower index. */
static int compare(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;
    if (a->y != b->y)
        return a->y > b->y ? -1 : 1;
    if (a->relevant != b->relevant)
        return a->relevant ? 1 : -1;
    if (a->gain != b->gain)
        return a->gain < b->gain ? -1 : 1;
    return a->index < b->index ? -1 : 1;
}

static void rank(const struct entry *list, size_t n, size_t *rk, size_t *rp)
{
    struct entry *sorted = malloc(n * sizeof *sorted);
    memcpy(sorted, list, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare);
    size_t relevant = 0;
    for (size_t r = 0; r < n; r++) {
        relevant += sorted[r].relevant;
        rk[sorted[r].index] = r + 1;
        rp[sorted[r].index] = relevant;
    }
    free(sorted);
}

static double value_of(int weight, double x)
{
    return weight == RK_TRANSFORM_IDENTITY ? x
           : weight == RK_TRANSFORM_LOG    ? log(1 + x)
                                           : log(1 + log(1 + x));
}

static double slope_of(int weight, double x)
{
    return weight == RK_TRANSFORM_IDENTITY ? 1
           : weight == RK_TRANSFORM_LOG    ? 1 / (1 + x)
                                           : 1 / ((1 + log(1 + x)) * (1 + x));
}

static bool ignores(const struct oracle_request *request, size_t q, size_t j)
{
    int64_t id = request->item[q].id;
    if (request->references && j < request->batch)
        return true;
    if (request->relevance && request->relevance[q * request->items + j] == -1)
        return true;
    return q == j || (id != -1 && request->item[j].id == id);
}

static bool relevant_to(const struct oracle_request *request, size_t q, size_t j)
{
    int64_t label = request->item[q].label;
    if (request->relevance)
        return request->relevance[q * request->items + j] == 1 && !ignores(request, q, j);
    return label != -1 && request->item[j].label == label && !ignores(request, q, j);
}

static size_t count_relevant(const struct oracle_request *request, size_t q)
{
    size_t p = 0;
    for (size_t j = 0; j < request->items; j++)
        p += relevant_to(request, q, j);
    return p;
}

struct list {
    size_t n, p;
    struct entry *entry; /* [n], index = place in the list */
    size_t *item;        /* [n] */
};

static struct list list_of(const struct oracle_request *request, size_t q, const float *unit)
{
    struct list list = {.entry = malloc(request->items * sizeof(struct entry)),
                        .item = malloc(request->items * sizeof(size_t))};
    for (size_t j = 0; j < request->items; j++) {
        if (ignores(request, q, j))
            continue;
        double s = 0;
        for (size_t k = 0; k < request->dim; k++)
            s += (double)unit[q * request->dim + k] * (double)unit[j * request->dim + k];
        bool relevant = relevant_to(request, q, j);
        double moved = (double)(float)s + (relevant ? -request->margin / 2 : request->margin / 2);
        double gain = request->gain ? request->gain[q * request->items + j] : 1;
        list.entry[list.n] = (struct entry){(float)moved, relevant, list.n, relevant ? gain : 0};
        list.item[list.n++] = j;
        list.p += relevant;
    }
    return list;
}

static int descending(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return a > b ? -1 : a < b;
}

/* Σ G / log2(1 + rk): of the list as it is ranked, or (rk NULL) of its best order. */
static double cumulated(const struct list *list, const size_t *rk)
{
    double *gain = malloc(list->n * sizeof *gain), sum = 0;
    for (size_t i = 0; i < list->n; i++)
        gain[rk ? rk[i] - 1 : i] = list->entry[i].gain;
    if (!rk)
        qsort(gain, list->n, sizeof *gain, descending);
    for (size_t r = 0; r < list->n; r++)
        sum += gain[r] / log2(2 + (double)r);
    free(gain);
    return sum;
}

/* d loss / d rk of a relevant item. */
static double slope_at(const struct oracle_request *request, const struct list *list, size_t i, double rk,
                       double rp, double best)
{
    double p = (double)list->p, l = log(1 + rk);
    if (request->ndcg)
        return list->entry[i].gain / best * log(2) / ((1 + rk) * (l * l));
    return request->recall ? slope_of(request->weight, rk - rp) / p : rp / ((p * rk) * rk);
}

static void run_list(const struct oracle_request *request, size_t q, double w, struct list *list,
                     struct oracle_reply *reply)
{
    size_t n = list->n, *rk = malloc(4 * n * sizeof *rk), *rp = rk + n, *after = rp + n, *ignored = after + n;
    rank(list->entry, n, rk, rp);
    double best = cumulated(list, NULL), p = (double)list->p;
    double loss = request->ndcg ? 1 - cumulated(list, rk) / best : 0;
    double lambda = request->lambda * (request->rank_units ? 1 : (double)n);
    if (request->batch_scope)
        lambda *= w;
    for (size_t i = 0; i < n; i++) {
        if (!list->entry[i].relevant)
            continue;
        double r = (double)rk[i], x = r - (double)rp[i],
               g = slope_at(request, list, i, r, (double)rp[i], best);
        if (!request->ndcg)
            loss += request->recall ? value_of(request->weight, x) / p : x / r / p;
        list->entry[i].y = (float)((double)list->entry[i].y + lambda * g);
    }
    rank(list->entry, n, after, ignored);
    bool jumped = false;
    double divisor = request->unit_scale ? 0 : lambda;
    for (size_t i = 0; request->unit_scale && i < n; i++)
        divisor += fabs((double)rk[i] - (double)after[i]);
    for (size_t i = 0; i < n; i++) {
        double delta = (double)rk[i] - (double)after[i];
        jumped |= delta != 0 && !list->entry[i].relevant;
        reply->jumped += list->entry[i].relevant ? 0 : fabs(delta);
        reply->pair[q * request->items + list->item[i]] =
            delta == 0 ? 0 : (double)(float)(-w * delta / divisor);
    }
    reply->list_loss[q] = loss;
    reply->loss += w * loss;
    reply->stalled += loss > 0 && !jumped;
    free(rk);
}

/* The vectors as ranked: FP32, normalised if requested (items of the bank are normalised
 * already). */
static float *units(const struct oracle_request *request)
{
    float *unit = malloc(request->items * request->dim * sizeof *unit);
    for (size_t i = 0; i < request->items; i++) {
        double norm = 0;
        for (size_t k = 0; k < request->dim; k++)
            norm += request->item[i].x[k] * request->item[i].x[k];
        norm = request->normalize && !request->item[i].stored ? sqrt(norm) : 1;
        for (size_t k = 0; k < request->dim; k++)
            unit[i * request->dim + k] = (float)(request->item[i].x[k] / norm);
    }
    return unit;
}

/* gradient of x = J(x)ᵀ · gradient of x/|x|, J = (|x|² I - x xᵀ) / |x|³. */
static void unchain(size_t dim, const double *x, double *gradient)
{
    double square = 0;
    for (size_t k = 0; k < dim; k++)
        square += x[k] * x[k];
    double *out = calloc(dim, sizeof *out);
    for (size_t k = 0; k < dim; k++)
        for (size_t l = 0; l < dim; l++)
            out[k] += ((k == l ? square : 0) - x[k] * x[l]) / (square * sqrt(square)) * gradient[l];
    memcpy(gradient, out, dim * sizeof *out);
    free(out);
}

static void spread_pairs(const struct oracle_request *request, const float *unit, struct oracle_reply *reply)
{
    size_t dim = request->dim;
    for (size_t q = 0; q < request->batch; q++) {
        for (size_t j = 0; j < request->items; j++) {
            double g = reply->pair[q * request->items + j];
            for (size_t k = 0; k < dim; k++) {
                reply->gradient[q * dim + k] += g * (double)unit[j * dim + k];
                if (!request->item[j].stored)
                    reply->gradient[j * dim + k] += g * (double)unit[q * dim + k];
            }
        }
    }
    for (size_t i = 0; request->normalize && i < request->items; i++) {
        if (!request->item[i].stored)
            unchain(dim, request->item[i].x, reply->gradient + i * dim);
    }
}

struct oracle_reply oracle_run(const struct oracle_request *request)
{
    size_t batch = request->batch, items = request->items, valid = 0, relevant = 0;
    struct oracle_reply reply = {.list_loss = malloc(batch * sizeof(double)),
                                 .gradient = calloc(items * request->dim, sizeof(double)),
                                 .pair = calloc(batch * items, sizeof(double))};
    float *unit = units(request);
    for (size_t q = 0; q < batch; q++) {
        size_t p = count_relevant(request, q);
        valid += p > 0;
        relevant += p;
    }
    for (size_t q = 0; q < batch; q++) {
        size_t p = count_relevant(request, q);
        reply.list_loss[q] = NAN;
        if (p == 0)
            continue;
        double w = request->average == RK_AVERAGE_MACRO   ? 1 / (double)valid
                   : request->average == RK_AVERAGE_MICRO ? (double)p / (double)relevant
                                                          : 1;
        struct list list = list_of(request, q, unit);
        run_list(request, q, w, &list, &reply);
        free(list.entry);
        free(list.item);
    }
    reply.skipped = batch - valid;
    reply.jumped /= relevant > 0 ? (double)relevant : 1;
    spread_pairs(request, unit, &reply);
    free(unit);
    return reply;
}

void oracle_free(struct oracle_reply *reply)
{
    free(reply->list_loss);
    free(reply->gradient);
    free(reply->pair);
}
