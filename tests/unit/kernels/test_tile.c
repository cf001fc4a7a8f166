/* SPDX-License-Identifier: Apache-2.0 */
/* Every variant of the tile kernels against counting by the definition. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/tile.h"
#include "unit/support/engine_call.h"

enum { MOST = 700 };

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* From a few values or many; now and then what is not finite. */
static float draw(struct test_random *random, int values, bool nan)
{
    size_t odd = test_below(random, 40);
    if (odd == 0)
        return INFINITY;
    if (odd == 1)
        return -INFINITY;
    if (odd == 2 && nan)
        return NAN;
    if (odd == 3)
        return 0.0f;
    if (odd == 4)
        return ldexpf(1.0f, -140);
    return (float)test_below(random, (size_t)values) / (float)values - 0.5f;
}

struct trial {
    uint32_t p;
    size_t n;
    float threshold[MOST + RK_THRESHOLD_INDEX_PAD], reach[MOST + 1], score[MOST];
    uint32_t base[4 * MOST + 1];
    struct rk_threshold_index threshold_index;
};

static void make(struct trial *t, uint32_t p, size_t n, struct test_random *random)
{
    int values = test_below(random, 2) ? 7 : 100000;
    t->p = p;
    t->n = n;
    for (uint32_t k = 0; k < p; k++)
        t->threshold[k] = draw(random, values, false);
    qsort(t->threshold, p, sizeof *t->threshold, compare);
    t->threshold_index = rk_threshold_index_make(t->threshold, p, t->base);
    t->reach[0] = -INFINITY;
    for (uint32_t k = 1; k <= p; k++) {
        float reach = t->threshold[k - 1] + (float)test_uniform(random) * 0.02f;
        t->reach[k] = reach > t->reach[k - 1] ? reach : t->reach[k - 1];
    }
    for (size_t i = 0; i < n; i++)
        t->score[i] = draw(random, values, true);
}

static uint32_t place_of(const struct trial *t, float score)
{
    uint32_t k = 0;
    for (uint32_t c = 0; c < t->p; c++)
        k += score >= t->threshold[c];
    return k;
}

/* All that this machine can run, NULL at the end. */
static const struct rk_tile_kernels *const *all_tiles(void)
{
    static const char *const names[] = {"scalar", "avx2", "avx512"};
    static const struct rk_tile_kernels *all[4];
    size_t n = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct rk_kernels *kernels = rk_kernels_named(names[i]);
        if (kernels)
            all[n++] = kernels->tile;
    }
    all[n] = NULL;
    return all;
}

static void check(const struct rk_tile_kernels *tile, const struct trial *t)
{
    uint32_t want[MOST + 1] = {0}, count[MOST + 1] = {0}, collect[MOST + 1] = {0};
    uint32_t position[MOST + RK_THRESHOLD_INDEX_PAD], place[MOST];
    float kept[MOST + RK_THRESHOLD_INDEX_PAD], number[MOST];
    size_t found = 0, numbers = 0;
    tile->count(&t->threshold_index, t->score, t->n, count);
    size_t got = tile->collect(&t->threshold_index, t->reach, t->score, t->n, 1000, collect, position, kept);
    for (size_t i = 0; i < t->n; i++) {
        uint32_t k = place_of(t, t->score[i]);
        want[k]++;
        if (!isnan(t->score[i]))
            number[numbers++] = t->score[i];
        if (k == 0 || !(t->score[i] < t->reach[k]))
            continue;
        assert_true(found < got);
        assert_int_equal(position[found], 1000 + i);
        assert_true(kept[found] == t->score[i]);
        found++;
    }
    assert_int_equal(got, found);
    assert_memory_equal(count + 1, want + 1, t->p * sizeof *want);
    assert_memory_equal(collect + 1, want + 1, t->p * sizeof *want);
    tile->locate(&t->threshold_index, number, numbers, place);
    for (size_t i = 0; i < numbers; i++)
        assert_int_equal(place[i], place_of(t, number[i]));
}

static void counts_and_kept_items_are_those_of_the_definition(void **state)
{
    (void)state;
    struct test_random random = {1};
    static struct trial trial;
    for (const struct rk_tile_kernels *const *tile = all_tiles(); *tile; tile++) {
        for (uint32_t p = 1; p <= 40; p++)
            for (size_t n = 0; n < 40; n++) {
                make(&trial, p, n, &random);
                check(*tile, &trial);
            }
        for (int i = 0; i < 200; i++) {
            make(&trial, 1 + (uint32_t)test_below(&random, MOST), test_below(&random, MOST), &random);
            check(*tile, &trial);
        }
    }
}

static void sums_are_the_same_to_the_bit(void **state)
{
    (void)state;
    struct test_random random = {2};
    enum { DIM = 200, TERMS = 9 };
    static float rows[TERMS][DIM];
    double factor[TERMS], want[DIM], got[DIM];
    const float *row[TERMS];
    for (size_t i = 0; i < TERMS; i++) {
        row[i] = rows[i];
        factor[i] = (double)(float)(test_uniform(&random) - 0.5);
        for (size_t k = 0; k < DIM; k++)
            rows[i][k] = (float)(test_uniform(&random) - 0.5);
    }
    for (const struct rk_tile_kernels *const *tile = all_tiles(); *tile; tile++) {
        for (size_t dim = 1; dim <= DIM; dim++) {
            for (size_t k = 0; k < DIM; k++)
                want[k] = got[k] = (double)k;
            for (size_t i = 0; i < TERMS; i++)
                for (size_t k = 0; k < dim; k++)
                    want[k] += factor[i] * (double)rows[i][k];
            (*tile)->accumulate(dim, TERMS, row, factor, got);
            assert_memory_equal(got, want, sizeof want);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_and_kept_items_are_those_of_the_definition),
        cmocka_unit_test(sums_are_the_same_to_the_bit),
    };
    return cmocka_run_group_tests_name("tile", tests, NULL, NULL);
}
