/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/support/brute.h"

#include <math.h>
#include <stdlib.h>

struct brute_item {
    float y, after;
    bool relevant;
    double gain;  /* 0: irrelevant */
    size_t where; /* flat position */
    size_t rank, rank_after;
    size_t relevant_rank;
};

/* Is a ahead of b? Scores first, then irrelevant ones and lower gains, then the order of the
 * list. */
static bool is_ahead(float ya, double ga, size_t ia, float yb, double gb, size_t ib)
{
    if (ya > yb)
        return true;
    if (ya < yb)
        return false;
    if (ga != gb)
        return ga < gb;
    return ia < ib;
}

static void rank_all(struct brute_item *item, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        item[i].rank = item[i].rank_after = item[i].relevant_rank = 1;
        for (size_t j = 0; j < n; j++) {
            if (j == i || !is_ahead(item[j].y, item[j].gain, j, item[i].y, item[i].gain, i))
                continue;
            item[i].rank++;
            item[i].relevant_rank += item[j].relevant;
        }
    }
}

static void rank_after(struct brute_item *item, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++)
            item[i].rank_after +=
                j != i && is_ahead(item[j].after, item[j].gain, j, item[i].after, item[i].gain, i);
    }
}

static double term(enum brute_loss kind, double rk, double rp)
{
    double x = rk - rp;
    switch (kind) {
    case BRUTE_AP:
        return x / rk;
    case BRUTE_RECALL_LOG:
        return log(1 + x);
    case BRUTE_RECALL_LOGLOG:
        return log(1 + log(1 + x));
    default:
        return x;
    }
}

static double slope(enum brute_loss kind, double rk, double rp, double p)
{
    double x = rk - rp;
    switch (kind) {
    case BRUTE_AP:
        return rp / ((p * rk) * rk);
    case BRUTE_RECALL_LOG:
        return 1 / (1 + x) / p;
    case BRUTE_RECALL_LOGLOG:
        return 1 / ((1 + log(1 + x)) * (1 + x)) / p;
    default:
        return 1 / p;
    }
}

/* S of the unit scale. */
static double moved_ranks(const struct brute_item *item, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += fabs((double)item[i].rank - (double)item[i].rank_after);
    return sum;
}

/* Gains summed in ascending rank, each over its logarithm: those of the list at its ranks, or from
 * the largest to the smallest. Up to rank `cut`. */
static double cumulated(const struct brute_item *item, size_t n, double p, bool best, double cut)
{
    double sum = 0, *at = calloc(n + 1, sizeof *at), *left = calloc(n, sizeof *left);
    for (size_t i = 0; i < n; i++)
        left[i] = at[item[i].rank] = item[i].gain;
    for (size_t r = 1; r <= n && (double)r <= cut && !(best && (double)r > p); r++) {
        size_t most = 0;
        for (size_t i = 1; best && i < n; i++)
            most = left[i] > left[most] ? i : most;
        sum += (best ? left[most] : at[r]) / log2(1 + (double)r);
        left[most] = 0;
    }
    free(at);
    free(left);
    return sum;
}

static double first_rank(const struct brute_item *item, size_t n)
{
    size_t first = n + 1;
    for (size_t i = 0; i < n; i++)
        first = item[i].relevant && item[i].rank < first ? item[i].rank : first;
    return (double)first;
}

/* What the list costs, its ranks being known; and g of each item. `ideal`: the best sum of all of
 * it. */
static double list_cost(const struct brute *o, const struct brute_item *item, size_t n, double p,
                        double ideal)
{
    const double cut = o->top_k ? (double)o->top_k : INFINITY, first = first_rank(item, n);
    if (o->loss_kind >= BRUTE_NDCG_EXP2) {
        const double most = o->top_k ? cumulated(item, n, p, true, cut) : ideal;
        return 1 - cumulated(item, n, p, false, cut) / most;
    }
    if (o->loss_kind == BRUTE_MRR)
        return first > cut ? 1 : (first - 1) / first;
    double sum = 0, hits = 0, m = p < cut ? p : cut;
    for (size_t i = 0; i < n; i++) {
        if (!item[i].relevant || (double)item[i].rank > cut)
            continue;
        sum += term(o->loss_kind, (double)item[i].rank, (double)item[i].relevant_rank);
        hits++;
    }
    return (sum + (m - hits)) / m;
}

static double item_slope(const struct brute *o, const struct brute_item *item, double p, double first,
                         double ideal)
{
    const double rk = (double)item->rank, l = log(1 + rk);
    if (o->loss_kind >= BRUTE_NDCG_EXP2)
        return ((item->gain / ideal) * log(2)) / ((1 + rk) * (l * l));
    if (o->loss_kind == BRUTE_MRR)
        return rk == first ? 1 / (rk * rk) : 0;
    return slope(o->loss_kind, rk, (double)item->relevant_rank, p);
}

/* One list: its loss, and its part of the gradient added up. Returns false if it has no relevant
 * item. */
static bool run_list(struct brute *o, struct brute_item *item, size_t n, double p, double w,
                     double *list_loss, bool *stalled, double *jumped)
{
    if (p == 0)
        return false;
    rank_all(item, n);
    const double first = first_rank(item, n),
                 ideal = o->loss_kind >= BRUTE_NDCG_EXP2 ? cumulated(item, n, p, true, INFINITY) : 0;
    *list_loss = list_cost(o, item, n, p, ideal);
    double lambda = o->normalized ? o->lambda * (double)n : o->lambda;
    if (o->batch_scope)
        lambda *= w;
    for (size_t i = 0; i < n; i++) {
        double g = item_slope(o, &item[i], p, first, ideal);
        item[i].after = item[i].relevant ? (float)((double)item[i].y + lambda * g) : item[i].y;
    }
    rank_after(item, n);
    *stalled = *list_loss > 0;
    *jumped = 0;
    double divisor = o->unit_scale ? moved_ranks(item, n) : lambda;
    for (size_t i = 0; i < n; i++) {
        double delta = (double)item[i].rank - (double)item[i].rank_after;
        o->gradient[item[i].where] += delta == 0 ? 0 : (-w * delta) / divisor;
        if (!item[i].relevant && delta != 0)
            *stalled = false;
        *jumped += item[i].relevant ? 0 : fabs(delta);
    }
    return true;
}

static double gain_of(const struct brute *o, size_t where)
{
    return o->loss_kind == BRUTE_NDCG_EXP2     ? pow(2, o->grades[where]) - 1
           : o->loss_kind == BRUTE_NDCG_LINEAR ? o->grades[where]
                                               : 1;
}

static size_t gather(const struct brute *o, size_t first, size_t step, size_t count, struct brute_item *item,
                     double *p)
{
    size_t n = 0;
    *p = 0;
    for (size_t i = 0; i < count; i++) {
        size_t where = first + i * step;
        if (o->targets[where] == -1)
            continue;
        bool relevant = o->targets[where] == 1;
        double s = (double)o->scores[where];
        item[n].y = (float)(relevant ? s - o->margin / 2 : s + o->margin / 2);
        item[n].relevant = relevant;
        item[n].gain = !relevant ? 0 : gain_of(o, where);
        item[n].where = where;
        *p += relevant;
        n++;
    }
    return n;
}

static double weight(const struct brute *o, double p, double valid, double relevant)
{
    return o->average == BRUTE_MACRO ? 1 / valid : o->average == BRUTE_MICRO ? p / relevant : 1;
}

void brute_run(struct brute *o)
{
    size_t total = o->rows * o->columns;
    size_t lists = o->lists_are_columns ? o->columns : o->rows, length = total / lists;
    size_t list_step = o->lists_are_columns ? 1 : o->columns,
           item_step = o->lists_are_columns ? o->columns : 1;
    struct brute_item *item = calloc(total, sizeof *item);
    double valid = 0, relevant = 0, p, one, jumped;
    bool stalled;
    for (size_t l = 0; l < lists; l++) {
        gather(o, l * list_step, item_step, length, item, &p);
        valid += p > 0;
        relevant += p;
    }
    for (size_t i = 0; i < total; i++)
        o->gradient[i] = 0;
    o->loss = o->jumped = 0;
    o->skipped = o->stalled = 0;
    for (size_t l = 0; l < lists; l++) {
        size_t n = gather(o, l * list_step, item_step, length, item, &p);
        double w = (o->interclass > 0 ? 1 - o->interclass : 1) * weight(o, p, valid, relevant);
        o->list_loss[l] = NAN;
        if (p == 0) {
            o->skipped++;
        } else if (w > 0) {
            (void)run_list(o, item, n, p, w, &one, &stalled, &jumped);
            o->jumped += jumped / relevant;
            o->list_loss[l] = o->marks && stalled ? -one : one;
            o->loss += w * one;
            o->stalled += stalled;
        }
    }
    if (o->interclass > 0) {
        size_t n = gather(o, 0, 1, total, item, &p);
        if (run_list(o, item, n, p, o->interclass, &one, &stalled, &jumped))
            o->loss += o->interclass * one;
    }
    free(item);
}

void brute_vjp(const float *scores, const float *upstream, size_t n, double lambda, bool normalized,
               int64_t *ranks, double *gradient)
{
    struct brute_item *item = calloc(n, sizeof *item);
    for (size_t i = 0; i < n; i++) {
        item[i].y = scores[i];
        item[i].gain = 0;
        item[i].after = (float)((double)scores[i] + lambda * (double)upstream[i]);
    }
    rank_all(item, n);
    rank_after(item, n);
    for (size_t i = 0; i < n; i++) {
        double delta = (double)item[i].rank - (double)item[i].rank_after;
        ranks[i] = (int64_t)item[i].rank;
        gradient[i] = -delta / (normalized ? (double)n * lambda : lambda);
    }
    free(item);
}
