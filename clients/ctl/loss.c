/* SPDX-License-Identifier: Apache-2.0 */
/* rankctl loss: scores and targets from files, one request, the answer as a table or JSON. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"
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

/* Flat, or a matrix: a vector without offsets is one row. */
static struct rankd_tensor input(int port, const struct ctl_array *array, bool flat)
{
    const uint64_t rows = (uint64_t)array->rows, columns = (uint64_t)array->columns;
    return (struct rankd_tensor){.port = port,
                                 .dtype = datatype_of(array->datatype),
                                 .rank = flat ? 1 : 2,
                                 .shape = {flat ? columns : rows, flat ? 0 : columns},
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
    printf("lists             %" PRIu64 ", %" PRIu64 " of them skipped\n", reply->lists,
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
        printf(isnan(one) ? "  list %-10" PRIu64 " -, skipped: no relevant item, or a weight of 0\n"
                          : "  list %-10" PRIu64 " %.9g\n",
               i, one);
    }
    if (shown < count)
        printf("  (%" PRIu64 " more with --json)\n", count - shown);
}

static int show(struct ctl *ctl, const struct rankd_reply *reply)
{
    char why[CTL_WHY];
    const struct rankd_tensor *gradient = &reply->outputs[RANKD_OUT_GRADIENT];
    const bool flat = gradient->rank == 1;
    if (ctl->gradient[0] &&
        !rankd_ctl_npy_write(ctl->gradient, gradient->data, flat ? -1 : (int64_t)gradient->shape[0],
                             (int64_t)gradient->shape[flat ? 0 : 1], why))
        return rankd_ctl_fail(1, "%s", why);
    if (ctl->json[0])
        print_json(reply);
    else
        print_table(reply);
    return 0;
}

static bool has_shape(const struct rankd_tensor *gradient, const struct rankd_tensor *scores)
{
    return gradient->rank == scores->rank && gradient->shape[0] == scores->shape[0] &&
           (gradient->rank == 1 || gradient->shape[1] == scores->shape[1]);
}

static size_t inputs_of(const struct ctl_batch *batch, struct rankd_tensor input_of[4])
{
    const bool flat = batch->offsets.data != NULL;
    size_t count = 0;
    input_of[count++] = input(RANKD_IN_SCORES, &batch->scores, flat);
    input_of[count++] = input(RANKD_IN_TARGETS, &batch->targets, flat);
    if (batch->offsets.data)
        input_of[count++] = input(RANKD_IN_OFFSETS, &batch->offsets, true);
    if (batch->list_weight.data)
        input_of[count++] = input(RANKD_IN_LIST_WEIGHT, &batch->list_weight, true);
    return count;
}

static int ask_loss(struct ctl *ctl, const struct ctl_batch *batch)
{
    struct ctl_parameters parameters;
    rankd_ctl_parameters(ctl, &parameters);
    uint64_t arena = 3 * (uint64_t)batch->scores.bytes + batch->targets.bytes + 2 * batch->offsets.bytes +
                     batch->list_weight.bytes + (16u << 20); /* inputs, outputs, and some more */
    rankd_client *client = rankd_ctl_open(ctl, arena);
    if (!client)
        return 1;
    struct rankd_tensor inputs[4];
    const struct rankd_tensor outputs[] = {
        {.port = RANKD_OUT_LOSS}, {.port = RANKD_OUT_LIST_LOSS}, {.port = RANKD_OUT_GRADIENT}};
    struct rankd_request request = {.model = ctl->model,
                                    .inputs = inputs,
                                    .input_count = inputs_of(batch, inputs),
                                    .outputs = outputs,
                                    .output_count = 3,
                                    .parameters = parameters.list,
                                    .parameter_count = parameters.count};
    struct rankd_reply reply = {0};
    int status = rankd_ctl_infer(ctl, client, &request, &reply);
    const bool metric = status == RANKD_INVALID && !ctl->gradient[0] && rankd_ctl_is_metric(ctl);
    if (metric) {
        rankd_reply_clear(client, &reply);
        request.output_count = 2;
        status = rankd_ctl_infer(ctl, client, &request, &reply);
    }
    int result = status != 0 ? rankd_ctl_fail(1, "%s", reply.error)
                 : metric || has_shape(&reply.outputs[RANKD_OUT_GRADIENT], &inputs[0])
                     ? show(ctl, &reply)
                     : rankd_ctl_fail(1, "the answer's gradient has not the shape of the scores");
    rankd_reply_clear(client, &reply);
    rankd_close(client);
    return result;
}

static bool ends_in(const char *path, const char *ending)
{
    const size_t length = strlen(path), tail = strlen(ending);
    return length > tail && strcmp(path + length - tail, ending) == 0;
}

/* Both kinds of files contain several arrays. */
static bool read_several(struct ctl_batch *batch, const char *path, int64_t feature, char why[CTL_WHY])
{
    FILE *file = fopen(path, "rbe");
    if (!file)
        return rankd_ctl_refuse(why, "%s: %s", path, strerror(errno));
    const bool good = ends_in(path, ".npz") ? rankd_ctl_npz_read(batch, path, file, why)
                                            : rankd_ctl_letor_read(batch, path, file, feature, why);
    (void)fclose(file);
    return good;
}

/* Scores for the items of a LETOR file, in its order: a column, a row, or a vector. */
static bool read_scores(struct ctl_batch *batch, const char *path, char why[CTL_WHY])
{
    struct ctl_array *scores = &batch->scores;
    const int64_t items = batch->targets.columns;
    if (!rankd_ctl_array_read(scores, path, why))
        return false;
    if ((scores->rows != 1 && scores->columns != 1) || scores->rows * scores->columns != items)
        return rankd_ctl_refuse(why,
                                "%s has %" PRId64 " rows of %" PRId64
                                "; it must have one score for each of the %" PRId64 " items",
                                path, scores->rows, scores->columns, items);
    scores->rows = 1;
    scores->columns = items;
    return rankd_ctl_array_from_integers(scores, "FP64", why);
}

/* Two files: scores and targets, where the targets may be a LETOR file. */
static bool read_two(struct ctl_batch *batch, char **paths, char why[CTL_WHY])
{
    if (rankd_ctl_is_letor(paths[1]))
        return read_several(batch, paths[1], -1, why) && read_scores(batch, paths[0], why);
    if (!rankd_ctl_array_read(&batch->scores, paths[0], why) ||
        !rankd_ctl_array_read(&batch->targets, paths[1], why))
        return false;
    rankd_ctl_array_narrow(&batch->targets);
    return rankd_ctl_array_from_integers(&batch->scores, "FP64", why);
}

int rankd_ctl_loss(struct ctl *ctl)
{
    const bool npz = ctl->arguments_count == 1 && ends_in(ctl->arguments[0], ".npz");
    const bool letor = ctl->arguments_count == 1 && ctl->feature[0];
    if (!(ctl->arguments_count == 2 && !ctl->feature[0]) && !npz && !letor)
        return rankd_ctl_fail(
            2,
            "loss needs two files, the scores and the targets, or one: .npz, or with --feature in the "
            "form of LETOR; it got %d",
            ctl->arguments_count);
    const int64_t feature =
        letor && !npz ? (int64_t)rankd_ctl_whole("feature", ctl->feature, 0, INT64_MAX) : -1;
    struct ctl_batch batch = {0};
    char why[CTL_WHY];
    const bool good = ctl->arguments_count == 2 ? read_two(&batch, ctl->arguments, why)
                                                : read_several(&batch, ctl->arguments[0], feature, why);
    int status = good ? ask_loss(ctl, &batch) : rankd_ctl_fail(1, "%s", why);
    rankd_ctl_batch_free(&batch);
    return status;
}
