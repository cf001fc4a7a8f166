/* SPDX-License-Identifier: Apache-2.0 */
/* One exchange over HTTP, and driving all of them: libcurl's multi interface. Transfers progress
 * while a thread polls or waits; one of the waiting threads drives them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "error.h"
#include "http_internal.h"
#include "request.h"

enum { POLL_MS = 1000 };

/* ---- One transfer ---- */

static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
    struct rankd_transfer *transfer = arg;
    transfer->too_long = size * count > transfer->most_bytes - transfer->answer_bytes;
    if (transfer->too_long)
        return 0;
    char *grown = realloc(transfer->answer, transfer->answer_bytes + size * count + 1);
    if (grown == NULL)
        return 0;
    memcpy(grown + transfer->answer_bytes, data, size * count);
    transfer->answer = grown;
    transfer->answer_bytes += size * count;
    grown[transfer->answer_bytes] = '\0';
    return size * count;
}

/* Digits with blanks around, as a header has them. False: anything else, or more than a size_t
 * holds. */
static bool read_length(const char *text, size_t bytes, size_t *length)
{
    const char *end = text + bytes;
    while (end > text && strchr(" \t\r\n", end[-1]) != NULL)
        end--;
    while (text < end && (*text == ' ' || *text == '\t'))
        text++;
    bool good = text < end;
    for (*length = 0; good && text < end; text++)
        good = *text >= '0' && *text <= '9' && !__builtin_mul_overflow(*length, 10, length) &&
               !__builtin_add_overflow(*length, (size_t)(*text - '0'), length);
    return good;
}

/* Called for the header of each answer, provisional ones included, and for trailers. */
static size_t on_header(char *data, size_t size, size_t count, void *arg)
{
    static const char name[] = "Inference-Header-Content-Length:";
    struct rankd_transfer *transfer = arg;
    size_t bytes = size * count, skip = sizeof name - 1;
    if (bytes >= 5 && memcmp(data, "HTTP/", 5) == 0)
        transfer->json_length = RANKD_LENGTH_NONE;
    if (bytes >= skip && strncasecmp(data, name, skip) == 0) {
        bool good = transfer->json_length == RANKD_LENGTH_NONE &&
                    read_length(data + skip, bytes - skip, &transfer->json_bytes);
        transfer->json_length = good ? RANKD_LENGTH_GOOD : RANKD_LENGTH_BAD;
    }
    return bytes;
}

void rankd_transfer_end(struct rankd_http *http, struct rankd_transfer *transfer)
{
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

void rankd_transfer_free(struct rankd_http *http, struct rankd_transfer *transfer)
{
    struct rankd_transfer **link = &http->transfers;
    while (*link != transfer)
        link = &(*link)->next;
    *link = transfer->next;
    http->count--;
    rankd_transfer_end(http, transfer);
}

/* ---- Sockets, which a forked child must not keep ---- */

static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct rankd_http *http = arg;
    (void)purpose;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    for (int i = 0; i < RANKD_HTTP_SOCKETS && fd >= 0; i++) {
        int none = 0;
        if (atomic_compare_exchange_strong(&http->sockets[i], &none, fd + 1))
            break;
    }
    return fd >= 0 ? fd : CURL_SOCKET_BAD;
}

static int on_close(void *arg, curl_socket_t fd)
{
    struct rankd_http *http = arg;
    for (int i = 0; i < RANKD_HTTP_SOCKETS; i++) {
        int it = fd + 1;
        if (atomic_compare_exchange_strong(&http->sockets[i], &it, 0))
            break;
    }
    return close(fd);
}

void rankd_http_forked(rankd_client *client)
{
    struct rankd_http *http = rankd_http_of(client);
    for (int i = 0; i < RANKD_HTTP_SOCKETS; i++) {
        int fd = atomic_load(&http->sockets[i]) - 1;
        if (fd >= 0)
            (void)close(fd);
    }
}

/* ---- Setting one up ---- */

void rankd_transfer_header(struct rankd_transfer *transfer, const char *line)
{
    struct curl_slist *longer = curl_slist_append(transfer->headers, line);
    if (longer != NULL)
        transfer->headers = longer;
    else
        transfer->incomplete = true;
}

/* Called when connected, before the request is sent. */
static int on_ready(void *arg, char *to, char *from, int to_port, int from_port)
{
    struct rankd_transfer *transfer = arg;
    (void)to, (void)from, (void)to_port, (void)from_port;
    /* Not a third time, even if it may be repeated: the request might crash the daemon. */
    unsigned most = transfer->once ? 1 : 2;
    return transfer->sent++ < most ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

/* False: out of memory. */
static bool set_up(struct rankd_http *http, struct rankd_transfer *transfer, const char *method,
                   const char *url, size_t bytes)
{
    CURL *easy = transfer->easy;
    rankd_transfer_header(transfer, "Expect:"); /* the daemon is not asked whether it wants the body */
    if (http->authorization != NULL)
        rankd_transfer_header(transfer, http->authorization);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, http->connect_ms);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    (void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
    (void)curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, http);
    (void)curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    (void)curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, http);
    (void)curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_ready);
    (void)curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->detail);
    (void)curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    if (bytes != 0 || strcmp(method, "GET") != 0) {
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)bytes);
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, bytes != 0 ? transfer->body : "");
    }
    /* These are copied. */
    return curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(easy, CURLOPT_NOPROXY, "*") == CURLE_OK && !transfer->incomplete;
}

struct rankd_transfer *rankd_transfer_new(struct rankd_http *http, const char *method, const char *path,
                                          char *body, size_t bytes)
{
    struct rankd_transfer *transfer = calloc(1, sizeof *transfer);
    size_t length = strlen(http->url) + strlen(path) + 1;
    char *url = malloc(length);
    if (transfer != NULL && url != NULL) {
        (void)snprintf(url, length, "%s%s", http->url, path);
        transfer->body = body;
        transfer->easy = curl_easy_init();
        if (transfer->easy != NULL && set_up(http, transfer, method, url, bytes)) {
            free(url);
            return transfer;
        }
        rankd_transfer_end(http, transfer);
    } else {
        free(transfer);
        free(body);
    }
    free(url);
    return NULL;
}

uint64_t rankd_http_enqueue(struct rankd_http *http, struct rankd_transfer *transfer)
{
    (void)curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers);
    transfer->tag = ++http->next_tag;
    transfer->next = http->transfers;
    http->transfers = transfer;
    http->count++;
    return transfer->tag;
}

struct rankd_transfer *rankd_http_find(struct rankd_http *http, uint64_t tag)
{
    struct rankd_transfer *transfer = http->transfers;
    while (transfer != NULL && (transfer->tag != tag || transfer->discarded))
        transfer = transfer->next;
    return transfer;
}

/* ---- Driving ---- */

static void collect(struct rankd_http *http)
{
    int left;
    CURLMsg *message;
    while ((message = curl_multi_info_read(http->multi, &left)) != NULL) {
        struct rankd_transfer *transfer = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
        transfer->outcome = message->data.result;
        transfer->done = true;
    }
}

static void begin_transfer(struct rankd_http *http, struct rankd_transfer *transfer)
{
    transfer->started = curl_multi_add_handle(http->multi, transfer->easy) == CURLM_OK;
    if (transfer->started)
        return;
    transfer->outcome = CURLE_OUT_OF_MEMORY;
    transfer->done = true;
}

/* With the lock, and no thread driving: ends forgotten transfers, starts new ones and continues
 * all. */
static void perform(struct rankd_http *http)
{
    int running;
    for (struct rankd_transfer *transfer = http->transfers, *next; transfer != NULL; transfer = next) {
        next = transfer->next;
        if (transfer->discarded)
            rankd_transfer_free(http, transfer);
        else if (!transfer->started && !transfer->done)
            begin_transfer(http, transfer);
    }
    (void)curl_multi_perform(http->multi, &running);
    collect(http);
}

static void drive(struct rankd_http *http, uint64_t until_ns)
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

bool rankd_http_wait_done(struct rankd_http *http, uint64_t tag, uint64_t until_ns)
{
    for (;;) {
        if (!http->driving)
            perform(http);
        struct rankd_transfer *transfer = rankd_http_find(http, tag);
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
            (void)pthread_cond_clockwait(&http->changed, &http->lock, CLOCK_MONOTONIC, &until);
    }
}

void rankd_http_wake(struct rankd_http *http)
{
    if (http->driving)
        (void)curl_multi_wakeup(http->multi);
    else
        perform(http);
}

/* Only the thread in curl may remove a transfer from it. */
void rankd_http_forget(struct rankd_http *http, struct rankd_transfer *transfer)
{
    transfer->discarded = true;
    if (http->driving)
        (void)curl_multi_wakeup(http->multi);
    else
        rankd_transfer_free(http, transfer);
}

static bool found_nobody(CURLcode outcome)
{
    return outcome == CURLE_OPERATION_TIMEDOUT || /* only connecting has a limit */
           outcome == CURLE_COULDNT_CONNECT || outcome == CURLE_COULDNT_RESOLVE_HOST ||
           outcome == CURLE_SSL_CONNECT_ERROR || outcome == CURLE_PEER_FAILED_VERIFICATION;
}

static bool is_no_answer(CURLcode outcome)
{
    return outcome == CURLE_WEIRD_SERVER_REPLY || outcome == CURLE_UNSUPPORTED_PROTOCOL ||
#if LIBCURL_VERSION_NUM >= 0x080600
           outcome == CURLE_TOO_LARGE ||
#endif
           outcome == CURLE_BAD_CONTENT_ENCODING;
}

int rankd_transfer_outcome(struct rankd_transfer *transfer, struct rankd_error *error)
{
    long http_status = 0;
    CURLcode outcome = transfer->outcome;
    const char *detail = transfer->detail[0] != '\0' ? transfer->detail : curl_easy_strerror(outcome);
    if (outcome == CURLE_OK) {
        (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &http_status);
        if (http_status == 200 || (http_status != RANKD_OK && rankd_is_status(http_status)))
            return (int)http_status;
        return rankd_fail(error, RANKD_PROTOCOL, "the answer has status %ld, which rankd never gives",
                          http_status);
    }
    if (transfer->too_long)
        return rankd_fail(error, RANKD_PROTOCOL,
                          "the answer has more than the %zu bytes that the request may need",
                          transfer->most_bytes);
    if (outcome == CURLE_OUT_OF_MEMORY || outcome == CURLE_WRITE_ERROR) /* on_body() found no room */
        return rankd_fail(error, RANKD_NO_MEMORY, "out of memory during a request, which may have been done");
    if (outcome == CURLE_ABORTED_BY_CALLBACK)
        return rankd_fail(error, RANKD_LOST, "the connection broke before the answer");
    if (transfer->sent == 0 && found_nobody(outcome))
        return rankd_fail(error, RANKD_UNREACHABLE, "%s", detail);
    if (is_no_answer(outcome))
        return rankd_fail(error, RANKD_PROTOCOL, "the answer is not HTTP as rankd writes it: %s", detail);
    return rankd_fail(error, RANKD_LOST, "the connection broke: %s", detail);
}
