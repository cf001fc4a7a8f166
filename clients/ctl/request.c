/* SPDX-License-Identifier: Apache-2.0 */
#include "request.h"

#include <stdlib.h>
#include <string.h>

#include "http.h"

rankd_client *rankd_ctl_open(const struct ctl *ctl, uint64_t arena_bytes)
{
    char url[4200];
    snprintf(url, sizeof url, "%s%s", ctl->socket[0] ? "unix:" : "", ctl->socket[0] ? ctl->socket : ctl->url);
    struct rankd_options options = {.arena_bytes = arena_bytes,
                                    .token = ctl->token[0] ? ctl->token : NULL,
                                    .spin_us = 50,
                                    .connect_timeout_ns = (uint64_t)(1e9 * rankd_ctl_timeout(ctl))};
    struct rankd_error error = {0};
    rankd_client *client = NULL;
    const int status = rankd_open(url, &options, &client, &error);
    if (status == 0)
        return client;
    rankd_ctl_fail(1, "%s", error.text);
    if (status == RANKD_MISUSE)
        exit(2); /* the address on the command line is not valid */
    return NULL;
}

int rankd_ctl_infer(const struct ctl *ctl, rankd_client *client, const struct rankd_request *request,
                    struct rankd_reply *reply)
{
    struct rankd_error error = {0};
    const double seconds = rankd_ctl_timeout(ctl);
    uint64_t tag;
    int status = rankd_submit(client, request, &tag, &error);
    memset(reply, 0, sizeof *reply);
    if (status == RANKD_OK)
        status = rankd_wait(client, tag, (uint64_t)(1e9 * seconds), reply);
    else
        snprintf(reply->error, sizeof reply->error, "%s", error.text);
    if (status == RANKD_TIMEOUT) {
        rankd_forget(client, tag);
        snprintf(reply->error, sizeof reply->error, "no whole answer within %g s; --timeout gives it more",
                 seconds);
    }
    reply->status = status;
    return status;
}

bool rankd_ctl_is_metric(const struct ctl *ctl)
{
    char path[128];
    const int length = snprintf(path, sizeof path, "/v2/models/%s", ctl->model);
    /* No model has another character in its name, and others would have to be escaped. */
    if (length >= (int)sizeof path || ctl->model[strspn(ctl->model, "abcdefghijklmnopqrstuvwxyz0123456789_")])
        return false;
    struct ctl_http *http = rankd_ctl_http_open(ctl);
    json_t *model = rankd_ctl_http_json(http, "GET", path, NULL);
    json_t *outputs = json_object_get(model, "outputs");
    bool loss = false, gradient = false;
    size_t i;
    json_t *one;
    json_array_foreach(outputs, i, one)
    {
        loss |= strcmp(rankd_ctl_http_string(one, "name"), "loss") == 0;
        gradient |= strcmp(rankd_ctl_http_string(one, "name"), "gradient") == 0;
    }
    json_decref(model);
    rankd_ctl_http_close(http);
    return loss && !gradient;
}

void rankd_ctl_parameters(const struct ctl *ctl, struct ctl_parameters *parameters)
{
    memset(parameters, 0, sizeof *parameters);
    for (size_t i = 0; i < ctl->parameters_count; i++) {
        struct rankd_parameter *one = &parameters->list[i];
        char *room = parameters->text[i];
        snprintf(room, sizeof parameters->text[i], "%s", ctl->parameters[i]);
        char *equals = strchr(room, '=');
        if (!equals || equals == room || !equals[1])
            exit(rankd_ctl_fail(2, "--parameter is '%s'; it must be NAME=VALUE", ctl->parameters[i]));
        *equals = 0;
        const char *value = equals + 1;
        char *end;
        one->name = room;
        one->number = strtod(value, &end);
        one->type = RANKD_NUMBER;
        if (*end) {
            bool yes = strcmp(value, "true") == 0, no = strcmp(value, "false") == 0;
            one->type = yes || no ? RANKD_FLAG : RANKD_TEXT;
            one->number = yes;
            one->text = value;
        }
    }
    parameters->count = ctl->parameters_count;
}
