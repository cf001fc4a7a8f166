/* SPDX-License-Identifier: Apache-2.0 */
/* One list as in the paper: sort all of it, perturb, sort all of it again. Nothing here is meant to
 * be fast; the fast code is compared with it (RANKD_CPU=reference).
 *
 * Rolínek et al., CVPR 2020, section 3, with the loss's own slope as the upstream of the
 * ranking. */
#include <stdlib.h>
#include <string.h>

#include "blackbox/blackbox_internal.h"
#include "kernels/score.h"
#include "losses/gain.h"

struct reference_item {
    float y;
    uint32_t worth; /* 0: irrelevant; else 1 + the number of relevant items of lower gain */
    uint32_t position;
    int32_t rk; /* then Δ */
};

/* Higher score first; at equal scores irrelevant before relevant, and lower gain before higher;
 * then lower index first. */
static int better(const struct reference_item *a, const struct reference_item *b)
{
    if (a->y != b->y)
        return a->y > b->y ? -1 : 1;
    if (a->worth != b->worth)
        return a->worth < b->worth ? -1 : 1;
    return a->position < b->position ? -1 : 1;
}

/* Merge sort, because the C library's may allocate. Sorts item[0..n-1] with spare[0..n-1]. */
static void sort(struct reference_item *item, size_t n, struct reference_item *spare)
{
    if (n < 2)
        return;
    size_t half = n / 2, left = 0, right = half;
    sort(item, half, spare);
    sort(item + half, n - half, spare);
    for (size_t k = 0; k < n; k++) {
        bool from_left = right == n || (left < half && better(&item[left], &item[right]) < 0);
        spare[k] = from_left ? item[left++] : item[right++];
    }
    memcpy(item, spare, n * sizeof *item);
}

struct work {
    struct reference_item *item, *spare;
    uint32_t *irrelevant_above;
    double *slope;
    double *gain, *gain_ascending; /* NULL: the list has no grades */
};

static void place_work(struct rk_arena *arena, uint32_t items, bool grades, struct work *work)
{
    *work = (struct work){0};
    work->item = rk_arena_alloc(arena, items * sizeof *work->item);
    work->spare = rk_arena_alloc(arena, items * sizeof *work->spare);
    work->irrelevant_above = rk_arena_alloc(arena, items * sizeof *work->irrelevant_above);
    work->slope = rk_arena_alloc(arena, items * sizeof *work->slope);
    if (!grades)
        return;
    work->gain = rk_arena_alloc(arena, items * sizeof *work->gain);
    work->gain_ascending = rk_arena_alloc(arena, items * sizeof *work->gain_ascending);
}

static size_t reference_scratch(const struct rk_kernels *kernels, uint32_t items, uint32_t p,
                                enum rk_dtype dtype, unsigned threads, unsigned wants)
{
    (void)kernels, (void)p, (void)dtype, (void)threads;
    struct rk_arena arena = {0};
    struct work work;
    place_work(&arena, items, wants & RK_LIST_GRADES, &work);
    return arena.used;
}

/* y = s - α/2 for relevant items, s + α/2 for the others; ignored ones are left out. The gains of
 * the relevant ones go to work->gain. Returns the number of items; *nan if one has no score. */
static uint32_t collect_items(const struct rk_list *list, const struct rk_blackbox *box,
                              const struct work *work, bool *nan)
{
    uint32_t n = 0, base = 0, p = 0;
    for (size_t s = 0; s < list->segments; s++) {
        const struct rk_list_segment *segment = &list->segment[s];
        for (uint32_t i = 0; i < segment->items; i++) {
            int target = segment->targets ? segment->targets[i] : 0;
            if (target == -1)
                continue;
            double score = (double)rk_score_at(segment->scores, segment->dtype, i);
            *nan |= score != score;
            float y = (float)(target > 0 ? score - box->margin / 2 : score + box->margin / 2);
            if (target > 0 && work->gain)
                work->gain[p++] = rk_gain(rk_grade_at(&segment->grades, box->rule, i), box->rule);
            work->item[n++] = (struct reference_item){.y = y, .worth = target > 0, .position = base + i};
        }
        base += segment->items;
    }
    return n;
}

static void sift_gain(double *gain, size_t at, size_t n)
{
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        child += child + 1 < n && gain[child + 1] > gain[child];
        if (gain[at] >= gain[child])
            return;
        double swap = gain[at];
        gain[at] = gain[child];
        gain[child] = swap;
    }
}

static void sort_gains(double *gain, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift_gain(gain, i, n);
    for (size_t end = n; end-- > 1;) {
        double swap = gain[0];
        gain[0] = gain[end];
        gain[end] = swap;
        sift_gain(gain, 0, end);
    }
}

/* How many of the ascending gains are lower. */
static uint32_t lower_gains(const double *ascending, uint32_t p, double gain)
{
    uint32_t low = 0, high = p;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (ascending[middle] < gain)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* From the gains, which stand in index order as the items do. */
static void weigh_items(struct work *work, uint32_t n)
{
    uint32_t p = 0, k = 0;
    for (uint32_t i = 0; i < n; i++)
        p += work->item[i].worth;
    memcpy(work->gain_ascending, work->gain, p * sizeof *work->gain);
    sort_gains(work->gain_ascending, p);
    for (uint32_t i = 0; i < n; i++) {
        if (work->item[i].worth)
            work->item[i].worth = 1 + lower_gains(work->gain_ascending, p, work->gain[k++]);
    }
}

/* The loss's view of items in ranked order. */
static struct rk_ranked ranked_of(struct work *work, uint32_t n)
{
    uint32_t irrelevant = 0, p = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t worth = work->item[i].worth;
        if (!worth) {
            irrelevant++;
            continue;
        }
        if (work->gain)
            work->gain[p] = work->gain_ascending[worth - 1];
        work->irrelevant_above[p++] = irrelevant;
    }
    return (struct rk_ranked){.p = p,
                              .irrelevant_above = work->irrelevant_above,
                              .gain = work->gain,
                              .gain_ascending = work->gain_ascending};
}

/* Δ = rk(y) - rk(y') of every item: ranks, y' for the relevant ones, sort again, subtract the new
 * ranks. */
static void differences(struct work *work, uint32_t n, double lambda)
{
    for (uint32_t i = 0, k = 0; i < n; i++) {
        struct reference_item *item = &work->item[i];
        item->rk = (int32_t)(i + 1);
        if (item->worth)
            item->y = (float)((double)item->y + lambda * work->slope[k++]);
    }
    sort(work->item, n, work->spare);
    for (uint32_t i = 0; i < n; i++)
        work->item[i].rk -= (int32_t)(i + 1);
}

static void write_dense(const struct rk_list *list, const struct reference_item *item, uint32_t n, double w,
                        struct rk_list_out *out)
{
    memset(out->dense, 0, list->differentiable * sizeof *out->dense);
    for (uint32_t i = 0; i < n; i++) {
        if (item[i].position >= list->differentiable)
            continue;
        out->dense[item[i].position] = rk_gradient_value(w, out->divisor, item[i].rk);
        out->nonzero += item[i].rk != 0;
    }
}

static int by_position(const void *a, const void *b)
{
    const struct rk_delta *x = a, *y = b;
    return x->position < y->position ? -1 : x->position > y->position;
}

static void write_sparse(const struct rk_list *list, const struct reference_item *item, uint32_t n,
                         struct rk_list_out *out)
{
    for (uint32_t i = 0; i < n; i++) {
        if (item[i].position >= list->differentiable || item[i].rk == 0)
            continue;
        if (out->deltas < out->room)
            out->sparse[out->deltas] = (struct rk_delta){item[i].position, item[i].rk};
        out->deltas++;
    }
    if (out->deltas <= out->room)
        qsort(out->sparse, out->deltas, sizeof *out->sparse, by_position);
}

static void sum_up(const struct rk_list *list, const struct reference_item *item, uint32_t n,
                   struct rk_list_out *out)
{
    bool passed = false;
    for (uint32_t i = 0; i < n; i++) {
        passed |= item[i].worth == 0 && item[i].rk != 0;
        uint64_t size = (uint64_t)labs((long)item[i].rk);
        out->jumped += item[i].worth ? 0 : size;
        if (item[i].position < list->differentiable)
            out->abs_differentiable += size;
        else
            out->abs_bank += size;
    }
    out->stalled = out->loss > 0 && !passed;
}

static enum rankd_status sort_list(const struct rk_exec *exec, const struct rk_kernels *kernels,
                                   const struct rk_blackbox *box, double w, struct rk_list *list,
                                   void *scratch, struct rk_list_out *out)
{
    (void)kernels;
    rk_exec_copied(exec, list->differentiable * rk_dtype_size(list->segment[0].dtype));
    struct rk_arena arena = {.base = scratch};
    struct work work;
    place_work(&arena, list->items, rk_list_has_grades(list), &work);
    bool nan = false;
    uint32_t n = collect_items(list, box, &work, &nan);
    if (nan)
        return RANKD_INVALID;
    if (work.gain)
        weigh_items(&work, n);
    sort(work.item, n, work.spare);
    const struct rk_ranked ranked = ranked_of(&work, n);
    if (ranked.p > 0)
        out->loss = rk_loss_list(box->loss, &box->params, &ranked, work.slope);
    if (!out->gradient)
        return RANKD_OK;
    differences(&work, n, out->lambda);
    sum_up(list, work.item, n, out);
    if (box->unit_scale && out->abs_differentiable + out->abs_bank > 0)
        out->divisor = (double)(out->abs_differentiable + out->abs_bank);
    if (out->dense)
        write_dense(list, work.item, n, w, out);
    else
        write_sparse(list, work.item, n, out);
    return RANKD_OK;
}

const struct rk_list_method rk_list_reference = {.scratch = reference_scratch, .run = sort_list};
