/* SPDX-License-Identifier: Apache-2.0 */
#include "http.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

struct ctl_http {
    CURL *curl;
    struct curl_slist *headers;
    const char *url;
    char *body;
    size_t used, room;
    char why[2304];
    char detail[CURL_ERROR_SIZE]; /* of the last call that failed */
};

/* What an answer may have at most. */
static const size_t MOST_BYTES = (size_t)256 << 20;

static size_t collect(char *data, size_t one, size_t bytes, void *user)
{
    (void)one; /* always 1, by curl's contract */
    struct ctl_http *http = user;
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

struct ctl_http *rankd_ctl_http_open(const struct ctl *ctl)
{
    check_url(ctl->url);
    struct ctl_http *http = calloc(1, sizeof *http);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    CURL *curl = curl_easy_init();
    if (!http || !curl)
        exit(rankd_ctl_fail(1, "out of memory"));
    http->curl = curl;
    http->url = ctl->url;
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
    return http;
}

void rankd_ctl_http_close(struct ctl_http *http)
{
    if (!http)
        return;
    curl_easy_cleanup(http->curl);
    curl_slist_free_all(http->headers);
    free(http->body);
    free(http);
}

const char *rankd_ctl_http_why(const struct ctl_http *http)
{
    return http->why;
}

/* The daemon's own sentence where it gave one. */
static void explain(struct ctl_http *http, long status)
{
    json_t *answer = json_loadb(http->body ? http->body : "", http->used, 0, NULL);
    const char *sentence = json_string_value(json_object_get(answer, "error"));
    if (sentence && sentence[0])
        snprintf(http->why, sizeof http->why, "%s", sentence);
    else
        snprintf(http->why, sizeof http->why, "%s answered with status %ld", http->url, status);
    json_decref(answer);
}

/* libcurl's own words of what it met, where it has more than the name of the code. */
static void explain_failure(struct ctl_http *http, CURLcode code)
{
    const char *what = http->detail[0] ? http->detail : curl_easy_strerror(code);
    const char *hint = "";
    if (code == CURLE_COULDNT_CONNECT)
        hint = "; --url says where rankd listens";
    else if (code == CURLE_OPERATION_TIMEDOUT)
        hint = "; --timeout says how long an answer may take";
    else if (code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_WEIRD_SERVER_REPLY)
        hint = "; is this address really a rankd?";
    snprintf(http->why, sizeof http->why, "%s: %s%s", http->url, what, hint);
}

char *rankd_ctl_http_text(struct ctl_http *http, const char *method, const char *path, const char *body)
{
    char url[2048];
    size_t base = strlen(http->url);
    while (base && http->url[base - 1] == '/')
        base--;
    snprintf(url, sizeof url, "%.*s%s", (int)base, http->url, path);
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
        snprintf(http->why, sizeof http->why, "%s%s answered with something that is no text", http->url,
                 path);
        return NULL;
    }
    char *text = http->body;
    http->body = NULL;
    http->room = 0;
    return text;
}

json_t *rankd_ctl_http_json(struct ctl_http *http, const char *method, const char *path, const char *body)
{
    char *text = rankd_ctl_http_text(http, method, path, body);
    if (!text)
        return NULL;
    json_error_t where;
    json_t *value = text[0] ? json_loads(text, JSON_DECODE_ANY, &where) : json_object();
    if (!value)
        snprintf(http->why, sizeof http->why, "%s%s did not answer in JSON: %s", http->url, path, where.text);
    free(text);
    return value;
}

const char *rankd_ctl_http_string(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "?";
}

bool rankd_ctl_http_is_list(const json_t *answer)
{
    size_t i;
    json_t *one;
    json_array_foreach(answer, i, one)
    {
        if (!json_is_object(one))
            return false;
    }
    return json_is_array(answer);
}
