#include "device.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "bank/view.h"
#include "check.h"
#include "loss.h"
#include "out.h"

enum rankd_status rk_device_open(struct rk_device *device, const char *path, int ordinal, size_t limit,
                                 struct rk_err *err)
{
    char why[RK_DEVICE_WHY] = "";
    memset(device, 0, sizeof *device);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return rk_fail(err, RANKD_UNSUPPORTED, "no card can be used without its plugin: %s", dlerror());
    rk_plugin_entry *entry;
    void *symbol = dlsym(library, RK_PLUGIN_SYMBOL);
    memcpy(&entry, &symbol, sizeof entry); /* C has no conversion from an object's address to a function's */
    const struct rk_device_plugin *plugin = symbol ? entry() : NULL;
    if (!plugin || plugin->version != RK_PLUGIN_VERSION) {
        dlclose(library);
        return rk_fail(err, RANKD_UNSUPPORTED, "%s is no plugin of this version of rankd", path);
    }
    device->card = plugin->open(ordinal, limit, device->name, why);
    if (!device->card) {
        dlclose(library);
        return rk_fail(err, RANKD_UNSUPPORTED, "card %d can't be used: %s", ordinal, why);
    }
    device->plugin = plugin;
    device->ordinal = ordinal;
    device->library = library;
    return RANKD_OK;
}

void rk_device_close(struct rk_device *device)
{
    if (device->plugin)
        device->plugin->close(device->card);
    /* The library stays: a driver's threads may still run in it. */
    memset(device, 0, sizeof *device);
}

static bool on_card(const struct rk_request *request, const struct rk_reply *reply)
{
    bool found = false;
    for (unsigned i = 0; i < RK_IN_COUNT; i++)
        found |= request->in[i].data && request->in[i].on_card;
    for (unsigned o = 0; o < RK_OUT_COUNT; o++)
        found |= reply->out[o].data && reply->out[o].on_card;
    return found;
}

/* Losses of lists of scores, of one part, without memory. */
static bool can_take(const struct rk_request *request)
{
    return request->model->loss && !rk_request_embeds(request) && !request->memory &&
           request->params.interclass == 0;
}

/* Lists from this length on are faster there, the way there and back included. Measured on an H200 beside its
 * host (AVX-512; one thread, 8 threads; then the card; forward and backward, data in host memory, ms):
 *   1 x 1M, P = 100      4.4    2.8    1.3        256 x 65,536, P = 3,000   232     42     20
 *   1 x 1M, P = 1 %      8.5    5.5    1.3        256 x 65,536, P = 8        31      7.4   20
 *   1 x 10M, P = 1 %   245     66     13          256 x 4,096, P = 8          1.8    1.0    1.1
 * How many items are relevant is not known before they are counted: with very few of them, eight idle threads
 * are faster than the bus, and one is not. */
#define LEAST_ITEMS ((size_t)1 << 15)
#define LEAST_SCORES ((size_t)1 << 17)

bool rk_device_chosen(const struct rk_device *device, const struct rk_request *request,
                      const struct rk_reply *reply)
{
    if (atomic_load_explicit(&device->lost, memory_order_relaxed) || !can_take(request))
        return false;
    const struct rk_tensor *scores = &request->in[RK_IN_SCORES];
    const size_t items = scores->shape[request->params.axis == RK_AXIS_COLUMNS ? 0 : 1];
    const size_t all = scores->shape[0] * scores->shape[1];
    return device->always || on_card(request, reply) || (items >= LEAST_ITEMS && all >= LEAST_SCORES);
}

enum rk_card_outcome rk_device_note(struct rk_device *device, enum rk_card_outcome outcome)
{
    const bool failed = outcome == RK_CARD_FAILED || outcome == RK_CARD_LOST;
    if (failed)
        atomic_fetch_add_explicit(&device->failures, 1, memory_order_relaxed);
    if (failed || outcome == RK_CARD_DONE)
        atomic_store_explicit(&device->failing, failed, memory_order_relaxed);
    if (outcome == RK_CARD_LOST)
        atomic_store_explicit(&device->lost, true, memory_order_relaxed);
    return outcome;
}

struct sparse {
    struct rk_reply *reply;
    unsigned outputs;
};

/* The two outputs in host memory: how many there are is known only when they are there. */
static bool sparse_room(void *arg, size_t count, int64_t **index, float **value)
{
    struct sparse *sparse = arg;
    struct rk_err err = {0};
    enum rankd_status status = RANKD_OK;
    if (sparse->outputs & RK_OUT_BIT(RK_OUT_GRADIENT_INDICES)) {
        status = rk_out_vector(sparse->reply, RK_OUT_GRADIENT_INDICES, RK_INT64, count, &err);
        *index = sparse->reply->out[RK_OUT_GRADIENT_INDICES].data;
    }
    if (status == RANKD_OK && sparse->outputs & RK_OUT_BIT(RK_OUT_GRADIENT_VALUES)) {
        status = rk_out_vector(sparse->reply, RK_OUT_GRADIENT_VALUES, RK_FP32, count, &err);
        *value = sparse->reply->out[RK_OUT_GRADIENT_VALUES].data;
    }
    return status == RANKD_OK;
}

/* Of the outputs, only the gradient may lie on the card. */
static bool others_on_card(const struct rk_reply *reply)
{
    for (unsigned o = 0; o < RK_OUT_COUNT; o++)
        if (o != RK_OUT_GRADIENT && reply->out[o].data && reply->out[o].on_card)
            return true;
    return false;
}

static enum rankd_status prepare(const struct rk_request *request, struct rk_reply *reply, size_t lists,
                                 struct rk_err *err)
{
    enum rankd_status status = RANKD_OK;
    if (request->outputs & RK_OUT_BIT(RK_OUT_LOSS))
        status = rk_out_vector(reply, RK_OUT_LOSS, RK_FP32, 1, err);
    if (status == RANKD_OK && request->outputs & RK_OUT_BIT(RK_OUT_LIST_LOSS))
        status = rk_out_vector(reply, RK_OUT_LIST_LOSS, RK_FP32, lists, err);
    if (status == RANKD_OK && request->outputs & RK_OUT_BIT(RK_OUT_GRADIENT))
        status = rk_out_prepare(reply, RK_OUT_GRADIENT, RK_FP32, 2, request->in[RK_IN_SCORES].shape, err);
    return status;
}

static struct rk_card_scores job_of(const struct rk_request *request, struct rk_reply *reply,
                                    struct sparse *sparse)
{
    const struct rk_params *params = &request->params;
    const struct rk_tensor *scores = &request->in[RK_IN_SCORES], *targets = &request->in[RK_IN_TARGETS];
    return (struct rk_card_scores){
        .scores = scores->data,
        .targets = targets->data,
        .scores_on_card = scores->on_card,
        .targets_on_card = targets->on_card,
        .score_dtype = (int)scores->dtype,
        .target_dtype = (int)targets->dtype,
        .rows = scores->shape[0],
        .columns = scores->shape[1],
        .by_column = params->axis == RK_AXIS_COLUMNS,
        .recall = request->model->loss == &rk_loss_recall,
        .weight = params->weight,
        .average = params->average,
        .margin = params->margin,
        .lambda = params->lambda,
        .normalized = params->lambda_units == RK_UNITS_NORMALIZED,
        .batch = params->lambda_scope == RK_SCOPE_BATCH,
        .wants_gradient = request->outputs & RK_OUT_BIT(RK_OUT_GRADIENT),
        .wants_sparse = request->outputs & RK_OUT_SPARSE,
        .gradient = reply->out[RK_OUT_GRADIENT].data,
        .gradient_on_card = reply->out[RK_OUT_GRADIENT].on_card,
        .list_loss = reply->out[RK_OUT_LIST_LOSS].data,
        .sparse_room = sparse_room,
        .sparse_arg = sparse,
    };
}

/* Bytes that went from host memory to the card. */
static size_t sent(const struct rk_request *request)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < RK_IN_COUNT; i++)
        bytes += request->in[i].data && !request->in[i].on_card ? request->in[i].bytes : 0;
    return bytes;
}

/* And of gradients that came back. */
static size_t fetched(const struct rk_reply *reply)
{
    const size_t dense = reply->out[RK_OUT_GRADIENT].on_card ? 0 : rk_out_given(reply, RK_OUT_GRADIENT);
    return dense + rk_out_given(reply, RK_OUT_GRADIENT_INDICES) + rk_out_given(reply, RK_OUT_GRADIENT_VALUES);
}

enum rk_card_outcome rk_device_scores(struct rk_device *device, const struct rk_exec *exec,
                                      const struct rk_request *request, struct rk_reply *reply)
{
    char why[RK_DEVICE_WHY];
    struct rk_err err = {0};
    const bool columns = request->params.axis == RK_AXIS_COLUMNS;
    const size_t lists = request->in[RK_IN_SCORES].shape[columns ? 1 : 0];
    struct sparse sparse = {reply, request->outputs};
    enum rk_card_outcome outcome = RK_CARD_PASSED;
    if (!others_on_card(reply) && rk_exec_check(exec, &err) == RANKD_OK &&
        prepare(request, reply, lists, &err) == RANKD_OK) {
        struct rk_card_scores job = job_of(request, reply, &sparse);
        outcome = rk_device_note(device, device->plugin->scores(device->card, &job, why));
        if (outcome != RK_CARD_PASSED)
            rk_exec_copied(exec, sent(request));
        if (outcome == RK_CARD_DONE)
            rk_exec_copied(exec, fetched(reply));
        reply->info = (struct rk_info){.loss = job.loss,
                                       .lists = job.lists,
                                       .lists_skipped = job.skipped,
                                       .lists_stalled = job.stalled,
                                       .gradient_nonzero = job.nonzero,
                                       .has_gradient = job.wants_gradient || job.wants_sparse,
                                       .on_card = true};
    }
    if (outcome != RK_CARD_DONE)
        rk_reply_clear(reply);
    else if (request->outputs & RK_OUT_BIT(RK_OUT_LOSS))
        *(float *)reply->out[RK_OUT_LOSS].data = (float)reply->info.loss;
    return outcome;
}
