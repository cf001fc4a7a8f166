/* SPDX-License-Identifier: Apache-2.0 */
#include "request/check.h"

#include <stdio.h>
#include <string.h>

#include "base/number.h"
#include "request/bank_view.h"
#include "request/offsets.h"

#define BIT(x) (1u << (x))

bool rk_request_embeds(const struct rk_request *request)
{
    return request->model->inputs_embeddings != 0 && request->in[RK_IN_EMBEDDINGS].data != NULL;
}

/* "a", "a and b", "a, b and c" of the names whose bits are set. */
static const char *list_names(unsigned bits, const struct rk_port_row *rows, unsigned count, const char *last,
                              char *text, size_t size)
{
    size_t at = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < count && at < size; i++) {
        if (!(bits & BIT(i)))
            continue;
        const char *join = at == 0 ? "" : (bits >> i) == 1u ? last : ", ";
        int wrote = snprintf(text + at, size - at, "%s%s", join, rows[i].name);
        at += wrote > 0 ? (size_t)wrote : 0;
    }
    return text;
}

/* What a model takes: "scores and targets, or embeddings and labels (or relevance)". */
static const char *takes(const struct rk_model *model, char *text, size_t size)
{
    list_names(model->inputs_scores, rk_input_rows, RK_IN_COUNT, " and ", text, size);
    if (model->inputs_embeddings) {
        size_t at = strlen(text);
        at += (size_t)snprintf(text + at, size - at, ", or ");
        list_names(model->inputs_embeddings, rk_input_rows, RK_IN_COUNT, " and ", text + at, size - at);
        at = strlen(text);
        if (model->inputs_optional & BIT(RK_IN_RELEVANCE))
            (void)snprintf(text + at, size - at, " (or %s)", rk_input_rows[RK_IN_RELEVANCE].name);
    }
    return text;
}

uint32_t rk_model_params(const struct rk_model *model, bool embeds)
{
    if (embeds && !model->inputs_embeddings)
        return 0;
    return rk_params_used(embeds ? model->use_embeddings : model->use_scores) | model->takes;
}

bool rk_model_graded(const struct rk_model *model)
{
    return model->takes & BIT(RK_PARAM_gain);
}

static bool names_bank(const struct rk_request *request)
{
    return request->params.bank[0] || request->bank_snapshot;
}

static unsigned inputs_sent(const struct rk_request *request)
{
    unsigned sent = 0;
    for (unsigned i = 0; i < RK_IN_COUNT; i++)
        sent |= request->in[i].data ? BIT(i) : 0;
    return sent;
}

/* Either labels say what is relevant, or relevance does. */
static unsigned inputs_required(const struct rk_model *model, bool embeds, unsigned sent)
{
    unsigned required = embeds ? model->inputs_embeddings : model->inputs_scores;
    return embeds && sent & BIT(RK_IN_RELEVANCE) ? required & ~BIT(RK_IN_LABELS) : required;
}

static unsigned lowest(unsigned bits)
{
    return (unsigned)__builtin_ctz(bits);
}

static enum rankd_status check_inputs(const struct rk_request *request, struct rk_err *err)
{
    const struct rk_model *model = request->model;
    char may[256];
    unsigned sent = inputs_sent(request);
    bool embeds = rk_request_embeds(request);
    unsigned all = rk_model_inputs(model);
    unsigned route = embeds ? model->inputs_embeddings | model->inputs_optional
                            : model->inputs_scores | model->inputs_scores_optional;
    unsigned required = inputs_required(model, embeds, sent);
    if (sent & ~all)
        return rk_fail(err, RANKD_INVALID, "input %s is not one of model %s; it takes %s",
                       rk_input_rows[lowest(sent & ~all)].name, model->name, takes(model, may, sizeof may));
    if (embeds && sent & ~route)
        return rk_fail(err, RANKD_INVALID, "input %s cannot be sent with embeddings; model %s takes %s",
                       rk_input_rows[lowest(sent & ~route)].name, model->name, takes(model, may, sizeof may));
    if (sent & ~route)
        return rk_fail(err, RANKD_INVALID,
                       "input %s goes with embeddings, which were not sent; model %s takes %s",
                       rk_input_rows[lowest(sent & ~route)].name, model->name, takes(model, may, sizeof may));
    if (required & ~sent)
        return rk_fail(err, RANKD_INVALID, "input %s is missing; model %s takes %s",
                       rk_input_rows[lowest(required & ~sent)].name, model->name,
                       takes(model, may, sizeof may));
    return RANKD_OK;
}

static enum rankd_status check_dtype(const struct rk_tensor *tensor, const struct rk_port_row *row,
                                     struct rk_err *err)
{
    if ((unsigned)tensor->dtype < RK_DTYPE_COUNT && row->dtypes & BIT(tensor->dtype))
        return RANKD_OK;
    char may[128];
    struct rk_port_row types[RK_DTYPE_COUNT];
    for (unsigned i = 0; i < RK_DTYPE_COUNT; i++)
        types[i].name = rk_dtype_name((enum rk_dtype)i);
    list_names(row->dtypes, types, RK_DTYPE_COUNT, " or ", may, sizeof may);
    return rk_fail(err, RANKD_INVALID, "input %s has datatype %s; it must be %s", row->name,
                   rk_dtype_name(tensor->dtype), may);
}

/* Whether offsets make this input flat: scores and what stands beside them. */
static bool is_flat(const struct rk_request *request, unsigned input)
{
    return rk_request_is_ragged(request) && request->model->inputs_scores & BIT(input);
}

static enum rankd_status check_shape(const struct rk_tensor *tensor, const struct rk_port_row *row, bool flat,
                                     struct rk_err *err)
{
    char shape[RK_SHAPE_TEXT];
    if (flat && tensor->rank != 1)
        return rk_fail(err, RANKD_INVALID, "input %s has %u dimensions; with offsets its shape must be [N]",
                       row->name, tensor->rank);
    if (!flat && tensor->rank != row->rank)
        return rk_fail(err, RANKD_INVALID, "input %s has %u dimension%s; its shape must be %s", row->name,
                       tensor->rank, tensor->rank == 1 ? "" : "s", row->shape);
    size_t count, bytes;
    if (!rk_shape_bytes(tensor->dtype, tensor->rank, tensor->shape, &count, &bytes))
        return rk_fail(err, RANKD_INVALID, "input %s has shape %s, which is more than can be addressed",
                       row->name, rk_shape_text(tensor->rank, tensor->shape, shape));
    if (tensor->bytes != bytes)
        return rk_fail(err, RANKD_INVALID, "input %s has %zu bytes; its shape %s of %s takes %zu", row->name,
                       tensor->bytes, rk_shape_text(tensor->rank, tensor->shape, shape),
                       rk_dtype_name(tensor->dtype), bytes);
    return RANKD_OK;
}

static enum rankd_status check_tensors(const struct rk_request *request, struct rk_err *err)
{
    for (unsigned i = 0; i < RK_IN_COUNT; i++) {
        if (!request->in[i].data)
            continue;
        enum rankd_status status = check_dtype(&request->in[i], &rk_input_rows[i], err);
        if (status == RANKD_OK)
            status = check_shape(&request->in[i], &rk_input_rows[i], is_flat(request, i), err);
        if (status != RANKD_OK)
            return status;
    }
    return RANKD_OK;
}

/* Checks the shape of targets or upstream against that of scores. */
static enum rankd_status check_beside(const struct rk_request *request, enum rk_input other,
                                      struct rk_err *err)
{
    const struct rk_tensor *scores = &request->in[RK_IN_SCORES], *tensor = &request->in[other];
    char has[RK_SHAPE_TEXT], must[RK_SHAPE_TEXT];
    if (!tensor->data || memcmp(tensor->shape, scores->shape, scores->rank * sizeof *tensor->shape) == 0)
        return RANKD_OK;
    return rk_fail(err, RANKD_INVALID, "input %s has shape %s; it must be that of scores, %s",
                   rk_input_rows[other].name, rk_shape_text(tensor->rank, tensor->shape, has),
                   rk_shape_text(scores->rank, scores->shape, must));
}

/* Lists without items take no memory of the client, so their number needs a bound of its own. */
static enum rankd_status check_empty_lists(const struct rk_tensor *scores, size_t items, size_t lists,
                                           struct rk_err *err)
{
    char shape[RK_SHAPE_TEXT];
    if (items > 0 || lists <= RK_LIST_MAX)
        return RANKD_OK;
    return rk_fail(err, RANKD_TOO_LARGE, "input scores has shape %s; there may be at most %u empty lists",
                   rk_shape_text(2, scores->shape, shape), RK_LIST_MAX);
}

/* Offsets define the lists: parameters that also would are refused. The values of offsets are
 * checked when they are copied (offsets.h). */
static enum rankd_status check_ragged(const struct rk_request *request, struct rk_err *err)
{
    const struct rk_params *params = &request->params;
    if (params->given & BIT(RK_PARAM_axis))
        return rk_fail(
            err, RANKD_INVALID,
            "parameter axis was sent with offsets, which say where each list begins; leave it out");
    if (params->interclass > 0)
        return rk_fail(err, RANKD_INVALID,
                       "parameter interclass was sent with offsets; lists of different lengths have no "
                       "loss over the batch as one list, leave it out");
    if (names_bank(request))
        return rk_fail(err, RANKD_INVALID,
                       "parameter bank was \"%s\", with offsets; a bank extends [Q, N] scores only",
                       params->bank);
    if (request->in[RK_IN_OFFSETS].shape[0] == 0)
        return rk_fail(err, RANKD_INVALID,
                       "input offsets has shape [0]; it must have one element more than there are lists");
    return RANKD_OK;
}

static enum rankd_status check_dense(const struct rk_request *request, struct rk_err *err)
{
    const struct rk_tensor *scores = &request->in[RK_IN_SCORES];
    bool columns = request->model->loss && request->params.axis == RK_AXIS_COLUMNS;
    size_t items = scores->shape[columns ? 0 : 1], lists = scores->shape[columns ? 1 : 0];
    bool flat = request->model->loss && request->params.interclass > 0;
    if (items > RK_LIST_MAX || (flat && scores->shape[0] * scores->shape[1] > RK_LIST_MAX)) {
        char shape[RK_SHAPE_TEXT];
        return rk_fail(err, RANKD_TOO_LARGE, "input scores has shape %s; a list may have at most %u items%s",
                       rk_shape_text(2, scores->shape, shape), RK_LIST_MAX,
                       flat ? ", with interclass the whole batch" : "");
    }
    return check_empty_lists(scores, items, lists, err);
}

static enum rankd_status check_score_shapes(const struct rk_request *request, struct rk_err *err)
{
    enum rankd_status status = check_beside(request, RK_IN_TARGETS, err);
    if (status == RANKD_OK)
        status = check_beside(request, RK_IN_UPSTREAM, err);
    if (status != RANKD_OK)
        return status;
    return (rk_request_is_ragged(request) ? check_ragged : check_dense)(request, err);
}

static enum rankd_status check_list_weight(const struct rk_request *request, struct rk_err *err)
{
    const struct rk_tensor *weight = &request->in[RK_IN_LIST_WEIGHT];
    const size_t lists =
        rk_request_embeds(request) ? request->in[RK_IN_EMBEDDINGS].shape[0] : rk_scores_lists(request);
    if (!weight->data || weight->shape[0] == lists)
        return RANKD_OK;
    return rk_fail(err, RANKD_INVALID,
                   "input list_weight has shape [%zu]; it must be [%zu], one for each list", weight->shape[0],
                   lists);
}

static enum rankd_status check_outputs(const struct rk_request *request, struct rk_err *err)
{
    const struct rk_model *model = request->model;
    char may[256];
    unsigned stray = request->outputs & ~model->outputs;
    if (stray)
        return rk_fail(err, RANKD_INVALID, "output %s is not one of model %s; it has %s",
                       lowest(stray) < RK_OUT_COUNT ? rk_output_rows[lowest(stray)].name : "?", model->name,
                       list_names(model->outputs, rk_output_rows, RK_OUT_COUNT, " and ", may, sizeof may));
    if (request->outputs & BIT(RK_OUT_REF_GRADIENT) && !request->in[RK_IN_REF_EMBEDDINGS].data)
        return rk_fail(err, RANKD_INVALID,
                       "output ref_gradient was asked for, but input ref_embeddings was not sent");
    return RANKD_OK;
}

/* The models that take a parameter, for the sentence that refuses it with another one. */
static const char *uses_text(const struct rk_model_table *models, uint32_t param, char *text, size_t size)
{
    size_t at = 0;
    text[0] = '\0';
    for (size_t m = 0; m < models->count && at < size; m++) {
        const struct rk_model *model = &models->rows[m];
        bool scores = param & rk_model_params(model, false),
             embeddings = param & rk_model_params(model, true);
        if (!scores && !embeddings)
            continue;
        const char *route = !model->use_embeddings || (scores && embeddings) ? ""
                            : scores                                         ? " with scores"
                                                                             : " with embeddings";
        at += (size_t)snprintf(text + at, size - at, "%s%s%s", at ? ", " : "", model->name, route);
    }
    return text;
}

/* The value of a number or a flag. */
static double value_of(const struct rk_params *params, const struct rk_param_row *row)
{
    const char *field = (const char *)params + row->offset;
    double value = 0;
    uint64_t whole;
    if (row->type == RK_PARAM_FLAG)
        return *(const bool *)field;
    if (row->type == RK_PARAM_REAL) {
        memcpy(&value, field, sizeof value);
    } else if (row->type == RK_PARAM_WHOLE) {
        memcpy(&whole, field, sizeof whole);
        value = (double)whole;
    }
    return value;
}

static enum rankd_status check_value(const struct rk_params *params, const struct rk_param_row *row,
                                     struct rk_err *err)
{
    struct rk_params copy = *params;
    const bool number = row->type == RK_PARAM_REAL || row->type == RK_PARAM_WHOLE;
    return number ? rk_param_set_number(&copy, row, value_of(params, row), err) : RANKD_OK;
}

/* Refuses a parameter about a bank in a request without one, which the parameter could not
 * affect. */
static enum rankd_status check_needs_bank(const struct rk_request *request, const struct rk_param_row *row,
                                          struct rk_err *err)
{
    const double value = value_of(&request->params, row);
    char text[RK_NUMBER_TEXT];
    if (!(row->uses & RK_NEEDS_BANK) || names_bank(request) || value == row->value)
        return RANKD_OK;
    return rk_fail(
        err, RANKD_INVALID,
        "parameter %s was %s, but parameter bank was not sent; send bank too, or leave %s out", row->name,
        row->type == RK_PARAM_FLAG ? value != 0 ? "true" : "false" : rk_number_text(value, text), row->name);
}

static enum rankd_status check_params(const struct rk_request *request, const struct rk_model_table *models,
                                      struct rk_err *err)
{
    const struct rk_model *model = request->model;
    bool embeds = rk_request_embeds(request);
    uint32_t taken = rk_model_params(model, embeds);
    for (size_t i = 0; i < RK_PARAM_COUNT; i++) {
        const struct rk_param_row *row = &rk_param_rows[i];
        char uses[256];
        if (!(request->params.given & BIT(i)))
            continue;
        if (!(taken & BIT(i)))
            return rk_fail(err, RANKD_INVALID, "parameter %s does not belong to model %s%s; it goes with %s",
                           row->name, model->name,
                           model->use_embeddings ? embeds ? " with embeddings" : " with scores" : "",
                           uses_text(models, BIT(i), uses, sizeof uses));
        enum rankd_status status = check_value(&request->params, row, err);
        if (status == RANKD_OK)
            status = check_needs_bank(request, row, err);
        if (status != RANKD_OK)
            return status;
    }
    return RANKD_OK;
}

/* A bank stores which items are relevant, but no grades. */
static enum rankd_status check_bank_named(const struct rk_request *request,
                                          const struct rk_model_table *models, struct rk_err *err)
{
    char binary[256] = "";
    size_t at = 0;
    if (!names_bank(request) || !rk_model_graded(request->model))
        return RANKD_OK;
    for (size_t m = 0; m < models->count && at < sizeof binary; m++) {
        const struct rk_model *model = &models->rows[m];
        if (model->loss && !rk_model_graded(model))
            at += (size_t)snprintf(binary + at, sizeof binary - at, "%s%s", at ? ", " : "", model->name);
    }
    return rk_fail(
        err, RANKD_INVALID,
        "parameter bank was \"%s\"; model %s is of graded relevance, and a bank holds no grades: it "
        "goes with %s",
        request->params.bank, request->model->name, binary);
}

/* A bank of scores holds one row per list, so the batch must have as many lists. */
static enum rankd_status check_memory(const struct rk_request *request, struct rk_err *err)
{
    const struct rk_bank_snapshot *memory = request->bank_snapshot;
    const struct rk_tensor *scores = &request->in[RK_IN_SCORES];
    if (!memory)
        return RANKD_OK;
    const char *name = request->params.bank;
    if (memory->holds != RK_BANK_HOLDS_SCORES)
        return rk_fail(err, RANKD_INVALID,
                       "parameter bank was \"%s\", which holds %s; with scores it must name a bank of scores",
                       name, rk_bank_content_name(memory->holds));
    bool columns = request->params.axis == RK_AXIS_COLUMNS;
    size_t lists = scores->shape[columns ? 1 : 0], items = scores->shape[columns ? 0 : 1];
    if (lists != memory->scores.lists)
        return rk_fail(err, RANKD_INVALID,
                       "scores has %zu lists (its %s); bank \"%s\" has %zu, and they must be as many", lists,
                       columns ? "columns" : "rows", name, memory->scores.lists);
    if (memory->items > RK_LIST_MAX - items)
        return rk_fail(
            err, RANKD_TOO_LARGE,
            "a list of scores has %zu items and bank \"%s\" adds %zu; together they may be at most %u", items,
            name, memory->items, RK_LIST_MAX);
    return RANKD_OK;
}

enum rankd_status rk_check_request(const struct rk_request *request, const struct rk_model_table *models,
                                   struct rk_err *err)
{
    enum rankd_status status = check_inputs(request, err);
    if (status == RANKD_OK)
        status = check_tensors(request, err);
    if (status == RANKD_OK)
        status = check_params(request, models, err);
    if (status == RANKD_OK)
        status = check_bank_named(request, models, err);
    if (status == RANKD_OK && !rk_request_embeds(request))
        status = check_score_shapes(request, err);
    if (status == RANKD_OK && !rk_request_embeds(request))
        status = check_memory(request, err);
    if (status == RANKD_OK)
        status = check_list_weight(request, err);
    if (status == RANKD_OK)
        status = check_outputs(request, err);
    return status;
}
