/* SPDX-License-Identifier: Apache-2.0 */
/* The control API over HTTP, by libcurl. */
#include "http_backend.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

struct curl_http {
    struct ctl_http base;
    CURL *curl;
    struct curl_slist *headers;
    char *body;
    size_t used, room;
    char detail[CURL_ERROR_SIZE]; /* of the last call that failed */
};

static struct curl_http *curl_of(struct ctl_http *http)
{
    return (struct curl_http *)http;
}

/* The longest answer. */
static const size_t MOST_BYTES = (size_t)256 << 20;

static size_t collect(char *data, size_t one, size_t bytes, void *user)
{
    (void)one; /* always 1, by curl's contract */
    struct curl_http *http = user;
    if (bytes > MOST_BYTES - http->used)
        return 0;
    if (http->used + bytes + 1 > http->room) {
        size_t room = 2 * (http->used + bytes + 1);
        char *more = realloc(http->body, room);
        if (!more)
            return 0;
        http->body = more;
        http->room = room;
    }
    memcpy(http->body + http->used, data, bytes);
    http->used += bytes;
    http->body[http->used] = 0;
    return bytes;
}

static void check_url(const char *url)
{
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        exit(rankd_ctl_fail(
            2, "--url (or RANKD_URL) is '%s'; it must be http://HOST:PORT or https://HOST:PORT", url));
}

/* The daemon's own sentence where it gave one. */
static void explain(struct curl_http *http, long status)
{
    json_t *answer = json_loadb(http->body ? http->body : "", http->used, 0, NULL);
    const char *sentence = json_string_value(json_object_get(answer, "error"));
    if (sentence && sentence[0])
        snprintf(http->base.why, sizeof http->base.why, "%s", sentence);
    else
        snprintf(http->base.why, sizeof http->base.why, "%s answered with status %ld", http->base.url,
                 status);
    json_decref(answer);
}

/* libcurl's own description of the error, if it is more than the name of the code. */
static void explain_failure(struct curl_http *http, CURLcode code)
{
    const char *what = http->detail[0] ? http->detail : curl_easy_strerror(code);
    const char *hint = "";
    if (code == CURLE_COULDNT_CONNECT)
        hint = "; --url says where rankd listens";
    else if (code == CURLE_OPERATION_TIMEDOUT)
        hint = "; --timeout says how long an answer may take";
    else if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_WEIRD_SERVER_REPLY)
        hint = "; is this address really a rankd?";
    snprintf(http->base.why, sizeof http->base.why, "%s: %s%s", http->base.url, what, hint);
}

static char *curl_text(struct ctl_http *base, const char *method, const char *path, const char *body)
{
    struct curl_http *http = curl_of(base);
    char url[2048];
    size_t length = strlen(http->base.url);
    while (length && http->base.url[length - 1] == '/')
        length--;
    snprintf(url, sizeof url, "%.*s%s", (int)length, http->base.url, path);
    http->used = 0;
    http->detail[0] = '\0';
    CURL *curl = http->curl;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_POST, 0L);
    curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
    if (strcmp(method, "GET") != 0) {
        curl_easy_setopt(curl, CURLOPT_POST, 1L);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body ? body : "");
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(body ? strlen(body) : 0));
    }
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK) {
        explain_failure(http, code);
        return NULL;
    }
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) {
        explain(http, status);
        return NULL;
    }
    if (!http->used)
        return strdup("");
    if (memchr(http->body, 0, http->used)) {
        snprintf(http->base.why, sizeof http->base.why, "%s%s answered with something that is not text",
                 http->base.url, path);
        return NULL;
    }
    char *text = http->body;
    http->body = NULL;
    http->room = 0;
    return text;
}

static void curl_close(struct ctl_http *base)
{
    struct curl_http *http = curl_of(base);
    curl_easy_cleanup(http->curl);
    curl_slist_free_all(http->headers);
    free(http->body);
    free(http);
}

static const struct ctl_backend backend = {.text = curl_text, .close = curl_close};

struct ctl_http *rankd_ctl_curl_open(const struct ctl *ctl)
{
    check_url(ctl->url);
    struct curl_http *http = calloc(1, sizeof *http);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    CURL *curl = curl_easy_init();
    if (!http || !curl)
        exit(rankd_ctl_fail(1, "out of memory"));
    http->base.backend = &backend;
    http->curl = curl;
    (void)snprintf(http->base.url, sizeof http->base.url, "%s", ctl->url);
    if (ctl->token[0]) {
        char header[sizeof ctl->token + 32];
        snprintf(header, sizeof header, "Authorization: Bearer %s", ctl->token);
        http->headers = curl_slist_append(NULL, header);
    }
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, http->headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, http);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 5L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)(1000 * rankd_ctl_timeout(ctl))); /* of all of it */
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, http->detail);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    if (ctl->ca_file[0])
        curl_easy_setopt(curl, CURLOPT_CAINFO, ctl->ca_file);
    return &http->base;
}
