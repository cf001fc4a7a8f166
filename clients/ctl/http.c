/* SPDX-License-Identifier: Apache-2.0 */
#include "http.h"

#include <stdlib.h>
#include <string.h>

#include "http_backend.h"

bool rankd_ctl_http_speaks(const char *url)
{
#ifdef RANKD_WITHOUT_HTTP
    (void)url;
    return false;
#else
    return strncmp(url, "unix:", 5) != 0;
#endif
}

struct ctl_http *rankd_ctl_http_open(const struct ctl *ctl)
{
    if (ctl->socket[0])
        return rankd_ctl_socket_open(ctl);
#ifdef RANKD_WITHOUT_HTTP
    exit(rankd_ctl_fail(2, "this rankctl was built without HTTP: --socket PATH, or RANKD_URL=unix:PATH, says "
                           "where rankd listens"));
#else
    return rankd_ctl_curl_open(ctl);
#endif
}

void rankd_ctl_http_close(struct ctl_http *http)
{
    if (http)
        http->backend->close(http);
}

const char *rankd_ctl_http_why(const struct ctl_http *http)
{
    return http->why;
}

const char *rankd_ctl_http_url(const struct ctl_http *http)
{
    return http->url;
}

char *rankd_ctl_http_text(struct ctl_http *http, const char *method, const char *path, const char *body)
{
    return http->backend->text(http, method, path, body);
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
