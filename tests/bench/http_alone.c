/* SPDX-License-Identifier: Apache-2.0 */
/* http_alone BYTES [LISTS COLUMNS]: libmicrohttpd alone, as rankd starts it, on a free port of
 * loopback, which it prints. It reads each body and answers BYTES bytes: the most requests that a
 * daemon on this library can answer. With LISTS and COLUMNS it computes loss and gradient of `ap`
 * from the end of the body, scores and targets, with the engine of rankd on the library's own
 * thread: the most that a daemon on this library and this engine can answer. Ends with its standard
 * input. */
#include <microhttpd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <netinet/in.h>

#include "engine.h"

static char *answer;
static float *gradient;
static size_t answer_bytes, lists, columns;
static struct rk_scratch *scratch;

struct upload {
    size_t bytes;
    char data[];
};

/* The gradient goes to the end of the answer, as in rankd's. */
static bool compute(const struct upload *body)
{
    const size_t items = lists * columns;
    const char *scores = body->data + body->bytes - 5 * items;
    struct rk_exec exec = {.scratch = scratch};
    struct rk_request request = {.model = rk_model_find("ap"), .params = rk_params_default()};
    struct rk_reply reply = {0};
    struct rk_err err = {0};
    request.in[RK_IN_SCORES] = (struct rk_tensor){
        .dtype = RK_FP32, .rank = 2, .shape = {lists, columns}, .data = scores, .bytes = 4 * items};
    request.in[RK_IN_TARGETS] = (struct rk_tensor){
        .dtype = RK_INT8, .rank = 2, .shape = {lists, columns}, .data = scores + 4 * items, .bytes = items};
    request.outputs = 1u << RK_OUT_LOSS | 1u << RK_OUT_GRADIENT;
    reply.out[RK_OUT_GRADIENT] = (struct rk_out){.data = gradient, .capacity = 4 * items};
    const bool computed =
        body->bytes >= 5 * items && rk_engine_run(&exec, &request, &reply, &err) == RANKD_OK;
    rk_reply_clear(&reply);
    memcpy(answer + answer_bytes - 4 * items, gradient, 4 * items);
    if (!computed)
        fprintf(stderr, "http_alone: %zu bytes: %s\n", body->bytes, err.text);
    return computed;
}

/* The pieces of a body; NULL: no memory. */
static struct upload *collect(struct upload *body, const char *piece, size_t bytes)
{
    const size_t before = body ? body->bytes : 0;
    struct upload *grown = realloc(body, sizeof *grown + before + bytes);
    if (!grown)
        return NULL;
    memcpy(grown->data + before, piece, bytes);
    grown->bytes = before + bytes;
    return grown;
}

static void on_completed(void *closure, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode code)
{
    (void)closure, (void)connection, (void)code;
    free(*context);
    *context = NULL;
}

static enum MHD_Result on_access(void *closure, struct MHD_Connection *connection, const char *url,
                                 const char *method, const char *version, const char *upload,
                                 size_t *upload_size, void **context)
{
    (void)closure, (void)url, (void)method, (void)version;
    if (!*context || *upload_size) {
        struct upload *body = collect(*context, upload, lists && *context ? *upload_size : 0);
        if (!body)
            return MHD_NO;
        *context = body;
        *upload_size = 0;
        return MHD_YES;
    }
    if (lists && !compute(*context))
        return MHD_NO;
    struct MHD_Response *response =
        MHD_create_response_from_buffer(answer_bytes, answer, MHD_RESPMEM_PERSISTENT);
    if (!response)
        return MHD_NO;
    const enum MHD_Result queued = MHD_queue_response(connection, 200, response);
    MHD_destroy_response(response);
    return queued;
}

int main(int argc, char **argv)
{
    const struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    answer_bytes = argc >= 2 ? strtoull(argv[1], NULL, 10) : 0;
    lists = argc == 4 ? strtoull(argv[2], NULL, 10) : 0;
    columns = argc == 4 ? strtoull(argv[3], NULL, 10) : 0;
    answer = calloc(1, answer_bytes + 1);
    gradient = calloc(lists * columns + 1, sizeof *gradient);
    scratch = rk_scratch_new(0);
    struct MHD_Daemon *daemon =
        answer && gradient && scratch && answer_bytes >= 4 * lists * columns
            ? MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, on_access, NULL,
                               MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                               (size_t)131072, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
                               MHD_OPTION_END)
            : NULL;
    const union MHD_DaemonInfo *info = daemon ? MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT) : NULL;
    if (!info) {
        fprintf(stderr, "http_alone: libmicrohttpd does not start\n");
        return 1;
    }
    printf("%u\n", (unsigned)info->port);
    fflush(stdout);
    while (getchar() != EOF)
        continue;
    MHD_stop_daemon(daemon);
    rk_scratch_free(scratch);
    free(gradient);
    free(answer);
    return 0;
}
