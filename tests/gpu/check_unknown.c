/* SPDX-License-Identifier: Apache-2.0 */
/* A loss, gallery or input that the plugin does not know is computed by the CPU engine, and not as
 * another one on the device. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "engine.h"
#include "losses/loss.h"

/* The place of the last relevant item, which is neither ap nor recall. */
static double list_loss(const struct rk_loss_params *params, const struct rk_ranked *ranked, double *slope)
{
    const uint32_t p = ranked->p;
    (void)params;
    for (uint32_t k = 0; slope && k < p; k++)
        slope[k] = k + 1 == p ? 1.0 : 0.0;
    return (double)p + (double)ranked->irrelevant_above[p - 1];
}

static const struct rk_loss last = {.name = "last", .number = 31, .list = list_loss};

static bool runs_on_card(struct rk_device *device, const struct sample *s)
{
    struct rk_scratch *scratch = rk_scratch_new(0);
    const struct rk_exec there = {.scratch = scratch, .device = device};
    struct rk_reply reply = {0};
    struct rk_err err = {0};
    const bool good = rk_engine_run(&there, &s->request, &reply, &err) == RANKD_OK;
    report(good, err.text);
    const bool on_device = reply.info.on_device;
    rk_reply_clear(&reply);
    rk_scratch_free(scratch);
    return on_device;
}

/* The same request of the loss that the device knows, and of one that it does not. */
static void check_both(struct rk_device *device, struct sample *s, const char *route)
{
    const struct rk_model *known = s->request.model;
    struct rk_model unknown = *known;
    unknown.loss = &last;
    (void)snprintf(s->text, sizeof s->text, "an unknown loss of %s", route);
    report(runs_on_card(device, s), "a loss that is known runs on the device");
    s->request.model = &unknown;
    report(!runs_on_card(device, s), s->text);
    compare(device, NULL, s, false);
    s->request.model = known;
}

static void check_scores(struct rk_device *device)
{
    struct sample s = {0};
    random_params(&s);
    s.request.params.axis = RK_AXIS_ROWS;
    fill(&s, RK_FP32, RK_INT8, 7, 500, 0, 0.1, 0, false);
    check_both(device, &s, "scores");
    free(s.scores);
    free(s.targets);
}

/* The items of a batch as references to themselves, and pairs in place of labels. */
static void check_galleries(struct rk_device *device, struct sample *s)
{
    struct rk_tensor *in = s->request.in;
    static int8_t relevance[64 * 64];
    const size_t batch = in[RK_IN_EMBEDDINGS].shape[0];
    in[RK_IN_REF_EMBEDDINGS] = in[RK_IN_EMBEDDINGS];
    in[RK_IN_REF_LABELS] = in[RK_IN_LABELS];
    report(runs_on_card(device, s), "a gallery of all runs on the device");
    s->request.params.gallery = RK_GALLERY_REFERENCES;
    (void)snprintf(s->text, sizeof s->text, "a gallery of references");
    report(!runs_on_card(device, s), s->text);
    compare(device, NULL, s, false);
    for (size_t i = 0; i < batch * batch; i++)
        relevance[i] = (int8_t)below(2);
    in[RK_IN_LABELS] = in[RK_IN_REF_LABELS] = in[RK_IN_REF_EMBEDDINGS] = (struct rk_tensor){0};
    s->request.params.gallery = RK_GALLERY_ALL;
    in[RK_IN_RELEVANCE] = matrix(RK_INT8, batch, batch, relevance);
    (void)snprintf(s->text, sizeof s->text, "a relevance");
    report(!runs_on_card(device, s), s->text);
    compare(device, NULL, s, false);
}

static void check_embeddings(struct rk_device *device)
{
    enum { BATCH = 30, DIM = 8 };
    struct sample s = {.request = {.model = rk_model_find("recall"), .params = rk_params_default()}};
    float rows[BATCH * DIM];
    int64_t labels[BATCH];
    for (size_t i = 0; i < BATCH * DIM; i++)
        rows[i] = (float)unit() - 0.5f;
    for (size_t i = 0; i < BATCH; i++)
        labels[i] = (int64_t)below(5);
    s.request.in[RK_IN_EMBEDDINGS] = matrix(RK_FP32, BATCH, DIM, rows);
    s.request.in[RK_IN_LABELS] = (struct rk_tensor){
        .dtype = RK_INT64, .rank = 1, .shape = {BATCH}, .data = labels, .bytes = sizeof labels};
    s.request.outputs = 1u << RK_OUT_LOSS | 1u << RK_OUT_GRADIENT;
    check_both(device, &s, "embeddings");
    check_galleries(device, &s);
}

/* One request of a model, a cut-off and a type of targets that the device does not take. */
static void check_declined(struct rk_device *device, const char *model, uint64_t top_k, enum rk_dtype target)
{
    struct sample s = {0};
    random_params(&s);
    s.request.params.interclass = 0;
    s.request.params.transform = RK_TRANSFORM_LOGLOG;
    s.request.params.top_k = top_k;
    s.request.model = rk_model_find(model);
    fill(&s, RK_FP32, target, 7, 500, 0, 0.1, 0, false);
    for (size_t i = 0; rk_model_graded(s.request.model) && i < 7 * (size_t)500; i++)
        ((int8_t *)s.targets)[i] = (int8_t)(((int8_t *)s.targets)[i] * (int)(1 + i % 5));
    (void)snprintf(s.text, sizeof s.text, "%s up to rank %llu is not for the device", model,
                   (unsigned long long)top_k);
    report(!runs_on_card(device, &s), s.text);
    compare(device, NULL, &s, false);
    free(s.scores);
    free(s.targets);
}

static void check_graded(struct rk_device *device)
{
    check_declined(device, "ndcg", 0, RK_INT8);
    check_declined(device, "ndcg", 10, RK_INT8);
    check_declined(device, "mrr", 0, RK_INT8);
    check_declined(device, "ap", 10, RK_INT8);
    check_declined(device, "ap", 0, RK_BF16);
    check_declined(device, "recall", 0, RK_FP16);
}

void check_unknown(struct rk_device *device)
{
    check_scores(device);
    check_graded(device);
    check_embeddings(device);
}
