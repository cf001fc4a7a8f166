/* SPDX-License-Identifier: Apache-2.0 */
/* rankctl loss: scores and targets out of two files, one request, the answer as a table or JSON. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "array.h"
#include "request.h"

static int datatype_of(const char *name)
{
    static const char *const names[RANKD_DTYPE_COUNT] = {"BOOL", "UINT8", "INT8", "INT32", "INT64",
                                                         "FP16", "BF16",  "FP32", "FP64"};
    for (int i = 0; i < RANKD_DTYPE_COUNT; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

static struct rankd_tensor input(int port, const struct ctl_array *array)
{
    return (struct rankd_tensor){.port = port,
                                 .dtype = datatype_of(array->datatype),
                                 .rank = 2,
                                 .shape = {(uint64_t)array->rows, (uint64_t)array->columns},
                                 .data = array->data,
                                 .bytes = array->bytes};
}

static void print_json(const struct rankd_reply *reply)
{
    double jumped;
    json_t *out = json_pack("{s:f, s:I, s:I}", "loss", reply->loss, "lists", (json_int_t)reply->lists,
                            "lists_skipped", (json_int_t)reply->lists_skipped);
    json_t *losses = json_array();
    const struct rankd_tensor *list_loss = &reply->outputs[RANKD_OUT_LIST_LOSS];
    for (size_t i = 0; i < list_loss->bytes / sizeof(float) && list_loss->data; i++) {
        float one = ((const float *)list_loss->data)[i];
        json_array_append_new(losses, isnan(one) ? json_null() : json_real((double)one));
    }
    json_object_set_new(out, "list_loss", losses);
    if (reply->has_gradient) {
        json_object_set_new(out, "lists_stalled", json_integer((json_int_t)reply->lists_stalled));
        json_object_set_new(out, "gradient_nonzero", json_integer((json_int_t)reply->gradient_nonzero));
    }
    if (rankd_reply_number(reply, "pairs_jumped", &jumped) == RANKD_OK)
        json_object_set_new(out, "pairs_jumped", json_real(jumped));
    json_dumpf(out, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    putchar('\n');
    json_decref(out);
}

static void print_table(const struct rankd_reply *reply)
{
    printf("loss              %.9g\n", reply->loss);
    printf("lists             %" PRIu64 ", %" PRIu64 " of them without a relevant item\n", reply->lists,
           reply->lists_skipped);
    if (reply->has_gradient)
        printf("gradient          %" PRIu64 " elements are not zero; %" PRIu64
               " lists have a loss and no gradient\n",
               reply->gradient_nonzero, reply->lists_stalled);
    double jumped;
    if (rankd_reply_number(reply, "pairs_jumped", &jumped) == RANKD_OK)
        printf("reach             %.9g pairs changed places for each relevant item\n", jumped);
    const struct rankd_tensor *list_loss = &reply->outputs[RANKD_OUT_LIST_LOSS];
    uint64_t count = list_loss->data ? list_loss->bytes / sizeof(float) : 0, shown = count < 20 ? count : 20;
    for (uint64_t i = 0; i < shown; i++) {
        const double one = (double)((const float *)list_loss->data)[i];
        printf(isnan(one) ? "  list %-10" PRIu64 " -, no relevant item\n" : "  list %-10" PRIu64 " %.9g\n", i,
               one);
    }
    if (shown < count)
        printf("  (%" PRIu64 " more with --json)\n", count - shown);
}

static int show(struct ctl *ctl, const struct rankd_reply *reply)
{
    char why[CTL_WHY];
    const struct rankd_tensor *gradient = &reply->outputs[RANKD_OUT_GRADIENT];
    if (ctl->gradient[0] && !rankd_ctl_npy_write(ctl->gradient, gradient->data, (int64_t)gradient->shape[0],
                                                 (int64_t)gradient->shape[1], why))
        return rankd_ctl_fail(1, "%s", why);
    if (ctl->json[0])
        print_json(reply);
    else
        print_table(reply);
    return 0;
}

static bool has_shape(const struct rankd_tensor *gradient, const struct ctl_array *scores)
{
    return gradient->rank == 2 && gradient->shape[0] == (uint64_t)scores->rows &&
           gradient->shape[1] == (uint64_t)scores->columns;
}

static int ask_loss(struct ctl *ctl, const struct ctl_array *scores, const struct ctl_array *targets)
{
    struct ctl_parameters parameters;
    rankd_ctl_parameters(ctl, &parameters);
    uint64_t arena = 3 * (uint64_t)scores->bytes + targets->bytes +
                     (16u << 20); /* scores, gradient, and room to breathe */
    rankd_client *client = rankd_ctl_open(ctl, arena);
    if (!client)
        return 1;
    const struct rankd_tensor inputs[] = {input(RANKD_IN_SCORES, scores), input(RANKD_IN_TARGETS, targets)};
    const struct rankd_tensor outputs[] = {
        {.port = RANKD_OUT_LOSS}, {.port = RANKD_OUT_LIST_LOSS}, {.port = RANKD_OUT_GRADIENT}};
    const struct rankd_request request = {.model = ctl->model,
                                          .inputs = inputs,
                                          .input_count = 2,
                                          .outputs = outputs,
                                          .output_count = 3,
                                          .parameters = parameters.list,
                                          .parameter_count = parameters.count};
    struct rankd_reply reply = {0};
    int status = rankd_ctl_infer(ctl, client, &request, &reply);
    int result = status != 0 ? rankd_ctl_fail(1, "%s", reply.error)
                 : has_shape(&reply.outputs[RANKD_OUT_GRADIENT], scores)
                     ? show(ctl, &reply)
                     : rankd_ctl_fail(1, "the answer's gradient has not the shape of the scores");
    rankd_reply_clear(client, &reply);
    rankd_close(client);
    return result;
}

int rankd_ctl_loss(struct ctl *ctl)
{
    if (ctl->arguments_count != 2)
        return rankd_ctl_fail(2, "loss wants two files, the scores and the targets; it got %d",
                              ctl->arguments_count);
    struct ctl_array scores = {0}, targets = {0};
    char why[CTL_WHY];
    int status;
    if (!rankd_ctl_array_read(&scores, ctl->arguments[0], why) ||
        !rankd_ctl_array_read(&targets, ctl->arguments[1], why)) {
        status = rankd_ctl_fail(1, "%s", why);
    } else {
        rankd_ctl_array_narrow(&targets);
        status = ask_loss(ctl, &scores, &targets);
    }
    rankd_ctl_array_free(&scores);
    rankd_ctl_array_free(&targets);
    return status;
}
