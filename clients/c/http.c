/* The HTTP transport: libcurl's multi interface. Transfers go on while some thread polls or waits; of all
 * that wait, one drives them. */
#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http_json.h"

enum { POLL_MS = 1000, DEFAULT_TRANSFERS = 64 };
static const long CONNECT_MS = 10000;

/* One exchange: an inference or a control request. */
struct transfer {
    struct transfer *next;
    uint64_t tag;
    CURL *easy;
    struct curl_slist *headers;
    char *body;
    struct rankd_http_room rooms[RANKD_OUT_COUNT];
    bool started, done, forgotten;
    CURLcode outcome;
    char detail[CURL_ERROR_SIZE];
    char *answer;
    size_t answer_bytes, json_bytes;
    bool has_json_bytes;
};

struct http {
    struct rankd_client base;
    char *url, *authorization;
    uint32_t most;
    long connect_ms;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    CURLM *multi;
    bool driving; /* a thread is in curl, without the lock */
    uint64_t next_tag;
    uint32_t count;
    struct transfer *transfers;
};

static struct http *http_of(rankd_client *client)
{
    return (struct http *)client;
}

/* ---- One transfer ---- */

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    struct transfer *transfer = arg;
    char *grown = realloc(transfer->answer, transfer->answer_bytes + size * count + 1);
    if (grown == NULL)
        return 0;
    memcpy(grown + transfer->answer_bytes, data, size * count);
    transfer->answer = grown;
    transfer->answer_bytes += size * count;
    grown[transfer->answer_bytes] = '\0';
    return size * count;
}

static size_t on_header(char *data, size_t size, size_t count, void *arg)
{
    static const char name[] = "Inference-Header-Content-Length:";
    struct transfer *transfer = arg;
    if (size * count >= sizeof name && strncasecmp(data, name, sizeof name - 1) == 0) {
        transfer->json_bytes = strtoull(data + sizeof name - 1, NULL, 10);
        transfer->has_json_bytes = true;
    }
    return size * count;
}

static void free_transfer(struct http *http, struct transfer *transfer)
{
    for (struct transfer **link = &http->transfers; *link != NULL; link = &(*link)->next) {
        if (*link == transfer) {
            *link = transfer->next;
            http->count--;
            break;
        }
    }
    if (transfer->easy != NULL) {
        if (transfer->started)
            (void)curl_multi_remove_handle(http->multi, transfer->easy);
        curl_easy_cleanup(transfer->easy);
    }
    curl_slist_free_all(transfer->headers);
    free(transfer->body);
    free(transfer->answer);
    free(transfer);
}

static void add_header(struct transfer *transfer, const char *line)
{
    struct curl_slist *longer = curl_slist_append(transfer->headers, line);
    if (longer != NULL)
        transfer->headers = longer;
}

/* Owns `body` whatever the outcome. */
static struct transfer *new_transfer(struct http *http, const char *method, const char *path, char *body,
                                     size_t bytes)
{
    struct transfer *transfer = calloc(1, sizeof *transfer);
    size_t length = strlen(http->url) + strlen(path) + 1;
    char *url = malloc(length);
    CURL *easy = curl_easy_init();
    if (transfer == NULL || url == NULL || easy == NULL) {
        free(transfer);
        free(url);
        free(body);
        curl_easy_cleanup(easy);
        return NULL;
    }
    (void)snprintf(url, length, "%s%s", http->url, path);
    transfer->easy = easy;
    transfer->body = body;
    add_header(transfer, "Expect:"); /* the daemon is not asked whether it wants the body */
    if (http->authorization != NULL)
        add_header(transfer, http->authorization);
    (void)curl_easy_setopt(easy, CURLOPT_URL, url);
    (void)curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, http->connect_ms);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->detail);
    (void)curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    if (bytes != 0 || strcmp(method, "GET") != 0) {
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)bytes);
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, bytes != 0 ? body : "");
    }
    free(url);
    return transfer;
}

/* With the lock; a transfer is begun by whoever drives next. */
static uint64_t enqueue(struct http *http, struct transfer *transfer)
{
    (void)curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers);
    transfer->tag = ++http->next_tag;
    transfer->next = http->transfers;
    http->transfers = transfer;
    http->count++;
    return transfer->tag;
}

static struct transfer *find(struct http *http, uint64_t tag)
{
    struct transfer *transfer = http->transfers;
    while (transfer != NULL && transfer->tag != tag)
        transfer = transfer->next;
    return transfer;
}

/* ---- Driving ---- */

static void collect(struct http *http)
{
    int left;
    CURLMsg *message;
    while ((message = curl_multi_info_read(http->multi, &left)) != NULL) {
        struct transfer *transfer = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
        transfer->outcome = message->data.result;
        transfer->done = true;
        if (transfer->forgotten)
            free_transfer(http, transfer);
    }
}

/* With the lock, and nobody driving: starts what is new and moves what can be moved. */
static void perform(struct http *http)
{
    int running;
    for (struct transfer *transfer = http->transfers; transfer != NULL; transfer = transfer->next) {
        if (!transfer->started)
            transfer->started = curl_multi_add_handle(http->multi, transfer->easy) == CURLM_OK;
    }
    (void)curl_multi_perform(http->multi, &running);
    collect(http);
}

static void drive(struct http *http, uint64_t until_ns)
{
    uint64_t now = rankd_now_ns();
    uint64_t left = until_ns > now ? (until_ns - now) / 1000000 + 1 : 0;
    http->driving = true;
    (void)pthread_mutex_unlock(&http->lock);
    (void)curl_multi_poll(http->multi, NULL, 0, left > POLL_MS ? POLL_MS : (int)left, NULL);
    (void)pthread_mutex_lock(&http->lock);
    http->driving = false;
    perform(http);
    (void)pthread_cond_broadcast(&http->changed);
}

/* With the lock. False: the limit passed. */
static bool wait_done(struct http *http, uint64_t tag, uint64_t until_ns)
{
    for (;;) {
        if (!http->driving)
            perform(http);
        struct transfer *transfer = find(http, tag);
        if (transfer == NULL || transfer->done)
            return true;
        if (until_ns != UINT64_MAX && rankd_now_ns() >= until_ns)
            return false;
        if (!http->driving) {
            drive(http, until_ns);
            continue;
        }
        struct timespec until = {(time_t)(until_ns / 1000000000u), (long)(until_ns % 1000000000u)};
        if (until_ns == UINT64_MAX)
            (void)pthread_cond_wait(&http->changed, &http->lock);
        else
            (void)pthread_cond_timedwait(&http->changed, &http->lock, &until);
    }
}

static void wake_driver(struct http *http)
{
    if (http->driving)
        (void)curl_multi_wakeup(http->multi);
    else
        perform(http);
}

/* The HTTP status of a finished transfer, or a status of our own with *error. */
static int outcome_of(struct transfer *transfer, struct rankd_error *error)
{
    long http_status = 0;
    const char *detail =
        transfer->detail[0] != '\0' ? transfer->detail : curl_easy_strerror(transfer->outcome);
    switch (transfer->outcome) {
    case CURLE_OK:
        (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &http_status);
        return (int)http_status;
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
        return rankd_fail(error, RANKD_UNREACHABLE, "%s", detail);
    default:
        return rankd_fail(error, RANKD_LOST, "the connection broke: %s", detail);
    }
}

/* ---- The transport's calls ---- */

static int http_submit(rankd_client *client, const struct rankd_request *request, uint64_t *tag,
                       struct rankd_error *error)
{
    struct http *http = http_of(client);
    size_t json_bytes, bytes;
    char path[128], line[64];
    int length = snprintf(path, sizeof path, "/v2/models/%s/infer", request->model);
    if (length >= (int)sizeof path || strpbrk(request->model, "/?# \r\n") != NULL)
        return rankd_fail(error, RANKD_NOT_FOUND, "there is no model of this name");
    char *body = rankd_http_encode(request, &json_bytes, &bytes);
    struct transfer *transfer = body != NULL ? new_transfer(http, "POST", path, body, bytes) : NULL;
    if (transfer == NULL)
        return rankd_fail(error, RANKD_NO_MEMORY,
                          "the request can't be written: out of memory, or a number is not finite");
    (void)snprintf(line, sizeof line, "Inference-Header-Content-Length: %zu", json_bytes);
    add_header(transfer, line);
    add_header(transfer, "Content-Type: application/octet-stream");
    for (size_t i = 0; i < request->output_count; i++) {
        const struct rankd_tensor *output = &request->outputs[i];
        transfer->rooms[output->port] = (struct rankd_http_room){true, output->data, output->bytes};
    }
    (void)pthread_mutex_lock(&http->lock);
    int status = RANKD_OK;
    if (http->count >= http->most) {
        status = rankd_fail(error, RANKD_OVERLOADED, "%u requests are outstanding already", http->most);
        free_transfer(http, transfer);
    } else {
        *tag = enqueue(http, transfer);
        wake_driver(http);
    }
    (void)pthread_mutex_unlock(&http->lock);
    return status;
}

static int read_reply(struct transfer *transfer, struct rankd_reply *reply)
{
    struct rankd_error error = {0};
    int status = outcome_of(transfer, &error);
    if (status == 200) {
        size_t json_bytes = transfer->has_json_bytes ? transfer->json_bytes : transfer->answer_bytes;
        status = rankd_http_decode(transfer->answer != NULL ? transfer->answer : "", transfer->answer_bytes,
                                   json_bytes, transfer->rooms, reply);
        reply->status = status;
        return status;
    }
    if (transfer->outcome == CURLE_OK)
        (void)rankd_fail_json(&error, status, transfer->answer != NULL ? transfer->answer : "",
                              transfer->answer_bytes);
    return rankd_reply_fail(reply, status, error.text);
}

static int http_wait(rankd_client *client, uint64_t tag, uint64_t timeout_ns, struct rankd_reply *reply)
{
    struct http *http = http_of(client);
    (void)pthread_mutex_lock(&http->lock);
    bool known = find(http, tag) != NULL;
    bool done = wait_done(http, tag, timeout_ns == 0 ? 0 : rankd_until(timeout_ns));
    struct transfer *transfer = find(http, tag);
    int status;
    if (!known || transfer == NULL) {
        status = rankd_reply_fail(reply, RANKD_MISUSE, "no request that is outstanding has this tag");
    } else if (!done) {
        status = rankd_reply_fail(reply, timeout_ns == 0 ? RANKD_PENDING : RANKD_TIMEOUT,
                                  "the reply is not there yet");
    } else {
        status = read_reply(transfer, reply);
        free_transfer(http, transfer);
    }
    (void)pthread_mutex_unlock(&http->lock);
    return status;
}

/* HTTP has no way to take a request back: only the reply is not waited for. */
static int http_cancel(rankd_client *client, uint64_t tag, bool forget)
{
    struct http *http = http_of(client);
    (void)pthread_mutex_lock(&http->lock);
    struct transfer *transfer = find(http, tag);
    if (transfer != NULL && forget) {
        transfer->forgotten = true;
        if (transfer->done)
            free_transfer(http, transfer);
    }
    (void)pthread_mutex_unlock(&http->lock);
    return transfer != NULL ? RANKD_OK : RANKD_MISUSE;
}

static int finish_call(struct transfer *transfer, char **answer, size_t *answer_bytes,
                       struct rankd_error *error)
{
    int status = outcome_of(transfer, error);
    if (status == 200) {
        *answer = transfer->answer != NULL ? transfer->answer : calloc(1, 1);
        *answer_bytes = transfer->answer_bytes;
        transfer->answer = NULL;
        return *answer != NULL ? RANKD_OK : rankd_fail(error, RANKD_NO_MEMORY, "out of memory");
    }
    if (transfer->outcome == CURLE_OK)
        (void)rankd_fail_json(error, status, transfer->answer != NULL ? transfer->answer : "",
                              transfer->answer_bytes);
    return status;
}

static int http_call(rankd_client *client, const char *method, const char *path, const void *body,
                     size_t bytes, uint64_t timeout_ns, char **answer, size_t *answer_bytes,
                     struct rankd_error *error)
{
    struct http *http = http_of(client);
    char *copy = malloc(bytes + 1);
    if (copy != NULL && bytes != 0)
        memcpy(copy, body, bytes);
    struct transfer *transfer = copy != NULL ? new_transfer(http, method, path, copy, bytes) : NULL;
    if (transfer == NULL)
        return rankd_fail(error, RANKD_NO_MEMORY, "out of memory");
    add_header(transfer, "Content-Type: application/json");
    (void)pthread_mutex_lock(&http->lock);
    uint64_t tag = enqueue(http, transfer);
    if (http->driving)
        (void)curl_multi_wakeup(http->multi);
    int status;
    if (wait_done(http, tag, rankd_until(timeout_ns))) {
        status = finish_call(transfer, answer, answer_bytes, error);
        free_transfer(http, transfer);
    } else {
        transfer->forgotten = true;
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
    (void)client;
    return bytes > SIZE_MAX - 64 ? NULL : aligned_alloc(64, (bytes + 64) / 64 * 64);
}

static void http_release(rankd_client *client, void *memory)
{
    (void)client;
    free(memory);
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

static void http_forked(rankd_client *client)
{
    (void)client; /* the child's copies of the connections are close-on-exec, and are not touched again */
}

static void http_close(rankd_client *client)
{
    struct http *http = http_of(client);
    while (http->transfers != NULL)
        free_transfer(http, http->transfers);
    (void)curl_multi_cleanup(http->multi);
    (void)pthread_cond_destroy(&http->changed);
    (void)pthread_mutex_destroy(&http->lock);
    free(http->url);
    free(http->authorization);
    free(http);
}

static const struct rankd_transport transport = {
    .close = http_close,
    .forked = http_forked,
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
    struct http *http = calloc(1, sizeof *http);
    if (http == NULL)
        return rankd_fail(error, RANKD_NO_MEMORY, "out of memory");
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&http->changed, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    (void)pthread_mutex_init(&http->lock, NULL);
    http->base.transport = &transport;
    http->most = options->entries != 0 ? options->entries : DEFAULT_TRANSFERS;
    http->connect_ms =
        options->connect_timeout_ns != 0 ? (long)(options->connect_timeout_ns / 1000000) : CONNECT_MS;
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
