/* SPDX-License-Identifier: Apache-2.0 */
#include "api/api.h"

#include <stdlib.h>
#include <string.h>

#include "api/route.h"
#include "base/json_heap.h"
#include "base/text.h"

static void answer_error(struct rk_answer *answer, const struct rk_err *err)
{
    struct rk_text text = {0};
    free(answer->body);
    answer->body = NULL;
    answer->body_bytes = 0;
    answer->http_status = (int)err->status;
    answer->content_type = "application/json";
    if (err->status == RANKD_OVERLOADED && !answer->retry_after_s)
        answer->retry_after_s = 1;
    rk_json_open(&text, NULL, '{');
    rk_json_text(&text, "error", err->text);
    rk_json_close(&text, '}');
    answer->body = rk_text_take(&text, &answer->body_bytes);
}

static enum rankd_status check_scope(const struct rk_route *route, const struct rk_call *call,
                                     struct rk_err *err)
{
    if (route->scope == RK_SCOPE_NONE || (call->who && (call->who->scopes & route->scope)))
        return RANKD_OK;
    const char *name = route->scope == RK_SCOPE_BANKS     ? "banks"
                       : route->scope == RK_SCOPE_METRICS ? "metrics"
                                                          : "infer";
    return rk_fail(err, RANKD_FORBIDDEN, "%s %.200s needs a token of scope \"%s\"; %s has another",
                   call->method, call->path, name, call->who ? call->who->name : "nobody");
}

/* Memory for its JSON is reserved as a request's is. */
static void run_handler(const struct rk_route *route, const struct rk_api_env *env,
                        const struct rk_call *call, const struct rk_match *match, struct rk_answer *answer,
                        struct rk_err *err)
{
    struct rk_json_heap heap;
    rk_json_heap_open(&heap, env->budget, 0);
    (void)route->handler(env, call, match, answer, err);
    rk_json_heap_close(&heap);
}

void rk_api_call(const struct rk_api_env *env, const struct rk_call *call, struct rk_answer *answer)
{
    struct rk_err err = {0};
    struct rk_match match;
    memset(answer, 0, sizeof *answer);
    answer->http_status = 200;
    answer->content_type = "application/json";
    const struct rk_route *route = rk_route_find(call->method, call->path, &match, answer->allow, &err);
    if (route)
        answer->allow[0] = '\0';
    if (route && !route->handler)
        (void)rk_fail(&err, RANKD_UNSUPPORTED, "%.200s is not part of the control API", call->path);
    else if (route && check_scope(route, call, &err) == RANKD_OK)
        run_handler(route, env, call, &match, answer, &err);
    if (err.status != RANKD_OK)
        answer_error(answer, &err);
}
