/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "losses/loss.h"
#include "request/request.h"

#define BIT(x) (1u << (x))

#define OUT_METRIC (BIT(RK_OUT_LOSS) | BIT(RK_OUT_LIST_LOSS))
#define OUT_SPARSE (BIT(RK_OUT_GRADIENT_INDICES) | BIT(RK_OUT_GRADIENT_VALUES))

/* What a port of rankd_ports.def belongs to. */
enum { NO_LOSS, LOSS_SCORES, LOSS_EMBEDDINGS, LOSS_OPTIONAL, LOSS_EITHER, LOSS, SCORES_OPTIONAL };

/* The ports of a loss. */
enum {
    IN_SCORES = 0
#define RANKD_INPUT(ID, name, with, ...) | ((with) == LOSS_SCORES ? BIT(RK_IN_##ID) : 0)
#include "rankd_ports.def"
    ,
    IN_EMBEDDINGS = 0
#define RANKD_INPUT(ID, name, with, ...) | ((with) == LOSS_EMBEDDINGS ? BIT(RK_IN_##ID) : 0)
#include "rankd_ports.def"
    ,
    IN_OPTIONAL = 0
#define RANKD_INPUT(ID, name, with, ...)                                                                     \
    | ((with) == LOSS_OPTIONAL || (with) == LOSS_EITHER ? BIT(RK_IN_##ID) : 0)
#include "rankd_ports.def"
    ,
    IN_SCORES_OPTIONAL = 0 /* of any model */
#define RANKD_INPUT(ID, name, with, ...) | ((with) == SCORES_OPTIONAL ? BIT(RK_IN_##ID) : 0)
#include "rankd_ports.def"
    ,
    IN_LOSS_SCORES_OPTIONAL = IN_SCORES_OPTIONAL
#define RANKD_INPUT(ID, name, with, ...) | ((with) == LOSS_EITHER ? BIT(RK_IN_##ID) : 0)
#include "rankd_ports.def"
    ,
    OUT_LOSS = 0
#define RANKD_OUTPUT(ID, name, with, ...) | ((with) == LOSS ? BIT(RK_OUT_##ID) : 0)
#include "rankd_ports.def"
};

const struct rk_model rk_models[] = {
#define RK_TAKES(field) BIT(RK_PARAM_##field)
#define MODEL(loss_name, takes_, help_, outputs_, default_, uses)                                            \
    {                                                                                                        \
        .name = #loss_name,                                                                                  \
        .inputs_scores = IN_SCORES,                                                                          \
        .inputs_embeddings = IN_EMBEDDINGS,                                                                  \
        .inputs_scores_optional = IN_LOSS_SCORES_OPTIONAL,                                                   \
        .inputs_optional = IN_OPTIONAL,                                                                      \
        .outputs = (outputs_),                                                                               \
        .outputs_default = BIT(RK_OUT_LOSS) | BIT(default_),                                                 \
        .use_scores = RK_USE_SCORES | (uses),                                                                \
        .use_embeddings = RK_USE_EMBEDDINGS | (uses),                                                        \
        .takes = (takes_),                                                                                   \
        .help = (help_),                                                                                     \
        .loss = &rk_loss_##loss_name,                                                                        \
    },
#define RK_LOSS(number, name, takes, help)                                                                   \
    MODEL(name, takes, help, OUT_LOSS, RK_OUT_GRADIENT, RK_USE_GRADIENT)
#define RK_METRIC(number, name, takes, help) MODEL(name, takes, help, OUT_METRIC, RK_OUT_LIST_LOSS, 0)
#include "losses/losses.def"
    {
        .name = "rank",
        .inputs_scores = BIT(RK_IN_SCORES),
        .inputs_scores_optional = IN_SCORES_OPTIONAL,
        .outputs = BIT(RK_OUT_RANKS),
        .outputs_default = BIT(RK_OUT_RANKS),
        .help = "The rank of each item in its row.",
    },
    {
        .name = "rank_vjp",
        .inputs_scores = BIT(RK_IN_SCORES) | BIT(RK_IN_UPSTREAM),
        .inputs_scores_optional = IN_SCORES_OPTIONAL,
        .outputs = BIT(RK_OUT_GRADIENT) | OUT_SPARSE | BIT(RK_OUT_RANKS),
        .outputs_default = BIT(RK_OUT_GRADIENT),
        .use_scores = RK_USE_VJP,
        .help = "The blackbox gradient of the ranking itself, for losses of one's own.",
    },
};
const size_t rk_model_count = sizeof rk_models / sizeof *rk_models;

const struct rk_model *rk_model_find(const char *name)
{
    for (size_t i = 0; i < rk_model_count; i++) {
        if (strcmp(rk_models[i].name, name) == 0)
            return &rk_models[i];
    }
    return NULL;
}
