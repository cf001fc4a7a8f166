/* SPDX-License-Identifier: Apache-2.0 */
/* The plainest counting strategy: a binary search among the thresholds for each item, O(n log P).
 *
 * For an item of score s let b = #{k: threshold[k] > s}. As thresholds descend, the item is at or
 * above exactly the thresholds from the b-th on; so a histogram of b, summed up, gives the count of
 * every threshold, and Δ is the difference of two b. */
#include <string.h>

#include "kernels/kernels_internal.h"
#include "kernels/score.h"

enum { BLOCK = 1024, LOOK = 1024 /* blocks between two checks of the deadline */ };

/* Counts before and after the move, p + 1 each. */
static size_t search_scratch(uint32_t items, uint32_t p, unsigned threads)
{
    (void)items;
    (void)threads;
    return 2 * ((size_t)p + 1) * sizeof(uint32_t);
}

/* #{k: threshold[k] > s}, without a branch that depends on s. */
static uint32_t thresholds_above(const float *threshold, uint32_t p, float s)
{
    uint32_t low = 0, size = p;
    while (size > 1) {
        uint32_t half = size / 2;
        low += threshold[low + half - 1] > s ? half : 0;
        size -= half;
    }
    return low + (size == 1 && threshold[low] > s);
}

static void count_up(const uint32_t *histogram, uint32_t p, uint32_t *irrelevant_above)
{
    uint32_t sum = 0;
    for (uint32_t k = 0; k < p; k++) {
        sum += histogram[k];
        irrelevant_above[k] = sum;
    }
}

/* Blocks of widened scores, one segment after the other. */
struct walk {
    const struct rk_list *list;
    size_t segment;
    uint32_t at;    /* within the segment */
    uint32_t base;  /* position of the block's first item in the list */
    uint32_t items; /* in the block */
    const int8_t *targets;
    unsigned blocks;
    float scores[BLOCK];
};

static bool next_block(struct walk *walk)
{
    walk->base += walk->items;
    walk->at += walk->items;
    while (walk->segment < walk->list->segments && walk->at == walk->list->segment[walk->segment].items) {
        walk->segment++;
        walk->at = 0;
    }
    if (walk->segment == walk->list->segments)
        return false;
    const struct rk_list_segment *segment = &walk->list->segment[walk->segment];
    uint32_t left = segment->items - walk->at;
    walk->items = left < BLOCK ? left : BLOCK;
    walk->targets = segment->targets ? segment->targets + walk->at : NULL;
    const char *scores = segment->scores;
    rk_scores_widen(scores + (size_t)walk->at * rk_dtype_size(segment->dtype), segment->dtype, walk->items,
                    walk->scores);
    walk->blocks++;
    return true;
}

/* A NULL of targets says that every item is irrelevant. */
static bool is_irrelevant(const struct walk *walk, uint32_t i)
{
    return !walk->targets || walk->targets[i] == 0;
}

static enum rankd_status look(const struct rk_pass *pass, const struct walk *walk)
{
    struct rk_err late = {0};
    return walk->blocks % LOOK == 0 ? rk_exec_check(pass->exec, &late) : RANKD_OK;
}

static enum rankd_status search_count(struct rk_pass *pass)
{
    const uint32_t p = pass->list->p;
    uint32_t *histogram = pass->scratch;
    memset(histogram, 0, ((size_t)p + 1) * sizeof *histogram);
    bool nan = false;
    struct walk walk = {.list = pass->list};
    while (next_block(&walk)) {
        for (uint32_t i = 0; i < walk.items; i++) {
            if (!is_irrelevant(&walk, i))
                continue;
            nan |= walk.scores[i] != walk.scores[i];
            histogram[thresholds_above(pass->threshold, p, walk.scores[i])]++;
        }
        if (look(pass, &walk) != RANKD_OK)
            return RANKD_DEADLINE;
    }
    pass->nan = nan;
    count_up(histogram, p, pass->irrelevant_above);
    return RANKD_OK;
}

static enum rankd_status search_move(struct rk_pass *pass)
{
    const uint32_t p = pass->list->p;
    const uint32_t differentiable = pass->list->differentiable;
    uint32_t *histogram = pass->scratch;
    memset(histogram, 0, ((size_t)p + 1) * sizeof *histogram);
    struct walk walk = {.list = pass->list};
    while (next_block(&walk)) {
        if (pass->writer->dense && walk.base < differentiable)
            memset(pass->writer->dense + walk.base, 0, walk.items * sizeof(float));
        for (uint32_t i = 0; i < walk.items; i++) {
            if (!is_irrelevant(&walk, i))
                continue;
            uint32_t before = thresholds_above(pass->threshold, p, walk.scores[i]);
            uint32_t after = thresholds_above(pass->perturbed_threshold, p, walk.scores[i]);
            histogram[after]++;
            if (before != after)
                rk_gradient_writer_put(pass->writer, pass->list, walk.base + i, (int32_t)(before - after));
        }
        if (look(pass, &walk) != RANKD_OK)
            return RANKD_DEADLINE;
    }
    count_up(histogram, p, pass->perturbed_irrelevant_above);
    return RANKD_OK;
}

const struct rk_strategy rk_search_scalar = {.name = "search",
                                             .most = RK_LIST_MAX,
                                             .scratch = search_scratch,
                                             .count = search_count,
                                             .move = search_move};
