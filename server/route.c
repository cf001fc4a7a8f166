#include "route.h"

#include <stdio.h>
#include <string.h>

#include "app.h"

const struct rk_route rk_routes[] = {
    {"GET", "/", 0, RK_ROUTE_LIGHT, rk_api_page},
    {"GET", "/metrics", RK_SCOPE_METRICS, RK_ROUTE_LIGHT, rk_api_metrics},
    {"GET", "/v2/health/live", 0, RK_ROUTE_LIGHT, rk_api_live},
    {"GET", "/v2/health/ready", 0, RK_ROUTE_LIGHT, rk_api_ready},
    {"GET", "/v2", 0, RK_ROUTE_LIGHT, rk_api_server},
    {"POST", "/v2/repository/index", RK_SCOPE_INFER, RK_ROUTE_LIGHT, rk_api_index},
    {"GET", "/v2/models/stats", RK_SCOPE_INFER, RK_ROUTE_LIGHT, rk_api_all_stats},
    {"GET", "/v2/models/{model}", RK_SCOPE_INFER, RK_ROUTE_LIGHT, rk_api_model},
    {"GET", "/v2/models/{model}/ready", RK_SCOPE_INFER, RK_ROUTE_LIGHT, rk_api_model_ready},
    {"GET", "/v2/models/{model}/config", RK_SCOPE_INFER, RK_ROUTE_LIGHT, rk_api_model_config},
    {"GET", "/v2/models/{model}/stats", RK_SCOPE_INFER, RK_ROUTE_LIGHT, rk_api_model_stats},
    {"POST", "/v2/models/{model}/infer", RK_SCOPE_INFER, RK_ROUTE_INFER, NULL},
    {"GET", "/v2/systemsharedmemory/status", RK_SCOPE_INFER, RK_ROUTE_LIGHT, rk_api_regions},
    {"POST", "/v2/systemsharedmemory/unregister", RK_SCOPE_INFER, RK_ROUTE_LIGHT, rk_api_regions_unregister},
    {"GET", "/v2/systemsharedmemory/region/{region}/status", RK_SCOPE_INFER, RK_ROUTE_LIGHT, rk_api_region},
    {"POST", "/v2/systemsharedmemory/region/{region}/register", RK_SCOPE_INFER, RK_ROUTE_LIGHT,
     rk_api_region_register},
    {"POST", "/v2/systemsharedmemory/region/{region}/unregister", RK_SCOPE_INFER, RK_ROUTE_LIGHT,
     rk_api_region_unregister},
    {"GET", "/v2/cudasharedmemory/status", RK_SCOPE_INFER, RK_ROUTE_LIGHT, rk_api_card_regions},
    {"POST", "/v2/cudasharedmemory/unregister", RK_SCOPE_INFER, RK_ROUTE_WORKER,
     rk_api_card_regions_unregister},
    {"GET", "/v2/cudasharedmemory/region/{region}/status", RK_SCOPE_INFER, RK_ROUTE_LIGHT,
     rk_api_card_region},
    {"POST", "/v2/cudasharedmemory/region/{region}/register", RK_SCOPE_INFER, RK_ROUTE_WORKER,
     rk_api_card_region_register},
    {"POST", "/v2/cudasharedmemory/region/{region}/unregister", RK_SCOPE_INFER, RK_ROUTE_WORKER,
     rk_api_card_region_unregister},
    {"GET", "/v2/banks", RK_SCOPE_INFER, RK_ROUTE_WORKER, rk_api_banks},
    {"GET", "/v2/banks/{bank}", RK_SCOPE_INFER, RK_ROUTE_WORKER, rk_api_bank},
    {"PUT", "/v2/banks/{bank}", RK_SCOPE_BANKS, RK_ROUTE_DISK, rk_api_bank_put},
    {"DELETE", "/v2/banks/{bank}", RK_SCOPE_BANKS, RK_ROUTE_DISK, rk_api_bank_delete},
    {"POST", "/v2/banks/{bank}/clear", RK_SCOPE_BANKS, RK_ROUTE_DISK, rk_api_bank_clear},
    {"GET", "/v2/banks/{bank}/checkpoints", RK_SCOPE_INFER, RK_ROUTE_WORKER, rk_api_checkpoints},
    {"PUT", "/v2/banks/{bank}/checkpoints/{tag}", RK_SCOPE_BANKS, RK_ROUTE_DISK, rk_api_checkpoint_put},
    {"DELETE", "/v2/banks/{bank}/checkpoints/{tag}", RK_SCOPE_BANKS, RK_ROUTE_DISK, rk_api_checkpoint_delete},
    {"POST", "/v2/banks/{bank}/checkpoints/{tag}/restore", RK_SCOPE_BANKS, RK_ROUTE_DISK,
     rk_api_checkpoint_restore},
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
        (void)snprintf(out, size, "%s", path);
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

struct rk_work *rk_route_work(const struct rk_app *app, const struct rk_route *route)
{
    return route && route->kind == RK_ROUTE_DISK ? app->errands : app->work;
}
