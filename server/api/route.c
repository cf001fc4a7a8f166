/* SPDX-License-Identifier: Apache-2.0 */
#include "api/route.h"

#include <stdio.h>
#include <string.h>

const struct rk_route rk_routes[] = {
#define RK_ROUTE(verb, pattern, scope, kind, handler)                                                        \
    {verb, pattern, RK_SCOPE_##scope, RK_ROUTE_##kind, handler},
#include "api/route.def"
};
const size_t rk_route_count = sizeof rk_routes / sizeof *rk_routes;

/* Number of literal characters of the pattern if it matches, plus one; 0 if not. */
static size_t matches(const char *pattern, const char *path, struct rk_match *match)
{
    size_t literal = 1;
    unsigned names = 0;
    memset(match, 0, sizeof *match);
    while (*pattern && *path) {
        if (*pattern != '{') {
            if (*pattern++ != *path++)
                return 0;
            literal++;
            continue;
        }
        const size_t length = strcspn(path, "/");
        if (length == 0 || length >= RK_ROUTE_NAME_BYTES || names == RK_ROUTE_NAMES)
            return 0;
        memcpy(match->names[names++], path, length);
        path += length;
        pattern += strcspn(pattern, "}") + 1;
    }
    return *pattern == *path ? literal : 0;
}

/* "/v2/models/ap/versions/1/infer" is "/v2/models/ap/infer": there is one version of each model. */
static enum rankd_status drop_version(const char *path, char *out, size_t size, struct rk_err *err)
{
    static const char models[] = "/v2/models/", versions[] = "/versions/";
    const char *cut = NULL;
    if (strncmp(path, models, sizeof models - 1) == 0)
        cut = strchr(path + sizeof models - 1, '/');
    if (!cut || strncmp(cut, versions, sizeof versions - 1) != 0) {
        (void)snprintf(out, size, "%s", strcmp(path, "/v2/") == 0 ? "/v2" : path);
        return RANKD_OK;
    }
    const char *version = cut + sizeof versions - 1;
    const size_t length = strcspn(version, "/");
    if (length != 1 || *version != '1')
        return rk_fail(err, RANKD_NOT_FOUND,
                       "version \"%.*s\" was asked for; every model has version \"1\" alone",
                       (int)(length < 32 ? length : 32), version);
    (void)snprintf(out, size, "%.*s%s", (int)(cut - path), path, version + 1);
    return RANKD_OK;
}

static void add_verb(char allow[64], const char *verb)
{
    const size_t at = strlen(allow);
    (void)snprintf(allow + at, 64 - at, "%s%s", at ? ", " : "", verb);
}

const struct rk_route *rk_route_find(const char *verb, const char *path, struct rk_match *match,
                                     char allow[64], struct rk_err *err)
{
    char plain[1024] = "";
    allow[0] = '\0';
    if (strlen(path) >= sizeof plain) {
        (void)rk_fail(err, RANKD_NOT_FOUND, "the path has %zu bytes; no route has that many", strlen(path));
        return NULL;
    }
    if (drop_version(path, plain, sizeof plain, err) != RANKD_OK)
        return NULL;
    size_t longest = 0;
    const struct rk_route *best = NULL;
    struct rk_match found;
    for (size_t i = 0; i < rk_route_count; i++) {
        const size_t literal = matches(rk_routes[i].pattern, plain, &found);
        if (literal == 0 || literal < longest)
            continue;
        if (literal > longest) {
            longest = literal;
            best = NULL;
            allow[0] = '\0';
        }
        add_verb(allow, rk_routes[i].verb);
        if (strcmp(rk_routes[i].verb, verb) == 0) {
            best = &rk_routes[i];
            *match = found;
        }
    }
    if (!best && longest)
        (void)rk_fail(err, RANKD_WRONG_VERB, "the verb of %.200s was \"%.32s\"; it may be %s", path, verb,
                      allow);
    else if (!best)
        (void)rk_fail(err, RANKD_NOT_FOUND,
                      "there is nothing at \"%.200s\"; /v2 names the server, /v2/models/ap a model", path);
    return best;
}

struct rk_worker_pool *rk_route_queue(const struct rk_api_env *env, const struct rk_route *route)
{
    return route && route->kind == RK_ROUTE_DISK ? env->admin_queue : env->workers;
}
