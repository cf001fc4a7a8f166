/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP transport: the calls of rankd.h as transfers. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "error.h"
#include "error_body.h"
#include "http.h"
#include "http_internal.h"
#include "request.h"

enum { DEFAULT_TRANSFERS = 64 };
static const long CONNECT_MS = 10000;

/* The longest answer of a control call, and the longest JSON of an inference. */
static const size_t CALL_BYTES = (size_t)256 << 20, HEAD_BYTES = (size_t)1 << 20;

static const char name_characters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

/* A batch with an id of its own is appended once, however often it is sent. */
static bool appends(const struct rankd_request *request)
{
    bool bank = false, named = false;
    for (size_t i = 0; i < request->parameter_count; i++) {
        bank |= strcmp(request->parameters[i].name, "bank") == 0;
        named |= strcmp(request->parameters[i].name, "batch_id") == 0;
    }
    return bank && !named;
}

/* Without outputs the model's defaults are returned, which are among these. */
static size_t most_of(const struct rankd_request *request)
{
    size_t most = HEAD_BYTES;
    for (int port = 0; port < RANKD_OUT_COUNT; port++) {
        if (__builtin_add_overflow(most, rankd_output_room(request, port), &most))
            return SIZE_MAX;
    }
    return most;
}

static int http_submit(rankd_client *client, const struct rankd_request *request, uint64_t *tag,
                       struct rankd_error *error)
{
    struct rankd_http *http = rankd_http_of(client);
    size_t json_bytes, bytes;
    char path[128], line[64];
    int length = snprintf(path, sizeof path, "/v2/models/%s/infer", request->model);
    if (length >= (int)sizeof path || request->model[strspn(request->model, name_characters)] != '\0')
        return rankd_fail(error, RANKD_NOT_FOUND, "there is no model \"%.64s\"", request->model);
    char *body = rankd_http_encode(request, &json_bytes, &bytes);
    struct rankd_transfer *transfer =
        body != NULL ? rankd_transfer_new(http, "POST", path, body, bytes) : NULL;
    if (transfer == NULL)
        return rankd_fail(error, RANKD_NO_MEMORY, "out of memory for the request");
    transfer->once = appends(request);
    transfer->most_bytes = most_of(request);
    (void)snprintf(line, sizeof line, "Inference-Header-Content-Length: %zu", json_bytes);
    rankd_transfer_header(transfer, line);
    rankd_transfer_header(transfer, "Content-Type: application/octet-stream");
    if (transfer->incomplete) {
        rankd_transfer_end(http, transfer);
        return rankd_fail(error, RANKD_NO_MEMORY, "out of memory for the request");
    }
    for (size_t i = 0; i < request->output_count; i++) {
        const struct rankd_tensor *output = &request->outputs[i];
        transfer->rooms[output->port] = (struct rankd_http_room){true, output->data, output->bytes};
    }
    (void)pthread_mutex_lock(&http->lock);
    int status = RANKD_OK;
    if (http->count >= http->most) {
        status = rankd_fail(error, RANKD_OVERLOADED, "%u requests are outstanding already", http->most);
        rankd_transfer_end(http, transfer);
    } else {
        *tag = rankd_http_enqueue(http, transfer);
        rankd_http_wake(http);
    }
    (void)pthread_mutex_unlock(&http->lock);
    return status;
}

static int read_reply(struct rankd_http *http, struct rankd_transfer *transfer, struct rankd_reply *reply)
{
    struct rankd_error error = {0};
    int status = rankd_transfer_outcome(transfer, &error);
    if (status == 200 && transfer->json_length == RANKD_LENGTH_BAD)
        return rankd_reply_fail(reply, RANKD_PROTOCOL,
                                "the answer's Inference-Header-Content-Length is not one whole number");
    if (status == 200) {
        size_t json_bytes =
            transfer->json_length == RANKD_LENGTH_GOOD ? transfer->json_bytes : transfer->answer_bytes;
        status = rankd_http_decode(&http->pieces, transfer->answer != NULL ? transfer->answer : "",
                                   transfer->answer_bytes, json_bytes, transfer->rooms, reply);
        reply->status = status;
        return status;
    }
    if (status >= RANKD_INVALID)
        (void)rankd_fail_json(&error, status, transfer->answer != NULL ? transfer->answer : "",
                              transfer->answer_bytes);
    return rankd_reply_fail(reply, status, error.text);
}

static int http_wait(rankd_client *client, uint64_t tag, uint64_t timeout_ns, struct rankd_reply *reply)
{
    struct rankd_http *http = rankd_http_of(client);
    (void)pthread_mutex_lock(&http->lock);
    bool known = rankd_http_find(http, tag) != NULL;
    bool done = rankd_http_wait_done(http, tag, timeout_ns == 0 ? 0 : rankd_until(timeout_ns));
    struct rankd_transfer *transfer = rankd_http_find(http, tag);
    int status;
    if (!known || transfer == NULL) {
        status = rankd_reply_fail(reply, RANKD_MISUSE, "no request that is outstanding has this tag");
    } else if (!done) {
        status = rankd_reply_fail(reply, timeout_ns == 0 ? RANKD_PENDING : RANKD_TIMEOUT,
                                  "the reply is not there yet");
    } else {
        status = read_reply(http, transfer, reply);
        rankd_transfer_free(http, transfer);
    }
    (void)pthread_mutex_unlock(&http->lock);
    return status;
}

/* HTTP can't cancel a request and still report its end: a forgotten request loses its
 * connection. */
static int http_cancel(rankd_client *client, uint64_t tag, bool discard)
{
    struct rankd_http *http = rankd_http_of(client);
    (void)pthread_mutex_lock(&http->lock);
    struct rankd_transfer *transfer = rankd_http_find(http, tag);
    if (transfer != NULL && discard)
        rankd_http_forget(http, transfer);
    (void)pthread_mutex_unlock(&http->lock);
    return transfer != NULL ? RANKD_OK : RANKD_MISUSE;
}

static int finish_call(struct rankd_transfer *transfer, char **answer, size_t *answer_bytes,
                       struct rankd_error *error)
{
    int status = rankd_transfer_outcome(transfer, error);
    if (status == 200) {
        *answer = transfer->answer != NULL ? transfer->answer : calloc(1, 1);
        *answer_bytes = transfer->answer_bytes;
        transfer->answer = NULL;
        return *answer != NULL ? RANKD_OK : rankd_fail(error, RANKD_NO_MEMORY, "out of memory");
    }
    if (status >= RANKD_INVALID)
        (void)rankd_fail_json(error, status, transfer->answer != NULL ? transfer->answer : "",
                              transfer->answer_bytes);
    return status;
}

static int http_call(rankd_client *client, const char *method, const char *path, const void *body,
                     size_t bytes, uint64_t timeout_ns, char **answer, size_t *answer_bytes,
                     struct rankd_error *error)
{
    struct rankd_http *http = rankd_http_of(client);
    char *copy = malloc(bytes + 1);
    if (copy != NULL && bytes != 0)
        memcpy(copy, body, bytes);
    struct rankd_transfer *transfer =
        copy != NULL ? rankd_transfer_new(http, method, path, copy, bytes) : NULL;
    if (transfer == NULL)
        return rankd_fail(error, RANKD_NO_MEMORY, "out of memory");
    transfer->once = strcmp(method, "GET") != 0;
    transfer->most_bytes = CALL_BYTES;
    rankd_transfer_header(transfer, "Content-Type: application/json");
    if (transfer->incomplete) {
        rankd_transfer_end(http, transfer);
        return rankd_fail(error, RANKD_NO_MEMORY, "out of memory");
    }
    (void)pthread_mutex_lock(&http->lock);
    uint64_t tag = rankd_http_enqueue(http, transfer);
    if (http->driving)
        (void)curl_multi_wakeup(http->multi);
    int status;
    if (rankd_http_wait_done(http, tag, rankd_until(timeout_ns))) {
        status = finish_call(transfer, answer, answer_bytes, error);
        rankd_transfer_free(http, transfer);
    } else {
        rankd_http_forget(http, transfer);
        status = rankd_fail(error, RANKD_TIMEOUT, "no answer from %s%s in time", http->url, path);
    }
    (void)pthread_mutex_unlock(&http->lock);
    return status;
}

static int http_reconnect(rankd_client *client, struct rankd_error *error)
{
    (void)client;
    (void)error;
    return RANKD_OK; /* each request finds or makes a connection */
}

static void *http_alloc(rankd_client *client, uint64_t bytes)
{
    struct rankd_http *http = rankd_http_of(client);
    (void)pthread_mutex_lock(&http->lock);
    void *memory = rankd_http_take(&http->pieces, bytes);
    (void)pthread_mutex_unlock(&http->lock);
    return memory;
}

static void http_release(rankd_client *client, void *memory)
{
    struct rankd_http *http = rankd_http_of(client);
    (void)pthread_mutex_lock(&http->lock);
    rankd_http_give(&http->pieces, memory);
    (void)pthread_mutex_unlock(&http->lock);
}

static void http_arena(rankd_client *client, uint64_t *bytes, uint64_t *largest_free)
{
    (void)client;
    *bytes = *largest_free = UINT64_MAX;
}

static uint64_t http_daemon_id(rankd_client *client)
{
    (void)client;
    return 0;
}

static void http_close(rankd_client *client)
{
    struct rankd_http *http = rankd_http_of(client);
    while (http->transfers != NULL)
        rankd_transfer_free(http, http->transfers);
    (void)curl_multi_cleanup(http->multi);
    rankd_http_give_all(&http->pieces);
    (void)pthread_cond_destroy(&http->changed);
    (void)pthread_mutex_destroy(&http->lock);
    free(http->url);
    free(http->authorization);
    free(http);
}

static const struct rankd_transport transport = {
    .close = http_close,
    .forked = rankd_http_forked,
    .reconnect = http_reconnect,
    .alloc = http_alloc,
    .release = http_release,
    .arena = http_arena,
    .submit = http_submit,
    .wait = http_wait,
    .cancel = http_cancel,
    .call = http_call,
    .daemon_id = http_daemon_id,
};

static void init_curl(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* Checks now how curl will read the URL at the first request: it needs a host, and nothing may
 * follow the path. */
static int check_url(const char *url, struct rankd_error *error)
{
    CURLU *parts = curl_url();
    char *more = NULL;
    CURLUcode code = parts != NULL ? curl_url_set(parts, CURLUPART_URL, url, 0) : CURLUE_OUT_OF_MEMORY;
    if (code == CURLUE_OK && curl_url_get(parts, CURLUPART_QUERY, &more, 0) == CURLUE_NO_QUERY &&
        curl_url_get(parts, CURLUPART_FRAGMENT, &more, 0) == CURLUE_NO_FRAGMENT) {
        curl_url_cleanup(parts);
        return RANKD_OK;
    }
    curl_free(more);
    curl_url_cleanup(parts);
    if (code == CURLUE_OUT_OF_MEMORY)
        return rankd_fail(error, RANKD_NO_MEMORY, "out of memory");
    return rankd_fail(error, RANKD_MISUSE, "url is '%s'; it may be http://HOST:PORT or https://HOST:PORT: %s",
                      url, code != CURLUE_OK ? curl_url_strerror(code) : "there is more behind that");
}

/* The token becomes a line of the request's head. */
static int check_token(const char *token, struct rankd_error *error)
{
    for (const char *at = token != NULL ? token : ""; *at != '\0'; at++) {
        if (*at < ' ' || *at > '~')
            return rankd_fail(error, RANKD_MISUSE, "the token's character %zu is not printable ASCII",
                              (size_t)(at - token) + 1);
    }
    return RANKD_OK;
}

/* For curl 0 means five minutes, and it refuses more than an int holds. */
static long connect_milliseconds(uint64_t timeout_ns)
{
    if (timeout_ns == 0)
        return CONNECT_MS;
    uint64_t left = (timeout_ns - 1) / 1000000 + 1;
    return left < INT_MAX ? (long)left : INT_MAX;
}

static char *bearer(const char *token)
{
    static const char head[] = "Authorization: Bearer ";
    if (token == NULL)
        return NULL;
    size_t length = sizeof head + strlen(token);
    char *line = malloc(length);
    if (line != NULL)
        (void)snprintf(line, length, "%s%s", head, token);
    return line;
}

int rankd_http_open(const char *url, const struct rankd_options *options, rankd_client **client,
                    struct rankd_error *error)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, init_curl);
    int status = check_url(url, error);
    if (status == RANKD_OK)
        status = check_token(options->token, error);
    if (status != RANKD_OK)
        return status;
    struct rankd_http *http = calloc(1, sizeof *http);
    if (http == NULL)
        return rankd_fail(error, RANKD_NO_MEMORY, "out of memory");
    (void)pthread_cond_init(&http->changed, NULL);
    (void)pthread_mutex_init(&http->lock, NULL);
    http->base.transport = &transport;
    http->most = options->entries != 0 ? options->entries : DEFAULT_TRANSFERS;
    http->connect_ms = connect_milliseconds(options->connect_timeout_ns);
    http->url = strdup(url);
    http->authorization = bearer(options->token);
    http->multi = curl_multi_init();
    if (http->url == NULL || http->multi == NULL || (options->token != NULL && http->authorization == NULL)) {
        http_close(&http->base);
        return rankd_fail(error, RANKD_NO_MEMORY, "out of memory");
    }
    for (size_t n = strlen(http->url); n > 0 && http->url[n - 1] == '/'; n--)
        http->url[n - 1] = '\0';
    *client = &http->base;
    return RANKD_OK;
}
