/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin gets no request with a feature that it does not know: for each feature there is a plugin
 * that knows all others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "device/device.h"
#include "losses/loss.h"
#include "unit/support/engine_call.h"

/* --- a plugin that counts its calls and computes nothing --- */

static size_t calls;

static enum rk_device_outcome scores(struct rk_plugin_device *device, struct rk_device_scores_job *job,
                                     char *why)
{
    (void)device, (void)job, (void)why;
    calls++;
    return RK_DEVICE_DECLINED;
}
static enum rk_device_outcome rank(struct rk_plugin_device *device, struct rk_device_rank_job *job, char *why)
{
    (void)device, (void)job, (void)why;
    calls++;
    return RK_DEVICE_DECLINED;
}
static enum rk_device_outcome retrieval(struct rk_plugin_device *device, struct rk_device_retrieval_job *job,
                                        char *why)
{
    (void)device, (void)job, (void)why;
    calls++;
    return RK_DEVICE_DECLINED;
}

static struct rk_device_plugin all_knowing(void)
{
    struct rk_device_plugin plugin = {.version = RK_PLUGIN_VERSION,
                                      .vocabulary = RK_PLUGIN_VOCABULARY,
                                      .scores = scores,
                                      .rank = rank,
                                      .retrieval = retrieval};
    memset(plugin.knows, 0xff, sizeof plugin.knows);
    return plugin;
}

/* --- requests --- */

enum { ROWS = 2, COLUMNS = 3 };
static const float values[ROWS * COLUMNS] = {0.5f, 0.25f, 0.125f, 0.75f, 1, 2};
static const int8_t targets[ROWS * COLUMNS] = {0, 1, 0, 1, 0, 1};
static const int64_t labels[ROWS] = {4, 4};

static void start(struct test_call *call, enum rk_device_call which)
{
    static const char *const models[] = {"ap", "rank_vjp", "recall"};
    test_call_start(call, models[which], 0);
    test_input(call, which == RK_DEVICE_RETRIEVAL ? RK_IN_EMBEDDINGS : RK_IN_SCORES, RK_FP32, ROWS, COLUMNS,
               values);
    if (which == RK_DEVICE_SCORES)
        test_input(call, RK_IN_TARGETS, RK_INT8, ROWS, COLUMNS, targets);
    else if (which == RK_DEVICE_RANK)
        test_input(call, RK_IN_UPSTREAM, RK_FP32, ROWS, COLUMNS, values);
    else
        test_vector(call, RK_IN_LABELS, RK_INT64, ROWS, labels);
}

/* True if the plugin was asked; the answer is the CPU engine's in any case. */
static bool is_asked(const struct rk_device_plugin *plugin, enum rk_device_call which)
{
    struct test_call here, there;
    struct rk_device device = {.plugin = plugin, .always = true};
    start(&here, which);
    test_run(&here);
    start(&there, which);
    there.exec.device = &device;
    calls = 0;
    test_run(&there);
    test_same_bits(&here.reply, &there.reply);
    test_call_end(&here);
    test_call_end(&there);
    return calls > 0;
}

static void what_is_known_is_sent(void **state)
{
    (void)state;
    const struct rk_device_plugin plugin = all_knowing();
    for (int which = 0; which < RK_DEVICE_CALLS; which++)
        assert_true(is_asked(&plugin, (enum rk_device_call)which));
}

static void one_thing_that_is_not_known_keeps_it_here(void **state)
{
    (void)state;
    /* For each call: the mask, and the bit that its request above needs. */
#define MASK(name) offsetof(struct rk_device_capabilities, name)
    static const struct {
        enum rk_device_call call;
        size_t mask;
        unsigned bit;
    } needs[] = {
        {RK_DEVICE_SCORES, MASK(losses), RK_LOSS_ap},
        {RK_DEVICE_SCORES, MASK(inputs), RK_IN_SCORES},
        {RK_DEVICE_SCORES, MASK(inputs), RK_IN_TARGETS},
        {RK_DEVICE_SCORES, MASK(outputs), RK_OUT_LOSS},
        {RK_DEVICE_SCORES, MASK(outputs), RK_OUT_GRADIENT},
        {RK_DEVICE_SCORES, MASK(words[RK_PARAM_lambda_scope]), RK_SCOPE_LIST},
        {RK_DEVICE_SCORES, MASK(words[RK_PARAM_lambda_units]), RK_UNITS_NORMALIZED},
        {RK_DEVICE_SCORES, MASK(words[RK_PARAM_average]), RK_AVERAGE_MACRO},
        {RK_DEVICE_SCORES, MASK(words[RK_PARAM_axis]), RK_AXIS_ROWS},
        {RK_DEVICE_SCORES, MASK(words[RK_PARAM_transform]), RK_TRANSFORM_LOGLOG},
        {RK_DEVICE_SCORES, MASK(score_dtypes), RK_FP32},
        {RK_DEVICE_SCORES, MASK(target_dtypes), RK_INT8},
        {RK_DEVICE_RANK, MASK(losses), RK_LOSS_NONE},
        {RK_DEVICE_RANK, MASK(inputs), RK_IN_UPSTREAM},
        {RK_DEVICE_RANK, MASK(outputs), RK_OUT_GRADIENT},
        {RK_DEVICE_RANK, MASK(upstream_dtypes), RK_FP32},
        {RK_DEVICE_RETRIEVAL, MASK(losses), RK_LOSS_recall},
        {RK_DEVICE_RETRIEVAL, MASK(inputs), RK_IN_EMBEDDINGS},
        {RK_DEVICE_RETRIEVAL, MASK(inputs), RK_IN_LABELS},
        {RK_DEVICE_RETRIEVAL, MASK(outputs), RK_OUT_GRADIENT},
        {RK_DEVICE_RETRIEVAL, MASK(words[RK_PARAM_gallery]), RK_GALLERY_ALL},
        {RK_DEVICE_RETRIEVAL, MASK(row_dtypes), RK_FP32},
    };
#undef MASK
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++) {
        struct rk_device_plugin plugin = all_knowing();
        uint32_t *mask = (uint32_t *)((char *)&plugin.knows[needs[i].call] + needs[i].mask);
        *mask = ~(1u << needs[i].bit);
        if (is_asked(&plugin, needs[i].call))
            fail_msg("row %zu: the plugin was asked for what it does not know", i);
        *mask |= 1u << needs[i].bit;
        assert_true(is_asked(&plugin, needs[i].call));
    }
}

/* A parameter counts if it was sent, or if other code set it. */
static void parameters_that_are_not_known_are_seen(void **state)
{
    (void)state;
    const struct rk_params usual = rk_params_default();
    assert_int_equal(rk_params_asked(&usual), 0);
    for (unsigned i = 0; i < RK_PARAM_COUNT; i++) {
        struct rk_params params = usual, given = usual;
        char *field = (char *)&params + rk_param_rows[i].offset;
        field[0] = field[0] ? 0 : 1;
        assert_int_equal(rk_params_asked(&params), 1u << i);
        given.given = 1u << i;
        assert_int_equal(rk_params_asked(&given), 1u << i);
    }
    struct rk_device_plugin plugin = all_knowing();
    plugin.knows[RK_DEVICE_SCORES].params = ~(1u << RK_PARAM_margin);
    struct rk_device device = {.plugin = &plugin, .always = true};
    for (int sent = 0; sent < 2; sent++) {
        struct test_call call;
        start(&call, RK_DEVICE_SCORES);
        if (sent)
            test_number(&call, "margin", 0.0);
        call.exec.device = &device;
        calls = 0;
        test_run(&call);
        assert_int_equal(calls, !sent);
        test_call_end(&call);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_known_is_sent),
        cmocka_unit_test(one_thing_that_is_not_known_keeps_it_here),
        cmocka_unit_test(parameters_that_are_not_known_are_seen),
    };
    return cmocka_run_group_tests_name("device_knows", tests, NULL, NULL);
}
