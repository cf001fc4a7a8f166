/* SPDX-License-Identifier: Apache-2.0 */
#include "retrieval/list.h"

#include <math.h>
#include <string.h>

#include "blackbox/blackbox_internal.h"
#include "kernels/score.h"
#include "kernels/threshold.h"

static size_t base_items(uint32_t p)
{
    uint32_t buckets = rk_threshold_index_buckets(p);
    return buckets ? buckets + (size_t)1 : 0;
}

static size_t place_list(struct rk_stream_list *list, void *memory)
{
    struct rk_arena arena = {.base = memory};
    size_t p = list->p;
    list->relevant = rk_arena_alloc(
        &arena,
        (p + list->skips) * sizeof(uint32_t)); /* plus room for the ignored ones while they are collected */
    list->skip = rk_arena_alloc(&arena, list->skips * sizeof(uint32_t));
    list->y = rk_arena_alloc(&arena, p * sizeof(float));
    list->argsort = rk_arena_alloc(&arena, p * sizeof(uint32_t));
    list->delta = rk_arena_alloc(&arena, p * sizeof(int32_t));
    list->threshold = rk_arena_alloc(&arena, (p + RK_THRESHOLD_INDEX_PAD) * sizeof(float));
    list->base = rk_arena_alloc(&arena, base_items(list->p) * sizeof(uint32_t));
    list->perturbed_upper_bound = rk_arena_alloc(&arena, (p + 1) * sizeof(float));
    list->hist = rk_arena_alloc(&arena, (p + 1) * sizeof(uint32_t));
    return arena.used;
}

size_t rk_stream_list_bytes(uint32_t p, uint32_t skips)
{
    struct rk_stream_list list = {.p = p, .skips = skips};
    return place_list(&list, NULL);
}

void rk_stream_list_place(struct rk_stream_list *list, void *memory)
{
    (void)place_list(list, memory);
}

static size_t place_work(struct rk_list_work *work, const struct rk_kernels *kernels, uint32_t p,
                         void *memory)
{
    struct rk_arena arena = {.base = memory};
    work->p = p;
    work->key = rk_arena_alloc(&arena, p * sizeof(uint32_t));
    work->irrelevant_above = rk_arena_alloc(&arena, p * sizeof(uint32_t));
    work->place = rk_arena_alloc(&arena, (RK_LINK + RK_THRESHOLD_INDEX_PAD) * sizeof(uint32_t));
    work->argsort = rk_arena_alloc(&arena, p * sizeof(uint32_t));
    work->below = rk_arena_alloc(&arena, (p + (size_t)1) * sizeof(uint32_t));
    work->below_after = rk_arena_alloc(&arena, (p + (size_t)1) * sizeof(uint32_t));
    work->y = rk_arena_alloc(&arena, p * sizeof(float));
    work->after = rk_arena_alloc(&arena, (p + (size_t)RK_THRESHOLD_INDEX_PAD) * sizeof(float));
    work->base = rk_arena_alloc(&arena, base_items(p) * sizeof(uint32_t));
    work->slope = rk_arena_alloc(&arena, p * sizeof(double));
    work->sort = rk_arena_alloc(&arena, kernels->argsort_scratch(p));
    return arena.used;
}

size_t rk_list_work_bytes(const struct rk_kernels *kernels, uint32_t p)
{
    struct rk_list_work work;
    return place_work(&work, kernels, p, NULL);
}

void rk_list_work_place(struct rk_list_work *work, const struct rk_kernels *kernels, uint32_t p, void *memory)
{
    (void)place_work(work, kernels, p, memory);
}

/* order[k] = place in index order of the k-th best y. */
static void rank(const struct rk_retrieval *run, uint32_t p, const float *y, uint32_t *order,
                 struct rk_list_work *work)
{
    for (uint32_t i = 0; i < p; i++)
        work->key[i] = ~rk_key(y[i]);
    run->kernels->argsort(work->key, p, order, NULL, work->sort);
}

enum rankd_status rk_stream_list_begin(const struct rk_retrieval *run, struct rk_stream_list *list,
                                       struct rk_list_work *work)
{
    double half = run->box.margin / 2;
    uint32_t p = list->p, ignored = run->query[list->q].match_counts.ignored;
    for (uint32_t i = 0; i < p; i++) {
        if (list->y[i] != list->y[i])
            return RANKD_INVALID;
        list->y[i] = (float)((double)list->y[i] - half);
    }
    rank(run, p, list->y, list->argsort, work);
    for (uint32_t k = 0; k < p; k++)
        list->threshold[p - 1 - k] = rk_raw_threshold(list->y[list->argsort[k]], half);
    list->threshold_index = rk_threshold_index_make(list->threshold, p, list->base);
    list->lambda = rk_box_lambda(&run->box, run->query[list->q].w, (uint32_t)run->items.total - ignored);
    rk_stream_list_restart(list);
    return RANKD_OK;
}

/* Irrelevant items at or above the k-th best relevant one, from the places of all items. */
static void add_up(const struct rk_stream_list *list, uint32_t *irrelevant_above)
{
    uint32_t sum = 0;
    for (uint32_t k = 0; k < list->p; k++) {
        sum += list->hist[list->p - k];
        irrelevant_above[k] = sum;
    }
}

/* A lower bound of the count in all items, from the count in the sample: four standard deviations
 * less, and 0 where the sample has few. */
static uint32_t at_least(uint32_t seen, double scale)
{
    double count = (double)seen, low = (count - 4 * sqrt(count + 4)) * scale;
    return low > 0 ? (uint32_t)low : 0;
}

/* Upper bound of y', as a raw score. */
static float perturbed_upper_bound_of(const struct rk_retrieval *run, const struct rk_stream_list *list,
                                      uint32_t k, double slope)
{
    double y = (double)list->y[list->argsort[k]];
    return rk_raw_threshold((float)(y + list->lambda * slope), run->box.margin / 2);
}

void rk_stream_list_restart(struct rk_stream_list *list)
{
    memset(list->hist, 0, (list->p + (size_t)1) * sizeof *list->hist);
    list->cursor = 0;
    list->first = list->last = NULL;
    list->failed = false;
}

/* Every relevant item has the gain 1. Lists with grades are computed from rows. */
static double loss_of(const struct rk_retrieval *run, const struct rk_stream_list *list,
                      const struct rk_list_work *work, double *slope)
{
    const struct rk_ranked ranked = {.p = list->p, .irrelevant_above = work->irrelevant_above};
    return rk_loss_list(run->box.loss, &run->box.params, &ranked, slope);
}

void rk_stream_list_window(const struct rk_retrieval *run, struct rk_stream_list *list,
                           struct rk_list_work *work, size_t sampled, size_t total)
{
    uint32_t p = list->p;
    double scale = sampled > 0 ? (double)total / (double)sampled : 0;
    add_up(list, work->irrelevant_above);
    for (uint32_t k = 0; k < p; k++)
        work->irrelevant_above[k] = at_least(work->irrelevant_above[k], scale);
    (void)loss_of(run, list, work, work->slope);
    list->perturbed_upper_bound[0] = -INFINITY;
    for (uint32_t k = 1; k <= p; k++) {
        float reach = perturbed_upper_bound_of(run, list, p - k, work->slope[p - k]);
        list->perturbed_upper_bound[k] =
            reach > list->perturbed_upper_bound[k - 1] ? reach : list->perturbed_upper_bound[k - 1];
    }
    rk_stream_list_restart(list);
}

void rk_stream_list_expect(struct rk_stream_list *list, size_t sampled, size_t total)
{
    size_t kept = 0;
    for (const struct rk_link *link = list->first; link; link = link->next)
        kept += link->count;
    /* As with the ranks, but upwards. */
    double most = (double)kept + 4 * sqrt((double)kept + 4);
    list->expected = sampled > 0 ? (size_t)(most * (double)total / (double)sampled) : total;
    rk_stream_list_restart(list);
}

void rk_stream_list_keep_nothing(struct rk_stream_list *list)
{
    for (uint32_t k = 0; k <= list->p; k++)
        list->perturbed_upper_bound[k] = -INFINITY;
    list->expected = 0;
}

/* A link with room for n more; NULL if the store is used up. */
static struct rk_link *link_for(struct rk_stream_list *list, size_t n, struct rk_store *store)
{
    if (list->last && list->last->count + n <= RK_LINK)
        return list->last;
    if (store->used == store->links)
        return NULL;
    struct rk_link *link = &store->link[store->used++];
    link->next = NULL;
    link->count = 0;
    if (list->last)
        list->last->next = link;
    else
        list->first = link;
    return list->last = link;
}

static size_t count_nan(const float *score, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += score[i] != score[i];
    return count;
}

void rk_stream_list_count(const struct rk_tile_kernels *tile, struct rk_stream_list *list, float *score,
                          size_t n, uint32_t first, bool check_nan, struct rk_store *store)
{
    while (list->cursor < list->skips && list->skip[list->cursor] < first)
        list->cursor++;
    size_t before = list->cursor;
    for (; list->cursor < list->skips && list->skip[list->cursor] - first < n; list->cursor++)
        score[list->skip[list->cursor] - first] = NAN; /* counts nowhere */
    if (check_nan && count_nan(score, n) != list->cursor - before)
        list->nan = true;
    if (!store) {
        tile->count(&list->threshold_index, score, n, list->hist);
        return;
    }
    for (size_t done = 0, here; done < n; done += here) {
        here = n - done < RK_LINK_STEP ? n - done : RK_LINK_STEP;
        struct rk_link *link = link_for(list, here, store);
        if (!link) {
            list->failed = true;
            return;
        }
        link->count += (uint32_t)tile->collect(&list->threshold_index, list->perturbed_upper_bound,
                                               score + done, here, first + (uint32_t)done, list->hist,
                                               link->position + link->count, link->score + link->count);
    }
}

/* Writes the moved items' thresholds to work->after, ascending, and their order. False if a window
 * was too narrow. */
static bool move(const struct rk_retrieval *run, struct rk_stream_list *list, struct rk_list_work *work)
{
    uint32_t p = list->p;
    double half = run->box.margin / 2;
    for (uint32_t k = 0; k < p; k++) {
        uint32_t i = list->argsort[k];
        work->y[i] = (float)((double)list->y[i] + list->lambda * work->slope[k]);
        list->delta[i] = (int32_t)(k + 1 + work->irrelevant_above[k]);
        if (rk_raw_threshold(work->y[i], half) > list->perturbed_upper_bound[p - k])
            return false;
    }
    rank(run, p, work->y, work->argsort, work);
    for (uint32_t k = 0; k < p; k++)
        work->after[p - 1 - k] = rk_raw_threshold(work->y[work->argsort[k]], half);
    return true;
}

/* Replaces the scores of the kept items by their Δ, drops those with Δ = 0, and counts their places
 * among the thresholds before and after. Returns Σ|Δ|. */
static uint64_t settle(const struct rk_tile_kernels *tile, struct rk_stream_list *list,
                       const struct rk_threshold_index *after, struct rk_list_work *work)
{
    uint64_t sum = 0;
    uint32_t before_of[RK_LINK + RK_THRESHOLD_INDEX_PAD];
    for (struct rk_link *link = list->first; link; link = link->next) {
        uint32_t kept = 0;
        tile->locate(&list->threshold_index, link->score, link->count, before_of);
        tile->locate(after, link->score, link->count, work->place);
        for (uint32_t i = 0; i < link->count; i++) {
            work->below[before_of[i]]++;
            work->below_after[work->place[i]]++;
            int32_t delta = (int32_t)work->place[i] - (int32_t)before_of[i];
            link->position[kept] = link->position[i];
            link->delta[kept] = delta;
            kept += delta != 0;
            sum += (uint64_t)(delta < 0 ? -(int64_t)delta : (int64_t)delta);
        }
        link->count = kept;
    }
    return sum;
}

/* From numbers of kept items by place to numbers at or above each threshold. */
static void from_above(uint32_t *below, uint32_t p)
{
    for (uint32_t k = p; k-- > 0;)
        below[k] += below[k + 1];
}

static void differentiate(const struct rk_retrieval *run, const struct rk_tile_kernels *tile,
                          struct rk_stream_list *list, struct rk_list_work *work, bool *stalled)
{
    uint32_t p = list->p;
    if (!move(run, list, work)) {
        list->failed = true;
        return;
    }
    struct rk_threshold_index after = rk_threshold_index_make(work->after, p, work->base);
    memset(work->below, 0, (p + (size_t)1) * sizeof *work->below);
    memset(work->below_after, 0, (p + (size_t)1) * sizeof *work->below_after);
    list->jumped = settle(tile, list, &after, work);
    from_above(work->below, p);
    from_above(work->below_after, p);
    /* The items that relevant item i passed are the kept items at or above it before the move, less
     * those after. */
    for (uint32_t k = 0; k < p; k++)
        work->key[list->argsort[k]] = work->irrelevant_above[k] - work->below[p - k];
    for (uint32_t k = 0; k < p; k++) {
        uint32_t i = work->argsort[k];
        list->delta[i] -= (int32_t)(k + 1 + work->key[i] + work->below_after[p - k]);
    }
    *stalled = run->query[list->q].loss > 0 && list->jumped == 0;
    const double sum = rk_unit_scale_sum(list->delta, p, list->jumped);
    list->divisor = run->box.unit_scale && sum > 0 ? sum : list->lambda;
}

void rk_stream_list_finish(const struct rk_retrieval *run, const struct rk_tile_kernels *tile,
                           struct rk_stream_list *list, struct rk_list_work *work, bool *stalled)
{
    *stalled = false;
    if (list->failed)
        return;
    add_up(list, work->irrelevant_above);
    run->query[list->q].loss = loss_of(run, list, work, run->gradient ? work->slope : NULL);
    if (run->gradient)
        differentiate(run, tile, list, work, stalled);
}
