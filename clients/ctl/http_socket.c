/* SPDX-License-Identifier: Apache-2.0 */
/* The control API over the daemon's socket, by librankd. */
#include <stdlib.h>
#include <string.h>

#include "http_backend.h"
#include "rankd.h"

struct socket_http {
    struct ctl_http base;
    rankd_client *client; /* NULL until the first call reached the daemon */
    uint64_t timeout_ns;
};

static struct socket_http *socket_of(struct ctl_http *http)
{
    return (struct socket_http *)http;
}

/* The smallest segment that the daemon gives: calls do not use it. */
static int connect_client(struct socket_http *http, struct rankd_error *error)
{
    const struct rankd_options options = {
        .arena_bytes = 1u << 20, .entries = 2, .connect_timeout_ns = http->timeout_ns};
    if (http->client)
        return rankd_reconnect(http->client, error);
    return rankd_open(http->base.url, &options, &http->client, error);
}

static char *socket_text(struct ctl_http *base, const char *method, const char *path, const char *body)
{
    struct socket_http *http = socket_of(base);
    struct rankd_error error = {0};
    char *answer = NULL;
    size_t bytes = 0;
    int status = connect_client(http, &error);
    if (status == RANKD_OK)
        status = rankd_call(http->client, method, path, body, body ? strlen(body) : 0, http->timeout_ns,
                            &answer, &bytes, &error);
    if (status != RANKD_OK) {
        const char *hint = status == RANKD_UNREACHABLE ? "; --socket says where rankd listens" : "";
        snprintf(base->why, sizeof base->why, "%s%s", error.text, hint);
        return NULL;
    }
    if (memchr(answer, 0, bytes)) {
        snprintf(base->why, sizeof base->why, "%.2000s%.200s answered with something that is not text",
                 base->url, path);
        free(answer);
        return NULL;
    }
    return answer;
}

static void socket_close(struct ctl_http *base)
{
    struct socket_http *http = socket_of(base);
    rankd_close(http->client);
    free(http);
}

static const struct ctl_backend backend = {.text = socket_text, .close = socket_close};

struct ctl_http *rankd_ctl_socket_open(const struct ctl *ctl)
{
    struct socket_http *http = calloc(1, sizeof *http);
    if (!http)
        exit(rankd_ctl_fail(1, "out of memory"));
    http->base.backend = &backend;
    http->timeout_ns = (uint64_t)(1e9 * rankd_ctl_timeout(ctl));
    (void)snprintf(http->base.url, sizeof http->base.url, "unix:%s", ctl->socket);
    return &http->base;
}
