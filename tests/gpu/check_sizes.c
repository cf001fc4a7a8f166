/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of one shape whose lists have another number of relevant items each time: kernels are
 * launched by the sizes of earlier requests, and must detect that these were too small. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "sample.h"

typedef unsigned long (*count_waits)(void);

/* The emulated device's count of the host's waits for a busy stream. */
static count_waits waits_of(const char *plugin)
{
    void *library = dlopen(plugin, RTLD_NOW | RTLD_NOLOAD);
    if (!library)
        return NULL;
    count_waits waits = NULL;
    *(void **)&waits = dlsym(library, "emulated_waits");
    dlclose(library);
    return waits;
}

/* List l has shares[l % 4] of its items relevant. */
static void set_targets(struct sample *s, size_t lists, size_t items, const double shares[4])
{
    int8_t *target = s->targets;
    for (size_t i = 0; i < lists * items; i++)
        target[i] = unit() < 0.01 ? -1 : unit() < shares[i / items % 4] ? 1 : 0;
}

struct shape {
    size_t lists, items;
    enum rk_dtype dtype;
};

static void check_step(struct rk_device *device, count_waits waits, struct shape shape,
                       const double shares[4], bool seen_before)
{
    struct sample s = {0};
    random_params(&s);
    s.request.params.axis = RK_AXIS_ROWS;
    s.request.params.interclass = 0;
    fill(&s, shape.dtype, RK_INT8, shape.lists, shape.items, below(2) ? 0 : 1, 0, 0, false);
    set_targets(&s, shape.lists, shape.items, shares);
    snprintf(s.text, sizeof s.text, "%s [%zu, %zu] relevant %g %g %g %g lambda %g outputs %x",
             s.request.model->name, shape.lists, shape.items, shares[0], shares[1], shares[2], shares[3],
             s.request.params.lambda, s.request.outputs);
    const unsigned long before = waits ? waits() : 0;
    compare(device, NULL, &s, true);
    if (waits && seen_before) {
        snprintf(s.text, sizeof s.text, "[%zu, %zu]: %lu waits for a request like the one before",
                 shape.lists, shape.items, waits() - before);
        report(waits() - before <= 1, s.text);
    }
    free(s.scores);
    free(s.targets);
}

void check_sizes(struct rk_device *device, const char *plugin, size_t most_items)
{
    /* Few, some and too many for a block; some of each; none. */
    static const double some[][4] = {{0, 0, 0, 0},        {0.001, 0.1, 0.01, 0}, {0.3, 0.3, 0.5, 0.4},
                                     {0.9, 0.8, 0.95, 1}, {0.9, 0, 0.1, 0.3},    {1, 0.001, 0, 0.75},
                                     {0.01, 0, 0, 0.01}};
    const count_waits waits = waits_of(plugin);
    const bool is_large = most_items >= ITEMS / 10;
    const struct shape shapes[] = {
        {5, 6000, RK_FP32}, {9, 5003, RK_FP16}, {is_large ? 3 : 2, WHOLE_DEVICE + 1 + below(1000), RK_FP32}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const bool whole = shapes[i].items > WHOLE_DEVICE;
        for (unsigned step = 0; step < (whole && !is_large ? 2 : 10); step++) {
            const double *shares = some[step < 7 && !whole ? step : below(7)];
            check_step(device, waits, shapes[i], shares, false);
            check_step(device, waits, shapes[i], shares, true);
        }
    }
}
