/* Which code runs on this machine: decided once. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kernels_internal.h"

static const struct rk_strategy *const scalar_strategies[] = {&rk_search_scalar, NULL};

#define SCALAR                                                                                               \
    .scan = rk_scan_scalar, .positions = rk_positions_scalar, .order_scratch = rk_order_scratch_scalar,      \
    .order = rk_order_scalar, .strategy = scalar_strategies, .plan = rk_plan_scalar

static const struct rk_kernels sets[] = {
    {.name = "reference", .reference = true, SCALAR},
    {.name = "scalar", SCALAR},
};

const struct rk_kernels *rk_kernels_named(const char *name)
{
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (strcmp(sets[i].name, name) == 0)
            return &sets[i];
    }
    return NULL;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const struct rk_kernels *chosen;

static void choose(void)
{
    const char *forced = getenv("RANKD_CPU");
    if (forced)
        chosen = rk_kernels_named(forced);
    if (!chosen)
        chosen = rk_kernels_named("scalar");
}

const struct rk_kernels *rk_kernels(void)
{
    (void)pthread_once(&once, choose);
    return chosen;
}
